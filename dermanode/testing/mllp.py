"""An HL7 v2 listener on loopback: keeps the messages it gets and answers as it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from enum import StrEnum
from types import TracebackType
from typing import Self

from dermanode.config import MllpDestination

_START, _END = b"\x0b", b"\x1c\r"


class Reply(StrEnum):
    """What the listener does with a message."""

    AA = "AA"
    AE = "AE"
    AR = "AR"
    CA = "CA"
    CE = "CE"
    CR = "CR"
    NOTHING = "nothing"
    """Keeps silent and the connection open."""
    HANG_UP = "hang up"
    WRONG_ID = "wrong control id"
    """Accepts another message than the one that came."""


class MllpListener:
    """Listens on 127.0.0.1; use it with `with`, or call `start` and `stop`.

    `script` has the replies to the first message, to the second and so on, the last for all further ones: `[(Reply.AE,), (Reply.AA,)]`
    fails once; `[(Reply.CA, Reply.AA)]` is the enhanced mode.
    """

    def __init__(self, script: Sequence[Sequence[Reply]] = ((Reply.AA,),), *, port: int = 0) -> None:
        self.script = [tuple(replies) for replies in script]
        self.port = port
        self._messages: list[bytes] = []
        self._changed = threading.Condition()
        self._socket: socket.socket | None = None
        self._connections: list[socket.socket] = []

    def start(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, args=(self._socket,), name="mllp-listener", daemon=True).start()

    def stop(self) -> None:
        with self._changed:
            sockets, self._connections = [*self._connections, *([self._socket] if self._socket else [])], []
            self._socket = None
        for one in sockets:
            # A thread that waits in accept or recv is only woken by a shutdown
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:  # the peer was faster
                pass
            finally:
                one.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def destination(self, **settings: object) -> MllpDestination:
        """The settings under which a node sends here."""
        return MllpDestination.model_validate({"type": "mllp", "host": "127.0.0.1", "port": self.port, "timeout_s": 5.0, **settings})

    @property
    def messages(self) -> tuple[bytes, ...]:
        """Every message that came, without framing; one that was sent twice is there twice."""
        with self._changed:
            return tuple(self._messages)

    @property
    def control_ids(self) -> list[str]:
        """MSH-10 of each message."""
        return [message.split(b"|")[9].decode() for message in self.messages]

    def wait_for(self, count: int, timeout_s: float = 10.0) -> bool:
        """Waits until so many messages came; False when they did not."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._messages) >= count, timeout_s)

    def _listen(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # stopped
                return
            with self._changed:
                self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), name="mllp-connection", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffer = b""
        with connection:
            try:
                while received := connection.recv(65536):
                    buffer += received
                    while _END in buffer:
                        block, buffer = buffer.split(_END, 1)
                        if not self._reply(connection, block.removeprefix(_START)):
                            return
            except OSError:  # stopped, or the peer has gone
                return

    def _reply(self, connection: socket.socket, message: bytes) -> bool:
        """Whether the connection stays open."""
        with self._changed:
            replies = self.script[min(len(self._messages), len(self.script) - 1)]
            self._messages.append(message)
            self._changed.notify_all()
        control_id = message.split(b"|")[9].decode()
        for reply in replies:
            match reply:
                case Reply.HANG_UP:
                    return False
                case Reply.NOTHING:
                    continue
                case Reply.WRONG_ID:
                    connection.sendall(_acknowledgement("AA", "SOMEBODY-ELSES"))
                case _:
                    connection.sendall(_acknowledgement(reply.value, control_id))
        return True


def _acknowledgement(code: str, control_id: str) -> bytes:
    text = {"AE": "the database is busy", "AR": "the message type is not supported"}.get(code, "")
    message = f"MSH|^~\\&|HIS|WARD|DERMANODE||20260101000000+0000||ACK^R01^ACK|ACK-{control_id}|P|2.5.1\rMSA|{code}|{control_id}|{text}\r"
    return _START + message.encode() + _END
