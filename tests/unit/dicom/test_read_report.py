"""A report of ours comes back as the visit that it is; a report of others as far as it goes; and nothing else does harm."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dermanode.dicom.encode import EncodingOrder
from dermanode.dicom.read_report import LARGEST_BYTES, read_report
from dermanode.domain import UID, Case, Classification, Features, LesionKey, Measurement, Progression
from dermanode.domain.codes import MM2, private
from dermanode.errors import UnreadableObject
from dermanode.testing import worked_cases


def written(report: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    buffer = BytesIO()
    copy = deepcopy(report)
    copy.file_meta.TransferSyntaxUID = syntax
    dcmwrite(buffer, copy, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return buffer.getvalue()


def changed(report: Dataset, **values: Any) -> bytes:
    copy = deepcopy(report)
    for keyword, value in values.items():
        if value is None:
            del copy[keyword]
        else:
            setattr(copy, keyword, value)
    return written(copy)


def groups(report: Dataset) -> list[Dataset]:
    measured = next(item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010")
    return list(measured.ContentSequence)


def without_keys(report: Dataset) -> Dataset:
    """As our reports were before each number carried its key."""
    copy = deepcopy(report)
    for group in groups(copy):
        for item in group.ContentSequence:
            if item.ValueType == "NUM":
                item.ContentSequence = [
                    one for one in item.ContentSequence if one.ConceptNameCodeSequence[0].CodeValue not in ("112039", "112040")
                ]
    return copy


def of_another_maker(report: Dataset) -> Dataset:
    copy = without_keys(report)
    copy.Manufacturer, copy.ManufacturerModelName = "Lens & Light", "Reporter"
    return copy


@pytest.fixture(scope="module")
def report(made: Any) -> Dataset:
    """As it is read again: what is about to be written has its codes in bytes, and highdicom's items without theirs cannot be changed."""
    return dcmread(BytesIO(written(made.datasets("SR")[0])))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_report_comes_back_as_the_visit_that_it_is(report: Dataset, made: Any, syntax: str) -> None:
    case: Case = made.case
    read = read_report(written(report, syntax), "the report")
    assert read.sop_instance_uid == report.SOPInstanceUID
    assert (read.patient_id, read.issuer) == ("P-4711", "CLINIC")
    assert read.acquired_at == worked_cases.ACQUIRED_AT.replace(tzinfo=UTC)
    assert read.reported_at == datetime(2026, 11, 21, 12, 0, 5, tzinfo=UTC)
    assert read.source_series == {case.series.series_instance_uid}
    (lesion,) = read.lesions
    assert lesion.key == case.series.lesion
    assert case.features is not None
    assert lesion.outcome.features is not None
    assert lesion.outcome.features.algorithm == case.features.algorithm
    read_back = {m.key: as_followed(m) for m in lesion.outcome.features.measurements}
    read_back.pop("area_change")  # the example's own comparison, in no code of ours
    assert read_back == {m.key: as_followed(m) for m in case.features.measurements}
    classified, risk = lesion.outcome.classification, lesion.outcome.risk
    assert case.classification is not None
    assert classified is not None
    assert classified.algorithm == case.classification.algorithm
    assert classified.is_in_domain
    for now, then in ((classified.diagnosis, case.classification.diagnosis), (classified.groups, case.classification.groups)):
        assert [(one.label, one.concept, one.probability, one.spread) for one in now] == [
            (one.label, one.concept, pytest.approx(one.probability), one.spread) for one in then
        ]
    assert case.risk is not None
    assert risk is not None
    assert (risk.score, risk.level, risk.algorithm) == (pytest.approx(case.risk.score), case.risk.level, case.risk.algorithm)
    assert [(term.name, term.weight, term.value) for term in risk.terms] == [
        (term.name, term.weight, term.value) for term in case.risk.terms
    ]


def as_followed(measurement: Measurement) -> tuple[object, ...]:
    m = measurement
    return m.concept, m.value, m.unit, m.lower, m.upper, m.derivation, m.view_uid


