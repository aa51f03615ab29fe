"""How the values of a query match those of an object (PS3.4 C.2.2.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dermanode.web.dicomweb.problem import Problem

RANGED = frozenset({"DA", "TM", "DT"})
NUMERIC = frozenset({"IS", "US", "UL", "SS", "SL", "DS", "FL", "FD"})
_WITHOUT_WILDCARDS = NUMERIC | RANGED | {"UI"}
_UNMATCHED = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"})
_MOMENT = {
    "DA": re.compile(r"\d{8}|\d{4}\.\d{2}\.\d{2}"),
    "TM": re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?|\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?"),
    "DT": re.compile(r"\d{4,14}(\.\d{1,6})?([+-]\d{4})?"),
}


def check(vr: str, value: str, name: str) -> None:
    """Raises `Problem` 400 for a value that nothing can be compared with."""
    if vr in _UNMATCHED:
        raise Problem(400, f"{name} cannot be searched by: it is no text, number, date or UID.")
    if vr in RANGED and not any(part for part in value.split("-", 1)):
        raise Problem(400, f"{name}: {value[:40]!r} is no range.")
    if vr in ("DA", "TM"):
        for part in value.split("-", 1):
            if part and not _MOMENT[vr].fullmatch(part):
                raise Problem(400, f"{name}: {value[:40]!r} is no {'date' if vr == 'DA' else 'time'} or range of them (PS3.5 6.2).")
    if vr in NUMERIC:
        try:
            float(value)
        except ValueError as error:
            raise Problem(400, f"{name}: {value[:40]!r} is no number.") from error
    if vr == "UI":
        for uid in uids(value):
            if not re.fullmatch(r"[0-9.]{1,64}", uid):
                raise Problem(400, f"{name}: {uid[:80]!r} is no UID.")


def uids(value: str) -> list[str]:
    """A list of UIDs, separated by commas or backslashes (PS3.18 8.3.4.1)."""
    return [uid.strip() for uid in re.split(r"[,\\]", value) if uid.strip()]


def matches(vr: str, wanted: str, values: Sequence[str]) -> bool:
    """Whether any of an attribute's values, as text, is the one that is wanted."""
    if vr == "UI":
        listed = uids(wanted)
        return any(value in listed for value in values)
    if vr in RANGED:
        return any(_is_within(vr, wanted, value) for value in values)
    if vr in NUMERIC:
        return any(_number(value) == float(wanted) for value in values)
    if vr == "PN":
        # Case does not count, and any of the three writings of a name will do (PS3.4 C.2.2.2.1.1).
        names = [name for value in values for name in (value, *value.split("="))]
        return any(is_like(name.rstrip("^").casefold(), wanted.rstrip("^").casefold()) for name in names)
    return any(is_like(value, wanted) for value in values)


def has_wildcards(vr: str, value: str) -> bool:
    """Whether the value stands for many."""
    return vr not in _WITHOUT_WILDCARDS and ("*" in value or "?" in value)


def is_like(text: str, pattern: str) -> bool:
    """Whether a text fits a pattern of `*` and `?`: in time that grows with both lengths, whatever the pattern."""
    at = star = mark = 0
    has_star = False
    place = 0
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            has_star, star, mark = True, place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            place, at = place + 1, at + 1
        elif has_star:
            mark += 1
            place, at = star + 1, mark
        else:
            return False
    return all(rest == "*" for rest in pattern[place:])


def _is_within(vr: str, wanted: str, value: str) -> bool:
    value = _plain(value)
    if not value:
        return False
    first, dash, last = wanted.partition("-")
    if not dash:
        return value.startswith(_plain(first)) if vr != "DA" else value == _plain(first)
    low, high = _plain(first), _plain(last)
    return (not low or value[: len(low)] >= low) and (not high or value[: len(high)] <= high)


def _plain(moment: str) -> str:
    return moment.replace(":", "").replace(".", "", 2 if moment.count(".") == 2 else 0).strip()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
