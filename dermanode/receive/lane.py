"""The lane: reads the data-transfer phase of one association straight into the spool.

pynetdicom negotiates, releases and aborts, and serves every message that is not a C-STORE request. While objects come, the lane stands
where pynetdicom's association reads a PDU, and saves it what costs the time there: decoding each PDU, joining fragments in
memory, decoding the data set and encoding it again, two threads that wake a thousand times a second.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from typing import Any

import structlog
from pynetdicom import __version__ as pynetdicom_version
from pynetdicom.association import Association

from dermanode.receive.intake import CANNOT_UNDERSTAND, Answer, Caller, Intake, Reception, StoreRequest
from dermanode.receive.pdu import C_STORE_RQ, P_DATA, Command, Fragment, Inbound, MalformedPdu, OtherPdu, p_data, store_response

log = structlog.get_logger(__name__)

BUFFER_BYTES = (1 << 17) + (1 << 12)
"""A whole fragment of the longest PDU with the next header, and small enough to stay in the processor's cache from socket to file."""
COMMAND_LIMIT_BYTES = 1 << 16
TICK_S = 0.25
"""How often a waiting lane looks whether the association is to end."""

# PS3.8 9.2.2: what the state machine is told.
_CONNECTION_CLOSED, _INVALID_PDU = "Evt17", "Evt19"
_DATA_TRANSFER = "Sta6"


def is_known_pynetdicom(version: str = pynetdicom_version) -> bool:
    """Whether the lane knows the insides of this pynetdicom; with any other, its own handler stores, more slowly."""
    return re.fullmatch(r"3\.0\.\d+", version) is not None


