from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom import Dataset

from dermanode.dicom import gate
from dermanode.dicom.encode import EncodingOrder
from dermanode.domain import UID, Classification, Code, Features, Measurement, PicturedProgression, ViewComparison
from dermanode.domain.codes import MM, MM3, NO_UNITS, private
from dermanode.testing import worked_cases


def items(dataset: Dataset) -> Iterator[Dataset]:
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from items(item)


def named(dataset: Dataset, meaning: str) -> list[Dataset]:
    return [item for item in items(dataset) if item.ConceptNameCodeSequence[0].CodeMeaning == meaning]


def numbers(dataset: Dataset) -> list[Dataset]:
    """The NUM items of the measurement groups, without what they hold themselves."""
    return [item for group in named(dataset, "Measurement Group") for item in group.ContentSequence if item.ValueType == "NUM"]


@pytest.fixture
def report(made: Any) -> Dataset:
    dataset: Dataset = made.datasets("SR")[0]
    return dataset


def test_highdicom_reads_the_report_and_finds_the_planar_groups(made: Any, report: Dataset, tmp_path: Path) -> None:
    content = highdicom.sr.srread(worked_cases.save(report, tmp_path)).content
    groups = content.get_planar_roi_measurement_groups()
    assert len(groups) == 3
    assert groups[0].tracking_uid == made.case.series.tracking_uid
    assert groups[1].referenced_segmentation_frame.referenced_sop_instance_uid == made.datasets("SEG")[0].SOPInstanceUID


def meanings(dataset: Dataset) -> list[str]:
    return [item.ConceptNameCodeSequence[0].CodeMeaning for item in numbers(dataset)]


def value(item: Dataset) -> float:
    return float(item.MeasuredValueSequence[0].NumericValue)


def test_the_first_five_numbers_are_the_lesions_size_and_its_risk(report: Dataset) -> None:
    assert meanings(report)[:5] == ["Area", "Long axis", "Short axis", "Perimeter", "Risk score"]


def test_volume_and_height_come_before_the_area(made: Any, make_objects: Any) -> None:
    volume = Measurement(key="volume_mm3", concept=Code("RNU0", "IBSI", "Volume of Mesh"), value=12.5, unit=MM3)
    height = Measurement(
        key="max_height_mm",
        concept=Code("121207", "DCM", "Height"),
        value=0.8,
        unit=MM,
        lower=0.7,
        upper=0.9,
        derivation=Code("56851009", "SCT", "Maximum"),
    )
    metric = replace(made.case.surface, is_metric=True, measurements=(height, volume))
    report = make_objects(made.case.with_finding(metric)).datasets("SR")[0]
    assert meanings(report)[:5] == ["Volume of Mesh", "Height", "Area", "Long axis", "Risk score"]
    assert ends_of(numbers(report)[1]) == {"LOWER90": (0.7, "mm"), "UPPER90": (0.9, "mm")}


def test_no_number_is_told_twice(report: Dataset, made: Any) -> None:
    features, shares = made.case.features.measurements, 5
    heat, risk, change, views_used = 2, 3, 1, 1
    assert len(numbers(report)) == len(features) + shares + heat + risk + change + views_used + 2  # the masks' confidences


def test_the_report_says_how_far_the_surface_is_to_be_trusted(made: Any, make_objects: Any) -> None:
    known = replace(made.case.surface, tilt_deg=2.5, reprojection_error_px=0.41, confidence=0.87)
    report = make_objects(made.case.with_finding(known)).datasets("SR")[0]
    facts = {item.ConceptNameCodeSequence[0].CodeValue: item for item in numbers(report)}
    told = {code: (value(facts[code]), unit_of(facts[code])) for code in ("TILT", "REPROJ", "CONFSURF", "VIEWSUSED")}
    assert told == {"TILT": (2.5, "deg"), "REPROJ": (0.41, "{pixels}"), "CONFSURF": (0.87, "1"), "VIEWSUSED": (1, "1")}


