"""An HL7 v2 listener as a destination: MLLP, in the original and in the enhanced mode of acknowledgement.

The same message, with the same control id, is sent again after a time-out, AE or CE; AR and CR are final (HL7 2.5.1, 2.9).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dermanode.config import MllpDestination
from dermanode.deliver.destination import Package
from dermanode.errors import ConfigurationError, DeliveryRefused, DestinationUnavailable

START, END = b"\x0b", b"\x1c\r"
LONGEST_ANSWER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What an MSA segment says."""

    code: str
    """MSA-1: AA, AE, AR, CA, CE or CR."""
    control_id: str
    """MSA-2: the MSH-10 of the message that is answered."""
    text: str
    """MSA-3 and the texts of ERR segments."""

    @classmethod
    def parse(cls, message: bytes) -> Acknowledgement | None:
        """The acknowledgement in a message; None for a message that is none."""
        segments = [line.split("|") for line in message.decode("utf-8", "replace").replace("\n", "\r").split("\r") if line]
        msa = next((fields for fields in segments if fields[0] == "MSA"), None)
        if msa is None or len(msa) < 3:
            return None
        errors = [" ".join(filter(None, fields[1:])) for fields in segments if fields[0] == "ERR"]
        words = "; ".join(filter(None, [msa[3] if len(msa) > 3 else "", *errors]))
        return cls(msa[1].strip(), msa[2].strip(), words)


class Mllp:
    """Sends the messages of a package over one connection and waits for each answer."""

    def __init__(self, name: str, settings: MllpDestination) -> None:
        self.name, self.settings = name, settings

    def deliver(self, package: Package) -> str:
        try:
            with self._connected() as connection:
                return "; ".join(self._send(connection, file.read_bytes()) for file in package.files)
        except ConfigurationError as error:
            raise DestinationUnavailable(self.name, str(error)) from error
        except TimeoutError as error:
            doubt = ": does it speak TLS on that port?" if self.settings.tls is not None else ""
            raise DestinationUnavailable(self.name, f"gave no answer within {self.settings.timeout_s:g} s{doubt}") from error
        except ssl.SSLError as error:
            where = f"{self.settings.host}:{self.settings.port}"
            why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason or error
            raise DestinationUnavailable(self.name, f"{where} gives no TLS that can be trusted: {why}") from error
        except OSError as error:
            where = f"{self.settings.host}:{self.settings.port}"
            raise DestinationUnavailable(self.name, f"{where} cannot be reached: {error.strerror or error}") from error

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        address = (self.settings.host, self.settings.port)
        with socket.create_connection(address, timeout=self.settings.timeout_s) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.settings.tls is None:
                yield connection
            else:
                with self.settings.tls.context().wrap_socket(connection, server_hostname=self.settings.host) as secured:
                    yield secured

    def _send(self, connection: socket.socket, message: bytes) -> str:
        header = message.split(b"\r", 1)[0].decode("utf-8", "replace").split("|")
        control_id = header[9]
        # MSH-16 (the separator itself is MSH-1): NE and an empty field ask for no second answer
        is_application_answer_due = len(header) > 15 and header[15] in ("AL", "SU", "ER")
        deadline = time.monotonic() + self.settings.timeout_s
        connection.settimeout(self.settings.timeout_s)
        connection.sendall(START + message + END)
        incoming = _blocks(connection, deadline)
        answer = self._answer(incoming, control_id)
        if answer.code == "CA" and is_application_answer_due:
            answer = self._answer(incoming, control_id)
        return f"{answer.code} for {control_id}" + (f": {answer.text}" if answer.text else "")

    def _answer(self, incoming: Iterator[bytes], control_id: str) -> Acknowledgement:
        """The next acknowledgement of our message; one of another message is an error of the receiver's and is tried again."""
        for block in incoming:
            answer = Acknowledgement.parse(block)
            if answer is None:
                continue
            words = f"{answer.code} for {control_id}" + (f": {answer.text}" if answer.text else "")
            if answer.control_id != control_id:
                raise DestinationUnavailable(self.name, f"acknowledged {answer.control_id!r} instead of {control_id!r}")
            if answer.code in ("AR", "CR"):
                raise DeliveryRefused(self.name, f"rejected with {words}")
            if answer.code not in ("AA", "CA"):
                raise DestinationUnavailable(self.name, f"answered {words}")
            return answer
        raise DestinationUnavailable(self.name, "closed the connection before it acknowledged")


def _blocks(connection: socket.socket, deadline: float) -> Iterator[bytes]:
    """The MLLP blocks as they come, without framing, until the peer closes. Raises TimeoutError at the deadline (monotonic)."""
    buffer = b""
    while True:
        while END in buffer:
            block, buffer = buffer.split(END, 1)
            yield block[block.find(START) + 1 :]
        left_s = deadline - time.monotonic()
        if left_s <= 0 or len(buffer) > LONGEST_ANSWER_BYTES:
            raise TimeoutError
        connection.settimeout(left_s)
        received = connection.recv(65536)
        if not received:
            return
        buffer += received
