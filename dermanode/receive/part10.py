"""The head of a DICOM file (PS3.10 7.1): what stands in front of a data set that is written as it came."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from dermanode.domain.identifiers import UID
from dermanode.errors import UnreadableObject

IMPLEMENTATION_CLASS_UID = UID("2.25.229043215617362270385147921363310482711")
"""Names this receiver's file format. It never changes with a version: the digest of a file must not depend on who wrote it when."""


def file_head(sop_class_uid: UID, sop_instance_uid: UID, transfer_syntax_uid: UID) -> bytes:
    """Preamble, prefix and file meta information. The same object gives the same bytes, whoever sent it."""
    meta = b"".join(
        (
            struct.pack("<HH2sHI", 2, 0x0001, b"OB", 0, 2) + b"\0\1",
            _uid(0x0002, sop_class_uid),
            _uid(0x0003, sop_instance_uid),
            _uid(0x0010, transfer_syntax_uid),
            _uid(0x0012, IMPLEMENTATION_CLASS_UID),
        )
    )
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0x0000, b"UL", 4, len(meta)) + meta


def _uid(element: int, uid: UID) -> bytes:
    value = uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value


HEAD_LIMIT_BYTES = 1 << 16
"""No file's meta information is longer: what is longer is no DICOM file, and must not fill the memory."""
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010


@dataclass(frozen=True, slots=True)
class FileHead:
    """What the head of a foreign file says; texts, not yet believed, and empty where they are missing."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    length: int
    """Bytes in front of the data set."""


def read_file_head(start: bytes | bytearray) -> FileHead | None:
    """The head of a file that begins with these bytes; None where more of them are needed to tell.

    Raises `UnreadableObject` for what is no DICOM file. The file has to go on behind its head.
    """
    if len(start) < 132:
        return None
    if start[128:132] != b"DICM":
        raise UnreadableObject("the file", "it is no DICOM file (PS3.10): it has no prefix DICM")
    found: dict[int, str] = {}
    at = 132
    while len(start) >= at + 12:
        if start[at : at + 2] != b"\2\0":
            return _head(found, at)
        element, vr = int.from_bytes(start[at + 2 : at + 4], "little"), bytes(start[at + 4 : at + 6])
        is_long = vr in _LONG_VRS
        value = at + (12 if is_long else 8)
        length = int.from_bytes(start[at + 8 : at + 12] if is_long else start[at + 6 : at + 8], "little")
        if value + length > HEAD_LIMIT_BYTES:
            raise UnreadableObject("the file", "its meta information is damaged")
        if len(start) < value + length:
            return None
        if vr == b"UI":
            found[element] = start[value : value + length].decode("latin_1").rstrip("\0 ")
        at = value + length
    return None


def _head(found: Mapping[int, str], length: int) -> FileHead:
    return FileHead(found.get(_SOP_CLASS, ""), found.get(_SOP_INSTANCE, ""), found.get(_TRANSFER_SYNTAX, ""), length)