def test_changes_and_judgements_are_not_taken_for_measurements(made: Any, make_objects: Any) -> None:
    features, progression = made.case.finding(Features), made.case.finding(Progression)
    own = replace(features.measurements[0], key="abcd_change", concept=private("DABCD", "Change of the total dermoscopy score"))
    compared = tuple(
        replace(features.measurements[0], key=key, concept=private(code, "A comparison"))
        for key, code in (("area_mm2_change_percent", "CHGAREA"), ("area_mm2_trend", "TRENDAREA"), ("outline_overlap", "REGIOU"))
    )
    case = made.case.with_finding(replace(features, measurements=(*features.measurements, own)))
    case = case.with_finding(replace(progression, changes=compared))
    (lesion,) = read_report(written(make_objects(case).datasets("SR")[0]), "the report").lesions
    assert lesion.outcome.features is not None
    assert {m.key for m in lesion.outcome.features.measurements} == {m.key for m in features.measurements} | {"abcd_change"}
    assert lesion.outcome.features.algorithm == features.algorithm


def test_two_numbers_of_one_code_are_told_apart_by_their_keys(made: Any, make_objects: Any) -> None:
    features = made.case.finding(Features)
    overall = replace(features.measurements[0], key="ellipse_mm2", value=20.0, lower=None, upper=None)
    case = made.case.with_finding(replace(features, measurements=(overall, *features.measurements)))
    (lesion,) = read_report(written(make_objects(case).datasets("SR")[0]), "the report").lesions
    assert lesion.outcome.features is not None
    assert lesion.outcome.features.value("area_mm2") == 21.37
    assert lesion.outcome.features.value("ellipse_mm2") == 20.0


def test_the_probabilities_of_a_strange_picture_are_known_as_such(made: Any, make_objects: Any) -> None:
    strange = replace(made.case.finding(Classification), is_in_domain=False)
    (lesion,) = read_report(written(make_objects(made.case.with_finding(strange)).datasets("SR")[0]), "the report").lesions
    assert lesion.outcome.classification is not None
    assert not lesion.outcome.classification.is_in_domain


def test_a_case_without_findings_makes_a_report_without_lesions(made: Any, make_objects: Any) -> None:
    empty = make_objects(replace(made.case, findings=())).datasets("SR")[0]
    assert read_report(written(empty), "the report").lesions == ()


def test_an_older_report_of_ours_is_read_by_its_codes(report: Dataset) -> None:
    (lesion,) = read_report(written(without_keys(report)), "the report").lesions
    assert lesion.outcome.features is not None
    assert {m.key for m in lesion.outcome.features.measurements} == {
        "area_mm2",
        "perimeter_mm",
        "long_axis_mm",
        "short_axis_mm",
        "max_height_mm",
    }


def test_of_another_maker_only_the_sizes_in_known_codes_are_taken_and_it_is_said(report: Dataset) -> None:
    (lesion,) = read_report(written(of_another_maker(report)), "the report").lesions
    found = lesion.outcome
    assert found.features is not None
    assert {m.key for m in found.features.measurements} == {"area_mm2", "perimeter_mm", "long_axis_mm", "short_axis_mm", "max_height_mm"}
    assert all(m.lower is None for m in found.features.measurements)
    assert (found.classification, found.risk) == (None, None)
    assert "made by Lens & Light Reporter" in found.reports[0].remarks[0]


def test_another_makers_keys_are_not_taken_for_ours(report: Dataset) -> None:
    theirs = deepcopy(report)
    theirs.Manufacturer = "Lens & Light"
    for item in groups(theirs)[0].ContentSequence:
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "131191004":
            item.ContentSequence[0].TextValue = "volume_mm3"
    (lesion,) = read_report(written(theirs), "the report").lesions
    assert lesion.outcome.features is not None
    assert lesion.outcome.features.value("volume_mm3") is None


def test_a_size_in_another_unit_is_not_taken(report: Dataset) -> None:
    theirs = of_another_maker(report)
    for item in groups(theirs)[0].ContentSequence:
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "42798000":
            item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "cm2"
    (lesion,) = read_report(written(theirs), "the report").lesions
    assert lesion.outcome.features is not None
    assert lesion.outcome.features.value("area_mm2") is None


