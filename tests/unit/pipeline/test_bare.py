"""A case of which nothing could be found out is told all the same: silence would read as 'nothing found'."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hl7
import pydicom
import pytest
from pydicom import Dataset

from dermanode.domain import StageStatus
from dermanode.errors import PluginCrashed
from dermanode.ledger.records import CaseRecord, CaseState, ObjectState
from dermanode.pipeline import wire
from dermanode.pipeline.workbench import Workbench
from dermanode.testing.worked_cases import photograph
from dermanode.testing.workshop import Workshop

STAGES = {"segment": ["acme"], "classify": ["acme"]}


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path)
    pacs = {"type": "dimse", "host": "127.0.0.1", "port": 9, "ae_title": "PACS"}
    his = {"type": "mllp", "host": "127.0.0.1", "port": 9}
    workshop.start(STAGES, kinds=("SEG", "PDF", "SR"), is_inline=True, destinations={"pacs": pacs, "his": his})
    yield workshop
    workshop.close()


def damaged(number: int = 1) -> Dataset:
    image = photograph(number, rows=16, columns=16)
    image.PixelData = b"\0" * 10
    return image


def told(workshop: Workshop, record: CaseRecord) -> tuple[str, hl7.Message]:
    """What the report says, as JSON, and the message; both are on their way."""
    assert record.outcome is not None
    (made,) = [made for made in record.outcome.objects if made.kind == "SR"]
    assert made.reasons == ()
    assert {delivery.destination for delivery in workshop.ledger.deliveries.of_case(record.id)} == {"pacs", "his"}
    (message,) = [made for made in record.outcome.objects if made.kind == "HL7"]
    written = pydicom.dcmread(workshop.results / made.path)
    assert written.PatientID == "P-4711"
    return written.to_json(), hl7.parse((workshop.results / message.path).read_bytes().decode())


def test_images_that_cannot_be_decoded_are_reported_and_set_aside(workshop: Workshop) -> None:
    case_id = workshop.receive(damaged(1), damaged(2))
    record = workshop.end_of(case_id)
    assert record.state is CaseState.FAILED
    assert record.outcome is not None
    assert [report.status for report in record.outcome.reports] == [StageStatus.FAILED, StageStatus.NOT_SERVED, StageStatus.NOT_SERVED]
    assert {made.kind for made in record.outcome.objects} == {"SR", "HL7"}
    report, message = told(workshop, record)
    assert "no view could be read" in report
    assert "no plugin was asked" in report
    assert "no view could be read" in str(message)
    assert {item.state for item in workshop.ledger.objects.of_case(case_id)} == {ObjectState.QUARANTINED}


def test_case_that_loses_its_worker_at_every_try_is_reported_without_plugins(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    execute, jobs = Workbench.execute, list[wire.Job]()

    def crashing(self: Workbench, job: wire.Job) -> Any:
        jobs.append(job)
        if job.lost is None:
            raise PluginCrashed("dermanode", "encode", "killed by SIGSEGV")
        return execute(self, job)

    monkeypatch.setattr(Workbench, "execute", crashing)
    case_id = workshop.receive(photograph(1, rows=16, columns=16))
    record = workshop.end_of(case_id)
    assert [job.lost is None for job in jobs] == [True, False]
    assert record.state is CaseState.FAILED
    report, message = told(workshop, record)
    assert "ended its worker (killed by SIGSEGV)" in report
    assert "ended its worker (killed by SIGSEGV)" in str(message)
    assert {item.state for item in workshop.ledger.objects.of_case(case_id)} == {ObjectState.IN_CASE}


def test_case_without_a_usable_header_tells_only_the_ledger(workshop: Workshop) -> None:
    image = damaged()
    case_id = workshop.receive(image)
    (path,) = (workshop.folder / "spool").rglob("*.dcm")
    path.write_bytes(b"\0" * 200)
    workshop.ledger.cases.reopen(case_id, workshop.ledger.cases.get(case_id).opened_at)
    assert workshop.engine is not None
    workshop.engine.wake()
    record = workshop.end_of(case_id)
    assert record.outcome is not None
    assert record.outcome.objects == ()
    assert "No report can be made without an image." in record.reason
