from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from pydantic import TypeAdapter

from dermanode.config import Centre, Destination, Referral
from dermanode.domain import UID, Case, Digest, Outcome, ProducedObject
from dermanode.errors import EncodingError
from dermanode.messages.fhir.encode import encode_transactions
from dermanode.messages.letters import write_letters
from dermanode.messages.selection import select


def produced(kind: str, name: str, *, passed_gate: bool = True) -> ProducedObject:
    is_dicom = kind not in ("HL7", "FHIR", "PREVIEW", "MESH")
    return ProducedObject(
        kind=kind,
        path=f"case-1/{name}",
        digest=Digest("0" * 64),
        size_bytes=1,
        sop_instance_uid=UID("1.2") if is_dicom else None,
        passed_gate=passed_gate,
    )


OBJECTS = (
    produced("SEG", "seg-1.dcm"),
    produced("SEG", "seg-2.dcm", passed_gate=False),
    produced("SURFACE_SEG", "surface.dcm"),
    produced("STL", "stl-1.dcm"),
    produced("SR", "sr.dcm"),
    produced("PDF", "pdf-1.dcm"),
    produced("OTHER", "other-1.dcm"),
    produced("KOS", "kos-pacs.dcm"),
    produced("KOS", "kos-ward.dcm"),
    produced("HL7", "oru-his.hl7"),
    produced("HL7", "oru-ward.hl7"),
    produced("FHIR", "fhir-his.json"),
    produced("PREVIEW", "views/1.jpg"),
    produced("MESH", "mesh.json"),
)


def destination(**settings: Any) -> Destination:
    made: Destination = TypeAdapter(Destination).validate_python(settings)
    return made


PACS = destination(type="dimse", ae_title="PACS", host="h", port=104)


def chosen(name: str, to: Destination) -> list[str]:
    return [path.removeprefix("case-1/") for path in select(name, to, OBJECTS)]


def test_pacs_gets_every_object_that_passed_the_gate_and_no_message() -> None:
    assert chosen("pacs", PACS) == ["seg-1.dcm", "surface.dcm", "stl-1.dcm", "sr.dcm", "pdf-1.dcm", "other-1.dcm"]


def test_pacs_gets_only_the_kinds_it_is_sent() -> None:
    only = destination(type="dimse", ae_title="PACS", host="h", port=104, send=["SR", "OTHER"])
    assert chosen("pacs", only) == ["sr.dcm", "other-1.dcm"]


def test_a_destination_gets_the_rejection_note_that_was_made_for_it() -> None:
    wants = destination(type="dimse", ae_title="PACS", host="h", port=104, send=["KOS"])
    assert chosen("pacs", wants) == ["kos-pacs.dcm"]
    assert chosen("elsewhere", wants) == []


def test_mllp_gets_the_message_made_for_it() -> None:
    assert chosen("ward", destination(type="mllp", host="h", port=1)) == ["oru-ward.hl7"]
    assert chosen("other", destination(type="mllp", host="h", port=1)) == []


def test_fhir_gets_the_bundle_made_for_it() -> None:
    assert chosen("his", destination(type="fhir", url="http://h")) == ["fhir-his.json"]


def test_folder_gets_messages_only_on_request() -> None:
    assert chosen("his", destination(type="folder", path="/x")) == [
        "seg-1.dcm",
        "surface.dcm",
        "stl-1.dcm",
        "sr.dcm",
        "pdf-1.dcm",
        "other-1.dcm",
    ]
    assert chosen("his", destination(type="folder", path="/x", send=["HL7", "FHIR"])) == ["oru-his.hl7", "fhir-his.json"]


def test_letters_are_written_under_the_names_that_are_selected(case: Case, outcome: Outcome, made_at: datetime) -> None:
    destinations = {
        "pacs": PACS,
        "ris": destination(type="mllp", host="h", port=1),
        "ehr": destination(type="fhir", url="http://h"),
        "share": destination(type="folder", path="/x", send=["SR", "HL7", "FHIR"]),
    }
    letters = list(write_letters(case, outcome, destinations, made_at=made_at, facility="F"))
    made = [produced(letter.kind, letter.name) for letter in letters]
    bundles = ["fhir-ehr.json", "fhir-ehr.2.json", "oru-share.hl7", "fhir-share.json", "fhir-share.2.json"]
    assert [letter.name for letter in letters] == ["oru-ris.hl7", *bundles]
    assert {name: len(select(name, to, made)) for name, to in destinations.items()} == {"pacs": 0, "ris": 1, "ehr": 2, "share": 3}


@pytest.mark.parametrize(("issuer", "authority"), [("", "HOSPITAL"), ("CLINIC", "CLINIC")])
def test_a_patient_id_whose_images_name_no_authority_gets_the_hospitals(
    case: Case, outcome: Outcome, made_at: datetime, issuer: str, authority: str
) -> None:
    case = replace(case, series=replace(case.series, patient=replace(case.series.patient, patient_id="P-1", issuer=issuer)))
    his = {"his": destination(type="mllp", host="h", port=1)}
    (letter,) = write_letters(case, outcome, his, made_at=made_at, facility="F", default_issuer="HOSPITAL")
    assert f"|P-1^^^{authority}^PI|".encode() in letter.content


def test_transactions_of_destinations_with_like_names_are_told_apart() -> None:
    ehr = destination(type="fhir", url="http://h")
    made = [produced("FHIR", name) for name in ("fhir-ehr.json", "fhir-ehr.2.json", "fhir-ehr-2.json", "fhir-ehr-2.2.json")]
    assert select("ehr", ehr, made) == ("case-1/fhir-ehr.json", "case-1/fhir-ehr.2.json")
    assert select("ehr-2", ehr, made) == ("case-1/fhir-ehr-2.json", "case-1/fhir-ehr-2.2.json")


def test_server_gets_its_version_limit_and_pdf_and_a_folder_what_anybody_reads(case: Case, outcome: Outcome, made_at: datetime) -> None:
    destinations = {
        "ehr": destination(type="fhir", url="http://h", version="R5", most_entries=50, is_pdf_embedded=True),
        "share": destination(type="folder", path="/x", send=["FHIR"]),
    }
    centre = Centre(name="Centre")
    made = {
        letter.name: letter.content
        for letter in write_letters(
            case, outcome, destinations, made_at=made_at, facility="F", referral=Referral(centres=(centre,)), pdf=b"%PDF"
        )
    }
    assert {name.split(".")[0] for name in made} == {"fhir-ehr", "fhir-share"}
    whole = made["fhir-ehr.json"]
    assert b'"bodyStructure"' in whole
    assert b'"presentedForm"' in whole
    assert b'"ServiceRequest"' in whole
    shared = b"".join(content for name, content in made.items() if name.startswith("fhir-share"))
    assert b'"ServiceRequest"' in shared
    assert b'"presentedForm"' not in shared


def test_findings_that_no_message_holds_are_told_as_a_failure(
    case: Case, outcome: Outcome, made_at: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(case: Case, outcome: Outcome, **wishes: Any) -> tuple[bytes, ...]:
        if outcome.classification:
            raise EncodingError("too odd")
        return encode_transactions(case, outcome, **wishes)

    monkeypatch.setattr("dermanode.messages.letters.encode_transactions", picky)
    ehr = destination(type="fhir", url="http://h")
    (letter,) = write_letters(case, outcome, {"ehr": ehr}, made_at=made_at, facility="")
    assert b"ANALYSIS FAILED: message: the findings cannot be written as a message" in letter.content
