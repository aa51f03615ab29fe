"""Text in the character sets of DICOM, decoded whatever its writer did (PS3.5 6.1, PS3.3 C.12.1.1.2)."""

from __future__ import annotations

import re

from pydicom.charset import CODES_TO_ENCODINGS, python_encoding

_ESCAPE = b"\x1b"
_KEEPS_ESCAPE = frozenset({"iso2022_jp", "iso2022_jp_2"})
"""Python's own decoders of these want to see the escape sequence."""


def _encoding(term: str) -> str | None:
    """The Python codec of a defined term; forgives the spellings that devices use (`ISO-IR 100`, `iso ir 192`)."""
    known: str | None = python_encoding.get(term)
    if known is None and (match := re.fullmatch(r"ISO[ _-]?(2022[ _-]?)?IR[ _-]?(\d+)", term.strip().upper())):
        known = python_encoding.get(f"{'ISO 2022 IR' if match[1] else 'ISO_IR'} {match[2]}")
    return known


def _try(value: bytes, *encodings: str | None) -> str:
    for encoding in encodings:
        if encoding:
            try:
                return value.decode(encoding)
            except (UnicodeDecodeError, LookupError):
                continue
    return value.decode("latin_1")


def decode_text(value: bytes, charsets: tuple[str, ...]) -> str:
    """The text of a value under the given defined terms of Specific Character Set.

    Never raises: bytes that do not fit what the object declares are tried as UTF-8, then as Latin-1. Devices do write
    UTF-8 without saying so, and a name that is spelt oddly is better than a lesion that is not looked at.
    """
    if value.isascii() and _ESCAPE not in value:
        return value.decode("ascii")
    declared = _encoding(charsets[0]) if charsets and charsets[0] else None
    if _ESCAPE not in value:
        return _try(value, declared, "utf-8") if declared else _try(value, "utf-8")
    head, *fragments = value.split(_ESCAPE)
    parts = [_try(head, declared, "utf-8")]
    for fragment in fragments:
        code = next((c for c in (_ESCAPE + fragment[:3], _ESCAPE + fragment[:2]) if c in CODES_TO_ENCODINGS), None)
        encoding = CODES_TO_ENCODINGS[code] if code else None
        if encoding in _KEEPS_ESCAPE:
            parts.append(_try(_ESCAPE + fragment, encoding))
        else:
            parts.append(_try(fragment[len(code) - 1 :] if code else fragment, encoding, declared, "utf-8"))
    return "".join(parts)
