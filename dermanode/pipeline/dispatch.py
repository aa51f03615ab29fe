"""From the ledger to a worker and back: claims cases, tells what to do, judges failures, writes down how each case ended."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog

from dermanode.config import Pipeline, Settings
from dermanode.domain import UID, Outcome, StageReport, StageStatus
from dermanode.errors import LedgerUnavailable, PluginError
from dermanode.ledger.history import case_subject, counted
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.priors import moment
from dermanode.ledger.records import CaseRecord, NewDelivery, StoredObject
from dermanode.messages.selection import select
from dermanode.pipeline import wire
from dermanode.pipeline.plan import Facts, plan_stages
from dermanode.pipeline.plugins import Found, errors, manifests
from dermanode.pipeline.worker_process import WorkerStopped

log = structlog.get_logger(__name__)

READING = "read"
LEDGER_PAUSE_S = 1.0

Run = Callable[[wire.Job, Callable[[wire.News], None]], wire.Done | wire.Lost]
"""Works on a job and reports every step. Raises `PluginError` when the worker was lost, `WorkerStopped` when the engine stops."""


@dataclass(frozen=True, kw_only=True)
class AskedVisits:
    """What others know of a lesion's earlier visits."""

    visits: tuple[wire.EarlierVisit, ...] = ()
    gaps: tuple[str, ...] = ()
    """Why some may be missing: sentences without full stop, naming no patient."""


