"""The head of a DICOM file (PS3.10 7.1): what stands in front of a data set that is written as it came."""

from __future__ import annotations

import struct

from dermanode.domain.identifiers import UID

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
