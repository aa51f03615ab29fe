"""What the source itself says: how many objects a series has, by C-FIND (PS3.4 C.6.2) or QIDO-RS (PS3.18 10.6)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import structlog
from pydicom import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dermanode.config import DicomwebSource, Source
from dermanode.config.tls import towards
from dermanode.deliver.answers import undisturbed
from dermanode.domain.identifiers import AETitle
from dermanode.errors import SourceUnavailable
from dermanode.ledger.records import SeriesKey, WaitingSeries
from dermanode.receive.dicomweb_peer import DicomwebPeer

log = structlog.get_logger(__name__)

TIMEOUT_S = 5.0
ASK_AGAIN_S = 5.0
_PENDING = (0xFF00, 0xFF01)


@dataclass(frozen=True, slots=True)
class SourceCount:
    """A source's answer."""

    source: str
    """Its AE title, or its name in the settings."""
    objects: int


def count_at(source: Source | DicomwebSource, own_title: AETitle, key: SeriesKey) -> int | None:
    """How many objects the source counts in the series; None where it does not answer or does not know the series."""
    return count_by_web(source, key) if isinstance(source, DicomwebSource) else count_at_source(source, own_title, key)


def count_by_web(source: DicomwebSource, key: SeriesKey, timeout_s: float = TIMEOUT_S) -> int | None:
    """The same of a source by DICOMweb; one that leaves the number out has its instances counted."""
    name, study, wanted = str(source.ae_title or source.url), str(key.study_instance_uid), str(key.series_instance_uid)
    try:
        with DicomwebPeer(name, source).session(timeout_s) as session:
            answers = session.series(study, {"SeriesInstanceUID": wanted})
            series = next((one for one in answers if str(one.get("SeriesInstanceUID")) == wanted), None)
            if series is None:
                return None
            number = str(series.get("NumberOfSeriesRelatedInstances") or "").strip()
            return int(number) if number.isdigit() else len(session.instances(study, wanted)) or None
    except SourceUnavailable as error:
        log.warning("source_not_asked", source=name, reason=error.reason)
        return None


def count_at_source(source: Source, own_title: AETitle, key: SeriesKey, timeout_s: float = TIMEOUT_S) -> int | None:
    """How many objects the source counts in the series; None where it does not answer or does not know the series.

    Asks for Number of Series Related Instances (0020,1209); a source that leaves it out is asked for its images, which are counted.
    """
    entity = AE(ae_title=str(own_title))
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout_s
    association = entity.associate(
        source.host,
        source.port,
        contexts=[build_context(StudyRootQueryRetrieveInformationModelFind)],
        ae_title=str(source.ae_title),
        evt_handlers=[(evt.EVT_CONN_OPEN, without_delay), (evt.EVT_CONN_OPEN, undisturbed)],
        tls_args=towards(source.host, source.tls),
    )
    if not association.is_established:
        log.warning("source_not_asked", source=str(source.ae_title), reason="it accepts no association for C-FIND")
        return None
    try:
        series = _find(association, key, "SERIES", "NumberOfSeriesRelatedInstances")
        if not series:
            return None
        number = str(series[0].get("NumberOfSeriesRelatedInstances") or "").strip()
        return int(number) if number.isdigit() else len(_find(association, key, "IMAGE", "SOPInstanceUID")) or None
    finally:
        association.release()


def _find(association: Association, key: SeriesKey, level: str, wanted: str) -> list[Dataset]:
    query = Dataset()
    query.QueryRetrieveLevel = level
    query.StudyInstanceUID = str(key.study_instance_uid)
    query.SeriesInstanceUID = str(key.series_instance_uid)
    setattr(query, wanted, None)
    if not association.is_established:
        return []
    answers = association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind)
    return [identifier for status, identifier in answers if identifier is not None and status.get("Status") in _PENDING]


def without_delay(event: evt.Event) -> None:
    """Nagle's delay costs 40 ms a message."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@dataclass(slots=True)
class _Question:
    about: datetime
    """The last object that was here when it was asked."""
    asked_at: datetime
    answer: Future[int | None]


class SourceCounts:
    """Asks the configured sources, each in a thread of its own, so that a dead one holds up nobody."""

    def __init__(
        self,
        sources: Mapping[str, Source | DicomwebSource],
        own_title: AETitle,
        ask_after_s: float,
        ask: Callable[[Source | DicomwebSource, AETitle, SeriesKey], int | None] = count_at,
    ) -> None:
        """Of several sources with one AE title the first is asked; one without any sends nothing, and is not asked."""
        self._sources: dict[AETitle, Source | DicomwebSource] = {}
        for source in sources.values():
            if source.ae_title is not None:
                self._sources.setdefault(source.ae_title, source)
        self._own_title, self._ask_after_s, self._ask = own_title, ask_after_s, ask
        self._threads = {title: ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"ask-{title}") for title in self._sources}
        self._questions: dict[SeriesKey, _Question] = {}

    def stop(self) -> None:
        for thread in self._threads.values():
            thread.shutdown(wait=False, cancel_futures=True)

    def count(self, series: WaitingSeries, now: datetime) -> SourceCount | None:
        """What the source of the series has answered since the last object; None while it has not. Never waits."""
        title = next((title for title in sorted(self._sources) if title in series.calling_aes), None)
        if title is None or (now - series.last_at).total_seconds() < self._ask_after_s:
            return None
        question = self._questions.get(series.key)
        if question is None or question.about != series.last_at:
            self._put(title, series, now)
            return None
        if not question.answer.done():
            return None
        objects = self._answer(title, question)
        is_enough = objects is not None and series.waiting + series.in_case >= objects
        if not is_enough and (now - question.asked_at).total_seconds() >= ASK_AGAIN_S:
            self._put(title, series, now)
        return None if objects is None else SourceCount(title, objects)

    def keep_only(self, keys: Collection[SeriesKey]) -> None:
        """Forgets the answers about every other series, and asks nothing more about them: a dead source takes its time for each."""
        for key in self._questions.keys() - set(keys):
            self._questions.pop(key).answer.cancel()

    def _put(self, title: AETitle, series: WaitingSeries, now: datetime) -> None:
        if series.key in self._questions:
            self._questions[series.key].answer.cancel()
        answer = self._threads[title].submit(self._ask, self._sources[title], self._own_title, series.key)
        self._questions[series.key] = _Question(series.last_at, now, answer)

    def _answer(self, title: AETitle, question: _Question) -> int | None:
        try:
            return question.answer.result(timeout=0) or None
        except Exception as error:  # noqa: BLE001  the DIMSE handler's wall: the answer is another program's
            log.warning("source_not_understood", source=str(title), error=f"{type(error).__name__}: {error}")
            return None
