"""When a series is complete: the decision, which is pure, and the thread that acts on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import structlog

from dermanode.config import Complete, Pipeline
from dermanode.deliver.steady import SteadyThread
from dermanode.domain.identifiers import UID
from dermanode.errors import LedgerError, LedgerUnavailable
from dermanode.ledger.records import MIXED_PATIENTS, MORE_MAY_COME, CaseRecord, Evidence, SeriesKey, StoredObject, WaitingSeries
from dermanode.pipeline.plan import Plan, Unwanted
from dermanode.receive.source import SourceCount, SourceCounts

log = structlog.get_logger(__name__)

UNREAD_LIMIT = 1000
"""With so many headers to read first, no series is judged."""

NO_IMAGE = "It is no image; the images of its series are processed without it."


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the series itself."""

    quiet_s: float
    expected_views: int | None = None
    open_associations: frozenset[str] = frozenset()
    """They may still bring objects."""
    unread_associations: frozenset[str] = frozenset()
    """They have brought objects whose series is not known yet."""
    source_count: SourceCount | None = None
    stable: str | None = None
    """Who calls the series stable: `Orthanc orthanc1`."""


def evidence(series: WaitingSeries, facts: Facts, now: datetime) -> Evidence | None:
    """Why the series counts as complete, the best reason first; None while it does not."""
    here = series.waiting + series.in_case
    count = facts.source_count
    if count is not None and count.objects < 1:
        count = None  # of a series that is here: a source that has not counted it yet
    if count is not None and here >= count.objects:
        return Evidence("source count", f"the source {count.source} counts {count.objects}, and {here} are here")
    is_sorted = not series.associations & facts.unread_associations
    if facts.stable is not None and is_sorted:
        return Evidence("stable series", f"{facts.stable} calls the series stable, with {here} objects here")
    is_more_to_come = count is not None  # the source itself says so: an association's end does not outweigh that
    is_released = is_sorted and not is_more_to_come and not series.associations & facts.open_associations
    if is_released and facts.expected_views is not None and here >= facts.expected_views:
        return Evidence("association released", f"the association ended with {here} views here, and {facts.expected_views} are expected")
    if is_sorted and (now - series.last_at).total_seconds() >= facts.quiet_s:
        words = f"no new object came for {facts.quiet_s:g} s"
        if count is not None:
            words += f", though the source {count.source} counts {count.objects} and only {here} are here"
        return Evidence("quiet period", words)
    return None


class CompletionObjects(Protocol):
    """The part of `ledger.objects` that completeness uses."""

    def unread(self, limit: int) -> list[StoredObject]: ...

    def waiting(self, key: SeriesKey) -> list[StoredObject]: ...

    def ignore(self, ids: Collection[int], reason: str) -> None: ...

    def quarantine(self, ids: Collection[int], reason: str) -> None: ...

    def other_patients(self, key: SeriesKey) -> list[str]: ...


class CompletionCases(Protocol):
    """The part of `ledger.cases` that completeness uses."""

    def waiting_series(self) -> list[WaitingSeries]: ...

    def open(self, key: SeriesKey, *, pipeline: str, plan: Sequence[str], evidence: Evidence, now: datetime) -> CaseRecord: ...


class CompletionLedger(Protocol):
    @property
    def objects(self) -> CompletionObjects: ...

    @property
    def cases(self) -> CompletionCases: ...


