"""Procedure steps are claimed once, done with their results named, and given back with a reason; by both roads, through restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dermanode.config import Settings
from dermanode.dicom.procedure_step import ProcedureStep, StepMalformed, matches, progress_data, read_step
from dermanode.domain.identifiers import UID, Digest
from dermanode.domain.outcome import Outcome, ProducedObject, StageReport, StageStatus
from dermanode.errors import ConfigurationError
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import (
    Arrival,
    CaseRecord,
    CaseState,
    DeliveryState,
    Evidence,
    FetchState,
    Header,
    NewDelivery,
    SeriesKey,
    StepState,
)
from dermanode.ledger.said import Identity, MergeSaid, MessageHead
from dermanode.ledger.steps import Delivered, SeriesFacts
from dermanode.receive.worklist.decide import Cancel, Complete, Fetch, Wait, decide
from dermanode.receive.worklist.session import Answer, Manager, Session, WorklistUnavailable
from dermanode.receive.worklist.worker import WorklistWorker
from dermanode.testing import worklist as loopback
from dermanode.testing.worklist import DimseWorklist, StepStore, rest_worklist

SR = "1.2.840.10008.5.1.4.1.1.88.34"
STUDY, SERIES, IMAGE = "2.25.10", "2.25.11", "2.25.12"
STEP = "2.25.1"
NOW = datetime(2026, 5, 1, 10, tzinfo=UTC)


@dataclass
class Working:
    """A worker, the manager that it works for, and the ledger that tells it how far things are."""

    store: StepStore
    ledger: Ledger
    results: Path
    make: Callable[[], WorklistWorker]
    clock: list[datetime]

    def __post_init__(self) -> None:
        self.worker = self.make()

    def step(self, seconds: float = 0) -> None:
        self.clock[0] += timedelta(seconds=seconds)
        self.worker.step()

    def progress(self) -> str:
        return self.store.steps[STEP].state

    def held(self) -> StepState | None:
        found = self.ledger.steps.get(UID(STEP))
        return None if found is None else found.state

    def receive(self, uid: str = IMAGE) -> int:
        arrival = Arrival(
            sop_instance_uid=UID(uid),
            sop_class_uid=UID("1.2.840.10008.5.1.4.1.1.77.1.4"),
            transfer_syntax_uid=UID("1.2.840.10008.1.2.1"),
            digest=Digest(f"{int(uid.rsplit('.', 1)[-1]):064x}"),
            size_bytes=1,
            path=f"{uid}.dcm",
            association="a",
            calling_ae="PACS",
            called_ae="DERMANODE",
            source_address="127.0.0.1",
            received_at=NOW,
        )
        (receipt,) = self.ledger.objects.record([arrival])
        self.ledger.objects.set_headers({receipt.object_id: Header(UID(STUDY), UID(SERIES), "XC", "P")})
        return receipt.object_id

    def run(self, *, is_failed: bool = False, destination: str = "pacs") -> CaseRecord:
        """A case of what waits, run to its end, with one report for the destination."""
        key = SeriesKey(UID(STUDY), UID(SERIES), "P")
        case = self.ledger.cases.open(key, pipeline="p", plan=(), evidence=Evidence("quiet period", ""), now=NOW)
        self.ledger.cases.claim(NOW)
        made = ProducedObject(
            kind="SR",
            path=f"{case.id}/sr.dcm",
            digest=Digest("1" * 64),
            size_bytes=1,
            sop_class_uid=UID(SR),
            sop_instance_uid=UID("2.25.99"),
        )
        report = Dataset()
        report.file_meta = FileMetaDataset()
        report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        report.SOPClassUID, report.SOPInstanceUID, report.StudyInstanceUID, report.SeriesInstanceUID = SR, "2.25.99", STUDY, "2.25.98"
        (self.results / case.id).mkdir(parents=True)
        report.save_as(self.results / made.path, enforce_file_format=True)
        outcome = Outcome(
            case_id=case.id,
            revision=1,
            is_failed=is_failed,
            reports=(StageReport(stage="segment", status=StageStatus.FAILED, reason="the plugin raised"),) if is_failed else (),
            objects=() if is_failed else (made,),
            took_s=0.1,
        )
        return self.ledger.cases.finish(case.id, outcome, [] if is_failed else [NewDelivery(destination, (made.path,))], self.clock[0])

    def deliver(self, destination: str = "pacs") -> None:
        delivery = self.ledger.deliveries.claim(destination, self.clock[0])
        assert delivery is not None
        self.ledger.deliveries.succeeded(delivery.id, "stored", self.clock[0])


@pytest.fixture(params=["dimse", "ups-rs"])
def working(request: pytest.FixtureRequest, tmp_path: Path, ledger_url: str) -> Iterator[Callable[..., Working]]:
    with ExitStack() as stack:

        def make(**worklist: Any) -> Working:
            store = StepStore()
            if request.param == "dimse":
                manager = stack.enter_context(DimseWorklist(store))
                where: dict[str, Any] = {"type": "dimse", "ae_title": "MANAGER", "host": "127.0.0.1", "port": manager.port}
            else:
                where = {"type": "ups-rs", "url": stack.enter_context(rest_worklist(store))}
            settings = Settings.model_validate(
                {
                    "node": {"data_dir": str(tmp_path)},
                    "sources": {"archive": {"ae_title": "PACS", "host": "127.0.0.1", "port": 104}},
                    "destinations": {"pacs": {"type": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}},
                    "worklists": {"ai": {**where, "timeout_s": 10, **worklist}},
                }
            )
            ledger = stack.enter_context(Ledger.open(ledger_url))
            clock, numbers = [NOW], iter(range(1, 100))

            def worker() -> WorklistWorker:
                return WorklistWorker(
                    "ai",
                    settings.worklists["ai"],
                    ledger,
                    settings,
                    clock=lambda: clock[0],
                    new_uid=lambda: UID(f"2.25.77{next(numbers)}"),
                )

            return Working(store, ledger, settings.node.results_dir, worker, clock)

        yield make


def test_a_step_is_claimed_worked_on_and_completed_with_its_results(working: Any) -> None:
    node = working(label="DERMA", station="AI1")
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.store.add("2.25.2", [(STUDY, SERIES, [IMAGE])], label="OTHER")
    node.store.add("2.25.3", [(STUDY, SERIES, [IMAGE])], station="AI2")
    node.step()
    assert (node.progress(), node.held()) == ("IN PROGRESS", StepState.CLAIMED)
    assert node.store.steps["2.25.2"].state == node.store.steps["2.25.3"].state == "SCHEDULED"
    node.step()
    node.receive()
    node.step()
    case = node.run()
    node.step()
    assert node.progress() == "IN PROGRESS"
    node.deliver()
    node.step()
    assert (node.progress(), node.held()) == ("COMPLETED", StepState.COMPLETED)
    (performed,) = node.store.steps[STEP].data.UnifiedProcedureStepPerformedProcedureSequence
    assert performed.PerformedWorkitemCodeSequence[0].CodeValue == "110004"
    assert performed.PerformedStationNameCodeSequence[0].CodeValue == "DERMANODE"
    (output,) = performed.OutputInformationSequence
    assert (output.StudyInstanceUID, output.SeriesInstanceUID) == (STUDY, "2.25.98")
    assert output.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.99"
    assert output.DICOMRetrievalSequence[0].RetrieveAETitle == "PACS"
    told = [
        change.ProcedureStepProgressInformationSequence[0].ProcedureStepProgressDescription
        for change in node.store.steps[STEP].changes
        if "ProcedureStepProgressInformationSequence" in change
    ]
    assert told == [
        "It waits for its input.",
        "Its input is here and waits for its series to be complete.",
        "The results are on their way to pacs.",
    ]
    assert any(event.kind == "step_completed" for event in node.ledger.history.of_case(case.id))
    node.step()  # nothing more to do
    assert node.store.log == ["IN PROGRESS 0x0000", "COMPLETED 0x0000"]


def test_input_that_is_here_already_is_worked_on_at_once(working: Any) -> None:
    node = working()
    node.receive()
    node.run()
    node.deliver()
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.step()
    node.step()
    assert node.progress() == "COMPLETED"


def test_a_step_never_refers_to_the_results_of_another_patient(working: Any) -> None:
    node = working()
    node.receive()
    node.run()
    node.deliver()
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.store.steps[STEP].data.PatientID = "Q"
    node.step()
    node.step()
    assert (node.progress(), node.held()) == ("CANCELED", StepState.CANCELED)
    assert "another patient" in node.store.steps[STEP].data.ProcedureStepProgressInformationSequence[0].ReasonForCancellation


@pytest.mark.parametrize("issuer", ["", "CLINIC"])
def test_a_step_may_name_the_patient_by_an_identity_that_was_merged(working: Any, issuer: str) -> None:
    node = working()
    node.receive()
    node.run()
    node.deliver()
    merge = MergeSaid(pairs=((Identity("FORMER", issuer), Identity("P", "")),), kind="ADT^A40")
    node.ledger.messages.do(MessageHead(sender="HIS", control_id="1", kind="ADT^A40", digest="d"), [merge], NOW)
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.store.steps[STEP].data.PatientID = "FORMER"
    node.step()
    node.step()
    assert node.progress() == "COMPLETED"


def test_input_is_fetched_where_a_source_is_named(working: Any) -> None:
    node = working(fetch_from="archive")
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.step()
    node.step()
    node.step()
    (fetch,) = node.ledger.fetches.recent(10)
    assert (fetch.source, fetch.query.series_instance_uid, fetch.asked_by) == ("archive", SERIES, f"step {STEP}")
    claimed = node.ledger.fetches.claim("archive", NOW + timedelta(seconds=1))
    assert claimed is not None
    node.ledger.fetches.failed(claimed.id, 0, "no such series", NOW)
    node.step()
    assert (node.progress(), node.held()) == ("CANCELED", StepState.CANCELED)
    (info,) = node.store.steps[STEP].data.ProcedureStepProgressInformationSequence
    assert info.ReasonForCancellation == "Its input could not be fetched: no such series"


def test_a_lost_race_is_no_error(working: Any) -> None:
    node = working()
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    changed = node.store.change

    def quicker(uid: str, key: str | None, wanted: str) -> int:
        node.store.change = changed
        changed(uid, "2.25.666", "IN PROGRESS")
        return int(changed(uid, key, wanted))

    node.store.change = quicker
    node.step()
    assert node.held() is None
    assert node.store.steps[STEP].key == "2.25.666"
    node.step()
    assert node.progress() == "IN PROGRESS"


class Deaf:
    """A manager whose answer to a claim never comes back: as when the node dies before it hears it."""

    def __init__(self, manager: Manager, *, was_heard: bool) -> None:
        self._manager, self._was_heard = manager, was_heard

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self._manager.session() as session:
            self._session = session
            yield self  # type: ignore[misc]  # it is its own session

    def find(self, label: str, station: str) -> Sequence[ProcedureStep]:
        return self._session.find(label, station)

    def change_state(self, *arguments: Any) -> Answer:
        if self._was_heard:
            self._session.change_state(*arguments)
        raise WorklistUnavailable("ai", "gave no answer.")


@pytest.mark.parametrize("was_heard", [True, False])
def test_a_claim_that_the_node_did_not_survive_goes_on_under_the_same_key(working: Any, was_heard: bool) -> None:
    node = working()
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.worker._manager = Deaf(node.worker._manager, was_heard=was_heard)
    with pytest.raises(WorklistUnavailable):
        node.step()
    assert (node.progress(), node.held()) == ("IN PROGRESS" if was_heard else "SCHEDULED", StepState.CLAIMING)
    node.worker = node.make()
    node.step()
    assert (node.progress(), node.held()) == ("IN PROGRESS", StepState.CLAIMED)
    assert node.store.steps[STEP].key == node.ledger.steps.get(UID(STEP)).transaction_uid


def test_a_claim_that_somebody_else_made_meanwhile_is_let_go(working: Any) -> None:
    node = working()
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.worker._manager = Deaf(node.worker._manager, was_heard=False)
    with pytest.raises(WorklistUnavailable):
        node.step()
    node.store.change(STEP, "2.25.666", "IN PROGRESS")
    node.worker = node.make()
    node.step()
    assert node.held() is None
    assert node.store.steps[STEP].key == "2.25.666"


def test_a_failed_analysis_gives_the_step_back_with_the_reason(working: Any) -> None:
    node = working()
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.receive()
    node.step()
    node.run(is_failed=True)
    node.step()
    assert node.progress() == "CANCELED"
    (info,) = node.store.steps[STEP].data.ProcedureStepProgressInformationSequence
    assert info.ReasonForCancellation == "The analysis failed: segment: the plugin raised"


def test_input_that_no_pipeline_wants_gives_the_step_back(working: Any) -> None:
    node = working()
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.ledger.objects.ignore([node.receive()], "No pipeline takes CT.")
    node.step()
    node.step()
    assert node.progress() == "CANCELED"
    assert node.ledger.steps.get(UID(STEP)).words == "Its input is not analysed here: No pipeline takes CT."


def test_input_that_does_not_come_gives_the_step_back(working: Any) -> None:
    node = working(input_wait_s=100)
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.step()
    node.step(99)
    assert node.progress() == "IN PROGRESS"
    node.step(2)
    assert node.progress() == "CANCELED"


def test_a_step_that_was_canceled_at_the_manager_is_let_go(working: Any) -> None:
    node = working()
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.step()
    node.store.steps[STEP].data.ProcedureStepState = "CANCELED"
    node.step()
    assert node.held() is StepState.CANCELED
    node.store.add("2.25.5", [(STUDY, SERIES, [IMAGE])])
    node.step()
    del node.store.steps["2.25.5"]
    node.step()
    assert node.ledger.steps.get(UID("2.25.5")).words == "The manager has no such step any more."


def test_no_more_steps_are_held_than_allowed(working: Any) -> None:
    node = working(claim_at_once=2)
    for number in range(5):
        node.store.add(f"2.25.{100 + number}", [(STUDY, SERIES, [IMAGE])])
    node.step()
    node.step()
    assert sum(one.state == "IN PROGRESS" for one in node.store.steps.values()) == 2
    assert node.ledger.steps.counts()[StepState.CLAIMED] == 2


def test_an_end_that_the_manager_does_not_take_is_told_again_later(working: Any) -> None:
    node = working(poll_s=10)
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.receive()
    node.step()
    node.run()
    node.deliver()
    changed = node.store.change
    node.store.change = lambda *_: loopback.INCOMPLETE
    node.step()
    assert (node.progress(), node.held()) == ("IN PROGRESS", StepState.CLAIMED)
    node.store.change = changed
    node.step(5)
    assert node.progress() == "IN PROGRESS"
    node.step(6)
    assert node.progress() == "COMPLETED"


def test_an_end_that_is_never_taken_is_given_up_with_the_cure(working: Any) -> None:
    node = working(poll_s=1, input_wait_s=1)
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.step()
    node.store.steps[STEP].key = "2.25.666"  # given to somebody else
    for _ in range(20):
        node.step(1000)
    assert node.held() is StepState.CANCELED
    assert node.ledger.steps.get(UID(STEP)).words.endswith("End it there.")


def test_a_manager_that_forgot_the_claim_hears_it_again(working: Any) -> None:
    node = working()
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.step()
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])  # restored from a backup
    node.step()
    assert (node.progress(), node.held()) == ("IN PROGRESS", StepState.CLAIMED)


def test_a_manager_that_is_away_is_told_so(tmp_path: Path, ledger_url: str) -> None:
    settings = Settings.model_validate(
        {"node": {"data_dir": str(tmp_path)}, "worklists": {"ai": {"ae_title": "M", "host": "127.0.0.1", "port": 1, "timeout_s": 2}}}
    )
    with Ledger.open(ledger_url) as ledger:
        worker = WorklistWorker("ai", settings.worklists["ai"], ledger, settings)
        with pytest.raises(WorklistUnavailable, match="takes no association"):
            worker.step()
        wrong = settings.worklists["ai"].model_copy(update={"fetch_from": "nowhere"})
        with pytest.raises(ConfigurationError, match="nowhere"):
            WorklistWorker("ai", wrong, ledger, settings)


def test_the_loopback_manager_keeps_the_standards_state_table() -> None:
    store = StepStore()
    store.add("1", [(STUDY, SERIES, [IMAGE])])
    assert store.change("9", "k", "IN PROGRESS") == 0xC307
    assert store.change("1", None, "IN PROGRESS") == 0xC301
    assert store.change("1", "k", "COMPLETED") == 0xC310
    assert store.change("1", "k", "SCHEDULED") == 0xC303
    assert store.change("1", "k", "IN PROGRESS") == 0x0000
    assert store.change("1", "k", "IN PROGRESS") == 0xC302
    assert store.change("1", "other", "IN PROGRESS") == 0xC301
    assert store.change("1", "k", "COMPLETED") == 0xC304
    assert store.set("1", "other", Dataset()) == 0xC301
    assert store.set("1", "k", progress_data(UID("1.2"), 5, "x")) == 0x0000
    assert store.change("1", "k", "CANCELED") == 0xC304


FACTS = SeriesFacts(SERIES, True, False, "", "c1", CaseState.FINISHED, "", NOW, NOW, (), None, "")
HOW: dict[str, Any] = {"archives": {"pacs"}, "can_fetch": False, "waited_s": 0.0, "input_wait_s": 10.0}


def test_decisions_follow_what_the_ledger_knows() -> None:
    assert decide([], **HOW) == Cancel("The step names no input.")
    assert isinstance(decide([FACTS], **HOW), Complete)
    away = replace(FACTS, is_here=False, case_id=None, case_state=None)
    assert decide([FACTS, away], **HOW | {"can_fetch": True}) == Fetch((SERIES,))
    asked = replace(away, fetch=FetchState.RUNNING)
    assert decide([asked], **HOW | {"can_fetch": True}) == Wait("Its input is being fetched.", 0)
    assert isinstance(decide([replace(away, fetch=FetchState.DONE)], **HOW | {"can_fetch": True}), Cancel)
    assert decide([replace(FACTS, has_waiting=True)], **HOW).percent == 10  # type: ignore[union-attr]  # a Wait
    assert decide([replace(FACTS, case_state=CaseState.RUNNING)], **HOW) == Wait("Case c1 is being worked on.", 50, "c1")
    ignored = replace(FACTS, case_id=None, case_state=None, set_aside="No pipeline.")
    assert isinstance(decide([FACTS, ignored], **HOW), Complete)
    assert decide([ignored], **HOW) == Cancel("Its input is not analysed here: No pipeline.")
    dead = replace(FACTS, deliveries=(Delivered("pacs", (), DeliveryState.DEAD, "refused"),))
    assert decide([dead], **HOW) == Cancel("The results could not be delivered to pacs: refused", "c1")
    # A hospital's message bus says nothing about where the results can be had.
    elsewhere = replace(FACTS, deliveries=(Delivered("hl7", (), DeliveryState.DEAD, "refused"),))
    assert isinstance(decide([elsewhere], **HOW), Complete)


def test_a_step_with_words_where_a_sequence_belongs_is_a_step_without_input() -> None:
    odd = Dataset.from_json(
        {
            "00080018": {"vr": "UI", "Value": ["2.25.1"]},
            "00404021": {"vr": "LO", "Value": ["images"]},
            "00404018": {"vr": "LO", "Value": ["analyse"]},
            "00404025": {"vr": "LO", "Value": ["AI1"]},
        }
    )
    assert not matches(odd, "", "AI1")
    assert matches(odd, "", "")
    step = read_step(odd)
    assert (step.inputs, step.workitem) == ((), None)


def test_a_step_without_a_uid_is_malformed() -> None:
    with pytest.raises(StepMalformed):
        read_step(Dataset())


class DeafAbout:
    """A manager that does not answer about one step."""

    def __init__(self, manager: Manager, step: str) -> None:
        self._manager, self._step = manager, step

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self._manager.session() as session:
            get = session.get

            def picky(uid: UID) -> ProcedureStep | None:
                if uid == self._step:
                    raise WorklistUnavailable("ai", "answered 0xC001 to the question for a step.")
                return get(uid)

            session.get = picky  # type: ignore[method-assign]  # this one session's
            yield session


def test_a_step_that_the_manager_does_not_answer_about_holds_up_no_other(working: Any) -> None:
    node = working()
    node.store.add("2.25.100", [(STUDY, SERIES, [IMAGE])])
    node.step()
    node.store.add(STEP, [(STUDY, SERIES, [IMAGE])])
    node.step()
    node.store.steps[STEP].data.ProcedureStepState = "CANCELED"
    node.worker._manager = DeafAbout(node.worker._manager, "2.25.100")
    with pytest.raises(WorklistUnavailable, match="0xC001"):
        node.step()
    assert node.held() is StepState.CANCELED
