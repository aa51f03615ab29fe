"""What is said about a photograph, in words, by whom; and what it means once it is understood."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from dermanode.dicom.photograph import Particulars
from dermanode.dicom.sites import known_site
from dermanode.domain import Code
from dermanode.errors import DermaNodeError


@dataclass(frozen=True, slots=True)
class Statement:
    """One value, and where it stands: `photos.csv line 5`."""

    value: str
    where: str


Statements = Mapping[str, Statement]
"""By the name of the field, one of `FIELDS`."""


class NotUnderstood(DermaNodeError):
    """A statement, a sidecar or a table that cannot be used; names the place and the cure."""


def particulars_of(*said: Statements, issuer: str = "") -> Particulars:
    """What is meant, the first statement on a field first; `issuer` where nobody names one. Raises `NotUnderstood`."""
    values: dict[str, Any] = {}
    for statements in said:
        for name, statement in statements.items():
            text = statement.value.strip()
            if text and name in FIELDS and _ATTRIBUTES.get(name, name) not in values:
                values[_ATTRIBUTES.get(name, name)] = _understood(name, text, statement.where)
    values.setdefault("issuer", issuer)
    return Particulars(**values)


def _understood(name: str, text: str, where: str) -> Any:
    try:
        return FIELDS[name](text)
    except ValueError as error:
        raise NotUnderstood(f"{where}: {name} {text[:80]!r} {error}") from error


def _date(text: str) -> date:
    for pattern, form in ((r"\d{4}-\d{2}-\d{2}", "%Y-%m-%d"), (r"\d{8}", "%Y%m%d"), (r"\d{1,2}\.\d{1,2}\.\d{4}", "%d.%m.%Y")):
        if re.fullmatch(pattern, text):
            try:
                return datetime.strptime(text, form).date()
            except ValueError:
                break
    raise ValueError("is no date: write it as 1980-12-31.")


def _moment(text: str) -> datetime:
    for form in ("%Y:%m:%d %H:%M:%S", "%Y%m%d%H%M%S", "%Y%m%d_%H%M%S", "%Y%m%d-%H%M%S", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S"):
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    try:
        if len(text) > len("2026-01-01"):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError("is no date with a time: write it as 2026-05-01T10:20:30.")


def _one_of(**words: str) -> Callable[[str], str]:
    meanings = {word: meaning for meaning, known in words.items() for word in (meaning.casefold(), *known.split())}

    def understand(text: str) -> str:
        if text.casefold() not in meanings:
            raise ValueError(f"is not known: write {' or '.join(words)}.")
        return meanings[text.casefold()]

    return understand


def _yes_or_no(yes: str, no: str) -> Callable[[str], bool]:
    known = {**dict.fromkeys((yes, "yes", "true", "1"), True), **dict.fromkeys((no, "no", "false", "0"), False)}

    def understand(text: str) -> bool:
        word = text.casefold().replace("-", "_").replace(" ", "_")
        if word not in known:
            raise ValueError(f"is not known: write {yes} or {no}.")
        return known[word]

    return understand


def _site(text: str) -> Code:
    site = known_site(text)
    if site is None:
        raise ValueError("is no known site: write a code or name of the Dermatology Anatomic Sites (DICOM PS3.16 CID 4029), such as back.")
    return site


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError("is no number of a view: write 1, 2, 3 and so on.")
    return int(text)


def _spacing_mm(text: str) -> float:
    try:
        spacing_mm = float(text.replace(",", "."))
    except ValueError:
        spacing_mm = 0.0
    if not 0 < spacing_mm < 10:
        raise ValueError("is no pixel spacing: write millimetres a pixel at the lesion, such as 0.02.")
    return spacing_mm


FIELDS: Mapping[str, Callable[[str], Any]] = {
    "patient_id": str,
    "issuer": str,
    "patient_name": str,
    "birth_date": _date,
    "sex": _one_of(M="male m", F="female f w", O="other o"),
    "accession_number": str,
    "study": str,
    "series": str,
    "lesion": str,
    "body_site": _site,
    "laterality": _one_of(L="left", R="right", B="both", U="unpaired"),
    "view": _number,
    "pixel_spacing_mm": _spacing_mm,
    "acquired_at": _moment,
    "polarization": _yes_or_no("polarized", "non_polarized"),
    "contact": _yes_or_no("contact", "non_contact"),
}
"""Every field that can be stated, and how its text is understood (raises ValueError with the cure)."""
_ATTRIBUTES = {"polarization": "is_polarized", "contact": "is_contact"}