class Completion:
    """A thread that looks at the waiting series, opens cases of those that are complete and sets aside what nobody wants."""

    def __init__(
        self,
        ledger: CompletionLedger,
        settings: Complete,
        pipelines: Sequence[Pipeline],
        planner: Callable[[WaitingSeries], Plan | Unwanted],
        *,
        open_associations: Callable[[], frozenset[str]] = frozenset,
        counts: SourceCounts | None = None,
        fetched: Callable[[UID], SourceCount | None] = lambda _series: None,
        stable: Callable[[SeriesKey], str | None] = lambda _key: None,
        on_opened: Callable[[CaseRecord], None] = lambda _case: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`fetched` says how many objects a series has that was asked for, `stable` who calls a series stable.

        `on_opened` is told of each case, from this thread.
        """
        self._ledger, self._settings, self._planner = ledger, settings, planner
        self._pipelines, self._fetched = {pipeline.name: pipeline for pipeline in pipelines}, fetched
        self._open_associations, self._counts, self._stable, self._on_opened, self._clock = (
            open_associations,
            counts,
            stable,
            on_opened,
            clock,
        )
        self._news = threading.Event()
        self._is_stopping = threading.Event()
        self._thread = SteadyThread("completion", self._run, self._is_stopping)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping.set()
        self._news.set()
        self._thread.join()
        if self._counts is not None:
            self._counts.stop()

    def wake(self) -> None:
        """An association has ended, or something else may have completed a series."""
        self._news.set()

    def step(self) -> int:
        """Looks at every waiting series once; how many were opened or set aside. Raises `LedgerError`.

        A series that the ledger refuses something of holds up no other.
        """
        now = self._clock()
        # In this order: what an ended association brought is recorded, so it is unread now or in the waiting series below.
        is_open = self._open_associations()
        unread = self._ledger.objects.unread(UNREAD_LIMIT)
        if len(unread) == UNREAD_LIMIT:
            return 0
        has_unread = frozenset(item.arrival.association for item in unread)
        waiting = self._ledger.cases.waiting_series()
        if self._counts is not None:
            self._counts.keep_only([series.key for series in waiting])
        settled = 0
        for series in waiting:
            try:
                settled += self._judge(series, is_open, has_unread, now)
            except LedgerUnavailable:
                raise
            except LedgerError as error:
                log.error("series_not_judged", series=str(series.key.series_instance_uid), error=str(error))
        return settled

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            self._news.wait(self._settings.poll_s)
            self._news.clear()
            try:
                self.step()
            except LedgerError as error:
                log.error("series_not_judged", error=str(error), cure="They are looked at again when the ledger answers.")

    def _judge(self, series: WaitingSeries, is_open: frozenset[str], has_unread: frozenset[str], now: datetime) -> bool:
        planned = self._planner(series)
        if isinstance(planned, Unwanted):
            return self._set_aside(series, planned, now)
        pipeline = self._pipelines[planned.pipeline]
        asked = self._counts.count(series, now) if self._counts is not None else None
        facts = Facts(
            quiet_s=pipeline.quiet_s or self._settings.quiet_s,
            expected_views=pipeline.expected_views,
            open_associations=is_open,
            unread_associations=has_unread,
            source_count=asked or self._fetched(series.key.series_instance_uid),
            stable=self._stable(series.key),
        )
        found = evidence(series, facts, now)
        if found is None:
            return False
        if self._has_mixed_patients(series):
            return True
        case = self._ledger.cases.open(series.key, pipeline=planned.pipeline, plan=planned.words, evidence=found, now=now)
        log.info("case_opened", case=case.id, pipeline=planned.pipeline, evidence=found.kind)
        self._on_opened(case)
        return True

    def _set_aside(self, series: WaitingSeries, unwanted: Unwanted, now: datetime) -> bool:
        objects = self._ledger.objects.waiting(series.key)
        no_images = [item.id for item in objects if item.header is not None and not item.header.is_image]
        if no_images and len(no_images) < len(objects):
            self._ledger.objects.ignore(no_images, NO_IMAGE)
            return True
        is_too_few = self._may_be_wanted_with_more(series)
        if is_too_few and (now - series.last_at).total_seconds() < self._settings.quiet_s:
            return False
        if self._has_mixed_patients(series):
            return True
        log.info("series_ignored", series=str(series.key.series_instance_uid), objects=len(objects), reason=unwanted.reason)
        reason = f"{unwanted.reason} {MORE_MAY_COME}" if is_too_few else unwanted.reason
        self._ledger.objects.ignore([item.id for item in objects], reason)
        return True

    def _may_be_wanted_with_more(self, series: WaitingSeries) -> bool:
        """Some pipeline would take the series if more of its views came, so it must not be given up yet."""
        here = series.waiting + series.in_case
        needed = {pipeline.match.views.fewest for pipeline in self._pipelines.values() if pipeline.match.views.fewest > here}
        return any(isinstance(self._planner(replace(series, waiting=views - series.in_case)), Plan) for views in needed)

    def _has_mixed_patients(self, series: WaitingSeries) -> bool:
        if not self._ledger.objects.other_patients(series.key):
            return False
        log.warning("patients_mixed", series=str(series.key.series_instance_uid))
        self._ledger.objects.quarantine([item.id for item in self._ledger.objects.waiting(series.key)], MIXED_PATIENTS)
        return True