AskForVisits = Callable[[CaseRecord, Collection[UID]], AskedVisits]
"""Asks for earlier visits of a case's lesion, but for those of the series that are known already. Never raises, and gives up in time."""


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """The engine's side of a case, the same for every kind of engine. Threads may share one."""

    ledger: Ledger
    settings: Settings
    pipelines: Sequence[Pipeline]
    found: Sequence[Found]
    """The plugins that are installed."""
    clock: Callable[[], datetime]
    on_finished: Callable[[str], None] = lambda _case_id: None
    """Told the id of each case that has ended, after the ledger knows it."""
    ask_for_visits: AskForVisits | None = None
    """None: only the ledger is asked."""
    is_stopping: threading.Event

    def claim(self) -> CaseRecord | None:
        """The next case, now RUNNING; None when none is ready."""
        return self.ledger.cases.claim(self.clock())

    def serve(self, record: CaseRecord, run: Run) -> None:
        """Brings a claimed case to an end, or gives it back to be tried again.

        A case whose worker is lost is tried `engine.attempts` times. Then it runs once more for each step that was to blame, without
        that step, so that the others' findings and the reason reach the report. Where that is no way out, a last run asks nobody and
        reports the failure. Raises `WorkerStopped` when the engine stops, and
        `LedgerUnavailable` when it stops while the ledger is away.
        """
        try:
            self._serve(record, run)
        except LedgerUnavailable as error:
            self._release(record, str(error))
        except WorkerStopped:
            self._release(record, "the node was stopped")
            raise
        except Exception as error:  # the wall around a case, on this side of the wire
            log.error("case_lost", case=record.id, error=f"{type(error).__name__}: {error}")
            log.debug("case_traceback", case=record.id, exc_info=error)
            self._give_up(record, _failure("case", f"{type(error).__name__}: {error}"), _lost)

    def _serve(self, record: CaseRecord, run: Run) -> None:
        pipeline = self._pipeline(record)
        if pipeline is None:
            why = f"the pipeline {record.pipeline} is no longer configured. Configure it and retry."
            self._finish(record, _lost(record, _failure("plan", why)))
            return
        excluded: tuple[wire.Exclusion, ...] = ()
        # Planned once: a plugin that is suspended for what it does to this case has failed in it, and was not just left out.
        job = self._job(record, pipeline)

        def tell(record: CaseRecord, lost: StageReport) -> Outcome:
            return self._told(record, replace(job, lost=lost, priors=()), run)

        while True:
            try:
                ended = self._run(record, replace(job, excluded=excluded), run)
            except PluginError as error:
                self._blame(error.plugin, error.stage, error.reason)
                culprit = wire.Exclusion(stage=error.stage, plugin=error.plugin, reason=error.reason)
                if self._is_tried_again(record) or not self._can_do_without(culprit, pipeline, excluded):
                    self._give_up(record, _failure(error.stage, f"{_step(error)} {error.reason}"), tell)
                    return
                excluded = (*excluded, culprit)
                continue
            if isinstance(ended, wire.Lost):
                self._give_up(record, _failure("case", ended.reason), tell)
                return
            self._note_health(ended)
            if ended.outcome.is_failed and ended.faults and self._is_tried_again(record):
                self._release(record, ended.outcome.reason)
            else:
                self._finish(record, ended.outcome)
            return

    def _give_up(self, record: CaseRecord, lost: StageReport, tell: Callable[[CaseRecord, StageReport], Outcome]) -> None:
        """This try made nothing: there is another, or the case ends with no more than `tell` makes of it."""
        if self._is_tried_again(record):
            self._release(record, lost.reason)
        else:
            self._finish(record, tell(record, lost))

    def _told(self, record: CaseRecord, job: wire.Job, run: Run) -> Outcome:
        """A last run that asks no plugin, so that the destinations hear of the failure: silence would read as 'nothing found'."""
        assert job.lost is not None
        try:
            ended = self._run(record, job, run)
        except PluginError as error:
            log.warning("failure_not_told", case=record.id, stage=error.stage, reason=error.reason)
        else:
            if isinstance(ended, wire.Done):
                return ended.outcome
            log.warning("failure_not_told", case=record.id, reason=ended.reason)
        return _lost(record, job.lost)

    def _is_tried_again(self, record: CaseRecord) -> bool:
        return record.attempts < self.settings.engine.attempts

    @property
    def work_dir(self) -> Path:
        """Where stages and workers may leave files while they run."""
        return self.settings.node.data_dir.resolve() / "work"

    def _run(self, record: CaseRecord, job: wire.Job, run: Run) -> wire.Done | wire.Lost:
        self.work_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.work_dir, prefix=f"{record.id}-", ignore_cleanup_errors=True) as workdir:
            return run(replace(job, workdir=Path(workdir)), lambda news: self._note(record, news))

    def _job(self, record: CaseRecord, pipeline: Pipeline) -> wire.Job:
        objects = self.ledger.objects.of_case(record.id)
        stages = plan_stages(
            facts_of(objects, record), pipeline, manifests(self.found), self.ledger.plugins.suspended(), errors(self.found)
        )
        spool_dir = self.settings.node.spool_dir.resolve()
        visits, gaps = self._earlier_visits(record, spool_dir)
        match = self.ledger.orders.for_case(record)
        if match.words:
            self._tell(record, "order_not_matched" if match.is_mismatch else "order_matched", match.words)
        if match.is_mismatch:
            log.warning("order_not_matched", case=record.id)
        earlier = [one for one in self.ledger.cases.revisions(record.key) if one.revision < record.revision]
        return wire.Job(
            case_id=record.id,
            revision=record.revision,
            pipeline=pipeline.name,
            files=_files(objects, spool_dir),
            stages=stages,
            made_at=record.opened_at,
            workdir=self.work_dir,
            source_ae=record.source_ae,
            priors=visits,
            prior_gaps=gaps,
            supersedes=record.supersedes,
            order=match.order,
            patient=self.ledger.patients.of(record.key),
            # The one before may have been superseded before it ran: what was told may be of any
            is_correction=any(self._was_told(one.id) for one in earlier),
            origin=min(earlier, key=lambda one: (one.revision, one.opened_at, one.id)).id if earlier else "",
        )

    def _was_told(self, case_id: str) -> bool:
        """Something of that case went out, or is on its way."""
        return bool(self.ledger.deliveries.of_case(case_id))

    def _earlier_visits(self, record: CaseRecord, spool_dir: Path) -> tuple[tuple[wire.EarlierVisit, ...], tuple[str, ...]]:
        """Of the ledger and, where it knows none or the settings say so, of those who are asked: oldest first, and what may be missing."""
        known = self.ledger.cases.priors(record)
        visits = tuple(
            wire.EarlierVisit(
                case_id=prior.id,
                acquired_at=prior.acquired_at,
                outcome=outcome,
                files=_files(self.ledger.objects.of_case(prior.id), spool_dir),
            )
            for prior, outcome in known
        )
        if self.ask_for_visits is None or (known and not self.settings.priors.is_asked_always):
            return visits, ()
        asked = self.ask_for_visits(record, frozenset(prior.key.series_instance_uid for prior, _ in known))
        if asked.visits or asked.gaps:
            found = f"{counted(len(asked.visits), 'earlier visit')} of the lesion found in reports that others hold"
            self._tell(record, "priors_asked", f"{'; '.join([found, *asked.gaps])}.")
        visits = (*visits, *asked.visits)
        return tuple(sorted(visits, key=lambda visit: (moment(visit.acquired_at or datetime.min), visit.case_id))), asked.gaps

    def _can_do_without(self, culprit: wire.Exclusion, pipeline: Pipeline, excluded: Sequence[wire.Exclusion]) -> bool:
        """Only steps that can be left out, and only once: a stage of a plugin, a hook that is no stage, a view's decoding."""
        is_optional = culprit.stage in pipeline.stages or culprit.stage in (READING, "extra_objects", "import", "warm_up")
        return bool(culprit.plugin) and is_optional and not any((e.stage, e.plugin) == (culprit.stage, culprit.plugin) for e in excluded)

    def _blame(self, plugin: str, stage: str, reason: str) -> None:
        """Counts a failure against a plugin's health; other steps have none."""
        log.warning("worker_lost", stage=stage, plugin=plugin, reason=reason)
        if stage != READING and any(plugin == installed.name for installed in self.found):
            self.note_failure(plugin, stage, reason)

    def note_failure(self, plugin: str, stage: str, reason: str) -> None:
        self.ledger.plugins.failed(plugin, stage, reason, self.clock(), self.settings.engine.suspend_after)

    def _note_health(self, ended: wire.Done) -> None:
        """A plugin that failed at one stage and did well at another failed."""
        for fault in ended.faults:
            self.note_failure(fault.plugin, fault.stage, fault.reason)
        faulty = {fault.plugin for fault in ended.faults}
        performed = {report.plugin for report in ended.outcome.reports if report.status is StageStatus.PERFORMED and report.plugin}
        ailing = {health.plugin for health in self.ledger.plugins.all() if health.failures_in_a_row}
        for plugin in (performed - faulty) & ailing:
            self.ledger.plugins.succeeded(plugin, self.clock())

    def _note(self, record: CaseRecord, news: wire.News) -> None:
        """Progress for the page; a ledger that cannot take it now does not cost the case."""
        if not isinstance(news, wire.Began) or news.stage == READING:
            return  # how each stage ended is written with the end of the case
        self._tell(record, "stage_started", f"{news.stage}: {news.plugin} began.")

    def _tell(self, record: CaseRecord, kind: str, words: str) -> None:
        try:
            self.ledger.history.add(case_subject(record.id), kind, words, self.clock())
        except LedgerUnavailable as error:
            log.warning("progress_not_recorded", case=record.id, error=str(error))

    def _pipeline(self, record: CaseRecord) -> Pipeline | None:
        """None where it is no longer configured."""
        return next((pipeline for pipeline in self.pipelines if pipeline.name == record.pipeline), None)

    def _deliveries(self, record: CaseRecord, outcome: Outcome) -> tuple[NewDelivery, ...]:
        pipeline = self._pipeline(record)
        destinations = {name: self.settings.destinations[name] for name in (pipeline.deliver if pipeline else ())}
        chosen = ((name, select(name, destination, outcome.objects)) for name, destination in destinations.items())
        return tuple(NewDelivery(destination=name, paths=paths) for name, paths in chosen if paths)

    def _finish(self, record: CaseRecord, outcome: Outcome) -> None:
        ended: list[CaseRecord] = []
        deliveries = self._deliveries(record, outcome)
        self._insist(
            record,
            lambda: ended.append(self.ledger.cases.finish(record.id, outcome, deliveries, self.clock(), worked_on_as=record.key)),
        )
        if ended[-1].key != record.key:
            log.info("patient_merged_meanwhile", case=record.id, state=ended[-1].state.value)
            return
        log.info(
            "case_finished", case=record.id, is_failed=outcome.is_failed, took_s=round(outcome.took_s, 3), objects=len(outcome.objects)
        )
        self.on_finished(record.id)

    def _release(self, record: CaseRecord, reason: str) -> None:
        log.info("case_released", case=record.id, reason=reason)
        self._insist(record, lambda: self.ledger.cases.release(record.id, reason, self.clock()))

    def _insist(self, record: CaseRecord, write: Callable[[], object]) -> None:
        """Waits for a ledger that is away. When stopped meanwhile, the case is found RUNNING at the next start and run again."""
        while True:
            try:
                write()
                return
            except LedgerUnavailable as error:
                log.error("case_not_recorded", case=record.id, error=str(error))
                if self.is_stopping.wait(LEDGER_PAUSE_S):
                    raise