def test_what_the_surface_does_not_know_of_itself_is_not_told(report: Dataset) -> None:
    assert {"TILT", "REPROJ", "CONFSURF"}.isdisjoint(item.ConceptNameCodeSequence[0].CodeValue for item in numbers(report))


def unit_of(item: Dataset) -> str:
    code: str = item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue
    return code


def test_trends_are_numbers_with_their_interval(made: Any, make_objects: Any) -> None:
    per_30_days = Code("%/(30.d)", "UCUM", "percent per 30 days")
    slope = Measurement(key="volume_trend", concept=private("TRENDVOL", "Trend"), value=4.0, unit=per_30_days, lower=3.0, upper=5.5)
    progression = replace(made.case.progression, trends=(slope,))
    report = make_objects(made.case.with_finding(progression)).datasets("SR")[0]
    (trend,) = [item for item in numbers(report) if item.ConceptNameCodeSequence[0].CodeValue == "TRENDVOL"]
    assert (value(trend), unit_of(trend)) == (4.0, "%/(30.d)")
    assert ends_of(trend) == {"LOWER90": (3.0, "%/(30.d)"), "UPPER90": (5.5, "%/(30.d)")}


def ends_of(number: Dataset) -> dict[str, tuple[float, str]]:
    """Code value to value and unit of what the number's interval holds."""
    within = [c for c in number.ContentSequence if c.RelationshipType == "HAS PROPERTIES"]
    return {
        end.ConceptNameCodeSequence[0].CodeValue: (
            value(end),
            unit_of(end),
        )
        for container in within
        for end in container.ContentSequence
    }


def test_an_interval_is_a_property_of_its_value(report: Dataset) -> None:
    (area,) = named(report, "Area")
    assert ends_of(area) == {"LOWER90": (20.1, "mm2"), "UPPER90": (22.9, "mm2")}


@pytest.mark.parametrize("ends", [(None, 22.0), (20.0, float("inf"))], ids=["half", "endless"])
def test_half_an_interval_is_not_written(ends: Any, made: Any, make_objects: Any) -> None:
    features = made.case.finding(Features)
    first, *rest = features.measurements
    changed = replace(features, measurements=(replace(first, lower=ends[0], upper=ends[1]), *rest))
    report = make_objects(made.case.with_finding(changed)).datasets("SR")[0]
    (area,) = named(report, "Area")
    assert ends_of(area) == {}


def test_the_outline_is_closed_and_in_the_image(report: Dataset, made: Any) -> None:
    (region,) = named(report, "Image Region")
    points = np.array(region.GraphicData).reshape(-1, 2)
    assert region.GraphicType == "POLYLINE"
    assert points[0].tolist() == points[-1].tolist()
    assert points.min() >= 0
    assert (points.max(axis=0) <= (128, 96)).all()


def test_class_probabilities_are_percentages_of_coded_findings(report: Dataset) -> None:
    first = named(report, "Probability")[0]
    assert float(first.MeasuredValueSequence[0].NumericValue) == pytest.approx(62)
    assert first.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "%"
    assert first.ContentSequence[0].ConceptCodeSequence[0].CodeValue == worked_cases.MELANOMA.value


def test_risk_is_given_as_score_level_parts_and_recommendation(report: Dataset) -> None:
    assert float(named(report, "Risk score")[0].MeasuredValueSequence[0].NumericValue) == pytest.approx(0.61)
    assert named(report, "Risk level")[0].ConceptCodeSequence[0].CodeMeaning == "High risk"
    (part,) = named(report, "Contribution to the risk score: malignancy")
    assert value(part) == pytest.approx(0.42)
    made_of = {c.ConceptNameCodeSequence[0].CodeValue: value(c) for c in part.ContentSequence if c.RelationshipType == "INFERRED FROM"}
    assert made_of == {"RISKWEIGHT": 0.7, "RISKVALUE": 0.6}
    assert "weight 0.70 x value 0.60" in named(report, "Parts of the risk score")[0].TextValue
    assert named(report, "Recommendation")[0].TextValue == "See a dermatologist within two weeks."


