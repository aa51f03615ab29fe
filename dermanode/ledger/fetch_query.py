"""What is asked of a source: exact names, never patterns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import Self

from dermanode.domain.identifiers import UID
from dermanode.errors import IdentifierError, QueryRefused

LONGEST_PATIENT_ID = 64
LONGEST_ACCESSION_NUMBER = 16


@dataclass(frozen=True, slots=True)
class StudyDates:
    """Days from the first to the last, both included; an open end is None."""

    first: date | None
    last: date | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """`2026-11-01`, `2026-11-01..2026-11-28`, `2026-11-01..`, `..2026-11-28`; `20261101` and DICOM's `-` too. Raises `QueryRefused`."""
        separator = ".." if ".." in text else "-" if text.count("-") == 1 else None
        first, last = text.split(separator, 1) if separator else (text, text)
        dates = cls(_day(first, text), _day(last, text))
        if dates.first is None and dates.last is None:
            raise QueryRefused(f"{text!r} names no day. Write 2026-11-01, or 2026-11-01..2026-11-28.")
        if dates.first and dates.last and dates.last < dates.first:
            raise QueryRefused(f"{text!r} ends before it begins.")
        return dates

    def has(self, day: date) -> bool:
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)

    @property
    def dicom(self) -> str:
        """Range matching of PS3.4 C.2.2.2.5."""
        first, last = (day.strftime("%Y%m%d") if day else "" for day in (self.first, self.last))
        return first if first == last else f"{first}-{last}"


@dataclass(frozen=True, slots=True)
class FetchQuery:
    """Which studies of a source are meant: those that all of its fields that are not empty match."""

    patient_id: str = ""
    issuer_of_patient_id: str = ""
    accession_number: str = ""
    study_dates: StudyDates | None = None
    study_instance_uid: UID | None = None
    series_instance_uid: UID | None = None
    """Only this series of them."""

    @classmethod
    def parse(
        cls,
        *,
        patient_id: str = "",
        issuer_of_patient_id: str = "",
        accession_number: str = "",
        study_date: str = "",
        study_instance_uid: str = "",
        series_instance_uid: str = "",
    ) -> Self:
        """Raises `QueryRefused` for what cannot be meant, above all for wildcards: they would bring other patients' studies."""
        query = cls(
            patient_id=_exact("patient id", patient_id, LONGEST_PATIENT_ID),
            issuer_of_patient_id=_exact("issuer of the patient id", issuer_of_patient_id, LONGEST_PATIENT_ID),
            accession_number=_exact("accession number", accession_number, LONGEST_ACCESSION_NUMBER),
            study_dates=StudyDates.parse(study_date.strip()) if study_date.strip() else None,
            study_instance_uid=_uid("study", study_instance_uid),
            series_instance_uid=_uid("series", series_instance_uid),
        )
        if query == cls():
            raise QueryRefused("Nothing was named: an accession number, a patient id, a study date, or the UID of a study or series.")
        if query.issuer_of_patient_id and not query.patient_id:
            raise QueryRefused("An issuer was named without a patient id. Name the patient id that it gave out.")
        return query

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        return cls.parse(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps({keyword: value for keyword, value in self.fields() if value}, ensure_ascii=False)

    def fields(self) -> tuple[tuple[str, str], ...]:
        """Each field by the name that `parse` gives it; empty where it asks for nothing."""
        return (
            ("patient_id", self.patient_id),
            ("issuer_of_patient_id", self.issuer_of_patient_id),
            ("accession_number", self.accession_number),
            ("study_date", self.study_dates.dicom if self.study_dates else ""),
            ("study_instance_uid", str(self.study_instance_uid or "")),
            ("series_instance_uid", str(self.series_instance_uid or "")),
        )

    @property
    def words(self) -> str:
        """`accession number A1, study date 20261101-20261128`. It names a patient where the query does: not for logs."""
        return ", ".join(f"{keyword.replace('_', ' ').replace(' instance uid', '')} {value}" for keyword, value in self.fields() if value)


def _exact(what: str, text: str, longest: int) -> str:
    """The text itself, and nothing that a PACS would take for a pattern or a list (PS3.4 C.2.2.2.4, PS3.5 6.2)."""
    text = text.strip()
    if any(character in text for character in "*?\\"):
        raise QueryRefused(f"The {what} holds `*`, `?` or `\\`: a PACS would answer with others' studies. Write it in full.")
    if not text.isprintable():
        raise QueryRefused(f"The {what} holds characters that cannot be printed.")
    if len(text) > longest:
        raise QueryRefused(f"The {what} has {len(text)} characters; DICOM allows {longest}.")
    return text


def _uid(what: str, text: str) -> UID | None:
    try:
        return UID(text.strip()) if text.strip() else None
    except IdentifierError as error:
        raise QueryRefused(f"The UID of the {what} is none: digits and dots, at most 64 characters.") from error


def _day(text: str, whole: str) -> date | None:
    text = text.strip()
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise QueryRefused(f"{whole!r} is no day and no range of days. Write 2026-11-01, or 2026-11-01..2026-11-28.") from error
