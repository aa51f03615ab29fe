"""Heights and heat as numbers, in the planes they belong to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from dermanode.testing import worked_cases


def heights_of(made: Any) -> Dataset:
    (found,) = [one for one in made.datasets("PMAP") if one.ContentLabel == "HEIGHTS"]
    return found


def saliency_of(made: Any) -> list[Dataset]:
    return [one for one in made.datasets("PMAP") if one.ContentLabel == "SALIENCY"]


def values(dataset: Dataset) -> np.ndarray:
    return np.frombuffer(dataset.FloatPixelData, "<f4").reshape(dataset.Rows, dataset.Columns)


def plane(dataset: Dataset) -> tuple[list[float], list[float], list[float]]:
    shared, (frame,) = dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence
    groups = {element.keyword: element.value[0] for group in (shared, frame) for element in group if element.VR == "SQ" and element.value}
    return (
        [float(mm) for mm in groups["PlanePositionSequence"].ImagePositionPatient],
        [float(one) for one in groups["PlaneOrientationSequence"].ImageOrientationPatient],
        [float(mm) for mm in groups["PixelMeasuresSequence"].PixelSpacing],
    )


def test_heights_lie_where_the_surface_is(everything: Any) -> None:
    found, field = heights_of(everything), everything.case.surface.height_field
    (surface,) = everything.datasets("SURFACE_SEG")
    assert found.FrameOfReferenceUID == surface.FrameOfReferenceUID
    position, orientation, spacing = plane(found)
    assert position == pytest.approx([field.left, field.top, 0])
    assert orientation == [1, 0, 0, 0, -1, 0]  # down a row is towards smaller y
    assert spacing == pytest.approx([field.step, field.step])
    np.testing.assert_array_equal(values(found), field.heights)


def mapping_of(dataset: Dataset) -> Dataset:
    return next(
        group.RealWorldValueMappingSequence[0]
        for group in (*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence)
        if "RealWorldValueMappingSequence" in group
    )


def test_values_have_a_unit_and_a_quantity(everything: Any) -> None:
    height, heat = mapping_of(heights_of(everything)), mapping_of(saliency_of(everything)[0])
    told = [
        (one.MeasurementUnitsCodeSequence[0].CodeValue, one.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue)
        for one in (height, heat)
    ]
    assert told == [("mm", "121207"), ("1", "130403")]


def test_a_height_that_is_not_known_is_padding(everything: Any, make_objects: Any, all_kinds: Any) -> None:
    field = everything.case.surface.height_field
    holes = field.heights.copy()
    holes[0, :3] = np.nan
    surface = replace(everything.case.surface, height_field=replace(field, heights=holes))
    found = heights_of(make_objects(everything.case.with_finding(surface), None, replace(all_kinds, kinds=("PMAP",))))
    assert (values(found)[0, :3] == found.FloatPixelPaddingValue).all()
    assert mapping_of(found).DoubleFloatRealWorldValueFirstValueMapped > -1


def test_relative_heights_make_no_map_and_the_report_says_why(made: Any, make_objects: Any, all_kinds: Any) -> None:
    again = make_objects(made.case, None, replace(all_kinds, kinds=("PMAP", "SR")))
    assert [one.ContentLabel for one in again.datasets("PMAP")] == ["SALIENCY", "SALIENCY"]
    said = [item.TextValue for item in again.datasets("SR")[0].ContentSequence[-1].ContentSequence if item.ValueType == "TEXT"]
    assert any(text.startswith("Parametric Map of heights not made: ") for text in said)


def test_heat_lies_over_its_view(tmp_path: Path, make_objects: Any, all_kinds: Any) -> None:
    photograph = worked_cases.photograph(1, rows=600, columns=800, spacing_mm=0.02)
    made = make_objects(worked_cases.worked([photograph], tmp_path), None, all_kinds)
    (found,), (seg,) = saliency_of(made), made.datasets("SEG")
    assert (found.Rows, found.Columns) == (384, 512)
    assert found.FrameOfReferenceUID == seg.FrameOfReferenceUID
    position, _, spacing = plane(found)
    assert spacing == pytest.approx([0.02 * 800 / 512] * 2)
    row, column = np.unravel_index(int(values(found).argmax()), (384, 512))
    there = position[0] + column * spacing[1], position[1] + row * spacing[0]
    heat_map = made.case.heat_maps[0].maps[0]
    row, column = np.unravel_index(int(heat_map.heat.argmax()), heat_map.heat.shape)
    expected = (heat_map.to_source @ [column, row, 1])[:2] * 0.02
    assert there == pytest.approx(tuple(expected), abs=8 * 0.02)


def test_highdicom_and_pydicom_read_both(everything: Any, tmp_path: Path) -> None:
    for found in everything.datasets("PMAP"):
        path = worked_cases.save(found, tmp_path)
        # highdicom 0.28 knows the planes of such a map, but asks for Pixel Representation, which maps of floats have not.
        affine = highdicom.imread(path).get_volume_geometry().affine
        assert affine[:3, 3] == pytest.approx(plane(found)[0])
        np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, values(found))


def test_heights_and_heat_are_two_series(everything: Any) -> None:
    numbers = {one.ContentLabel: (one.SeriesInstanceUID, one.SeriesNumber) for one in everything.datasets("PMAP")}
    assert len(set(numbers.values())) == 2
