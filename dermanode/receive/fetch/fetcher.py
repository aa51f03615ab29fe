"""The fetchers: bring what was asked for from each source, however often that takes.

Each source has a thread of its own, so a dead one holds up nobody. A request that was not done when the node died is done again:
what had come by then is here, and only the rest is fetched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from dermanode.config import Pipeline, Retry, Settings
from dermanode.deliver.outbox import wait_s
from dermanode.deliver.steady import SteadyThread
from dermanode.domain.identifiers import UID
from dermanode.errors import ConfigurationError, LedgerError, SourceRefused, SourceUnavailable, SpoolError
from dermanode.ledger.fetches import Fetch
from dermanode.receive.fetch.counted import FetchedCounts
from dermanode.receive.fetch.door import Door, door_to
from dermanode.receive.fetch.errand import ARRIVAL_S, Errand, Holdings, Result
from dermanode.receive.intake import Intake
from dermanode.receive.source import SourceCount
from dermanode.receive.wanted import WantedModalities

log = structlog.get_logger(__name__)

POLL_S = 2.0
"""How often due requests are looked for without a wake-up: retries, and what another process asked for."""
RETRY = Retry(attempts=8, first_s=5.0, longest_s=300.0)
"""A request that fails so often is given up after some ten minutes: whoever asked waits for it, and can ask again."""


class Fetches(Protocol):
    """What a fetcher asks of the ledger's requests."""

    def claim(self, source: str, now: datetime) -> Fetch | None: ...
    def done(self, fetch_id: int, objects: int, words: str, now: datetime) -> None: ...
    def postponed(self, fetch_id: int, objects: int, words: str, next_at: datetime, now: datetime) -> None: ...
    def failed(self, fetch_id: int, objects: int, words: str, now: datetime) -> None: ...
    def release_running(self, source: str, now: datetime) -> int: ...


class Quarantine(Protocol):
    def quarantine(self, ids: Collection[int], reason: str) -> None: ...


class FetchingLedger(Protocol):
    """A ledger, as far as the fetchers know it."""

    @property
    def fetches(self) -> Fetches: ...

    @property
    def holdings(self) -> Holdings: ...

    @property
    def objects(self) -> Quarantine: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