def test_every_number_names_its_algorithm(report: Dataset) -> None:
    for item in numbers(report):
        names = [c.ConceptNameCodeSequence[0].CodeMeaning for c in item.ContentSequence]
        assert {"Algorithm Name", "Algorithm Version"} <= set(names)


def test_earlier_visits_views_left_out_and_alerts_are_said_in_words(solid: Any) -> None:
    report = solid.datasets("SR")[0]
    visits = [item.TextValue for item in named(report, "Earlier visit of the lesion")]
    assert visits == [
        "2026-05-22: Volume of Mesh 14.2 mm3 (13.77 to 14.63 mm3)",
        "2026-08-21: Volume of Mesh 17.9 mm3 (17.36 to 18.44 mm3)",
    ]
    assert [item.TextValue[:39] for item in named(report, "Alert")] == ["Volume rose by 24 % since the last visi"]
    left_out = solid.case.surface.dropped_views[0][0]
    assert any(item.TextValue.startswith(f"View {left_out} was not used for the surface: blurred") for item in named(report, "Remark"))
    (intervals,) = named(report, "Intervals of the measurements")
    assert "Height, Maximum 1.18 to 1.22 mm" in intervals.TextValue
    assert "Change of area since the last visit -2 to 5 %" in intervals.TextValue


def test_a_metric_case_shows_volume_height_area_axis_and_risk(solid: Any) -> None:
    report = solid.datasets("SR")[0]
    assert meanings(report)[:5] == ["Volume of Mesh", "Height", "Area", "Long axis", "Risk score"]
    assert ends_of(numbers(report)[0]).keys() == {"LOWER90", "UPPER90"}


def test_what_a_view_laid_over_an_earlier_one_shows_is_a_number_of_that_view(made: Any, make_objects: Any) -> None:
    view, blank = made.case.series.views[1].sop_instance_uid, np.zeros((2, 2, 3), np.uint8)
    pair = ViewComparison(
        sop_instance_uid=view,
        prior_case_id="case-0",
        prior_view_uid=UID("1.2.3"),
        to_prior=np.eye(3),
        now=blank,
        then=blank,
        difference=blank,
        measurements=(Measurement(key="overlap", concept=private("REGIOU", "Overlap of outlines"), value=0.9, unit=NO_UNITS),),
    )
    before = made.case.progression
    pictured = PicturedProgression(algorithm=before.algorithm, priors=before.priors, changes=before.changes, comparisons=(pair,))
    report = make_objects(made.case.with_finding(pictured)).datasets("SR")[0]
    (overlap,) = named(report, "Overlap of outlines")
    (image,) = [item for item in overlap.ContentSequence if item.ValueType == "IMAGE"]
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == view
    assert any("laid over view 1.2.3 of the earlier visit case-0" in item.TextValue for item in named(report, "Remark"))


def test_what_limits_the_numbers_is_said_in_words(report: Dataset) -> None:
    said = [item.TextValue for item in items(report) if item.ValueType == "TEXT"]
    assert any(text.startswith("Research use.") for text in said)
    assert "volume_mm3 not measured: the surface's heights are relative" in said
    assert "Risk score without volume: no metric surface" in said
    assert "Δ against the healthy skin ± 3 %" in said
    assert "90 % intervals: Area 20.1 to 22.9 mm2" in said
    assert "The area grew by 12 % in 90 days." in said


def test_the_report_is_complete_preliminary_and_unverified(report: Dataset) -> None:
    flags = (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag, report.ContentQualification)
    assert flags == ("COMPLETE", "PRELIMINARY", "UNVERIFIED", "RESEARCH")


def test_evidence_holds_every_source_and_result(report: Dataset, made: Any) -> None:
    listed = {
        i.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for i in series.ReferencedSOPSequence
    }
    expected = {view.sop_instance_uid for view in made.case.series.views} | {d.SOPInstanceUID for d in made.others(report)}
    assert listed == expected


