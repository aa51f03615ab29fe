"""The bytes of the data-transfer phase: P-DATA PDUs taken apart as they come, command sets read and written.

Pure: nothing here touches a socket or a file. Sources: PS3.8 9.3.5 (P-DATA-TF), PS3.8 annex E (PDVs), PS3.7 6.3.1 (command sets).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from dermanode.errors import DermaNodeError

P_DATA = 0x04
C_STORE_RQ = 0x0001
NO_DATA_SET = 0x0101

_IS_COMMAND, _IS_LAST = 0x01, 0x02
_PDU_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_ELEMENT_HEADER = struct.Struct("<HHI")


class MalformedPdu(DermaNodeError):
    """Bytes that are no PDU: the association cannot go on."""


class Fragment(NamedTuple):
    """A piece of a message. `data` is a view into the buffer, good until the next bytes are received."""

    context_id: int
    is_command: bool
    is_last: bool
    """It ends the command set or the data set."""
    data: memoryview


class OtherPdu(NamedTuple):
    """A whole PDU that is no P-DATA: release, abort or something unknown."""

    data: bytes


class Inbound:
    """What a peer sends, as fragments, however its bytes are cut: PDVs over several reads, several PDVs in one PDU, any PDU length."""

    def __init__(self, size_bytes: int) -> None:
        self._buffer = bytearray(size_bytes)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._pdu_left = self._pdv_left = 0
        self._context_id = self._control = 0

    def space(self) -> memoryview:
        """Where the next bytes go; fragments handed out before lose their data."""
        if self._start:
            rest = bytes(self._view[self._start : self._end])  # a header cut in two, or part of another PDU
            self._buffer[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        return self._view[self._end : self._end + self._wanted()]

    @property
    def is_in_fragment(self) -> bool:
        """The rest of a fragment comes next: unless the peer breaks off, all of `space()` will be filled."""
        return self._pdv_left > 0

    def _wanted(self) -> int:
        """Within a fragment: its rest and the next header, so that one read gives a whole fragment to hash and to write."""
        if not self._pdv_left:
            return len(self._buffer)
        if self._pdu_left > self._pdv_left:
            return self._pdv_left + _PDV_HEADER.size
        if self._control & _IS_LAST:
            return self._pdv_left
        return self._pdv_left + _PDU_HEADER.size + _PDV_HEADER.size

    def received(self, size_bytes: int) -> None:
        """So many bytes were put into `space()`."""
        self._end += size_bytes

    @property
    def is_between_pdus(self) -> bool:
        """Nothing of a PDU is here that is not handed out."""
        return self._start == self._end and not self._pdu_left

    def items(self) -> Iterator[Fragment | OtherPdu]:
        """What the bytes so far hold. Raises `MalformedPdu`."""
        while True:
            available = self._end - self._start
            if self._pdv_left:
                if not available:
                    return
                yield self._take(min(available, self._pdv_left))
            elif self._pdu_left:
                if available < _PDV_HEADER.size:
                    return
                length, self._context_id, self._control = _PDV_HEADER.unpack_from(self._buffer, self._start)
                if length < 2 or length + 4 > self._pdu_left:
                    raise MalformedPdu(f"A PDV of {length} bytes does not fit into its PDU, of which {self._pdu_left} bytes are left.")
                self._start += _PDV_HEADER.size
                self._pdu_left -= _PDV_HEADER.size
                self._pdv_left = length - 2
                if not self._pdv_left:
                    yield self._take(0)
            else:
                if available < _PDU_HEADER.size:
                    return
                kind, length = _PDU_HEADER.unpack_from(self._buffer, self._start)
                if kind == P_DATA:
                    self._start += _PDU_HEADER.size
                    self._pdu_left = length
                    continue
                whole = _PDU_HEADER.size + length
                if whole > len(self._buffer):
                    raise MalformedPdu(f"A PDU of type {kind:#04x} and {length} bytes is too long.")
                if available < whole:
                    return
                self._start += whole
                yield OtherPdu(bytes(self._view[self._start - whole : self._start]))

    def _take(self, size_bytes: int) -> Fragment:
        data = self._view[self._start : self._start + size_bytes]
        self._start += size_bytes
        self._pdv_left -= size_bytes
        self._pdu_left -= size_bytes
        is_last = bool(self._control & _IS_LAST) and not self._pdv_left
        return Fragment(self._context_id, bool(self._control & _IS_COMMAND), is_last, data)


@dataclass(frozen=True, slots=True)
class Command:
    """A command set: its elements by number, raw (PS3.7 annex E)."""

    elements: Mapping[int, bytes]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads a command set, Implicit VR Little Endian. Raises `MalformedPdu`."""
        elements: dict[int, bytes] = {}
        offset = 0
        while offset < len(data):
            if len(data) - offset < _ELEMENT_HEADER.size:
                raise MalformedPdu("The command set ends within an element.")
            group, element, length = _ELEMENT_HEADER.unpack_from(data, offset)
            offset += _ELEMENT_HEADER.size
            if group != 0 or offset + length > len(data):
                raise MalformedPdu(f"The command set holds ({group:04X},{element:04X}) with {length} bytes, which cannot be.")
            elements[element] = data[offset : offset + length]
            offset += length
        return cls(elements)

    def number(self, element: int) -> int | None:
        """An unsigned short, None where it is missing or no such."""
        value = self.elements.get(element)
        return struct.unpack("<H", value)[0] if value is not None and len(value) == 2 else None

    def text(self, element: int) -> str:
        """A UID or title without its padding; empty where it is missing."""
        return self.elements.get(element, b"").decode("ascii", "replace").strip("\0 ")

    @property
    def field(self) -> int | None:
        return self.number(0x0100)

    @property
    def message_id(self) -> int | None:
        return self.number(0x0110)

    @property
    def has_data_set(self) -> bool:
        return self.number(0x0800) != NO_DATA_SET

    @property
    def affected_sop_class_uid(self) -> str:
        return self.text(0x0002)

    @property
    def affected_sop_instance_uid(self) -> str:
        return self.text(0x1000)


def p_data(context_id: int, data: bytes, *, is_command: bool, is_last: bool) -> bytes:
    """One P-DATA-TF PDU with one PDV."""
    control = is_command * _IS_COMMAND | is_last * _IS_LAST
    return _PDU_HEADER.pack(P_DATA, len(data) + 6) + _PDV_HEADER.pack(len(data) + 2, context_id, control) + data


def store_response(context_id: int, request: Command, status: int, comment: str = "") -> bytes:
    """The C-STORE-RSP to a request, as a PDU (PS3.7 9.3.1.2); the comment is cut to 64 characters."""
    short = struct.Struct("<H").pack
    elements = [
        (0x0002, request.elements.get(0x0002, b"")),
        (0x0100, short(0x8001)),
        (0x0120, short(request.message_id or 0)),
        (0x0800, short(NO_DATA_SET)),
        (0x0900, short(status)),
        (0x0902, comment[:64].encode("ascii", "replace")),
        (0x1000, request.elements.get(0x1000, b"")),
    ]
    body = b"".join(_element(number, value) for number, value in elements if value)
    return p_data(context_id, _element(0x0000, struct.pack("<I", len(body))) + body, is_command=True, is_last=True)


def _element(number: int, value: bytes) -> bytes:
    padding = b"" if len(value) % 2 == 0 else b" " if number == 0x0902 else b"\0"
    return _ELEMENT_HEADER.pack(0, number, len(value) + len(padding)) + value + padding
