from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dermanode.dicom import gate
from dermanode.dicom.encode import EncodingOrder
from dermanode.domain import StageReport, StageStatus
from dermanode.errors import EncodingError
from dermanode.testing import worked_cases

Make = Callable[..., Any]
ORDER = EncodingOrder(made_at=datetime(2026, 11, 21, 12, 0, 5), pipeline="dermoscopy-series")


def written(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def said(dataset: Dataset) -> list[str]:
    return [
        *([dataset.TextValue] if "TextValue" in dataset else []),
        *(t for item in dataset.get("ContentSequence", ()) for t in said(item)),
    ]


def refused(made: Any) -> list[str]:
    return [reason for e in made.objects for reason in gate.check(e.dataset, made.sources, made.others(e.dataset))]


def test_a_full_case_makes_a_seg_and_a_heat_map_for_each_view_a_surface_and_a_report(made: Any) -> None:
    assert [encoded.kind for encoded in made.objects] == ["SEG", "SEG", "SURFACE_SEG", "SC", "SC", "SR"]
    assert refused(made) == []


def test_encoding_twice_gives_identical_bytes(made: Any, make_objects: Make) -> None:
    again = make_objects(made.case, made.outcome)
    assert [written(e.dataset) for e in again.objects] == [written(e.dataset) for e in made.objects]


def test_everything_that_can_be_ordered_is_made_twice_alike(everything: Any, make_objects: Make, all_kinds: EncodingOrder) -> None:
    again = make_objects(everything.case, everything.outcome, all_kinds)
    assert [written(e.dataset) for e in again.objects] == [written(e.dataset) for e in everything.objects]
    assert {e.kind for e in everything.objects} == set(all_kinds.kinds)
    assert refused(everything) == []


def test_every_series_has_a_number_and_a_place_of_its_own(everything: Any) -> None:
    numbers = {(e.dataset.SeriesInstanceUID, e.dataset.SeriesNumber) for e in everything.objects}
    assert len({uid for uid, _ in numbers}) == len({number for _, number in numbers}) == len(numbers) == 11


def test_a_new_revision_gets_other_uids_in_series_of_its_own(made: Any, make_objects: Make) -> None:
    revised = make_objects(replace(made.case, revision=2), replace(made.outcome, revision=2))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber"):
        assert {e.dataset[keyword].value for e in made.objects}.isdisjoint(e.dataset[keyword].value for e in revised.objects)


def test_a_retrained_model_gets_other_uids(made: Any, make_objects: Make) -> None:
    first, *rest = made.case.findings
    retrained = replace(first, algorithm=replace(first.algorithm, weights_digest="f" * 64))
    again = make_objects(replace(made.case, findings=(retrained, *rest)))
    assert made.objects[0].dataset.SOPInstanceUID != again.objects[0].dataset.SOPInstanceUID


def test_results_are_in_the_study_of_their_sources_and_the_segs_in_one_new_series(made: Any) -> None:
    datasets = [encoded.dataset for encoded in made.objects]
    assert {d.StudyInstanceUID for d in datasets} == {made.case.series.study_instance_uid}
    assert len({d.SeriesInstanceUID for d in made.datasets("SEG")}) == 1
    assert made.case.series.series_instance_uid not in {d.SeriesInstanceUID for d in datasets}
    assert [d.InstanceNumber for d in made.datasets("SEG")] == [1, 2]


def test_only_the_kinds_that_were_ordered_are_made(made: Any, make_objects: Make) -> None:
    only = make_objects(made.case, made.outcome, replace(ORDER, kinds=("SR",)))
    assert [encoded.kind for encoded in only.objects] == ["SR"]
    assert refused(only) == []


def test_every_object_carries_the_time_of_the_order(made: Any) -> None:
    for encoded in made.objects:
        assert (encoded.dataset.ContentDate, encoded.dataset.ContentTime) == ("20261121", "120005.000000")


def test_times_are_written_in_the_zone_of_the_source(tmp_path: Path, make_objects: Make) -> None:
    photograph = worked_cases.photograph(1)
    photograph.TimezoneOffsetFromUTC = "+0530"
    order = replace(ORDER, made_at=datetime(2026, 11, 21, 22, 0, 0, tzinfo=UTC))
    made = make_objects(worked_cases.worked([photograph], tmp_path), None, order)
    assert {(e.dataset.ContentDate, e.dataset.ContentTime) for e in made.objects} == {("20261122", "033000.000000")}
    assert datetime(2026, 11, 22, 3, 30, tzinfo=timezone(timedelta(hours=5.5))) == order.made_at


def test_each_algorithm_is_contributing_equipment_once(made: Any) -> None:
    report = made.datasets("SR")[0]
    items = report.ContributingEquipmentSequence
    assert len(items) == len(made.case.findings)
    assert {item.PurposeOfReferenceCodeSequence[0].CodeMeaning for item in items} == {"Processing Algorithm"}
    assert len({item.DeviceUID for item in items}) == len(items)


def test_a_case_where_everything_failed_still_gets_a_report(tmp_path: Path, make_objects: Make) -> None:
    case = worked_cases.case_of([worked_cases.photograph(1)], tmp_path)
    reports = (
        StageReport(stage="segment", status=StageStatus.FAILED, plugin="acme", reason="missed its deadline of 30 s"),
        StageReport(stage="risk", status=StageStatus.NOT_SERVED, reason="no plugin is named for it"),
    )
    made = make_objects(case, worked_cases.outcome_of(case, reports))
    assert [encoded.kind for encoded in made.objects] == ["SR"]
    assert refused(made) == []
    text = said(made.objects[0].dataset)
    assert "segmentation not performed: missed its deadline of 30 s (acme)" in text
    assert "risk estimation not performed: no plugin is named for it" in text


@pytest.mark.parametrize("views", [1, 3])
def test_unknown_pixel_spacing_is_said_in_the_report(views: int, tmp_path: Path, make_objects: Make) -> None:
    photographs = [worked_cases.photograph(n + 1, spacing_mm=None) for n in range(views)]
    made = make_objects(worked_cases.worked(photographs, tmp_path, lateral_unit="px"))
    assert [encoded.kind for encoded in made.objects] == ["SEG"] * views + ["SC"] * views + ["SR"]
    assert refused(made) == []
    text = " ".join(said(made.datasets("SR")[0]))
    assert "Pixel spacing is unknown" in text
    assert "Surface Segmentation object not made: the surface has no scale" in text


def test_a_view_without_a_lesion_gets_an_empty_seg_that_says_so(tmp_path: Path, make_objects: Make) -> None:
    photographs = [worked_cases.photograph(n) for n in (1, 2)]
    made = make_objects(worked_cases.worked(photographs, tmp_path, empty=frozenset({0})))
    empty, full = made.datasets("SEG")
    assert not empty.pixel_array.any()
    assert "No lesion" in empty.ContentDescription
    assert full.pixel_array.any()
    assert "its segmentation is empty" in " ".join(said(made.datasets("SR")[0]))
    assert refused(made) == []


def test_a_mask_at_another_resolution_than_its_image_is_refused(tmp_path: Path, make_objects: Make) -> None:
    case = worked_cases.case_of([worked_cases.photograph(1)], tmp_path)
    found = worked_cases.segmentation(case)
    small = replace(found, masks=(replace(found.masks[0], mask=found.masks[0].mask[::2, ::2]),))
    with pytest.raises(EncodingError, match="source resolution"):
        make_objects(case.with_finding(small))


def test_two_masks_of_one_view_are_refused(tmp_path: Path, make_objects: Make) -> None:
    case = worked_cases.case_of([worked_cases.photograph(1)], tmp_path)
    found = worked_cases.segmentation(case)
    with pytest.raises(EncodingError, match="more than one mask"):
        make_objects(case.with_finding(replace(found, masks=found.masks * 2)))


@pytest.mark.parametrize(
    "sop_class", ["1.2.840.10008.5.1.4.1.1.6", "1.2.3.4.5", "1.2.840.10008.5.1.4.1.1.7.4"], ids=["retired", "private", "multi-frame"]
)
def test_a_source_of_any_class_is_referred_to_by_its_own_class(sop_class: str, tmp_path: Path, make_objects: Make) -> None:
    photograph = worked_cases.photograph(1)
    photograph.SOPClassUID = photograph.file_meta.MediaStorageSOPClassUID = sop_class
    made = make_objects(worked_cases.worked([photograph], tmp_path))
    assert refused(made) == []
    referred = {s for e in made.objects for _, s, uid in gate.references(e.dataset) if uid == photograph.SOPInstanceUID}
    assert referred == {sop_class}