def test_the_image_library_holds_every_view(report: Dataset, made: Any) -> None:
    (library,) = named(report, "Image Library")
    listed = [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in items(library) if i.ValueType == "IMAGE"]
    pictures = [d.SOPInstanceUID for d in made.datasets("SC")]
    assert listed == [*(view.sop_instance_uid for view in made.case.series.views), *pictures]


def test_a_report_that_supersedes_points_to_its_predecessor(made: Any, make_objects: Any, report: Dataset) -> None:
    before = (report.SOPClassUID, report.SOPInstanceUID, report.SeriesInstanceUID, report.StudyInstanceUID)
    order = EncodingOrder(made_at=worked_cases.ACQUIRED_AT, pipeline="p", predecessor_report=before)
    revised = make_objects(replace(made.case, revision=2), None, order).datasets("SR")[0]
    study = revised.PredecessorDocumentsSequence[0]
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == report.SOPInstanceUID


def test_without_a_mask_the_numbers_stand_in_a_group_without_a_region(tmp_path: Path, make_objects: Any) -> None:
    case = worked_cases.case_of([worked_cases.photograph(1)], tmp_path)
    report = make_objects(replace(case, findings=worked_cases.numbers(case))).datasets("SR")[0]
    groups = named(report, "Measurement Group")
    assert [group.ContentTemplateSequence[0].TemplateIdentifier for group in groups] == ["1501"]


def test_the_best_view_is_outlined(tmp_path: Path, make_objects: Any) -> None:
    case = worked_cases.case_of([worked_cases.photograph(n) for n in (1, 2, 3)], tmp_path)
    found = worked_cases.segmentation(case)
    surest = replace(found.masks[2], confidence=0.99, touches_border=True)
    better = replace(found.masks[1], confidence=0.95)
    report = make_objects(case.with_finding(replace(found, masks=(found.masks[0], better, surest)))).datasets("SR")[0]
    (region,) = named(report, "Image Region")
    assert region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == better.sop_instance_uid


def test_an_image_unlike_the_training_images_is_an_alert(made: Any, make_objects: Any) -> None:
    strange = replace(made.case.finding(Classification), is_in_domain=False)
    report = make_objects(made.case.with_finding(strange)).datasets("SR")[0]
    assert "unlike those the classifier was trained on" in named(report, "Alert")[0].TextValue


def test_a_feature_that_is_no_number_is_left_out_and_said(made: Any, make_objects: Any) -> None:
    features = made.case.finding(Features)
    first, *rest = features.measurements
    broken = replace(features, measurements=(replace(first, value=float("nan")), *rest))
    report = make_objects(made.case.with_finding(broken)).datasets("SR")[0]
    assert named(report, "Area") == []
    assert any("area_mm2 not measured" in item.TextValue for item in named(report, "Measurement not made"))


def test_a_probability_that_is_no_number_is_left_out_and_said(made: Any, make_objects: Any) -> None:
    classification = made.case.finding(Classification)
    first, *rest = classification.diagnosis
    broken = replace(classification, diagnosis=(replace(first, probability=float("nan")), *rest))
    report = make_objects(made.case.with_finding(broken)).datasets("SR")[0]
    assert len(named(report, "Probability")) == 4
    assert "probability of MEL not measured: its value was nan" in [item.TextValue for item in named(report, "Measurement not made")]


def test_a_mask_that_fits_no_image_does_not_cost_the_report(made: Any, make_objects: Any) -> None:
    found = made.case.segmentation
    small = replace(found, masks=tuple(replace(mask, mask=mask.mask[::2, ::2]) for mask in found.masks))
    order = EncodingOrder(made_at=worked_cases.ACQUIRED_AT, pipeline="p", kinds=("SR",))
    only = make_objects(made.case.with_finding(small), None, order)
    assert named(only.datasets("SR")[0], "Image Region") == []
    assert gate.check(only.datasets("SR")[0], made.sources) == ()