class Fetchers:
    """Fetches until it is stopped. The intake must be open from `start` to `stop`."""

    def __init__(
        self,
        ledger: FetchingLedger,
        settings: Settings,
        pipelines: Sequence[Pipeline],
        intake: Intake,
        *,
        on_fetched: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = utc_now,
        poll_s: float = POLL_S,
        retry: Retry = RETRY,
        arrival_s: float = ARRIVAL_S,
    ) -> None:
        """`on_fetched` is called after each attempt, from its source's thread."""
        self._counts = FetchedCounts()
        own_title, wanted = settings.node.ae_title, WantedModalities(pipelines)

        def fetcher(door: Door) -> _Fetcher:
            def note(counts: Mapping[UID, int]) -> None:
                self._counts.note(door.name, counts)

            quarantine = ledger.objects.quarantine
            errand = Errand(door, intake, ledger.holdings, own_title, wanted, on_listed=note, quarantine=quarantine, arrival_s=arrival_s)
            return _Fetcher(errand, door.name, ledger.fetches, on_fetched, clock, poll_s, retry)

        self._fetchers = tuple(fetcher(door_to(name, source, own_title)) for name, source in settings.sources.items())

    def start(self) -> None:
        """Starts a thread for each source."""
        for fetcher in self._fetchers:
            fetcher.start()

    def wake(self) -> None:
        """There are new requests."""
        for fetcher in self._fetchers:
            fetcher.wake()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Begins nothing more and breaks off what is fetched; it is due again at the next start."""
        for fetcher in self._fetchers:
            fetcher.ask_to_stop()
        deadline = time.monotonic() + timeout_s
        for fetcher in self._fetchers:
            fetcher.join(max(0.0, deadline - time.monotonic()))

    def open_associations(self) -> frozenset[str]:
        """The attempts that may still bring objects, by the names under which their objects are recorded."""
        return frozenset(name for fetcher in self._fetchers if (name := fetcher.association))

    def count(self, series: UID) -> SourceCount | None:
        """How many objects the source counted in a series that was asked for."""
        return self._counts.count(series)

    def forget(self, series: UID) -> None:
        """The series has become a case."""
        self._counts.forget(series)


class _Fetcher:
    """The thread of one source."""

    def __init__(
        self,
        errand: Errand,
        name: str,
        fetches: Fetches,
        on_fetched: Callable[[], None],
        clock: Callable[[], datetime],
        poll_s: float,
        retry: Retry,
    ) -> None:
        self._errand, self._name, self._fetches, self._on_fetched = errand, name, fetches, on_fetched
        self._clock, self._poll_s, self._retry = clock, poll_s, retry
        self.association: str | None = None
        """Of the attempt at hand."""
        self._bell, self._is_stopping = threading.Event(), threading.Event()
        self._has_left_some = True
        """Some requests may be called running that nobody works on: at the start, and after the ledger did not answer."""
        self._thread = SteadyThread(f"fetch-{name}", self._run, self._is_stopping)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._bell.set()

    def ask_to_stop(self) -> None:
        self._is_stopping.set()
        self._bell.set()

    def join(self, timeout_s: float) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            self._bell.clear()
            try:
                is_idle = not self._fetch_one()
            except LedgerError as error:
                log.error("fetch_not_recorded", source=self._name, error=str(error), cure="It is tried again when the ledger answers.")
                self._has_left_some = is_idle = True
            if is_idle:
                self._bell.wait(self._poll_s)

    def _fetch_one(self) -> bool:
        if self._has_left_some:
            self._fetches.release_running(self._name, self._clock())
            self._has_left_some = False
        fetch = self._fetches.claim(self._name, self._clock())
        if fetch is None:
            return False
        self.association = f"fetch {fetch.id}.{fetch.attempts} from {self._name}"
        try:
            result = self._attempt(fetch, self.association)
        finally:
            self.association = None
            self._on_fetched()
        if self._is_stopping.is_set() and not result.is_whole:
            self._fetches.release_running(self._name, self._clock())
        else:
            self._settle(fetch, result)
        return True

    def _attempt(self, fetch: Fetch, association: str) -> Result:
        try:
            return self._errand.run(fetch, association, self._is_stopping)
        except SourceUnavailable as error:
            words = f"{self._name} could not be asked: {error.reason}."
            return Result(0, words, is_whole=False, is_final=isinstance(error, SourceRefused))
        except ConfigurationError as error:  # certificates
            return Result(0, str(error), is_whole=False, is_final=True)
        except (SpoolError, OSError) as error:
            return Result(0, f"Nothing more can be taken in: {error}", is_whole=False)
        except LedgerError:
            raise
        except Exception as error:
            log.warning("source_not_understood", source=self._name, error=f"{type(error).__name__}: {error}", exc_info=True)
            return Result(0, f"An answer of {self._name} was not understood ({type(error).__name__}).", is_whole=False)

    def _settle(self, fetch: Fetch, result: Result) -> None:
        now = self._clock()
        log.info("fetched", source=self._name, fetch=fetch.id, objects=result.objects, is_whole=result.is_whole, words=result.words)
        if result.is_whole:
            self._fetches.done(fetch.id, result.objects, result.words, now)
            return
        pause_s = None if result.is_final else wait_s(self._retry, fetch.attempts)
        if pause_s is None:
            given_up = "" if result.is_final else f" Given up after {fetch.attempts} attempts."
            self._fetches.failed(fetch.id, result.objects, result.words + given_up, now)
        else:
            next_at = now + timedelta(seconds=pause_s)
            words = f"{result.words} Next attempt at {next_at:%H:%M:%S} UTC."
            self._fetches.postponed(fetch.id, result.objects, words, next_at, now)