class Lane:
    """The reader of one association; runs in that association's own network thread (pynetdicom's DUL)."""

    def __init__(self, association: Association, intake: Intake, caller: Caller, network_timeout_s: float) -> None:
        self._association, self._dul = association, association.dul
        self._intake, self._caller, self._timeout_s = intake, caller, network_timeout_s
        self._read_pdu = self._dul._read_pdu_data
        self._inbound: Inbound | None = None
        self._command = bytearray()
        self._request: Command | None = None
        self._context_id = 0
        self._reception: Reception | None = None
        self._is_foreign = False
        """The data set that comes belongs to pynetdicom."""
        self._has_handed_over = False

    def attach(self) -> None:
        """Takes the place of the method by which this association, and no other, reads a PDU."""
        self._dul._read_pdu_data = self.read

    def read(self) -> None:
        """Reads until there is something for pynetdicom to do; returns with no byte held back."""
        connection = self._dul.socket.socket
        if self._dul.state_machine.current_state != _DATA_TRANSFER or connection is None or not _is_p_data_next(connection):
            self._read_pdu()
            return
        if self._inbound is None:
            self._inbound = Inbound(BUFFER_BYTES)
        self._association._reactor_checkpoint.clear()  # parks the association's own thread, which would poll
        try:
            _wait_in_the_kernel(connection, TICK_S, self._timeout_s)
            self._pump(connection, self._inbound)
        except MalformedPdu as error:
            log.warning("association_broken", association=self._caller.association, reason=str(error))
            self._dul.event_queue.put(_INVALID_PDU)
        except OSError as error:
            log.warning("connection_lost", association=self._caller.association, reason=str(error))
            self._dul.event_queue.put(_CONNECTION_CLOSED)
        finally:
            if self._reception is not None:  # an object that broke off
                self._reception.abandon()
                self._reception = None
                log.warning("object_broke_off", association=self._caller.association, calling_ae=self._caller.calling_ae)
            connection.settimeout(self._timeout_s)
            self._association._reactor_checkpoint.set()

    def _pump(self, connection: socket.socket, inbound: Inbound) -> None:
        last_byte_at = time.monotonic()
        while True:
            try:
                space = inbound.space()
                # A fragment is read whole: fewer calls, and each lets other threads in.
                received = connection.recv_into(space, 0, socket.MSG_WAITALL if inbound.is_in_fragment else 0)
            except BlockingIOError:  # nothing came within a tick
                if self._is_ending(time.monotonic() - last_byte_at):
                    return
                continue
            if not received:
                self._dul.event_queue.put(_CONNECTION_CLOSED)
                return
            inbound.received(received)
            last_byte_at = time.monotonic()
            if self._take_all(connection, inbound):
                return

    def _is_ending(self, silent_s: float) -> bool:
        if self._association._kill or self._dul._kill_thread or not self._dul.to_provider_queue.empty():
            return True
        if silent_s >= self._timeout_s:
            self._dul._idle_timer.timeout = 0  # pynetdicom restarts the timer after a read, and aborts when it has run out
            return True
        return False

    def _take_all(self, connection: socket.socket, inbound: Inbound) -> bool:
        """Works through the bytes that are here; True when pynetdicom has something to do."""
        data: list[memoryview] = []
        for item in inbound.items():
            if isinstance(item, OtherPdu):
                self._queue_pdu(item.data)
                return True
            if item.is_command:
                self._command += item.data
                if len(self._command) > COMMAND_LIMIT_BYTES:
                    raise MalformedPdu("A command set of more than 64 KiB.")
                if item.is_last:
                    self._begin(connection, item.context_id)
            elif self._is_foreign:
                self._hand_over(item)
                self._is_foreign = not item.is_last
            elif self._reception is None:
                raise MalformedPdu("A data set came without its command set.")
            else:
                data.append(item.data)
                if item.is_last:
                    self._finish(connection, data)
                    data = []
        if data and self._reception is not None:
            self._reception.write(data)
        is_between_messages = inbound.is_between_pdus and not self._command and self._reception is None and not self._is_foreign
        if is_between_messages and self._has_handed_over:
            self._has_handed_over = False
            return True
        return False

    def _begin(self, connection: socket.socket, context_id: int) -> None:
        if self._reception is not None or self._is_foreign:
            raise MalformedPdu("A command set came within a data set.")
        data, self._command = bytes(self._command), bytearray()
        command = Command.parse(data)
        context = self._association._accepted_cx.get(context_id)
        if command.field != C_STORE_RQ or command.message_id is None or context is None:
            self._hand_over(Fragment(context_id, True, True, memoryview(data)))
            self._is_foreign = command.has_data_set
        elif not command.has_data_set:
            self._answer(connection, context_id, command, Answer(CANNOT_UNDERSTAND, "The request has no data set"))
        else:
            request = StoreRequest(command.affected_sop_class_uid, command.affected_sop_instance_uid, str(context.transfer_syntax[0]))
            self._request, self._context_id = command, context_id
            self._reception = self._intake.begin(request, self._caller)

    def _finish(self, connection: socket.socket, data: list[memoryview]) -> None:
        assert self._reception is not None
        assert self._request is not None
        reception = self._reception
        reception.write(data)
        self._reception = None
        self._answer(connection, self._context_id, self._request, reception.finish())

    def _answer(self, connection: socket.socket, context_id: int, request: Command, answer: Answer) -> None:
        connection.sendall(store_response(context_id, request, answer.status, answer.comment))

    def _hand_over(self, fragment: Fragment) -> None:
        """Gives pynetdicom a piece of a message that it serves: C-ECHO, and whatever the lane does not know."""
        self._queue_pdu(p_data(fragment.context_id, bytes(fragment.data), is_command=fragment.is_command, is_last=fragment.is_last))
        self._has_handed_over = True

    def _queue_pdu(self, data: bytes) -> None:
        # As DULServiceProvider._read_pdu_data does with what it has read.
        pdu: Any
        try:
            pdu, event = self._dul._decode_pdu(bytearray(data))
        except Exception as error:  # the DIMSE handler's wall: pynetdicom's codecs raise anything
            raise MalformedPdu(f"A PDU of type {data[0]:#04x} cannot be decoded ({type(error).__name__}).") from error
        self._dul.event_queue.put(event)
        self._dul._recv_pdu.put(pdu)


def _wait_in_the_kernel(connection: socket.socket, receive_s: float, send_s: float) -> None:
    """Python's own timeouts poll before each call; with these, a call that waited too long raises BlockingIOError."""
    connection.settimeout(None)
    for option, seconds in ((socket.SO_RCVTIMEO, receive_s), (socket.SO_SNDTIMEO, send_s)):
        whole = int(seconds)
        connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", whole, int((seconds - whole) * 1e6)))


def _is_p_data_next(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK) == bytes([P_DATA])
    except OSError:
        return False
