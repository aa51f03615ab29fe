r"""ER7, the notation of HL7 v2: what its delimiters and its reserved characters make of a value."""

from __future__ import annotations

import textwrap
from datetime import date, datetime

from dermanode.domain import Code

_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\"}
_SCHEMES = {"IBSI": "99IBSI", "NCIt": "99NCIT"}
"""Schemes that HL7 table 0396 does not list go by a local name, which begins with 99."""


_FIRST_YEAR = 1000
"""Devices that know no date write the year 1: that is none."""

LONGEST_ST, LONGEST_FT, LONGEST_IS, LONGEST_NM = 199, 65536, 20, 16
"""Characters that 2.5.1 allows in a value of these datatypes (chapter 2A)."""


def text(value: str, longest: int = LONGEST_ST) -> str:
    """The value with its delimiters escaped (2.5.1, 2.7), cut where it is too long.

    Control characters, which would break the framing, become blanks, and what is no character becomes U+FFFD.
    """
    escaped, length = [], 0
    for character in value:
        piece = _ESCAPES.get(character) or _printable(character)
        length += len(piece)
        if length > longest:
            break
        escaped.append(piece)
    return "".join(escaped)


def lines(value: str) -> tuple[str, ...]:
    """The value as repetitions of a TX field: one where it fits, else broken at blanks."""
    width = LONGEST_ST if len(text(value, LONGEST_FT)) <= LONGEST_ST else LONGEST_ST // max(map(len, _ESCAPES.values()))
    return tuple(text(line) for line in textwrap.wrap(value, width)) or ("",)


def components(*values: str) -> str:
    """The values, escaped, as components of one field; empty ones at the end are left out."""
    return "^".join(text(value) for value in values).rstrip("^")


def authority(name: str, separator: str = "^") -> str:
    """An HD: a name that is too long for a namespace (IS) is given as a universal id of the local kind."""
    return text(name) if len(text(name)) <= LONGEST_IS else separator.join(["", text(name), "L"])


def coded(*codes: Code) -> str:
    """A CE or CWE of one or two codes for the same concept."""
    return components(*(part for c in codes for part in (c.value, c.meaning, _SCHEMES.get(c.scheme, c.scheme))))


def stamp(moment: datetime | None) -> str:
    """A TS to the second, with the offset where it is known; empty for None."""
    return f"{day(moment)}{moment:%H%M%S}{moment.strftime('%z')[:5]}" if moment and moment.year >= _FIRST_YEAR else ""


def day(value: date | None) -> str:
    """A DT; empty for None."""
    return value.strftime("%Y%m%d") if value and value.year >= _FIRST_YEAR else ""


def person_names(name: str) -> tuple[str, ...]:
    """A DICOM person name as XPN repetitions: alphabetic, ideographic and phonetic (PS3.5 6.2.1; HL7 table 0465)."""
    groups = [(representation, group) for representation, group in zip("AIP", name.split("="), strict=False) if group.strip("^ ")]
    if not groups:
        return (components("", "", "", "", "", "", "U"),)
    names = []
    for representation, group in groups:
        family, given, middle, prefix, suffix, *_ = (*(part.strip() for part in group.split("^")), "", "", "", "", "")
        names.append(components(family, given, middle, suffix, prefix, "", "L", representation))
    return tuple(names)


def ordering_provider(name: str) -> str:
    """A DICOM person name as XCN (2.5.1, 2A.88): family, given, middle, suffix, prefix; empty where there is none."""
    family, given, middle, prefix, suffix, *_ = (*(part.strip() for part in name.split("=")[0].split("^")), "", "", "", "", "")
    return components("", family, given, middle, suffix, prefix) if family or given else ""


def _printable(character: str) -> str:
    code = ord(character)
    if code < 32 or 127 <= code < 160:
        return " "
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else character
