from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dermanode.dicom.tracking import stated_by_source, tracking_of
from dermanode.domain import UID, LesionKey, Series
from dermanode.testing import worked_cases


def series(folder: Path) -> Series:
    return worked_cases.case_of([worked_cases.photograph(1)], folder).series


def test_the_tracking_uid_of_the_source_is_kept(tmp_path: Path) -> None:
    source = series(tmp_path)
    assert tracking_of(source).uid == source.tracking_uid


def test_two_visits_with_one_tracking_id_have_one_uid(tmp_path: Path) -> None:
    first = replace(series(tmp_path), tracking_uid=None)
    second = replace(first, series_instance_uid=UID("1.2.3"))
    assert tracking_of(first) == tracking_of(second)


def test_the_same_tracking_id_of_two_patients_is_two_lesions(tmp_path: Path) -> None:
    first = replace(series(tmp_path), tracking_uid=None)
    second = replace(first, patient=replace(first.patient, patient_id="P-2"))
    assert tracking_of(first).uid != tracking_of(second).uid


def test_without_any_identifier_a_lesion_is_that_of_its_series(tmp_path: Path) -> None:
    first = replace(series(tmp_path), tracking_uid=None, tracking_id=None)
    second = replace(first, series_instance_uid=UID("1.2.3"))
    assert tracking_of(first).uid != tracking_of(second).uid


def test_what_the_source_said_comes_back_from_what_the_report_says(tmp_path: Path) -> None:
    source = series(tmp_path)
    for one in (
        source,
        replace(source, tracking_uid=None),
        replace(source, tracking_uid=None, laterality=""),
        replace(source, tracking_id=None),
    ):
        said = tracking_of(one)
        shown = LesionKey(said.uid, said.identifier, one.lesion.body_site, one.laterality)
        assert stated_by_source(shown, one.patient, [one.series_instance_uid]) == one.lesion


def test_left_and_right_are_two_lesions(tmp_path: Path) -> None:
    left = replace(series(tmp_path), tracking_uid=None, laterality="L")
    assert tracking_of(left).uid != tracking_of(replace(left, laterality="R")).uid
