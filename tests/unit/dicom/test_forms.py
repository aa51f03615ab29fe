"""The forms of a segmentation that are made on request: the fractional one and the label map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest

from dermanode.testing import worked_cases


def test_a_fractional_segmentation_holds_the_probability_the_mask_was_cut_from(everything: Any) -> None:
    seg, mask = everything.datasets("SEG_FRACTIONAL")[0], everything.case.segmentation.masks[0]
    assert (seg.SegmentationType, seg.SegmentationFractionalType, seg.MaximumFractionalValue) == ("FRACTIONAL", "PROBABILITY", 255)
    shares = seg.pixel_array / 255
    # A point more or less lies just on the border.
    assert ((shares > 0.5) == mask.mask).mean() > 0.99
    assert shares.max() > 0.95


def test_a_view_without_a_probability_makes_no_fractional_segmentation(everything: Any) -> None:
    views = {image for seg in everything.datasets("SEG_FRACTIONAL") for image in sources_of(seg)}
    assert views == {view.sop_instance_uid for index, view in enumerate(everything.case.series.views) if index != 1}


def sources_of(seg: Any) -> list[str]:
    return [str(item.ReferencedSOPInstanceUID) for one in seg.ReferencedSeriesSequence for item in one.ReferencedInstanceSequence]


def test_without_probabilities_the_report_says_why_there_is_none(made: Any, make_objects: Any, all_kinds: Any) -> None:
    again = make_objects(made.case, None, replace(all_kinds, kinds=("SEG_FRACTIONAL", "SR")))
    assert [encoded.kind for encoded in again.objects] == ["SR"]
    said = "Fractional Segmentation object not made: example-segment gives outlines without the probabilities that they were cut from"
    assert said in [item.TextValue for item in again.objects[0].dataset.ContentSequence[-1].ContentSequence if item.ValueType == "TEXT"]


def test_a_label_map_names_background_and_lesion(everything: Any, tmp_path: Path) -> None:
    labels = everything.datasets("SEG_LABELMAP")
    assert [label.SOPClassUID for label in labels] == ["1.2.840.10008.5.1.4.1.1.66.7"] * 3
    read = highdicom.seg.segread(worked_cases.save(labels[0], tmp_path))
    assert [segment.SegmentNumber for segment in read.SegmentSequence] == [0, 1]
    np.testing.assert_array_equal(labels[0].pixel_array == 1, everything.case.segmentation.masks[0].mask)


def test_each_form_is_a_series_of_its_own_and_names_the_same_segment(everything: Any) -> None:
    forms = ("SEG", "SEG_FRACTIONAL", "SEG_LABELMAP")
    assert len({everything.datasets(form)[0].SeriesInstanceUID for form in forms}) == 3
    assert len({everything.datasets(form)[0].SeriesNumber for form in forms}) == 3
    assert len({everything.datasets(form)[0].FrameOfReferenceUID for form in forms}) == 1
    assert len({everything.datasets(form)[0].SegmentSequence[-1].TrackingUID for form in forms}) == 1


def test_the_report_refers_to_the_binary_form(everything: Any) -> None:
    (report,) = everything.datasets("SR")
    binary = {
        seg.SOPInstanceUID
        for seg, mask in zip(everything.datasets("SEG"), everything.case.segmentation.masks, strict=True)
        if mask.mask.any()
    }
    groups = next(item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010").ContentSequence
    named = {
        reference.ReferencedSOPInstanceUID
        for group in groups
        for item in group.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Referenced Segmentation Frame"
        for reference in item.ReferencedSOPSequence
    }
    assert named == binary


def test_the_probability_stands_where_it_was_found(tmp_path: Path, make_objects: Any, all_kinds: Any) -> None:
    photograph = worked_cases.photograph(1, rows=61, columns=83)  # an odd number of pixels
    case = worked_cases.worked([photograph], tmp_path, has_probability=True)
    made = make_objects(case, None, replace(all_kinds, kinds=("SEG_FRACTIONAL",)))
    (seg,) = made.datasets("SEG_FRACTIONAL")
    probability = made.case.segmentation.masks[0].probability
    assert len(seg.PixelData) == 61 * 83 + 1
    # A point of the grid lies between four pixels here.
    column, row, _ = probability.to_source @ [5, 6, 1]
    around = seg.pixel_array[int(row) : int(row) + 2, int(column) : int(column) + 2]
    assert around.mean() == pytest.approx(255 * float(probability.values[6, 5]), abs=1)
    assert seg.pixel_array[30, 41] > 250
