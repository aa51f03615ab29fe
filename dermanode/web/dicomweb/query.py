"""A query as its URL states it (PS3.18 8.3.4 and 10.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, tag_for_keyword

from dermanode.ledger.served import Wanted
from dermanode.web.dicomweb import matching
from dermanode.web.dicomweb.attributes import ACCESSION_NUMBER, INSTANCE_UID, PATIENT_ID, SERIES_UID, STUDY_UID, Level
from dermanode.web.dicomweb.problem import Problem

MOST_ANSWERS = 5000
"""In one answer; what is more is asked for with `offset`."""
_MOST_MATCHES = 50
_TAG = re.compile(r"[0-9a-fA-F]{8}")
_SETTINGS = frozenset({"limit", "offset", "includefield", "fuzzymatching", "accept", "charset"})

Path = tuple[int, ...]
"""Tags from a sequence down to an attribute of its items."""


@dataclass(frozen=True, slots=True)
class Match:
    """One attribute and the value that it has to have."""

    path: Path
    vr: str
    value: str


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for, and what is told of it."""

    level: Level
    matches: tuple[Match, ...]
    includes: frozenset[int]
    is_all_included: bool
    limit: int
    offset: int
    warnings: tuple[str, ...]

    def wanted(self) -> Wanted:
        """What the ledger can narrow it by."""
        values = {match.path[0]: match.value for match in self.matches if len(match.path) == 1}
        return Wanted(
            studies=tuple(matching.uids(values.get(STUDY_UID, ""))),
            series=tuple(matching.uids(values.get(SERIES_UID, ""))),
            instances=tuple(matching.uids(values.get(INSTANCE_UID, ""))),
            patient_id=values.get(PATIENT_ID, ""),
            accession_number=values.get(ACCESSION_NUMBER, ""),
        )


def parse(level: Level, parameters: Iterable[tuple[str, str]], **named: str) -> Query:
    """The query of these parameters; `named` are the UIDs that the path names. Raises `Problem` 400."""
    matches: dict[Path, Match] = {}
    includes: set[int] = set()
    settings: dict[str, str] = {}
    warnings: list[str] = []
    is_all_included = False
    for name, value in parameters:
        if name == "includefield":
            fields = [field.strip() for field in value.split(",") if field.strip()]
            is_all_included = is_all_included or "all" in fields
            includes |= {_path(field)[0] for field in fields if field != "all"}
        elif name in _SETTINGS:
            settings[name] = value
        else:
            _add(matches, includes, name, value)
    for name, value in named.items():
        matches.pop(path := _path(name), None)
        _add(matches, includes, name, value)
        matches.setdefault(path, Match(path, "UI", value))
    if settings.get("fuzzymatching", "false").strip().lower() not in ("false", ""):
        warnings.append("The fuzzymatching parameter is not supported. Only literal matching has been performed.")
    return Query(
        level,
        tuple(matches.values()),
        frozenset(includes),
        is_all_included,
        min(_count(settings, "limit", MOST_ANSWERS), MOST_ANSWERS),
        _count(settings, "offset", 0),
        tuple(warnings),
    )


def _add(matches: dict[Path, Match], includes: set[int], name: str, value: str) -> None:
    path = _path(name)
    value = value.strip()
    vr = _vr(path[-1])
    includes.add(path[0])
    if value in ("", "*") and vr != "UI":
        return  # universal matching (PS3.4 C.2.2.2.3)
    if path in matches:
        if vr != "UI":
            raise Problem(400, f"{name} is given twice.")
        value = f"{matches[path].value},{value}"
    matching.check(vr, value, name)
    if not value or (vr == "UI" and not matching.uids(value)):
        return
    if len(matches) >= _MOST_MATCHES or len(value) > 8192:
        raise Problem(400, "The query is too long.")
    matches[path] = Match(path, vr, value)


def _path(name: str) -> Path:
    return tuple(_tag(part, name) for part in name.split("."))


def _tag(part: str, name: str) -> int:
    if _TAG.fullmatch(part):
        return int(part, 16)
    tag: int | None = tag_for_keyword(part)
    if tag is None:
        raise Problem(400, f"{name[:80]!r} is no attribute: a keyword of PS3.6, or eight hexadecimal digits.")
    return tag


def _vr(tag: int) -> str:
    try:
        return str(dictionary_VR(tag)).split(" ")[0]
    except KeyError:
        return "LO"  # a private attribute: compared as text


def _count(settings: dict[str, str], name: str, usual: int) -> int:
    text = settings.get(name, "").strip()
    if not text:
        return usual
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Problem(400, f"{name}: {text[:20]!r} is no whole number.")
    return int(text)
