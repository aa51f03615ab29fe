"""The character sets of HL7, as Python names them."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from dermanode.errors import MessageRefused

_CHARSETS = {
    "": "ascii",
    "ASCII": "ascii",
    "ISO IR6": "ascii",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)},
    "ISO IR14": "iso2022_jp_2",
    "ISO IR87": "iso2022_jp_2",
    "ISO IR159": "iso2022_jp_2",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
}
"""MSH-18 (HL7 table 0211) as Python names it. UTF-16 and UTF-32 cannot be framed by MLLP: their bytes hold its own."""
_NOT_TEXT = frozenset({"utf-7", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"}) | {
    "unicode-escape",
    "raw-unicode-escape",
    "punycode",
    "idna",
    "undefined",
    "mbcs",
    "oem",
}


def codec_of(stated: Sequence[str]) -> str:
    """Python's name for what MSH-18 says: the first repetition, or ISO 2022 where further ones are switched to by escapes.

    Raises `MessageRefused` for a character set that is not known.
    """
    names = [_one(one) for one in stated]
    return "iso2022_jp_2" if "iso2022_jp_2" in names[1:] else names[0]


def _one(stated: str) -> str:
    known = _CHARSETS.get(" ".join(stated.upper().split()))
    if known is not None:
        return known
    try:
        found = codecs.lookup(stated.strip()).name
        if found not in _NOT_TEXT and b"MSH|".decode(found) == "MSH|":
            return found
    except (LookupError, UnicodeError, ValueError):
        pass
    raise MessageRefused(f"the character set {stated[:40]!r} is not understood here", code="103", place="MSH^1^18")