def test_lesions_of_one_report_are_kept_apart(report: Dataset) -> None:
    theirs = of_another_maker(report)
    measured = next(item for item in theirs.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010")
    other = deepcopy(groups(theirs)[0])
    for item in other.ContentSequence:
        if item.ConceptNameCodeSequence[0].CodeValue == "112040":
            item.UID = "1.2.3"
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "42798000":
            item.MeasuredValueSequence[0].NumericValue, item.MeasuredValueSequence[0].FloatingPointValue = "99", 99.0
    measured.ContentSequence = [*measured.ContentSequence, other]
    areas = {
        lesion.key.tracking_uid: lesion.outcome.features.value("area_mm2")
        for lesion in read_report(written(theirs), "the report").lesions
        if lesion.outcome.features
    }
    assert sorted(areas.values()) == [21.37, 99.0]
    assert areas[UID("1.2.3")] == 99.0


def test_names_that_were_made_up_for_the_report_are_not_the_sources(made: Any, make_objects: Any) -> None:
    series = replace(made.case.series, tracking_uid=None, tracking_id=None)
    nameless = make_objects(replace(made.case, series=series)).datasets("SR")[0]
    assert read_report(written(nameless), "the report").lesions[0].key == LesionKey(None, None, "45980000", "L")
    named = make_objects(replace(made.case, series=replace(series, tracking_id="Lesion 3"))).datasets("SR")[0]
    assert read_report(written(named), "the report").lesions[0].key == LesionKey(None, "Lesion 3", "45980000", "L")


def test_without_dates_in_the_image_library_the_visit_is_as_old_as_its_study(report: Dataset) -> None:
    bare = deepcopy(report)
    library = next(item for item in bare.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "111028")
    for entry in library.ContentSequence[0].ContentSequence:
        entry.ContentSequence = [item for item in entry.ContentSequence if item.ValueType not in ("DATE", "TIME")]
    bare.StudyDate, bare.StudyTime = "20251005", "0830"
    assert read_report(written(bare), "the report").acquired_at == datetime(2025, 10, 5, 8, 30, tzinfo=UTC)


def test_times_are_of_the_reports_zone(report: Dataset) -> None:
    read = read_report(changed(report, TimezoneOffsetFromUTC="+0200"), "the report")
    assert read.acquired_at == datetime(2026, 11, 20, 8, 30, tzinfo=UTC)


def test_a_report_names_those_that_it_replaces(made: Any, make_objects: Any) -> None:
    predecessor = ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.4", "1.2.3", "1.2")
    order = EncodingOrder(made_at=datetime(2026, 11, 22), pipeline="dermoscopy-series", predecessor_report=predecessor)
    later = make_objects(made.case, order=order).datasets("SR")[0]
    assert read_report(written(later), "the report").predecessors == {"1.2.3.4"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}, "no imaging measurement report"),
        ({"ConceptNameCodeSequence": []}, "no imaging measurement report"),
        ({"SOPInstanceUID": ""}, "no SOP Instance UID"),
    ],
)
def test_what_is_no_measurement_report_is_refused(report: Dataset, values: dict[str, Any], words: str) -> None:
    with pytest.raises(UnreadableObject, match=words):
        read_report(changed(report, **values), "the report")


def test_a_document_beyond_all_measure_is_not_read() -> None:
    with pytest.raises(UnreadableObject, match="are not read"):
        read_report(b"\0" * (LARGEST_BYTES + 1), "the report")


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"DICM", b"\0" * 128 + b"DICM", b"not DICOM at all" * 30])
def test_what_is_no_dicom_is_unreadable_and_nothing_else(content: bytes) -> None:
    with pytest.raises(UnreadableObject):
        read_report(content, "the report")


def test_damaged_reports_are_read_or_unreadable_and_nothing_else(report: Dataset) -> None:
    whole = written(report)
    dice = random.Random(4)
    read = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(dice.choice((1, 5, 50))):
            damaged[dice.randrange(132, len(damaged))] = dice.randrange(256)
        cut = len(damaged) if dice.random() < 0.7 else dice.randrange(len(damaged))
        try:
            read_report(bytes(damaged[:cut]), "the report")
            read += 1
        except UnreadableObject:
            pass
    assert 0 < read < 300


def test_a_number_that_is_none_is_left_out(report: Dataset) -> None:
    odd = deepcopy(report)
    for item in groups(odd)[0].ContentSequence:
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "42798000":
            item.MeasuredValueSequence[0].FloatingPointValue = float("nan")
            item.MeasuredValueSequence[0].NumericValue = None
    (lesion,) = read_report(written(odd), "the report").lesions
    assert lesion.outcome.features is not None
    assert lesion.outcome.features.value("area_mm2") is None
    assert lesion.outcome.features.value("perimeter_mm") == 17.2
    assert MM2.value not in {m.unit.value for m in lesion.outcome.features.measurements}
