"""What the engine makes of a worker's answers, with answers written for the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dermanode.config import Pipeline, Settings
from dermanode.domain import UID, Outcome, StageReport, StageStatus
from dermanode.errors import LedgerUnavailable, PluginCrashed, PluginTimedOut
from dermanode.ledger.records import CaseRecord, CaseState
from dermanode.pipeline import dispatch as module
from dermanode.pipeline import wire
from dermanode.pipeline.dispatch import AskedVisits, Dispatch
from dermanode.pipeline.plugins import Found
from dermanode.pipeline.run import Fault
from dermanode.pipeline.worker_process import WorkerStopped
from dermanode.testing.worked_cases import photograph
from dermanode.testing.workshop import Workshop, utc_now

Answer = wire.Done | wire.Lost | Exception


class Answers:
    """Gives one answer after the other, and remembers the jobs."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.jobs: list[wire.Job] = []

    def __call__(self, job: wire.Job, on_news: Callable[[wire.News], None]) -> wire.Done | wire.Lost:
        assert job.workdir.is_dir()
        self.jobs.append(job)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path)
    yield workshop
    workshop.close()


def dispatch_over(workshop: Workshop, *, attempts: int = 1, priors: dict[str, object] | None = None, **fields: Any) -> Dispatch:
    stages = {"segment": ("acme",), "risk": ("acme",)}
    return Dispatch(
        ledger=workshop.ledger,
        settings=Settings.model_validate(
            {"node": {"data_dir": str(workshop.folder)}, "engine": {"attempts": attempts}, "priors": priors or {}}
        ),
        pipelines=[Pipeline.model_validate({"name": "test", "match": {"modalities": ["DMS"]}, "stages": stages})],
        found=[Found("acme", "acme 1.0", None, error="only its name matters here")],
        clock=utc_now,
        is_stopping=threading.Event(),
        **fields,
    )


def claimed(workshop: Workshop, dispatch: Dispatch) -> CaseRecord:
    workshop.receive(photograph(1, rows=8, columns=8))
    record = dispatch.claim()
    assert record is not None
    return record


def done(record: CaseRecord, *faults: Fault) -> wire.Done:
    reports = tuple(StageReport(stage=fault.stage, status=StageStatus.FAILED, reason=fault.reason) for fault in faults)
    return wire.Done(outcome=Outcome(case_id=record.id, revision=1, is_failed=bool(faults), reports=reports), faults=faults)


def test_lost_worker_is_tried_again_and_then_without_the_culprit(workshop: Workshop) -> None:
    dispatch = dispatch_over(workshop, attempts=2)
    first = claimed(workshop, dispatch)
    dispatch.serve(first, Answers(PluginTimedOut("acme", "segment", 2.0)))
    waiting = workshop.ledger.cases.get(first.id)
    assert (waiting.state, waiting.reason) == (
        CaseState.READY,
        "acme at segment missed its deadline of 2 s; its worker was stopped",
    )
    second = dispatch.claim()
    assert second is not None
    last = Answers(PluginTimedOut("acme", "segment", 2.0), PluginCrashed("acme", "risk", "exit status 3"), done(second))
    dispatch.serve(second, last)
    assert [[(one.stage, one.plugin) for one in job.excluded] for job in last.jobs] == [
        [],
        [("segment", "acme")],
        [("segment", "acme"), ("risk", "acme")],
    ]
    assert workshop.ledger.plugins.all()[0].failures_in_a_row == 3


def test_step_that_cannot_be_left_out_ends_the_case(workshop: Workshop) -> None:
    dispatch = dispatch_over(workshop)
    record = claimed(workshop, dispatch)
    answers = Answers(PluginCrashed("dermanode", "encode", "killed by SIGSEGV"), wire.Lost(reason="the report too"))
    dispatch.serve(record, answers)
    assert [job.lost and job.lost.stage for job in answers.jobs] == [None, "encode"]
    ended = workshop.ledger.cases.get(record.id)
    assert ended.state is CaseState.FAILED
    assert "dermanode at encode ended its worker (killed by SIGSEGV)" in ended.reason
    assert workshop.ledger.plugins.all() == []


def test_image_whose_decoding_ends_the_worker_is_left_out(workshop: Workshop) -> None:
    dispatch = dispatch_over(workshop)
    record = claimed(workshop, dispatch)
    uid = str(photograph(1).SOPInstanceUID)
    answers = Answers(PluginCrashed(uid, "read", "killed by SIGSEGV"), done(record))
    dispatch.serve(record, answers)
    assert answers.jobs[1].excluded == (wire.Exclusion(stage="read", plugin=uid, reason="ended its worker (killed by SIGSEGV)"),)


def test_step_that_was_left_out_is_not_left_out_twice(workshop: Workshop) -> None:
    dispatch = dispatch_over(workshop)
    record = claimed(workshop, dispatch)
    dispatch.serve(record, Answers(*[PluginCrashed("acme", "segment", "exit status 3")] * 3))
    assert workshop.ledger.cases.get(record.id).state is CaseState.FAILED


