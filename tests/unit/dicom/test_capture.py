"""The picture of a heat map, as a Secondary Capture that passes for no photograph."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom import Dataset

from dermanode.dicom import gate
from dermanode.dicom.capture import LONGEST_PX, SHORTEST_PX
from dermanode.dicom.encode import EncodingOrder
from dermanode.domain import Code
from dermanode.testing import worked_cases

Make = Callable[..., Any]


def captures(made: Any) -> list[Dataset]:
    found: list[Dataset] = made.datasets("SC")
    return found


def said(item: Dataset) -> list[Dataset]:
    return [item, *(one for child in item.get("ContentSequence", ()) for one in said(child))]


def refusals(made: Any, dataset: Dataset) -> tuple[str, ...]:
    return gate.check(dataset, made.sources, made.others(captures(made)[0]))


def test_there_is_one_a_view_in_a_series_of_their_own(made: Any) -> None:
    assert [d.InstanceNumber for d in captures(made)] == [1, 2]
    assert len({d.SeriesInstanceUID for d in captures(made)}) == 1
    assert {d.SeriesInstanceUID for d in captures(made)}.isdisjoint(e.dataset.SeriesInstanceUID for e in made.objects if e.kind != "SC")
    assert {d.SeriesDescription for d in captures(made)} == {"DermaNode heat map"}


def test_it_says_that_it_is_derived_and_of_which_image(made: Any) -> None:
    for capture, view in zip(captures(made), made.case.series.views, strict=True):
        assert list(capture.ImageType) == ["DERIVED", "SECONDARY"]
        (source,) = capture.SourceImageSequence
        assert (source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID) == (view.sop_class_uid, view.sop_instance_uid)
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert "Grad-CAM heat map of Malignant melanoma of skin" in capture.DerivationDescription
        assert (capture.Modality, capture.ConversionType, capture.ContentQualification) == ("OT", "SYN", "RESEARCH")
        assert capture.PatientID == "P-4711"


def test_a_small_photograph_is_enlarged_so_that_the_legend_can_be_read(made: Any) -> None:
    capture = captures(made)[0]
    assert capture.Columns == SHORTEST_PX
    assert capture.Rows > 96 * 4
    assert capture.pixel_array.shape == (capture.Rows, capture.Columns, 3)
    assert capture.SourceImageSequence[0].SpatialLocationsPreserved == "NO"


def test_a_large_photograph_is_shown_smaller(tmp_path: Path, make_objects: Make) -> None:
    photograph = worked_cases.photograph(1, rows=1200, columns=1600)
    capture = captures(make_objects(worked_cases.worked([photograph], tmp_path)))[0]
    assert capture.Columns == LONGEST_PX
    assert capture.Rows > 768


def test_one_of_a_size_between_keeps_every_pixel_in_its_place(tmp_path: Path, make_objects: Make) -> None:
    made = make_objects(worked_cases.worked([worked_cases.photograph(1, rows=450, columns=600)], tmp_path))
    capture = captures(made)[0]
    assert capture.Columns == 600
    assert capture.SourceImageSequence[0].SpatialLocationsPreserved == "YES"
    assert refusals(made, capture) == ()


def test_colour_lies_where_the_heat_is_and_the_rest_is_grey(tmp_path: Path, make_objects: Make) -> None:
    made = make_objects(worked_cases.worked([worked_cases.photograph(1, rows=448, columns=640)], tmp_path))
    pixels = captures(made)[0].pixel_array[:448].astype(int)
    colour = pixels.max(-1) - pixels.min(-1)
    # The worked map's spot is at a seventh right of the middle ((640 / 14) * 8), half-way down.
    row, column = np.unravel_index(int(colour.argmax()), colour.shape)
    assert abs(row - 227) < 12
    assert abs(column - 369) < 12
    assert colour[:40, :40].max() == 0


@pytest.mark.parametrize("burned_in", ["YES", "NO", None])
def test_burned_in_annotation_is_the_photographs(burned_in: str | None, tmp_path: Path, make_objects: Make) -> None:
    photograph = worked_cases.photograph(1)
    del photograph.BurnedInAnnotation
    if burned_in:
        photograph.BurnedInAnnotation = burned_in
    made = make_objects(worked_cases.worked([photograph], tmp_path))
    assert captures(made)[0].get("BurnedInAnnotation") == burned_in
    assert refusals(made, captures(made)[0]) == ()


def test_a_view_without_a_map_has_no_picture(tmp_path: Path, make_objects: Make) -> None:
    made = make_objects(worked_cases.worked([worked_cases.photograph(n) for n in (1, 2)], tmp_path, empty=frozenset({0})))
    (capture,) = captures(made)
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == made.case.series.views[1].sop_instance_uid


def test_two_stages_with_heat_maps_make_pictures_with_uids_of_their_own(made: Any, make_objects: Make) -> None:
    other = replace(made.case.heat_maps[0], method="Occlusion", concept=Code("130404", "DCM", "Saliency"))
    both = make_objects(made.case.with_finding(other))
    assert len({d.SOPInstanceUID for d in captures(both)}) == 4
    assert {d.ImageComments.split(". ")[1].split(":")[0] for d in captures(both)} == {"Grad-CAM", "Occlusion"}


def test_highdicom_reads_it(made: Any, tmp_path: Path) -> None:
    image = highdicom.imread(worked_cases.save(captures(made)[0], tmp_path))
    np.testing.assert_array_equal(image.get_frame(1, apply_icc_profile=False), captures(made)[0].pixel_array)


def test_the_report_refers_to_every_picture_by_what_it_shows(made: Any) -> None:
    (report,) = made.datasets("SR")
    pictures = {d.SOPInstanceUID for d in captures(made)}
    images = [item for item in said(report) if item.get("ValueType") == "IMAGE"]
    named = [i for i in images if i.ConceptNameCodeSequence[0].CodeValue == "130403"]
    assert {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in named} == pictures
    for item in named:
        finding, method = item.ContentSequence
        assert finding.ConceptCodeSequence[0].CodeMeaning == "Malignant melanoma of skin"
        assert method.TextValue == "Grad-CAM"
    library = [i for i in images if i.ConceptNameCodeSequence[0].CodeValue == "DERIVED"]
    assert {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in library} == pictures
    evidence = {
        i.ReferencedSOPInstanceUID
        for s in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for i in s.ReferencedSOPSequence
    }
    assert pictures <= evidence


def test_the_report_says_what_a_heat_map_is_and_how_much_lies_inside(made: Any) -> None:
    (report,) = made.datasets("SR")
    texts = [str(item.TextValue) for item in said(report) if "TextValue" in item]
    assert any("Of the heat 81 to 81 % lies inside the outline" in text and "does not say that it is right" in text for text in texts)
    shares = [i for i in said(report) if i.get("ValueType") == "NUM" and i.ConceptNameCodeSequence[0].CodeValue == "HEATINSIDE"]
    assert [float(i.MeasuredValueSequence[0].NumericValue) for i in shares] == [81.0, 81.0]


def test_where_no_pictures_are_ordered_the_report_refers_to_none(made: Any, make_objects: Make) -> None:
    order = EncodingOrder(made_at=datetime(2026, 11, 21), pipeline="test", kinds=("SEG", "SR"))
    (report,) = make_objects(made.case, None, order).datasets("SR")
    images = [item.ConceptNameCodeSequence[0].CodeValue for item in said(report) if item.get("ValueType") == "IMAGE"]
    assert {"130403", "DERIVED"}.isdisjoint(images)


BROKEN: dict[str, tuple[Callable[[Dataset], None], str]] = {
    "passes for an original": (lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY"]), "must be DERIVED and SECONDARY"),
    "says not what it shows": (lambda d: delattr(d, "DerivationDescription"), "DerivationDescription is absent"),
    "names no source": (lambda d: delattr(d, "SourceImageSequence"), "SourceImageSequence must name the source images"),
    "lacks pixels": (lambda d: setattr(d, "PixelData", d.PixelData[:-2]), "PixelData has"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_gate_refuses_one_that(name: str, made: Any) -> None:
    change, reason = BROKEN[name]
    broken = deepcopy(captures(made)[0])
    change(broken)
    assert any(reason in one for one in refusals(made, broken))


def test_the_gate_refuses_one_that_hides_what_is_burned_in(tmp_path: Path, make_objects: Make) -> None:
    photograph = worked_cases.photograph(1)
    photograph.BurnedInAnnotation = "YES"
    made = make_objects(worked_cases.worked([photograph], tmp_path))
    broken = deepcopy(captures(made)[0])
    broken.BurnedInAnnotation = "NO"
    assert "BurnedInAnnotation must be YES, as in the source image that is shown." in refusals(made, broken)