def facts_of(objects: Sequence[StoredObject], record: CaseRecord) -> Facts:
    """What the plan wants to know, of objects that are in a case."""
    headers = [item.header for item in objects if item.header is not None]
    return Facts(
        views=len(objects),
        sop_classes=frozenset(str(item.arrival.sop_class_uid) for item in objects),
        modality=next((header.modality for header in headers if header.modality), ""),
        body_site=record.lesion.body_site or next((header.body_site for header in headers if header.body_site), ""),
        calling_aes=frozenset(item.arrival.calling_ae for item in objects),
    )


def _files(objects: Sequence[StoredObject], spool_dir: Path) -> tuple[wire.SourceFile, ...]:
    return tuple(wire.SourceFile(sop_instance_uid=item.arrival.sop_instance_uid, path=spool_dir / item.arrival.path) for item in objects)


def _step(error: PluginError) -> str:
    return f"{error.plugin} at {error.stage}" if error.plugin else f"the worker at {error.stage}"


def _failure(stage: str, reason: str) -> StageReport:
    return StageReport(stage=stage, status=StageStatus.FAILED, reason=reason)


def _lost(record: CaseRecord, failure: StageReport) -> Outcome:
    """How a case ends of which nothing could be made, not even a report."""
    return Outcome(case_id=record.id, revision=record.revision, is_failed=True, reports=(failure,))
