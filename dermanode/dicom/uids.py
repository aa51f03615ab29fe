"""UIDs that are derived and never drawn: the same work always makes the same objects."""

from __future__ import annotations

import hashlib

from dermanode.domain.identifiers import UID

LABEL_MAP_SEGMENTATION = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Label Map Segmentation Storage, for which pydicom 3.0 has no name."""


def derive_uid(*parts: str) -> UID:
    """The UID of those parts: `2.25.` and 128 bit of their SHA-256 as a number (PS3.5 B.2).

    The parts' lengths enter too, so that `("ab", "c")` and `("a", "bc")` differ.
    """
    named = "".join(f"{len(part)}:{part};" for part in parts)
    return UID(f"2.25.{int.from_bytes(hashlib.sha256(named.encode()).digest()[:16], 'big')}")
