"""The worker on a worklist: asks for steps, claims them, and leads each to its end, through restarts."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import structlog
from pydicom import Dataset

from dermanode.config import Settings, Worklist
from dermanode.deliver.steady import SteadyThread
from dermanode.dicom.procedure_step import (
    Performed,
    ProcedureStep,
    StepProgress,
    cancellation_data,
    performed_data,
    progress_data,
)
from dermanode.dicom.uids import derive_uid
from dermanode.domain import Code
from dermanode.domain.codes import private
from dermanode.domain.identifiers import UID
from dermanode.errors import ConfigurationError, LedgerError
from dermanode.ledger.fetch_query import FetchQuery
from dermanode.ledger.fetches import Fetches
from dermanode.ledger.records import StepState
from dermanode.ledger.steps import Input, Step, Steps, fetch_asker
from dermanode.receive.worklist.decide import Cancel, Complete, Fetch, Wait, decide
from dermanode.receive.worklist.dimse import DimseManager
from dermanode.receive.worklist.output import archives_of, outputs_of
from dermanode.receive.worklist.rest import RestManager
from dermanode.receive.worklist.session import Answer, Manager, Session, Verdict, WorklistUnavailable

log = structlog.get_logger(__name__)

IMAGE_PROCESSING = Code("110001", "DCM", "Image Processing")
"""What was done, where the manager does not say what it wanted done (PS3.16 CID 9231)."""
_LONGEST_WAIT_S = 900.0
_MOST_TRIES = 20
"""So often a manager is told of an end that it does not take: somebody else may hold the step by then."""


class StepsLedger(Protocol):
    """The part of the ledger that a worker uses."""

    @property
    def steps(self) -> Steps: ...

    @property
    def fetches(self) -> Fetches: ...


def manager_of(name: str, worklist: Worklist, settings: Settings) -> Manager:
    """The manager of these settings; nothing is opened yet. Raises `ConfigurationError`."""
    return RestManager(name, worklist) if worklist.type == "ups-rs" else DimseManager(name, worklist, settings.node.ae_title)


def new_transaction_uid() -> UID:
    """A key that nobody can guess."""
    return derive_uid("procedure step", secrets.token_hex(16))


class WorklistWorker:
    """A thread for one worklist. A claim stands in the ledger before it is made, with its key, so a step is never left held by nobody."""

    def __init__(
        self,
        name: str,
        worklist: Worklist,
        ledger: StepsLedger,
        settings: Settings,
        *,
        on_fetch: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_uid: Callable[[], UID] = new_transaction_uid,
        manager: Manager | None = None,
    ) -> None:
        """`on_fetch` is called when there is something to fetch. Raises `ConfigurationError`."""
        if worklist.fetch_from is not None and worklist.fetch_from not in settings.sources:
            raise ConfigurationError(
                f"worklists.{name}.fetch_from names {worklist.fetch_from!r}, which does not stand under `sources`.",
                cure="Name a source, or leave it out where the input is sent to the node.",
            )
        self.name, self._worklist, self._steps, self._fetches = name, worklist, ledger.steps, ledger.fetches
        self._on_fetch, self._clock, self._new_uid = on_fetch, clock, new_uid
        self._manager = manager or manager_of(name, worklist, settings)
        self._archives = archives_of(settings.destinations)
        self._results_dir: Path = settings.node.results_dir
        title = str(settings.node.ae_title)
        self._station = private(title, f"DermaNode {title}")
        self._is_stopping = threading.Event()
        self._thread = SteadyThread(f"worklist-{name}", self._run, self._is_stopping)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the step at hand; what is claimed stays so, and is gone on with at the next start."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        wait_s = self._worklist.poll_s
        while not self._is_stopping.wait(wait_s):
            try:
                self.step()
                wait_s = self._worklist.poll_s
            except WorklistUnavailable as error:
                wait_s = min(2 * wait_s, max(60.0, self._worklist.poll_s))
                log.warning("worklist_unavailable", worklist=self.name, error=error.reason, next_try_s=wait_s)
            except LedgerError as error:
                log.warning("worklist_not_worked_on", worklist=self.name, error=str(error))

    def step(self) -> None:
        """Leads what is held a step on, then claims what it can. Raises `WorklistUnavailable`, `LedgerError`.

        A step that the manager cannot be talked to about holds up no other that is held; nothing is claimed meanwhile.
        """
        with self._manager.session() as session:
            problem: WorklistUnavailable | None = None
            for held in self._steps.open(self.name, self._clock()):
                if self._is_stopping.is_set():
                    return
                try:
                    self._lead(session, held)
                except WorklistUnavailable as error:
                    problem = problem or error
            if problem is not None:
                raise problem
            room = self._worklist.claim_at_once - self._steps.held(self.name)
            if room > 0:
                for found in session.find(self._worklist.label, self._worklist.station):
                    if room <= 0 or self._is_stopping.is_set():
                        return
                    room -= self._claim(session, found)

    def _claim(self, session: Session, found: ProcedureStep) -> bool:
        """Whether the step is ours now. One that is known was ours before: a manager that lists it still is not asked twice."""
        transaction_uid = self._new_uid()
        is_new = self._steps.claiming(
            found.sop_instance_uid,
            worklist=self.name,
            transaction_uid=transaction_uid,
            label=found.label,
            patient_id=found.patient_id,
            study_instance_uid=found.study_instance_uid,
            inputs=_inputs(found),
            now=self._clock(),
        )
        if not is_new:
            return False
        answer = session.change_state(found.sop_instance_uid, transaction_uid, StepProgress.IN_PROGRESS)
        if answer.verdict is not Verdict.DONE:
            log.info("procedure_step_lost", worklist=self.name, answer=answer.words)
            self._steps.lost(found.sop_instance_uid)
            return False
        self._hold(session, found.sop_instance_uid)
        return True

    def _claim_again(self, session: Session, step: Step) -> None:
        """The node ended while it claimed: the same key tells whether the manager heard it."""
        answer = session.change_state(step.sop_instance_uid, step.transaction_uid, StepProgress.IN_PROGRESS)
        if answer.verdict is Verdict.CONFLICT:
            answer = session.update(step.sop_instance_uid, step.transaction_uid, progress_data(step.transaction_uid, 0, "Claimed."))
        if answer.verdict is Verdict.DONE:
            self._hold(session, step.sop_instance_uid)
        else:
            self._steps.lost(step.sop_instance_uid)

    def _hold(self, session: Session, sop_instance_uid: UID) -> None:
        """Keeps the step, with its input as the manager describes it in full."""
        whole = session.get(sop_instance_uid)
        inputs = _inputs(whole) if whole is not None else ()
        known = self._steps.get(sop_instance_uid)
        if not inputs and known is not None:
            inputs = known.inputs
        self._steps.claimed(sop_instance_uid, inputs, "Claimed.", self._clock())
        log.info("procedure_step_claimed", worklist=self.name, step=str(sop_instance_uid))

    def _lead(self, session: Session, step: Step) -> None:
        if step.state is StepState.CLAIMING:
            self._claim_again(session, step)
            return
        now = self._clock()
        at_manager = session.get(step.sop_instance_uid)
        if at_manager is None or at_manager.progress in (StepProgress.CANCELED, StepProgress.COMPLETED):
            self._ended_there(step, at_manager)
            return
        if at_manager.progress == StepProgress.SCHEDULED:  # a manager that was restored from a backup
            self._claim_again(session, step)
            return
        decision = decide(
            self._steps.facts(step),
            archives=self._archives,
            can_fetch=self._worklist.fetch_from is not None,
            waited_s=(now - step.claimed_at).total_seconds(),
            input_wait_s=self._worklist.input_wait_s,
        )
        match decision:
            case Wait():
                if decision.words != step.words:
                    data = progress_data(step.transaction_uid, decision.percent, decision.words)
                    # Progress is a courtesy: what the manager makes of it changes nothing here.
                    session.update(step.sop_instance_uid, step.transaction_uid, data)
                    self._steps.noted(step.sop_instance_uid, decision.words, now, decision.case_id)
            case Fetch():
                self._fetch(step, decision.series, now)
            case Complete():
                self._complete(session, step, at_manager, decision, now)
            case Cancel():
                data = cancellation_data(step.transaction_uid, decision.reason, now)
                if decision.case_id is not None:
                    self._steps.noted(step.sop_instance_uid, decision.reason, now, decision.case_id)
                self._end(session, step, data, StepProgress.CANCELED, decision.reason, now)

    def _fetch(self, step: Step, series: tuple[str, ...], now: datetime) -> None:
        source = self._worklist.fetch_from
        assert source is not None
        studies: Mapping[str, str] = {series_uid: study for study, series_uid, _ in step.inputs}
        for one in series:
            query = FetchQuery(study_instance_uid=UID(studies[one]), series_instance_uid=UID(one))
            self._fetches.ask(source, query, asked_by=fetch_asker(step.sop_instance_uid), now=now)
        self._on_fetch()

    def _complete(self, session: Session, step: Step, at_manager: ProcedureStep, decision: Complete, now: datetime) -> None:
        outputs = [
            output
            for case in decision.cases
            if case.case_id is not None
            for output in outputs_of(case, self._steps.made(case.case_id), self._archives, self._results_dir)
        ]
        performed = Performed(
            started_at=min((case.started_at for case in decision.cases if case.started_at), default=step.claimed_at),
            ended_at=max((case.finished_at for case in decision.cases if case.finished_at), default=now),
            station=self._station,
            workitem=at_manager.workitem or IMAGE_PROCESSING,
            outputs=tuple(outputs),
        )
        self._steps.noted(step.sop_instance_uid, "Its results are told.", now, decision.cases[0].case_id)
        self._end(session, step, performed_data(step.transaction_uid, performed), StepProgress.COMPLETED, decision.words, now)

    def _end(self, session: Session, step: Step, data: Dataset, progress: StepProgress, words: str, now: datetime) -> None:
        answer: Answer = session.update(step.sop_instance_uid, step.transaction_uid, data)
        if answer.verdict is Verdict.DONE:
            answer = session.change_state(step.sop_instance_uid, step.transaction_uid, progress)
        if answer.verdict is Verdict.DONE:
            state = StepState.COMPLETED if progress is StepProgress.COMPLETED else StepState.CANCELED
            self._steps.ended(step.sop_instance_uid, state, words, now)
            log.info("procedure_step_ended", worklist=self.name, step=str(step.sop_instance_uid), state=state.value)
            return
        if step.attempts + 1 >= _MOST_TRIES:
            given_up = f"The manager did not take its end ({progress.value}) in {_MOST_TRIES} tries: {answer.words}. End it there."
            self._steps.ended(step.sop_instance_uid, StepState.CANCELED, given_up, now)
            log.error("procedure_step_given_up", worklist=self.name, step=str(step.sop_instance_uid), answer=answer.words)
            return
        wait_s = min(self._worklist.poll_s * 2.0 ** min(step.attempts, 32), _LONGEST_WAIT_S)
        told = f"The manager does not take its end ({progress.value}): {answer.words}"
        log.warning("procedure_step_not_ended", worklist=self.name, step=str(step.sop_instance_uid), answer=answer.words, wait_s=wait_s)
        self._steps.postponed(step.sop_instance_uid, told, now + timedelta(seconds=wait_s))

    def _ended_there(self, step: Step, at_manager: ProcedureStep | None) -> None:
        """By us, before the node ended, or by somebody else."""
        if at_manager is not None and at_manager.progress == StepProgress.COMPLETED:
            self._steps.ended(step.sop_instance_uid, StepState.COMPLETED, "The manager has it as completed.", self._clock())
            return
        words = "The manager has no such step any more." if at_manager is None else "The manager has it as canceled."
        self._steps.ended(step.sop_instance_uid, StepState.CANCELED, words, self._clock())


def _inputs(step: ProcedureStep) -> tuple[Input, ...]:
    return tuple((str(one.study_instance_uid), str(one.series_instance_uid), one.instances) for one in step.inputs)
