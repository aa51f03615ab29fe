"""What later revisions of a case are told as: corrections of what was told, under the name that the first one got."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dermanode.domain import Outcome
from dermanode.ledger.records import CaseState
from dermanode.ledger.said import Identity, MergeSaid, MessageHead
from dermanode.testing.worked_cases import photograph
from dermanode.testing.workshop import Workshop, utc_now

EHR = {"ehr": {"type": "fhir", "url": "http://127.0.0.1:9"}}


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path)
    yield workshop
    workshop.close()


def image(number: int) -> Dataset:
    made = photograph(number, rows=16, columns=16)
    made.PatientID, made.IssuerOfPatientID = "OLD", "CLINIC"
    return made


def report(workshop: Workshop, outcome: Outcome) -> dict[str, Any]:
    """The DiagnosticReport that the FHIR server is to get."""
    bundles = [json.loads((workshop.results / made.path).read_bytes()) for made in outcome.objects if made.kind == "FHIR"]
    (found,) = [e["resource"] for bundle in bundles for e in bundle["entry"] if e["resource"]["resourceType"] == "DiagnosticReport"]
    told: dict[str, Any] = found
    return told


def revision(of: dict[str, Any]) -> int:
    (told,) = of["extension"]
    number: int = told["valuePositiveInt"]
    return number


def test_late_image_amends_the_report_that_was_told(workshop: Workshop) -> None:
    workshop.start({}, is_inline=True, destinations=EHR)
    first, second = (report(workshop, workshop.outcome_of(image(number))) for number in (1, 2))
    assert (first["status"], revision(first)) == ("preliminary", 1)
    assert (second["status"], revision(second)) == ("amended", 2)
    assert first["identifier"][0] == second["identifier"][0]


def test_revision_that_never_ran_hides_nothing_that_was_told_before_it(workshop: Workshop) -> None:
    workshop.start({}, is_inline=True, destinations=EHR)
    first = report(workshop, workshop.outcome_of(image(1)))
    engine, workshop.engine = workshop.engine, None
    skipped = workshop.receive(image(2))
    last = workshop.receive(image(3))
    assert workshop.ledger.cases.get(skipped).state is CaseState.SUPERSEDED
    workshop.engine = engine
    assert engine is not None
    engine.wake()
    outcome = workshop.end_of(last).outcome
    assert outcome is not None
    third = report(workshop, outcome)
    assert (third["status"], revision(third)) == ("amended", 3)
    assert third["identifier"][0] == first["identifier"][0]


def test_what_nobody_was_told_is_not_amended(workshop: Workshop) -> None:
    workshop.start({}, is_inline=True)
    workshop.outcome_of(image(1))
    assert workshop.engine is not None
    workshop.engine.stop()
    workshop.start({}, is_inline=True, destinations=EHR)
    assert report(workshop, workshop.outcome_of(image(2)))["status"] == "preliminary"


def test_patient_who_was_merged_meanwhile_has_one_report(workshop: Workshop) -> None:
    workshop.start({}, is_inline=True, destinations=EHR)
    first = report(workshop, workshop.outcome_of(image(1)))
    merge = MergeSaid(pairs=((Identity("OLD", "CLINIC"), Identity("NEW", "CLINIC")),), kind="ADT^A40")
    head = MessageHead(sender="HIS|HOSP", control_id="1", kind="ADT^A40", digest="d")
    assert workshop.ledger.messages.do(head, (merge,), utc_now()).answer == "AA"
    second = report(workshop, workshop.outcome_of(image(2)))
    assert [told["subject"]["identifier"]["value"] for told in (first, second)] == ["OLD", "NEW"]
    assert (second["status"], second["identifier"][0]) == ("amended", first["identifier"][0])
