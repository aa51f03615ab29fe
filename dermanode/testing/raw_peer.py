"""A DICOM peer that speaks byte by byte, for tests that must send what no well-behaved library would, and for benchmarks."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Self

from dermanode.receive.pdu import Command, p_data

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
VL_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
VERIFICATION = "1.2.840.10008.1.1"

RELEASE_REQUEST = struct.pack(">BxI4x", 5, 4)
ABORT = struct.pack(">BxI4x", 7, 4)

CONTEXTS = ((VL_PHOTOGRAPHIC, EXPLICIT_LITTLE_ENDIAN), (VERIFICATION, EXPLICIT_LITTLE_ENDIAN))
"""What a peer offers by default: contexts 1 and 3."""


def even(text: str) -> bytes:
    """A UID as it stands in a command set."""
    return text.encode() + b"\0" * (len(text) % 2)


def command_set(*elements: tuple[int, bytes]) -> bytes:
    """A command set of these elements of group 0000, with its group length."""
    body = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def store_request(uid: str | bytes, *, sop_class: str | None = VL_PHOTOGRAPHIC, message_id: int = 1, has_data_set: bool = True) -> bytes:
    """The command set of a C-STORE-RQ; bytes as `uid` are taken as they are, empty ones left out."""
    raw = even(uid) if isinstance(uid, str) else uid
    return command_set(
        *([(0x0002, even(sop_class))] if sop_class is not None else []),
        (0x0100, b"\1\0"),
        (0x0110, struct.pack("<H", message_id)),
        (0x0700, b"\0\0"),
        (0x0800, b"\0\0" if has_data_set else b"\1\1"),
        *([(0x1000, raw)] if raw else []),
    )


ECHO_REQUEST = command_set((0x0002, even(VERIFICATION)), (0x0100, b"\x30\0"), (0x0110, b"\7\0"), (0x0800, b"\1\1"))


def pdv(context_id: int, data: bytes, *, is_command: bool, is_last: bool) -> bytes:
    """A PDV, to be put into a PDU with others."""
    return p_data(context_id, data, is_command=is_command, is_last=is_last)[6:]


def pdu_of(*pdvs: bytes) -> bytes:
    """A P-DATA-TF PDU of these PDVs."""
    body = b"".join(pdvs)
    return struct.pack(">BxI", 4, len(body)) + body


def store_pdus(command: bytes, data: bytes, *, context_id: int = 1, piece: int = 16384) -> list[bytes]:
    """A C-STORE request as a plain sender cuts it: the command, then the data set in pieces."""
    pieces = [data[start : start + piece] for start in range(0, len(data), piece)] or [b""]
    return [
        p_data(context_id, command, is_command=True, is_last=True),
        *(p_data(context_id, part, is_command=False, is_last=index == len(pieces) - 1) for index, part in enumerate(pieces)),
    ]


class RawPeer:
    """A sender with one connection; what it sends is up to the caller."""

    def __init__(self, port: int, host: str = "127.0.0.1", timeout_s: float = 30.0) -> None:
        self.socket = socket.create_connection((host, port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def associate(self, contexts: Sequence[tuple[str, str]] = CONTEXTS, *, called: str = "DERMANODE", calling: str = "RAWPEER") -> bytes:
        """Offers the contexts as 1, 3, 5, ...; the answering PDU."""
        offers = b"".join(
            _item(0x20, struct.pack(">B3x", 2 * index + 1) + _item(0x30, abstract.encode()) + _item(0x40, syntax.encode()))
            for index, (abstract, syntax) in enumerate(contexts)
        )
        user = _item(0x50, _item(0x51, struct.pack(">I", 0)) + _item(0x52, b"1.2.3.4"))
        body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
        body += _item(0x10, b"1.2.840.10008.3.1.1.1") + offers + user
        self.send(struct.pack(">BxI", 1, len(body)) + body)
        return self.receive()

    def send(self, data: bytes | bytearray) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        """One PDU; empty when the other side has closed."""
        head = self._exactly(6)
        return head + self._exactly(struct.unpack(">xxI", head)[0]) if head else b""

    def response(self) -> Command:
        """The command set in the next PDU. Raises ConnectionError when that is none."""
        data = self.receive()
        if data[:1] != b"\4":
            raise ConnectionError(f"expected P-DATA, got {data[:16]!r}")
        return Command.parse(data[12:])

    def store(self, uid: str | bytes, data: bytes, *, sop_class: str | None = VL_PHOTOGRAPHIC, context_id: int = 1) -> Command:
        """Sends an object; the response."""
        for part in store_pdus(store_request(uid, sop_class=sop_class), data, context_id=context_id):
            self.send(part)
        return self.response()

    def release(self) -> bytes:
        """Asks for release; the answering PDU."""
        self.send(RELEASE_REQUEST)
        return self.receive()

    def _exactly(self, size_bytes: int) -> bytes:
        data = bytearray()
        while len(data) < size_bytes:
            more = self.socket.recv(size_bytes - len(data))
            if not more:
                return b""
            data += more
        return bytes(data)


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(data)) + data
