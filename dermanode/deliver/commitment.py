"""The question whether a PACS keeps what was delivered to it: storage commitment as SCU (PS3.4 J).

Each destination has a thread of its own. A request stands in the ledger, with its transaction UID, before it is sent; its report
comes on the same association or on one that the PACS opens to our listener, whenever that is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel

from dermanode.config import DimseDestination, Settings
from dermanode.config.tls import towards
from dermanode.deliver.answers import undisturbed
from dermanode.deliver.dimse import without_delay
from dermanode.deliver.steady import SteadyThread
from dermanode.dicom.commitment import REQUEST, WELL_KNOWN_INSTANCE, CommitmentMalformed, read_report, request_data
from dermanode.domain.identifiers import UID, AETitle
from dermanode.errors import ConfigurationError, DestinationUnavailable, LedgerError
from dermanode.ledger.commitments import Commitment, Settlement

log = structlog.get_logger(__name__)

POLL_S = 1.0
HOLD_S = 2.0
"""So long an association stays open for a report, with a destination that has reported there before or was not asked yet."""
OFFER_AGAIN_S = 600.0
"""A PACS that offers no storage commitment is not asked again for so long: each question costs it an association."""
LEASE_S = 300.0
"""A request that a dead process was sending is sent again after so long."""

# PS3.7 10.1.1.1.8
SUCCESS, PROCESSING_FAILURE, INVALID_ARGUMENT = 0x0000, 0x0110, 0x0115
_DUPLICATE_INVOCATION = 0x0210
_NOT_OFFERED = frozenset({0x0112, 0x0118, 0x0122, 0x0123, 0x0124, 0x0211})
"""Answers to a request that another try would get too: no such class, instance or action, or not authorised."""

NOT_OFFERED = "storage commitment is not offered"


class Commitments(Protocol):
    """What is asked of the ledger's commitments."""

    def due_requests(self, destination: str, now: datetime, lease_s: float) -> list[Commitment]: ...
    def asked(self, transaction_uid: UID, report_until: datetime, now: datetime) -> None: ...
    def postponed(self, transaction_uid: UID, words: str, next_at: datetime) -> None: ...
    def unanswered(self, transaction_uid: UID, words: str, now: datetime) -> None: ...
    def declined(self, transaction_uid: UID, words: str, now: datetime) -> None: ...
    def settle(
        self, transaction_uid: UID, peer: str, failures: Mapping[str, str], now: datetime, *, kept: Collection[str] | None = None
    ) -> Settlement: ...


class KeepsCommitments(Protocol):
    """A ledger, as far as this module knows it."""

    @property
    def commitments(self) -> Commitments: ...


def settle_report(commitments: Commitments, calling_ae: str, data: Dataset, now: datetime) -> int:
    """Puts down a report that came on any association; the status that its sender is answered. Raises `LedgerError`."""
    try:
        report = read_report(data)
    except CommitmentMalformed as error:
        log.warning("commitment_report_malformed", calling_ae=calling_ae, reason=str(error))
        return INVALID_ARGUMENT
    settlement = commitments.settle(report.transaction_uid, calling_ae, report.failures, now, kept=report.kept)
    log.info("commitment_reported", calling_ae=calling_ae, failures=len(report.failures), settlement=settlement.value)
    match settlement:
        case Settlement.SETTLED | Settlement.KNOWN:
            return SUCCESS
        case Settlement.UNKNOWN:
            return INVALID_ARGUMENT
        case Settlement.FOREIGN:
            return PROCESSING_FAILURE


