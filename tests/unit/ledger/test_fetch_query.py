"""Exact names, never patterns."""

from __future__ import annotations

from datetime import date

import pytest

from dermanode.errors import QueryRefused
from dermanode.ledger.fetch_query import FetchQuery, StudyDates


@pytest.mark.parametrize("text", ["P*", "P-?", "P1\\P2", "P\n1", "P" * 65])
def test_a_patient_id_that_could_mean_others_is_refused(text: str) -> None:
    with pytest.raises(QueryRefused):
        FetchQuery.parse(patient_id=text)


@pytest.mark.parametrize("text", ["*", "A?", "A1\\A2", "A" * 17])
def test_an_accession_number_that_could_mean_others_is_refused(text: str) -> None:
    with pytest.raises(QueryRefused):
        FetchQuery.parse(accession_number=text)


def test_a_query_for_nothing_would_mean_everything_and_is_refused() -> None:
    with pytest.raises(QueryRefused, match="Nothing was named"):
        FetchQuery.parse(patient_id="  ")


def test_an_issuer_alone_is_refused() -> None:
    with pytest.raises(QueryRefused, match="without a patient id"):
        FetchQuery.parse(issuer_of_patient_id="CLINIC")


@pytest.mark.parametrize("keyword", ["study_instance_uid", "series_instance_uid"])
@pytest.mark.parametrize("text", ["1.2.*", "1.2\\1.3", "x"])
def test_a_uid_that_is_none_is_refused(keyword: str, text: str) -> None:
    with pytest.raises(QueryRefused):
        FetchQuery.parse(**{keyword: text})


@pytest.mark.parametrize(
    ("text", "dicom"),
    [
        ("2026-11-01", "20261101"),
        ("20261101", "20261101"),
        ("2026-11-01..2026-11-28", "20261101-20261128"),
        ("20261101-20261128", "20261101-20261128"),
        ("2026-11-01..", "20261101-"),
        ("..2026-11-28", "-20261128"),
    ],
)
def test_days_are_read_as_people_and_as_dicom_write_them(text: str, dicom: str) -> None:
    assert StudyDates.parse(text).dicom == dicom
    assert StudyDates.parse(dicom) == StudyDates.parse(text)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "..", "2026-11-28..2026-11-01", "2026-11"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(QueryRefused):
        StudyDates.parse(text)


def test_the_ends_of_a_range_belong_to_it() -> None:
    dates = StudyDates.parse("2026-11-01..2026-11-03")
    assert [day for day in range(1, 6) if dates.has(date(2026, 11, day))] == [1, 2, 3]
    assert not dates.has(date(2026, 10, 31))


def test_a_query_is_the_same_after_json() -> None:
    query = FetchQuery.parse(
        patient_id="Ä-1", issuer_of_patient_id="CLINIC", accession_number="A1", study_date="..2026-11-28", series_instance_uid="1.2.3"
    )
    assert FetchQuery.from_json(query.to_json()) == query
    assert query.words.startswith("patient id Ä-1, issuer of patient id CLINIC, accession number A1")
