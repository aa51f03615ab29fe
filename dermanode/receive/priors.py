"""Asks others for a lesion's earlier visits that the ledger does not know: the reports that a PACS holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from itertools import islice

import structlog

from dermanode.config import DicomwebSource, Settings, Source
from dermanode.dicom.read_report import EarlierReport, read_report
from dermanode.domain import UID
from dermanode.errors import SourceUnavailable, UnreadableObject
from dermanode.ledger.records import CaseRecord, SeriesKey
from dermanode.pipeline.dispatch import AskedVisits
from dermanode.receive.earlier import earlier_visits
from dermanode.receive.report_sources import DicomwebReports, DimseReports, OrthancReports, ReportSource

log = structlog.get_logger(__name__)

MOST_READ = 200
"""Of one patient at one place: a patient may have many lesions, and a case must not wait for the reports of all."""
LEFT_ALONE_S = 60.0
"""A place that let a case wait in vain is not asked again for so long: a dead PACS costs a minute's cases one wait."""


class PriorSearch:
    """The places that the settings name, each asked in a thread of its own and all at once. Whoever asks waits `timeout_s` at most.

    Threads may share one. `stop` ends the waiting; a thread that a place keeps waiting ends with its own time limits.
    """

    def __init__(
        self,
        settings: Settings,
        sources: Sequence[ReportSource] | None = None,
        clock: Callable[[], float] = time.monotonic,
        formerly: Callable[[SeriesKey], tuple[tuple[str, str], ...]] = lambda _key: (),
    ) -> None:
        """`formerly` are the (patient id, issuer) that the hospital has merged into a series' patient: a PACS may know him by those."""
        self._settings, self._clock, self._formerly = settings.priors, clock, formerly
        self._sources = tuple(sources_of(settings) if sources is None else sources)
        self._silent_until: dict[str, float] = {}
        self._open: set[_Question] = set()
        self._lock = threading.Lock()
        self._is_stopping = False

    def stop(self) -> None:
        with self._lock:
            self._is_stopping = True
            for question in self._open:
                question.end("the node is being stopped")

    def __call__(self, record: CaseRecord, known: Collection[UID]) -> AskedVisits:
        """The earlier visits of the case's lesion in others' reports, and who could not be asked. Raises only what `formerly` does."""
        lesion = record.lesion
        if not record.key.patient_id or record.acquired_at is None or (lesion.tracking_uid is None and not lesion.tracking_id):
            return AskedVisits()  # nothing could be known again
        began = self._clock()
        former = self._formerly(record.key)
        ids = tuple(dict.fromkeys([record.key.patient_id, *(patient_id for patient_id, _ in former)]))
        asked = [self._ask(source, ids, began + self._settings.timeout_s) for source in self._sources]
        for question in asked:
            question.is_over.wait(max(0.0, began + self._settings.timeout_s - self._clock()))
        self._settle(asked)
        gaps = [gap for question in asked if (gap := question.gap())]
        reports = [report for question in asked for report in question.reports()]
        found = earlier_visits(reports, record, known, self._settings.most_reports, former)
        if found.too_old:  # the first visit that is left is not the first
            gaps.append(f"the oldest earlier visits were left out: {found.too_old} beyond the latest {self._settings.most_reports}")
        for uid, reason in found.skipped:
            log.info("report_skipped", case=record.id, report=uid, reason=reason)
        took_s = round(self._clock() - began, 3)
        log.info("priors_asked", case=record.id, reports=len(reports), used=len(found.visits), gaps=gaps, took_s=took_s)
        return AskedVisits(visits=found.visits, gaps=tuple(gaps))

    def _ask(self, source: ReportSource, patient_ids: Sequence[str], deadline: float) -> _Question:
        question = _Question(source.name, self._settings.timeout_s)
        with self._lock:
            if self._is_stopping:
                question.end("the node is being stopped")
            elif self._silent_until.get(source.name, 0.0) > self._clock():
                question.end("it did not answer in time a moment ago, and is left alone for a minute")
            else:
                self._open.add(question)
                work = threading.Thread(target=question.work, args=(source, patient_ids, deadline), name=f"ask-{source.name}", daemon=True)
                work.start()
        return question

    def _settle(self, asked: Sequence[_Question]) -> None:
        """Notes who kept the case waiting and gave nothing."""
        with self._lock:
            self._open.difference_update(asked)
            for question in asked:
                if not question.is_over.is_set() and not question.reports():
                    self._silent_until[question.name] = self._clock() + LEFT_ALONE_S


class _Question:
    """One place, asked about one patient."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self.name, self._timeout_s = name, timeout_s
        self.is_over = threading.Event()
        self._reports: list[EarlierReport] = []
        self._reason: str | None = None

    def reports(self) -> tuple[EarlierReport, ...]:
        """What has come so far."""
        return tuple(self._reports)

    def gap(self) -> str | None:
        """What may be missing, and why; None where the place has said everything."""
        reason = self._reason if self.is_over.is_set() else f"it was not done after {self._timeout_s:g} s"
        if reason is None:
            return None
        which = "not all earlier visits" if self._reports else "earlier visits"
        return f"{which} could {'' if self._reports else 'not '}be asked for at {self.name}: {reason}"

    def end(self, reason: str | None) -> None:
        self._reason = reason
        self.is_over.set()

    def work(self, source: ReportSource, patient_ids: Sequence[str], deadline: float) -> None:
        try:
            with closing(_reports(source, patient_ids, deadline)) as contents:
                for content in islice(contents, MOST_READ):
                    self._read(content)
                more = next(contents, None)
            self.end(None if more is None else f"it holds more than {MOST_READ} reports of the patient, and only the latest were read")
        except SourceUnavailable as error:
            log.warning("priors_not_asked", source=self.name, reason=error.reason)
            self.end(error.reason)
        except Exception as error:  # noqa: BLE001  the DIMSE handler's wall: the answer is another program's
            log.warning("source_not_understood", source=self.name, error=f"{type(error).__name__}: {error}")
            self.end(f"its answer was not understood ({type(error).__name__})")

    def _read(self, content: bytes) -> None:
        try:
            self._reports.append(read_report(content, "a report"))
        except UnreadableObject as error:
            log.info("report_not_read", source=self.name, reason=error.reason)


def _reports(source: ReportSource, patient_ids: Sequence[str], deadline: float) -> Generator[bytes, None, None]:
    """What a place holds of one patient under each of those ids."""
    for patient_id in patient_ids:
        with closing(source.reports(patient_id, deadline)) as contents:
            yield from contents


def sources_of(settings: Settings) -> list[ReportSource]:
    """Those that the settings name, in their order."""
    found: list[ReportSource] = []
    for name in settings.priors.ask:
        source = settings.sources.get(name)
        if isinstance(source, Source):
            found.append(DimseReports(name, source, settings.node.ae_title))
        elif isinstance(source, DicomwebSource):
            found.append(DicomwebReports(name, source))
        elif name in settings.orthanc:
            found.append(OrthancReports(name, settings.orthanc[name]))
    return found
