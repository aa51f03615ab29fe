"""Watches an Orthanc for stable series and fetches them: nothing has to be configured in Orthanc but a user."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import httpx
import structlog
from pyorthanc import Orthanc

from dermanode.config import OrthancWatch, Pipeline, Retry, Settings
from dermanode.deliver.outbox import wait_s
from dermanode.domain.identifiers import UID
from dermanode.errors import IdentifierError, LedgerError, SpoolError, UnreadableObject
from dermanode.ledger.records import SeriesKey
from dermanode.receive.incoming import Incoming
from dermanode.receive.intake import Caller, Intake
from dermanode.receive.orthanc_client import orthanc_client
from dermanode.receive.orthanc_place import Place, PlaceFile
from dermanode.receive.wanted import WantedModalities

log = structlog.get_logger(__name__)

RETRY = Retry(attempts=6, first_s=10.0, longest_s=300.0)
"""A series that fails so often is given up, aloud: it fails by itself, for the others come."""
_PAGE = 100
_LONGEST_WAIT_S = 60.0
_DENIED = (401, 403)


class Holdings(Protocol):
    """What a watcher asks of the ledger."""

    def received(self, uids: Collection[UID]) -> frozenset[UID]: ...
    def made_here(self, uids: Collection[UID]) -> frozenset[UID]: ...


class OrthancWatcher:
    """A thread that follows `/changes`. Where it stands is kept in the data folder, so a restart misses nothing and repeats little."""

    def __init__(
        self,
        name: str,
        watch: OrthancWatch,
        intake: Intake,
        holdings: Holdings,
        settings: Settings,
        pipelines: Sequence[Pipeline],
        *,
        on_fetched: Callable[[], None] = lambda: None,
        tell: Callable[[str, str], None] = lambda _kind, _words: None,
        retry: Retry = RETRY,
    ) -> None:
        """`on_fetched` is called after each series, `tell` with what belongs into the audit trail. The intake must be open meanwhile."""
        self.name = f"Orthanc {name}"
        self._watch, self._intake, self._holdings, self._retry = watch, intake, holdings, retry
        self._on_fetched, self._tell = on_fetched, tell
        self._called_ae = str(settings.node.ae_title)
        self._wanted = WantedModalities(pipelines)
        self._file = PlaceFile(settings.node.data_dir / f"orthanc-{name}.last")
        self._place = Place()
        self._is_place_sure = False
        """The Orthanc at the other end is the one whose changes were followed."""
        self._due: dict[str, float] = {}
        """When a broken series is tried again, on `time.monotonic()`."""
        self._stable: set[str] = set()
        self._association: str | None = None
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"orthanc-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def is_stable(self, key: SeriesKey) -> bool:
        """Orthanc has called the series stable, and every one of its objects was fetched."""
        return key.series_instance_uid in self._stable

    def forget(self, series: UID) -> None:
        """The series has become a case: whether what comes later is all of it, Orthanc has yet to say."""
        self._stable.discard(series)

    def open_associations(self) -> frozenset[str]:
        """The series that is being fetched, by the name under which its objects are recorded."""
        association = self._association
        return frozenset() if association is None else frozenset({association})

    def step(self, orthanc: Orthanc) -> int:
        """Reads the changes since the last step and fetches what became stable; how many objects came.

        Raises `httpx.HTTPError` where Orthanc does not answer or denies us, `SpoolError` where there is no room, `LedgerError`, OSError.
        """
        if not self._is_place_sure:
            self._place = self._file.read()
        self._look_for_reset(orthanc)
        fetched = 0
        is_done = False
        while not is_done and not self._is_stopping.is_set():
            page: Any = orthanc.get_changes(params={"since": self._place.last, "limit": _PAGE})
            for change in page["Changes"]:
                if change["ChangeType"] == "StableSeries":
                    fetched += self._try(orthanc, change["ID"], 1)
                    self._remember(self._place.at(change["Seq"], change["ID"]))
                    if self._is_stopping.is_set():
                        return fetched
            if page["Changes"]:
                last = page["Changes"][-1]
                self._remember(self._place.at(last["Seq"], last["ID"]))
            is_done = page["Done"] or not page["Changes"]
        return fetched + self._try_broken(orthanc)

    def _run(self) -> None:
        wait_s = self._watch.poll_s
        with orthanc_client(self._watch) as orthanc:
            while not self._is_stopping.wait(wait_s):
                try:
                    self.step(orthanc)
                    wait_s = self._watch.poll_s
                except (httpx.HTTPError, SpoolError, LedgerError, OSError) as error:
                    self._is_place_sure = False
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                    log.warning("orthanc_not_read", orthanc=self.name, error=f"{type(error).__name__}: {error}", next_try_s=wait_s)
                except Exception as error:  # noqa: BLE001  the web request's wall: the answer is another program's
                    self._is_place_sure = False
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                    log.error("orthanc_not_understood", orthanc=self.name, error=f"{type(error).__name__}: {error}", next_try_s=wait_s)

    def _look_for_reset(self, orthanc: Orthanc) -> None:
        """Begins at the start again where Orthanc's changes are not those that were followed: it was emptied, or is another one."""
        newest: Any = orthanc.get_changes(params={"last": "true"})
        is_reset = newest["Last"] < self._place.last
        if not is_reset and not self._is_place_sure and self._place.resource:
            page: Any = orthanc.get_changes(params={"since": self._place.last - 1, "limit": 1})
            same = [change["ID"] for change in page["Changes"] if change["Seq"] == self._place.last]
            is_reset = bool(same) and same[0] != self._place.resource  # gone with its resource: then nothing is known
        if is_reset:
            words = f"{self.name} has begun to count its changes anew: it was emptied or replaced. All its series are looked at again."
            log.warning("orthanc_was_reset", orthanc=self.name, last=self._place.last, newest=newest["Last"])
            self._tell("orthanc_was_reset", words)
            self._remember(Place())
        self._is_place_sure = True

    def _try_broken(self, orthanc: Orthanc) -> int:
        fetched = 0
        for series_id, attempts in tuple(self._place.broken.items()):
            if time.monotonic() >= self._due.get(series_id, 0.0) and not self._is_stopping.is_set():
                fetched += self._try(orthanc, series_id, attempts + 1)
        return fetched

    def _try(self, orthanc: Orthanc, series_id: str, attempt: int) -> int:
        """Fetches a series. What is wrong with one series must not hold up the next: it is noted, and tried again later."""
        self._association = f"{self.name} {series_id}"
        try:
            fetched = self._fetch(orthanc, series_id)
        except (httpx.HTTPStatusError, UnreadableObject, KeyError, IdentifierError) as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code in _DENIED:
                raise
            self._note_broken(series_id, attempt, error)
            return 0
        finally:
            self._association = None
            self._on_fetched()
        self._due.pop(series_id, None)
        if series_id in self._place.broken:
            self._remember(self._place.without_broken(series_id))
        return fetched

    def _note_broken(self, series_id: str, attempt: int, error: Exception) -> None:
        pause_s = wait_s(self._retry, attempt)
        log.warning("series_not_fetched", orthanc=self.name, series=series_id, error=f"{type(error).__name__}: {error}", next_try_s=pause_s)
        if pause_s is not None:
            self._due[series_id] = time.monotonic() + pause_s
            self._remember(self._place.with_broken(series_id, attempt))
            return
        self._due.pop(series_id, None)
        self._remember(self._place.without_broken(series_id))
        reason = f"HTTP {error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else str(error)
        words = f"The series {series_id} of {self.name} could not be fetched in {attempt} attempts ({reason})."
        self._tell("series_not_fetched", f"{words} Look there, then send it again.")

    def _fetch(self, orthanc: Orthanc, series_id: str) -> int:
        try:
            series: Any = orthanc.get_series_id(series_id)
            modality, uid = series["MainDicomTags"].get("Modality", ""), series["MainDicomTags"]["SeriesInstanceUID"]
            if not self._wanted.has(modality):
                return 0
            listed: Any = orthanc.get_series_id_instances(series_id)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:  # deleted since
                return 0
            raise
        instances = {UID(one["MainDicomTags"]["SOPInstanceUID"]): one["ID"] for one in listed}
        if instances and self._holdings.made_here(instances.keys()) == instances.keys():
            return 0  # our own results, as the outbox brought them there
        self._stable.discard(uid)  # while the late images of a stable series come, it is not whole
        fetched = self._fetch_all(orthanc, series_id, instances)
        self._stable.add(uid)
        log.info("series_fetched", orthanc=self.name, objects=fetched, were_here=len(instances) - fetched)
        return fetched

    def _fetch_all(self, orthanc: Orthanc, series_id: str, instances: Mapping[UID, str]) -> int:
        caller = Caller(f"{self.name} {series_id}", self.name.upper()[:16], self._called_ae, self._watch.url)
        missing = instances.keys() - self._holdings.received(instances.keys())
        failure: httpx.HTTPStatusError | UnreadableObject | None = None
        fetched = 0
        for uid in sorted(missing):
            try:
                content: Any = orthanc.get_instances_id_file(instances[uid])
                self._store(content, caller)
                fetched += 1
            except (httpx.HTTPStatusError, UnreadableObject) as error:
                failure = error  # the others of the series are not kept waiting
        if failure is not None:
            raise failure
        return fetched

    def _store(self, content: bytes, caller: Caller) -> None:
        incoming = Incoming(self._intake, caller, self.name)
        try:
            incoming.write(content)
            incoming.finish()
        finally:
            incoming.abandon()

    def _remember(self, place: Place) -> None:
        if place != self._place:
            self._file.write(place)
            self._place = place
