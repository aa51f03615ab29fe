from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from pydantic import TypeAdapter

from dermanode.config import Destination
from dermanode.domain import UID, Case, Digest, Outcome, ProducedObject
from dermanode.errors import EncodingError
from dermanode.messages.fhir import encode_bundle
from dermanode.messages.letters import write_letters
from dermanode.messages.selection import select


def produced(kind: str, name: str, *, passed_gate: bool = True) -> ProducedObject:
    is_dicom = kind in ("SEG", "SURFACE_SEG", "STL", "SC", "SR", "PDF")
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
    produced("PDF", "report.dcm"),
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
    assert chosen("pacs", PACS) == ["seg-1.dcm", "surface.dcm", "stl-1.dcm", "sr.dcm", "report.dcm"]


def test_pacs_gets_only_the_kinds_it_is_sent() -> None:
    only = destination(type="dimse", ae_title="PACS", host="h", port=104, send=["SR", "OTHER"])
    assert chosen("pacs", only) == ["sr.dcm", "report.dcm"]


def test_mllp_gets_the_message_made_for_it() -> None:
    assert chosen("ward", destination(type="mllp", host="h", port=1)) == ["oru-ward.hl7"]
    assert chosen("other", destination(type="mllp", host="h", port=1)) == []


def test_fhir_gets_the_bundle_made_for_it() -> None:
    assert chosen("his", destination(type="fhir", url="http://h")) == ["fhir-his.json"]


def test_folder_gets_messages_only_on_request() -> None:
    assert chosen("his", destination(type="folder", path="/x")) == ["seg-1.dcm", "surface.dcm", "stl-1.dcm", "sr.dcm", "report.dcm"]
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
    assert [letter.name for letter in letters] == ["oru-ris.hl7", "fhir-ehr.json", "oru-share.hl7", "fhir-share.json"]
    assert {name: len(select(name, to, made)) for name, to in destinations.items()} == {"pacs": 0, "ris": 1, "ehr": 1, "share": 2}


def test_findings_that_no_message_holds_are_told_as_a_failure(
    case: Case, outcome: Outcome, made_at: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(case: Case, outcome: Outcome, *, made_at: datetime) -> bytes:
        if outcome.classification:
            raise EncodingError("too odd")
        return encode_bundle(case, outcome, made_at=made_at)

    monkeypatch.setattr("dermanode.messages.letters.encode_bundle", picky)
    ehr = destination(type="fhir", url="http://h")
    (letter,) = write_letters(case, outcome, {"ehr": ehr}, made_at=made_at, facility="")
    assert b"ANALYSIS FAILED: message: the findings cannot be written as a message" in letter.content