class CommitmentRequests:
    """Asks, until it is stopped, every DIMSE destination that may be asked."""

    def __init__(
        self,
        ledger: KeepsCommitments,
        settings: Settings,
        *,
        on_lost: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        poll_s: float = POLL_S,
        hold_s: float = HOLD_S,
    ) -> None:
        """`on_lost` is called when something may have to be sent again."""
        self._askers = tuple(
            _Asker(name, destination, settings.node.ae_title, ledger.commitments, on_lost, clock, poll_s, hold_s)
            for name, destination in settings.destinations.items()
            if isinstance(destination, DimseDestination) and destination.commitment == "auto"
        )

    def start(self) -> None:
        for asker in self._askers:
            asker.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Asks nothing more and waits for what is being asked."""
        for asker in self._askers:
            asker.ask_to_stop()
        deadline = time.monotonic() + timeout_s
        for asker in self._askers:
            asker.join(max(0.0, deadline - time.monotonic()))


class _Asker:
    """The thread of one destination."""

    def __init__(
        self,
        name: str,
        destination: DimseDestination,
        own_title: AETitle,
        commitments: Commitments,
        on_lost: Callable[[], None],
        clock: Callable[[], datetime],
        poll_s: float,
        hold_s: float,
    ) -> None:
        self.name, self._destination, self._own_title, self._commitments = name, destination, own_title, commitments
        self._on_lost, self._clock, self._poll_s, self._hold_s = on_lost, clock, poll_s, hold_s
        self._reports_elsewhere = False
        self._not_offered_until: datetime | None = None
        self._is_stopping = threading.Event()
        self._thread = SteadyThread(f"commitment-{name}", self._run, self._is_stopping)

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        self._is_stopping.set()

    def join(self, timeout_s: float) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._is_stopping.wait(self._poll_s):
            try:
                self.step()
            except LedgerError as error:
                log.warning("commitment_not_recorded", destination=self.name, error=str(error))

    def step(self) -> None:
        """Sends what is to be asked now, and gives up what was not answered. Raises `LedgerError`."""
        for request in self._commitments.due_requests(self.name, self._clock(), LEASE_S):
            if self._is_stopping.is_set():
                return
            if request.is_asked:
                limit_s = self._destination.commitment_timeout_s
                words = f"{request.peer} gave no report within {limit_s:g} s on whether it keeps the objects"
                log.warning("commitment_unanswered", destination=self.name, transaction=str(request.transaction_uid))
                self._commitments.unanswered(request.transaction_uid, words, self._clock())
                self._on_lost()
            else:
                self._ask(request)

    def _ask(self, request: Commitment) -> None:
        if self._not_offered_until is not None and self._clock() < self._not_offered_until:
            self._commitments.declined(request.transaction_uid, NOT_OFFERED, self._clock())
            return
        try:
            self._send(request)
        except DestinationUnavailable as error:
            retry = self._destination.retry
            if request.attempts + 1 >= retry.attempts:
                self._commitments.declined(request.transaction_uid, f"not asked for storage commitment: {error.reason}", self._clock())
                return
            wait_s = min(retry.first_s * 2.0 ** min(request.attempts, 64), retry.longest_s)
            self._commitments.postponed(request.transaction_uid, error.reason, self._clock() + timedelta(seconds=wait_s))

    def _send(self, request: Commitment) -> None:
        has_reported, has_answered = threading.Event(), threading.Event()

        def reported(event: evt.Event) -> tuple[int, None]:
            try:
                return settle_report(self._commitments, self._destination.ae_title, event.event_information, self._clock()), None
            except Exception as error:  # noqa: BLE001  the DIMSE handler's wall: its sender is told
                log.error("commitment_report_not_recorded", destination=self.name, error=str(error))
                return PROCESSING_FAILURE, None
            finally:
                has_reported.set()

        def sent(_event: evt.Event) -> None:
            # The association must not end before the report's sender has its answer.
            if has_reported.is_set():
                has_answered.set()

        handlers = [
            (evt.EVT_N_EVENT_REPORT, reported),
            (evt.EVT_PDU_SENT, sent),
            (evt.EVT_CONN_OPEN, without_delay),
            (evt.EVT_CONN_OPEN, undisturbed),
        ]
        with self._association(handlers) as association:
            if association is None:
                self._not_offered_until = self._clock() + timedelta(seconds=OFFER_AGAIN_S)
                self._commitments.declined(request.transaction_uid, NOT_OFFERED, self._clock())
                return
            information = request_data(request.transaction_uid, request.instances)
            try:
                answer, _ = association.send_n_action(information, REQUEST, StorageCommitmentPushModel, WELL_KNOWN_INSTANCE)
            except RuntimeError as error:  # the association was lost meanwhile
                raise DestinationUnavailable(self.name, "the association was lost") from error
            status = answer.get("Status")
            if status is None:
                raise DestinationUnavailable(self.name, "gave no answer to the request for storage commitment")
            if status in _NOT_OFFERED:
                self._commitments.declined(request.transaction_uid, f"{NOT_OFFERED} (0x{status:04X})", self._clock())
                return
            # What a dead process had asked already is known to the PACS under the same transaction.
            if status not in (SUCCESS, _DUPLICATE_INVOCATION):
                raise DestinationUnavailable(self.name, f"answered the request for storage commitment with 0x{status:04X}")
            now = self._clock()
            until = now + timedelta(seconds=self._destination.commitment_timeout_s)
            self._commitments.asked(request.transaction_uid, until, now)
            if not self._reports_elsewhere:
                self._reports_elsewhere = not has_answered.wait(self._hold_s)
                self._on_lost()

    @contextmanager
    def _association(self, handlers: list[tuple[evt.EventType, Callable[[evt.Event], Any]]]) -> Iterator[Association | None]:
        """None where the destination takes no storage commitment. Raises `DestinationUnavailable`."""
        try:
            tls = towards(self._destination.host, self._destination.tls)
        except ConfigurationError as error:  # a certificate that is being renewed, or was taken away
            raise DestinationUnavailable(self.name, str(error)) from error
        entity = AE(ae_title=self._own_title)
        limit_s = self._destination.timeout_s
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = limit_s
        association = entity.associate(
            self._destination.host,
            self._destination.port,
            contexts=[build_context(StorageCommitmentPushModel)],
            ae_title=self._destination.ae_title,
            evt_handlers=handlers,
            tls_args=tls,
        )
        if not association.is_established:
            if association.rejected_contexts:
                yield None
                return
            raise DestinationUnavailable(self.name, "cannot be reached for storage commitment")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()
