"""The DICOM listener: C-ECHO, C-STORE that is acknowledged when it is on disk, and the desk for storage commitment."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from socketserver import BaseServer
from typing import Any, Protocol

import structlog
from pydicom import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from dermanode.config import Settings
from dermanode.errors import ConfigurationError, LedgerError
from dermanode.ledger.spool import Spool
from dermanode.receive.access import refusal
from dermanode.receive.commitment import CommitmentDesk
from dermanode.receive.committer import Arrivals, Committer
from dermanode.receive.contexts import private_contexts, register_storage_classes, supported_contexts
from dermanode.receive.intake import Caller, Intake, StoreRequest
from dermanode.receive.lane import Lane, is_known_pynetdicom

log = structlog.get_logger(__name__)

HANDSHAKE_S = 10.0
"""How long a caller may take to come to terms over TLS."""
MAXIMUM_PDU_BYTES = 131072
"""What dcmtk takes at most."""


class History(Protocol):
    def add(self, subject: str, kind: str, words: str, at: datetime) -> None: ...


class ReceivingObjects(Arrivals, Protocol):
    """The part of `ledger.objects` that a listener uses."""

    def is_recorded(self, path: str) -> bool: ...


class ReceivingLedger(Protocol):
    """The part of the ledger that a listener uses."""

    @property
    def objects(self) -> ReceivingObjects: ...

    @property
    def history(self) -> History: ...


class _Server(ThreadedAssociationServer):  # type: ignore[misc]  # pynetdicom has no types
    """pynetdicom's server, without its short backlog and without Nagle's delay."""

    request_queue_size = 128
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = self.socket.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.ssl_context is not None:
            # The greeting is left to the connection's own thread: here, one that never greets would keep everybody out.
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket) and not _is_greeted(request, client_address):
            request.close()
        else:
            super().process_request_thread(request, client_address)

    def service_actions(self) -> None:
        """Nothing: pynetdicom's own forces a whole garbage collection every few seconds, which stops all associations for that long."""

    def shutdown(self) -> None:
        """Stops accepting; pynetdicom's own would look for the server in a list that it keeps only for `start_server`."""
        BaseServer.shutdown(self)
        self.server_close()


def _is_greeted(connection: ssl.SSLSocket, address: Any) -> bool:
    """Whether the caller came to speak TLS with us, within the time for it."""
    try:
        connection.settimeout(HANDSHAKE_S)
        connection.do_handshake()
        connection.settimeout(None)
    except OSError as error:
        log.warning("connection_not_secured", address=str(address[0]), reason=str(error))
        return False
    return True


