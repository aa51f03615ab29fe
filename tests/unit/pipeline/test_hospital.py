"""What the hospital says of patients and orders reaches the results: the messages by its last word, DICOM by its images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hl7
import pydicom
import pytest

from dermanode.domain import UID, Outcome, Patient
from dermanode.ledger.records import CaseRecord, CaseState
from dermanode.ledger.said import Deed, Identity, MergeSaid, MessageHead, OrderSaid, PatientSaid
from dermanode.pipeline import wire
from dermanode.pipeline.engine import Inline
from dermanode.testing.worked_cases import photograph, save
from dermanode.testing.workshop import Workshop, utc_now

from .test_dispatch import dispatch_over


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path)
    workshop.start({}, is_inline=True, destinations={"his": {"type": "mllp", "host": "127.0.0.1", "port": 9}})
    yield workshop
    workshop.close()


def says(workshop: Workshop, *deeds: Deed) -> None:
    count = len(workshop.ledger.messages.recent(100))
    head = MessageHead(sender="HIS|HOSP", control_id=f"{count}", kind="ADT^A40", digest="d")
    assert workshop.ledger.messages.do(head, deeds, utc_now()).answer == "AA"


def merge(former: str, into: str) -> MergeSaid:
    return MergeSaid(pairs=((Identity(former, "CLINIC"), Identity(into, "CLINIC")),), kind="ADT^A40")


def oru(workshop: Workshop, outcome: Outcome) -> hl7.Message:
    (made,) = [made for made in outcome.objects if made.kind == "HL7"]
    return hl7.parse((workshop.results / made.path).read_bytes().decode())


def report(workshop: Workshop, outcome: Outcome) -> pydicom.Dataset:
    (made,) = [made for made in outcome.objects if made.kind == "SR"]
    assert made.reasons == ()
    return pydicom.dcmread(workshop.results / made.path)


def ended(workshop: Workshop, case_id: str) -> tuple[CaseRecord, Outcome]:
    record = workshop.end_of(case_id)
    assert record.outcome is not None
    return record, record.outcome


def test_messages_name_the_present_patient_and_dicom_that_of_its_images(workshop: Workshop) -> None:
    image = photograph(1, rows=16, columns=16)
    image.PatientID, image.IssuerOfPatientID, image.PatientName = "OLD", "CLINIC", "Former^Name"
    new = PatientSaid(identities=(Identity("NEW", "CLINIC"),), name="Present^Name")
    says(workshop, merge("OLD", "NEW"), new)
    record, outcome = ended(workshop, workshop.receive(image))
    assert (record.state, record.key.patient_id) == (CaseState.FINISHED, "NEW")
    pid = oru(workshop, outcome).segment("PID")
    assert str(pid[3]).startswith("NEW^^^CLINIC")
    assert str(pid[5]).startswith("Present^Name")
    written = report(workshop, outcome)
    assert (written.PatientID, written.PatientName) == ("OLD", "Former^Name")


def test_series_under_both_identities_is_one_case_whose_results_bear_the_present_one(workshop: Workshop) -> None:
    images = [photograph(number, rows=16, columns=16) for number in (1, 2)]
    for image, patient_id in zip(images, ("OLD", "NEW"), strict=True):
        image.PatientID, image.IssuerOfPatientID = patient_id, "CLINIC"
    says(workshop, merge("OLD", "NEW"))
    record, outcome = ended(workshop, workshop.receive(*images))
    assert (record.state, len(outcome.views)) == (CaseState.FINISHED, 2)
    assert report(workshop, outcome).PatientID == "NEW"


def test_order_comes_back_in_the_message(workshop: Workshop) -> None:
    image = photograph(1, rows=16, columns=16)
    image.PatientID, image.IssuerOfPatientID, image.AccessionNumber = "P1", "CLINIC", ""
    order = OrderSaid(
        number="placer 77 of HIS",
        identities=(Identity("P1", "CLINIC"),),
        control="NW",
        is_cancelled=False,
        placer_number="77",
        accession_number="A1",
        study_instance_uid=str(image.StudyInstanceUID),
    )
    says(workshop, order)
    record, outcome = ended(workshop, workshop.receive(image))
    obr = oru(workshop, outcome).segment("OBR")
    assert (str(obr[2]), str(obr[18])) == ("77", "A1")
    assert "It answers an order, found by its Study Instance UID." in "\n".join(workshop.ledger.explain(record.id))


def test_order_of_another_patient_is_told_in_the_events_and_used_nowhere(workshop: Workshop) -> None:
    image = photograph(1, rows=16, columns=16)
    image.PatientID, image.IssuerOfPatientID, image.AccessionNumber = "P1", "CLINIC", "A1"
    says(
        workshop,
        OrderSaid(
            number="placer 77 of HIS",
            identities=(Identity("P2", "CLINIC"),),
            control="NW",
            is_cancelled=False,
            placer_number="77",
            accession_number="A1",
        ),
    )
    record, outcome = ended(workshop, workshop.receive(image))
    assert str(oru(workshop, outcome).segment("OBR")[2]) == ""
    told = [event for event in workshop.ledger.history.of(f"case:{record.id}") if event.kind == "order_not_matched"]
    assert len(told) == 1


def test_case_of_images_of_two_patients_whom_nobody_merged_has_no_results(workshop: Workshop) -> None:
    """What the ledger would keep apart is refused again where results are made."""
    images = [photograph(number, rows=16, columns=16) for number in (1, 2)]
    images[1].PatientID = "SOMEBODY ELSE"
    first = workshop.receive(images[0])
    workshop.end_of(first)
    record = workshop.ledger.cases.get(first)
    files = []
    for number, image in enumerate(images):
        folder = workshop.folder / f"mixed-{number}"
        folder.mkdir()
        files.append(wire.SourceFile(sop_instance_uid=UID(str(image.SOPInstanceUID)), path=save(image, folder)))
    job = wire.Job(
        case_id=first,
        revision=1,
        pipeline="test",
        files=tuple(files),
        stages=(),
        made_at=record.opened_at,
        workdir=workshop.folder,
        patient=Patient(patient_id="P-4711", issuer="CLINIC", formerly=(("OLD", "CLINIC"),)),
    )
    # No ledger would give out such a job, so the bench is asked straight.
    assert isinstance(workshop.engine, Inline)
    done = workshop.engine._run(job, lambda _news: None)
    assert done.outcome.is_failed
    assert "mixes patients" in done.outcome.reason


def test_case_that_is_reopened_after_a_merge_tells_the_present_patient_under_another_control_id(workshop: Workshop) -> None:
    image = photograph(1, rows=16, columns=16)
    image.PatientID, image.IssuerOfPatientID = "OLD", "CLINIC"
    record, outcome = ended(workshop, workshop.receive(image))
    first = oru(workshop, outcome)
    says(workshop, merge("OLD", "NEW"))
    assert [delivery.destination for delivery in workshop.ledger.deliveries.of_case(record.id)] == ["his"]
    assert "merged its patient into another" in "\n".join(workshop.ledger.explain(record.id))
    workshop.ledger.cases.reopen(record.id, utc_now())
    assert workshop.engine is not None
    workshop.engine.wake()
    again, outcome = ended(workshop, record.id)
    second = oru(workshop, outcome)
    assert (again.key.patient_id, str(second.segment("PID")[3]).split("^")[0]) == ("NEW", "NEW")
    assert str(first.segment("MSH")[10]) != str(second.segment("MSH")[10])


def test_case_whose_patient_is_merged_while_it_runs_is_run_again_as_the_present_one(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    told: list[str] = []
    dispatch = dispatch_over(workshop, on_finished=told.append)
    image = photograph(1, rows=8, columns=8)
    image.PatientID = "OLD"
    workshop.receive(image)
    jobs: list[wire.Job] = []

    def run(job: wire.Job, _on_news: object) -> wire.Done:
        jobs.append(job)
        if len(jobs) == 1:
            says(workshop, merge("OLD", "NEW"))
        return wire.Done(outcome=Outcome(case_id=job.case_id, revision=1, is_failed=False, reports=()))

    while (record := dispatch.claim()) is not None:
        dispatch.serve(record, run)
    assert [job.patient and job.patient.patient_id for job in jobs] == [None, "NEW"]
    assert told == [jobs[0].case_id]
    ended_case = workshop.ledger.cases.get(jobs[0].case_id)
    assert (ended_case.state, ended_case.attempts, ended_case.key.patient_id) == (CaseState.FINISHED, 1, "NEW")
    workshop.close()
