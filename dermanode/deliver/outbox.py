"""The outbox: brings every delivery of the ledger to its destination, however often that takes.

Each destination has a thread of its own, so a dead one holds up nobody. A delivery that was sent but not yet recorded when the node
died is sent again: object UIDs, control ids and bundle identifiers are the same then, so the destination keeps one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import structlog

from dermanode.config import Destination as DestinationSettings
from dermanode.config import DimseDestination, Retry, Settings
from dermanode.deliver.destination import Destination, Package
from dermanode.deliver.roads import road_to
from dermanode.deliver.steady import SteadyThread
from dermanode.dicom.uids import derive_uid
from dermanode.domain.identifiers import UID
from dermanode.errors import DeliveryRefused, DestinationUnavailable, LedgerUnavailable
from dermanode.ledger.records import Delivery

log = structlog.get_logger(__name__)

POLL_S = 2.0
"""How often a destination's due deliveries are looked for without a wake-up: retries, and what another process put there."""


class Deliveries(Protocol):
    """What the outbox asks of the ledger's deliveries."""

    def claim(self, destination: str, now: datetime) -> Delivery | None: ...
    def succeeded(self, delivery_id: int, receipt: str, now: datetime, *, commitment: tuple[UID, str] | None = None) -> None: ...
    def postponed(self, delivery_id: int, error: str, next_at: datetime, now: datetime) -> None: ...
    def buried(self, delivery_id: int, error: str, now: datetime) -> None: ...


class KeepsDeliveries(Protocol):
    """A ledger, as far as the outbox knows it."""

    @property
    def deliveries(self) -> Deliveries: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


def wait_s(retry: Retry, tries: int) -> float | None:
    """How long to wait after so many tries in vain: doubled each time up to the longest; None when it was the last."""
    if tries >= retry.attempts:
        return None
    return min(retry.first_s * 2.0 ** min(tries - 1, 64), retry.longest_s)


class Outbox:
    """Delivers until it is stopped."""

    def __init__(
        self,
        ledger: KeepsDeliveries,
        settings: Settings,
        results_dir: Path,
        *,
        clock: Callable[[], datetime] = utc_now,
        poll_s: float = POLL_S,
        destinations: Mapping[str, Destination] | None = None,
    ) -> None:
        """`destinations` stands in for those of the settings, by the same names."""
        roads = destinations or {name: road_to(name, one, settings.node) for name, one in settings.destinations.items()}
        self._carriers = tuple(
            _Carrier(name, road, settings.destinations[name], ledger.deliveries, results_dir, clock, poll_s) for name, road in roads.items()
        )

    def start(self) -> None:
        """Starts a thread for each destination."""
        for carrier in self._carriers:
            carrier.start()

    def wake(self) -> None:
        """New deliveries are due: they go at once."""
        for carrier in self._carriers:
            carrier.wake()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Claims nothing more and waits for what is being sent; what takes longer is sent again by the next start."""
        for carrier in self._carriers:
            carrier.ask_to_stop()
        deadline = time.monotonic() + timeout_s
        for carrier in self._carriers:
            carrier.join(max(0.0, deadline - time.monotonic()))


class _Carrier:
    """The thread of one destination."""

    def __init__(
        self,
        name: str,
        road: Destination,
        settings: DestinationSettings,
        deliveries: Deliveries,
        results_dir: Path,
        clock: Callable[[], datetime],
        poll_s: float,
    ) -> None:
        self.name, self._road, self._retry, self._deliveries = name, road, settings.retry, deliveries
        self._committing_ae: str | None = None
        if isinstance(settings, DimseDestination) and settings.commitment == "auto":
            self._committing_ae = str(settings.ae_title)
        self._results_dir, self._clock, self._poll_s = results_dir, clock, poll_s
        self._bell, self._is_stopping = threading.Event(), threading.Event()
        self._thread = SteadyThread(f"outbox-{name}", self._run, self._is_stopping, poll_s)

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
            if not self._carry_one():
                self._bell.wait(self._poll_s)

    def _carry_one(self) -> bool:
        """Whether there was a delivery to carry."""
        try:
            delivery = self._deliveries.claim(self.name, self._clock())
        except LedgerUnavailable as error:
            log.warning("ledger_unavailable", destination=self.name, error=str(error))
            return False
        if delivery is None:
            return False
        self._carry(delivery)
        return True

    def _carry(self, delivery: Delivery) -> None:
        log.debug("delivery_started", delivery=delivery.id, case=delivery.case_id, destination=self.name, attempt=delivery.attempts)
        problem, asked_s = "a defect of the node ended this try; its log has the details", 0.0
        try:
            receipt = self._road.deliver(self._packed(delivery))
        except DeliveryRefused as error:
            problem = ""
            self._bury(delivery, error.reason)
        except DestinationUnavailable as error:
            problem, asked_s = error.reason, error.retry_after_s or 0.0
        else:
            problem = ""
            now = self._clock()
            commitment = self._commitment(delivery, now)
            self._record(lambda: self._deliveries.succeeded(delivery.id, receipt, now, commitment=commitment))
            log.info("delivered", delivery=delivery.id, case=delivery.case_id, destination=self.name, attempts=delivery.attempts)
        finally:
            if problem:
                self._try_later(delivery, problem, asked_s)

    def _commitment(self, delivery: Delivery, now: datetime) -> tuple[UID, str] | None:
        """Under which transaction whom to ask to keep the objects; None where nobody is asked."""
        if self._committing_ae is None:
            return None
        return derive_uid("commitment", delivery.case_id, str(delivery.id), now.isoformat()), self._committing_ae

    def _record(self, step: Callable[[], None]) -> None:
        """Puts down what became of a delivery, as soon as the ledger answers: it would stay 'sending' otherwise."""
        while True:
            try:
                step()
            except LedgerUnavailable as error:
                log.warning("ledger_unavailable", destination=self.name, error=str(error))
                if self._is_stopping.wait(self._poll_s):
                    return
            else:
                return

    def _packed(self, delivery: Delivery) -> Package:
        files = tuple(self._results_dir / path for path in delivery.paths)
        for file in files:
            if not file.is_file():
                raise DeliveryRefused(self.name, f"the result {file.name} is missing: run the case again")
        return Package(delivery.case_id, files)

    def _try_later(self, delivery: Delivery, problem: str, asked_s: float) -> None:
        """`asked_s`: for how long the destination asked not to be asked; at most the longest wait of its settings."""
        pause_s = wait_s(self._retry, delivery.attempts)
        if pause_s is None:
            self._bury(delivery, f"{problem} (try {delivery.attempts} of {self._retry.attempts}, the last)")
            return
        pause_s = max(pause_s, min(asked_s, self._retry.longest_s))
        now = self._clock()
        next_at = now + timedelta(seconds=pause_s)
        self._record(lambda: self._deliveries.postponed(delivery.id, problem, next_at, now))
        log.warning("delivery_postponed", delivery=delivery.id, case=delivery.case_id, destination=self.name, error=problem, wait_s=pause_s)

    def _bury(self, delivery: Delivery, problem: str) -> None:
        self._record(lambda: self._deliveries.buried(delivery.id, problem, self._clock()))
        log.error("delivery_buried", delivery=delivery.id, case=delivery.case_id, destination=self.name, error=problem)