def test_failed_stage_is_tried_again_while_there_are_attempts(workshop: Workshop) -> None:
    dispatch = dispatch_over(workshop, attempts=2)
    first = claimed(workshop, dispatch)
    fault = Fault("acme", "risk", "raised ValueError: no")
    dispatch.serve(first, Answers(done(first, fault)))
    assert workshop.ledger.cases.get(first.id).state is CaseState.READY
    second = dispatch.claim()
    assert second is not None
    dispatch.serve(second, Answers(done(second, fault)))
    assert workshop.ledger.cases.get(first.id).state is CaseState.FAILED


def test_case_that_failed_through_no_plugins_fault_is_not_tried_again(workshop: Workshop) -> None:
    dispatch = dispatch_over(workshop, attempts=3)
    record = claimed(workshop, dispatch)
    unreadable = Outcome(case_id=record.id, revision=1, is_failed=True, reports=())
    dispatch.serve(record, Answers(wire.Done(outcome=unreadable)))
    assert workshop.ledger.cases.get(record.id).state is CaseState.FAILED


@pytest.mark.parametrize("answer", [wire.Lost(reason="EncodingError: two studies"), RuntimeError("two studies")])
def test_case_that_comes_to_no_end_is_tried_again_and_then_fails(workshop: Workshop, answer: Answer) -> None:
    dispatch = dispatch_over(workshop, attempts=2)
    first = claimed(workshop, dispatch)
    dispatch.serve(first, Answers(answer))
    assert workshop.ledger.cases.get(first.id).state is CaseState.READY
    second = dispatch.claim()
    assert second is not None
    dispatch.serve(second, Answers(answer, answer))
    ended = workshop.ledger.cases.get(first.id)
    assert ended.state is CaseState.FAILED
    assert "two studies" in ended.reason


def test_stopped_engine_gives_its_case_back(workshop: Workshop) -> None:
    dispatch = dispatch_over(workshop)
    record = claimed(workshop, dispatch)
    with pytest.raises(WorkerStopped):
        dispatch.serve(record, Answers(WorkerStopped()))
    assert workshop.ledger.cases.get(record.id).state is CaseState.READY


def test_end_of_a_case_waits_for_a_ledger_that_is_away(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEDGER_PAUSE_S", 0.01)
    told: list[str] = []
    dispatch = dispatch_over(workshop, on_finished=told.append)
    record = claimed(workshop, dispatch)
    finish, refused = workshop.ledger.cases.finish, [1, 2]

    def sometimes(*arguments: Any, **named: Any) -> CaseRecord:
        if refused:
            refused.pop()
            raise LedgerUnavailable("the disk is full")
        return finish(*arguments, **named)

    monkeypatch.setattr(workshop.ledger.cases, "finish", sometimes)
    dispatch.serve(record, Answers(done(record)))
    assert workshop.ledger.cases.get(record.id).state is CaseState.FINISHED
    assert told == [record.id]


VISIT = wire.EarlierVisit(
    case_id="1.2.9", acquired_at=datetime(2025, 1, 1, tzinfo=UTC), outcome=Outcome(case_id="1.2.9", revision=1, is_failed=False, reports=())
)


def earlier_photograph() -> Dataset:
    dataset = photograph(1, rows=8, columns=8, study="first visit")
    dataset.AcquisitionDateTime = "20250601120000"
    return dataset


class Others:
    """Give one earlier visit and say what they could not give."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, frozenset[str]]] = []

    def __call__(self, record: CaseRecord, known: Collection[UID]) -> AskedVisits:
        self.asked.append((record.id, frozenset(known)))
        return AskedVisits(visits=(VISIT,), gaps=("earlier visits could not be asked for at old: it does not answer",))


def test_others_are_asked_for_earlier_visits_where_the_ledger_knows_none(workshop: Workshop) -> None:
    others = Others()
    dispatch = dispatch_over(workshop, ask_for_visits=others)
    record = claimed(workshop, dispatch)
    answers = Answers(done(record))
    dispatch.serve(record, answers)
    assert others.asked == [(record.id, frozenset())]
    assert answers.jobs[0].priors == (VISIT,)
    assert answers.jobs[0].prior_gaps == ("earlier visits could not be asked for at old: it does not answer",)
    told = [event.words for event in workshop.ledger.history.of(f"case:{record.id}") if event.kind == "priors_asked"]
    assert told == [
        "1 earlier visit of the lesion found in reports that others hold; earlier visits could not be asked for at old: it does not answer."
    ]


@pytest.mark.parametrize("is_asked_always", [False, True])
def test_others_are_asked_for_what_the_ledger_knows_only_where_that_is_set(workshop: Workshop, is_asked_always: bool) -> None:
    others = Others()
    dispatch = dispatch_over(workshop, ask_for_visits=others, priors={"is_asked_always": is_asked_always})
    earlier = earlier_photograph()
    workshop.receive(earlier)
    first = dispatch.claim()
    assert first is not None
    dispatch.serve(first, Answers(done(first)))
    others.asked.clear()
    record = claimed(workshop, dispatch)
    answers = Answers(done(record))
    dispatch.serve(record, answers)
    assert others.asked == ([(record.id, frozenset({str(earlier.SeriesInstanceUID)}))] if is_asked_always else [])
    assert [visit.case_id for visit in answers.jobs[0].priors] == (["1.2.9", first.id] if is_asked_always else [first.id])
