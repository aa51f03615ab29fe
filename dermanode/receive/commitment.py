"""The desk at which senders ask whether we keep what they sent: storage commitment as SCP (PS3.4 J)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import structlog
from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from dermanode.config import DimseDestination, Retry, Settings, Source
from dermanode.config.tls import towards
from dermanode.deliver.answers import undisturbed
from dermanode.deliver.commitment import INVALID_ARGUMENT, PROCESSING_FAILURE, SUCCESS, settle_report
from dermanode.deliver.commitment import Commitments as OurCommitments
from dermanode.deliver.dimse import without_delay
from dermanode.deliver.steady import SteadyThread
from dermanode.dicom.commitment import (
    CLASS_CONFLICT,
    NO_SUCH_INSTANCE,
    REQUEST,
    WELL_KNOWN_INSTANCE,
    CommitmentMalformed,
    Instance,
    read_request,
    report_data,
)
from dermanode.domain.identifiers import UID
from dermanode.errors import ConfigurationError, DermaNodeError, LedgerError, SpoolError
from dermanode.ledger.commitments import Commitment
from dermanode.ledger.records import CommitmentState, ObjectState, StoredObject
from dermanode.ledger.spool import Spool

log = structlog.get_logger(__name__)

POLL_S = 1.0
LEASE_S = 300.0
TIMEOUT_S = 10.0
STAY_S = 0.5
"""A sender that keeps its association open for so long after the answer waits there for the report."""
_PEERS_AT_ONCE = 4
# PS3.7 10.1.4.1.10
_NO_SUCH_ACTION, _DUPLICATE_INVOCATION = 0x0123, 0x0210


class AskedObjects(Protocol):
    """The part of `ledger.objects` that the desk uses."""

    def find(self, sop_instance_uid: str) -> list[StoredObject]: ...


class AskedCommitments(OurCommitments, Protocol):
    """The part of `ledger.commitments` that the desk uses."""

    def accept(self, transaction_uid: UID, peer: str, instances: Sequence[Instance], words: str, now: datetime) -> bool: ...
    def get(self, transaction_uid: UID) -> Commitment | None: ...
    def due_reports(self, now: datetime, lease_s: float) -> list[Commitment]: ...
    def reported(self, transaction_uid: UID, state: CommitmentState, words: str, now: datetime) -> None: ...


class AskedLedger(Protocol):
    @property
    def objects(self) -> AskedObjects: ...

    @property
    def commitments(self) -> AskedCommitments: ...


class ReportNotDelivered(DermaNodeError):
    """A sender that could not be told; it is tried again."""


class CommitmentDesk:
    """Answers requests and reports of the listener's associations; its thread reports to senders until they have heard."""

    def __init__(
        self,
        ledger: AskedLedger,
        spool: Spool,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        retry: Retry | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self._ledger, self._spool, self._settings, self._clock = ledger, spool, settings, clock
        self._retry, self._poll_s = retry or Retry(), poll_s
        self._here: WeakKeyDictionary[Association, UID] = WeakKeyDictionary()
        """The request that was just answered on an association: for as long as there is one, also where nobody attends it."""
        self._is_stopping = threading.Event()
        self._thread = SteadyThread("commitment-desk", self._run, self._is_stopping)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join(2 * TIMEOUT_S)

    def requested(self, event: evt.Event) -> tuple[int, None]:
        """The status for an N-ACTION request; the promise is made later, in the report."""
        calling_ae, address = _caller(event.assoc)
        if event.action_type != REQUEST:
            return _NO_SUCH_ACTION, None
        try:
            transaction_uid, instances = read_request(event.action_information)
            now = self._clock()
            # The association gets a head start over the desk's own thread.
            begin = now + timedelta(seconds=3 * STAY_S)
            if not self._ledger.commitments.accept(transaction_uid, calling_ae, instances, address, begin):
                return _DUPLICATE_INVOCATION, None
        except CommitmentMalformed as error:
            log.warning("commitment_request_malformed", calling_ae=calling_ae, reason=str(error))
            return INVALID_ARGUMENT, None
        except Exception as error:  # noqa: BLE001  the DIMSE handler's wall: the sender asks again
            log.error("commitment_request_not_recorded", calling_ae=calling_ae, error=str(error))
            return PROCESSING_FAILURE, None
        self._here[event.assoc] = transaction_uid
        log.info("commitment_asked", calling_ae=calling_ae, objects=len(instances))
        return SUCCESS, None

    def attend(self, association: Association) -> None:
        """Lets senders that keep their association open hear the report there.

        It is sent in the association's own thread, after the service that answered the request: from any other thread
        pynetdicom's reactor, and the lane, would race for the reply.
        """
        serve = association._serve_request

        def serve_and_tell(message: Any, context_id: int) -> None:
            serve(message, context_id)
            transaction_uid = self._here.pop(association, None)
            if transaction_uid is not None:
                association._is_paused = True  # as while it serves: this thread may send
                try:
                    self._tell_here(association, transaction_uid)
                finally:
                    association._is_paused = False

        association._serve_request = serve_and_tell

    def _tell_here(self, association: Association, transaction_uid: UID) -> None:
        end = time.monotonic() + STAY_S
        while time.monotonic() < end:
            # What comes next ends the association, or is another request: neither waits for a report here.
            is_next_here = association.dul.peek_next_pdu() is not None or not association.dimse.msg_queue.empty()
            if is_next_here or not association.is_established or not association.dul.is_alive():
                return
            time.sleep(0.01)
        try:
            request = self._ledger.commitments.get(transaction_uid)
            if request is not None:
                self._tell(request, partial(_send, association), self._clock())
        except Exception as error:  # noqa: BLE001  the DIMSE handler's wall: the desk's own thread tries again
            log.info("commitment_not_reported_here", transaction=str(transaction_uid), reason=str(error))

    def reported(self, event: evt.Event) -> tuple[int, None]:
        """The status for a report on a request of ours."""
        calling_ae, _ = _caller(event.assoc)
        try:
            return settle_report(self._ledger.commitments, calling_ae, event.event_information, self._clock()), None
        except Exception as error:  # noqa: BLE001  the DIMSE handler's wall: the PACS reports again
            log.error("commitment_report_not_recorded", calling_ae=calling_ae, error=str(error))
            return PROCESSING_FAILURE, None

    def is_expected(self, calling_ae: str, address: str, abstract_syntaxes: Sequence[str]) -> bool:
        """Whether a caller that may not send is a destination that comes to report on a commitment, and for nothing else."""
        if not set(abstract_syntaxes) <= {StorageCommitmentPushModel, Verification}:
            return False
        destinations = [one for one in self._settings.destinations.values() if isinstance(one, DimseDestination)]
        return any(
            one.ae_title == calling_ae.strip() and one.commitment == "auto" and address in _addresses(one.host) for one in destinations
        )

    def step(self) -> None:
        """Reports whatever is due. Raises `LedgerError`."""
        due = self._ledger.commitments.due_reports(self._clock(), LEASE_S)
        by_peer: dict[str, list[Commitment]] = {}
        for request in due:
            by_peer.setdefault(request.peer, []).append(request)
        if by_peer:
            with ThreadPoolExecutor(_PEERS_AT_ONCE, "commitment-report") as threads:
                list(threads.map(self._report_all, by_peer.values()))

    def _run(self) -> None:
        while not self._is_stopping.wait(self._poll_s):
            try:
                self.step()
            except LedgerError as error:
                log.warning("commitment_not_reported", error=str(error))

    def _report_all(self, requests: Sequence[Commitment]) -> None:
        for request in requests:
            if self._is_stopping.is_set():
                return
            try:
                self._tell(request, partial(self._send_anew, request), self._clock())
            except ReportNotDelivered as error:
                self._try_later(request, str(error))

    def _tell(self, request: Commitment, send: Callable[[int, Dataset], None], now: datetime) -> None:
        """Tells a sender what is true now, and puts down that it was told. Raises `LedgerError`, `ReportNotDelivered`."""
        kept, failed = list[Instance](), list[tuple[Instance, int]]()
        for instance in request.instances:
            reason = self._failure(*instance)
            if reason is None:
                kept.append(instance)
            else:
                failed.append((instance, reason))
        kind, data = report_data(request.transaction_uid, kept, failed)
        send(kind, data)
        words = f"{request.peer} was told that {len(kept)} of {len(request.instances)} objects are kept."
        state = CommitmentState.FAILED if failed else CommitmentState.COMMITTED
        self._ledger.commitments.reported(request.transaction_uid, state, words, now)
        log.info("commitment_told", calling_ae=request.peer, kept=len(kept), failed=len(failed))

    def _failure(self, sop_class_uid: str, sop_instance_uid: str) -> int | None:
        """Why we do not keep an object; None where every copy that came is in the spool, whole. What is in quarantine is kept too."""
        copies = [one for one in self._ledger.objects.find(sop_instance_uid) if one.state is not ObjectState.PURGED]
        if not copies or not all(self._is_whole(one) for one in copies):
            return NO_SUCH_INSTANCE
        return None if any(one.arrival.sop_class_uid == sop_class_uid for one in copies) else CLASS_CONFLICT

    def _is_whole(self, one: StoredObject) -> bool:
        try:
            return self._spool.path(one.arrival.path).stat().st_size == one.arrival.size_bytes
        except (OSError, SpoolError):
            return False

    def _try_later(self, request: Commitment, problem: str) -> None:
        now = self._clock()
        if request.attempts + 1 >= self._retry.attempts:
            words = f"{request.peer} could not be told what is kept, in {request.attempts + 1} tries: {problem}"
            log.error("commitment_report_given_up", calling_ae=request.peer, error=problem)
            self._ledger.commitments.reported(request.transaction_uid, CommitmentState.FAILED, words, now)
            return
        wait_s = min(self._retry.first_s * 2.0 ** min(request.attempts, 64), self._retry.longest_s)
        self._ledger.commitments.postponed(request.transaction_uid, request.words, now + timedelta(seconds=wait_s))
        log.warning("commitment_not_reported", calling_ae=request.peer, error=problem, wait_s=wait_s)

    def _send_anew(self, request: Commitment, kind: int, data: Dataset) -> None:
        peer = self._place(request.peer)
        try:
            tls = towards(peer.host, peer.tls)
        except ConfigurationError as error:
            raise ReportNotDelivered(str(error)) from error
        entity = AE(ae_title=self._settings.node.ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = TIMEOUT_S
        association = entity.associate(
            peer.host,
            peer.port,
            contexts=[build_context(StorageCommitmentPushModel)],
            ae_title=request.peer,
            # PS3.4 J.3.3: who reports is the SCP, also where it calls.
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
            evt_handlers=[(evt.EVT_CONN_OPEN, without_delay), (evt.EVT_CONN_OPEN, undisturbed)],
            tls_args=tls,
        )
        if not association.is_established:
            raise ReportNotDelivered(f"it takes no association for the report at {peer.host}:{peer.port}.")
        try:
            _send(association, kind, data)
        finally:
            if association.is_established:
                association.release()

    def _place(self, title: str) -> Source | DimseDestination:
        """Where the sender listens: under `sources`, or it is a destination too. A calling address says nothing about a port."""
        for one in (*self._settings.sources.values(), *self._settings.destinations.values()):
            if isinstance(one, (Source, DimseDestination)) and one.ae_title == title:
                return one
        raise ReportNotDelivered(
            f"it has closed its association, and no address of it is known: name it under `sources`, with ae_title {title}, host and port."
        )


def _send(association: Association, kind: int, data: Dataset) -> None:
    """Raises `ReportNotDelivered`."""
    try:
        answer, _ = association.send_n_event_report(data, kind, StorageCommitmentPushModel, WELL_KNOWN_INSTANCE)
    except (RuntimeError, ValueError) as error:  # the association was lost, or has no context for it
        raise ReportNotDelivered(f"the association does not carry the report ({error}).") from error
    if answer.get("Status") != SUCCESS:
        status = answer.get("Status")
        raise ReportNotDelivered("it gave no answer to the report." if status is None else f"it answered the report with 0x{status:04X}.")


def _caller(association: Association) -> tuple[str, str]:
    requestor = association.requestor
    return requestor.primitive.calling_ae_title.strip(), requestor.address_info.address


def _addresses(host: str) -> set[str]:
    """The addresses of a host, as a socket tells them; none where its name is not known now."""
    try:
        return {str(ip_address(host))}
    except ValueError:
        pass
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return set()