class StorageScp:
    """Listens as `settings.receive` says, stores into the spool and records in the ledger.

    `on_stored()` is called after each object, `on_release(association)` after each association has ended, from their threads.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        ledger: ReceivingLedger,
        on_release: Callable[[str], None] = lambda _association: None,
        *,
        on_stored: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        is_lane_used: bool | None = None,
        desk: CommitmentDesk | None = None,
    ) -> None:
        """`is_lane_used`: by default the lane serves where it knows the installed pynetdicom. Without a `desk` no promise is given."""
        self._desk = desk
        self._settings, self._spool, self._ledger, self._on_release, self._clock = settings, spool, ledger, on_release, clock
        self._is_lane_used = is_known_pynetdicom() if is_lane_used is None else is_lane_used
        if settings.receive.tls is not None:
            self._is_lane_used = False  # it reads from the socket in ways that TLS has no counterpart for
        self._committer = Committer(spool, ledger.objects)
        self._intake = Intake(spool, self._committer, minimum_free_mib=settings.receive.minimum_free_mib, clock=clock, on_stored=on_stored)
        self._server: _Server | None = None
        self._callers: dict[Association, Caller] = {}

    @property
    def port(self) -> int:
        """The port it listens on, also where the system chose it."""
        assert self._server is not None, "the listener has not been started"
        return int(self._server.server_address[1])

    @property
    def intake(self) -> Intake:
        """The way into spool and ledger, for whoever brings objects by another road; open from `start` to `stop`."""
        return self._intake

    def open_associations(self) -> frozenset[str]:
        """The associations that may still bring objects."""
        return frozenset(caller.association for association, caller in list(self._callers.items()) if association.is_alive())

    def start(self) -> None:
        """Clears up after a crash, then listens. Raises `ConfigurationError` when the address cannot be used."""
        self._spool.recover(self._ledger.objects.is_recorded)
        receive = self._settings.receive
        _config.LOG_HANDLER_LEVEL = "none"  # pynetdicom would put each PDU into words
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # what matters of it is said here, in sentences
        entity = AE(ae_title=str(self._settings.node.ae_title))
        entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
        entity.maximum_associations = receive.maximum_associations
        entity.network_timeout = receive.network_timeout_s
        if not self._is_lane_used:
            if receive.tls is None:
                log.warning("lane_not_used", cure="The node receives faster with pynetdicom 3.0.")
            register_storage_classes()
        desk = self._desk
        at_the_desk = [(evt.EVT_N_ACTION, desk.requested), (evt.EVT_N_EVENT_REPORT, desk.reported)] if desk is not None else []
        try:
            self._server = entity.make_server(
                (receive.host, receive.port),
                contexts=supported_contexts(),
                server_class=_Server,
                ssl_context=receive.tls.context() if receive.tls is not None else None,
                evt_handlers=[
                    (evt.EVT_REQUESTED, self._requested),
                    (evt.EVT_REJECTED, self._rejected),
                    (evt.EVT_C_STORE, self._store),
                    (evt.EVT_RELEASED, self._ended),
                    (evt.EVT_ABORTED, self._ended),
                    (evt.EVT_CONN_CLOSE, self._ended),
                    *at_the_desk,
                ],
            )
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen for DICOM on {receive.host} port {receive.port}: {error.strerror}",
                cure="Stop the program that uses the port, or set another `receive.port`."
                if error.errno == errno.EADDRINUSE
                else "Check `receive.host` and `receive.port`.",
            ) from error
        self._committer.start()
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="dicom-listener", daemon=True).start()
        log.info("listening", ae_title=str(self._settings.node.ae_title), host=receive.host, port=self.port)

    def stop(self) -> None:
        """Stops listening and aborts what is open; what was not acknowledged is not stored."""
        if self._server is None:
            return
        self._server.shutdown()
        for association in self._server.active_associations:
            association.abort()
        self._committer.stop()
        self._server = None
        log.info("stopped_listening")

    def _requested(self, event: evt.Event) -> None:
        association = event.assoc
        request = association.requestor.primitive
        called, calling, address = request.called_ae_title, request.calling_ae_title, association.requestor.address_info.address
        refused = refusal(
            called_ae=called, calling_ae=calling, address=address, own_title=self._settings.node.ae_title, settings=self._settings.receive
        )
        if refused is not None and not self._comes_to_report(event):
            self._record_refusal(refused.words)
            association.acse.send_reject(refused.result, refused.source, refused.diagnostic)
            association.kill()  # returns when the answer is out
            return
        caller = Caller(uuid.uuid4().hex, calling.strip(), called.strip(), address)
        self._callers[association] = caller
        if self._desk is not None and is_known_pynetdicom():
            self._desk.attend(association)
        if self._is_lane_used:
            private = private_contexts(request.presentation_context_definition_list)
            if private:
                association.acceptor.supported_contexts = [*association.acceptor.supported_contexts, *private]
            Lane(association, self._intake, caller, self._settings.receive.network_timeout_s).attach()
        log.debug("association_requested", association=caller.association, calling_ae=caller.calling_ae, address=address)

    def _comes_to_report(self, event: evt.Event) -> bool:
        """A destination may call for its reports on commitments without an entry of `receive.allow`, under our own title."""
        request = event.assoc.requestor.primitive
        proposed = [str(context.abstract_syntax) for context in request.presentation_context_definition_list]
        is_called = request.called_ae_title.strip() == self._settings.node.ae_title
        address = event.assoc.requestor.address_info.address
        return is_called and self._desk is not None and self._desk.is_expected(request.calling_ae_title, address, proposed)

    def _rejected(self, event: evt.Event) -> None:
        self._callers.pop(event.assoc, None)
        most = self._settings.receive.maximum_associations
        self._record_refusal(f"{event.assoc.requestor.ae_title} came when {most} associations were open: it is to try again.")

    def _record_refusal(self, words: str) -> None:
        log.warning("association_refused", reason=words)
        try:
            self._ledger.history.add("node", "association_refused", words, self._clock())
        except LedgerError as error:
            log.error("refusal_not_recorded", error=str(error))

    def _store(self, event: evt.Event) -> Dataset:
        """pynetdicom's way to the same intake, for where the lane does not serve."""
        request = event.request
        reception = self._intake.begin(
            StoreRequest(str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID), str(event.context.transfer_syntax)),
            self._callers[event.assoc],
        )
        reception.write([request.DataSet.getbuffer()])
        answer = reception.finish()
        status = Dataset()
        status.Status = answer.status
        if answer.comment:
            status.ErrorComment = answer.comment
        return status

    def _ended(self, event: evt.Event) -> None:
        caller = self._callers.pop(event.assoc, None)
        if caller is not None:
            log.debug("association_ended", association=caller.association)
            self._on_release(caller.association)
