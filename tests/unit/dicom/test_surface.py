from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dermanode.domain import Surface
from dermanode.errors import EncodingError
from dermanode.testing import worked_cases


def with_surface(folder: Path, **changes: Any) -> Any:
    case = worked_cases.case_of([worked_cases.photograph(1), worked_cases.photograph(2)], folder)
    return case.with_finding(replace(worked_cases.surface(case), **changes))


def test_points_and_triangles_come_back_with_indices_from_one(made: Any) -> None:
    mesh = made.datasets("SURFACE_SEG")[0].SurfaceSequence[0]
    surface: Surface = made.case.surface
    points = np.frombuffer(mesh.SurfacePointsSequence[0].PointCoordinatesData, "<f4").reshape(-1, 3)
    triangles = np.frombuffer(mesh.SurfaceMeshPrimitivesSequence[0].LongTrianglePointIndexList, "<u4").reshape(-1, 3)
    np.testing.assert_array_equal(points, surface.vertices)
    np.testing.assert_array_equal(triangles, surface.faces + 1)


def test_the_triangles_of_the_right_handed_frame_agree_with_their_normals(made: Any) -> None:
    mesh = made.datasets("SURFACE_SEG")[0].SurfaceSequence[0]
    points = np.frombuffer(mesh.SurfacePointsSequence[0].PointCoordinatesData, "<f4").reshape(-1, 3)
    normals = np.frombuffer(mesh.SurfacePointsNormalsSequence[0].VectorCoordinateData, "<f4").reshape(-1, 3)
    a, b, c = np.frombuffer(mesh.SurfaceMeshPrimitivesSequence[0].LongTrianglePointIndexList, "<u4").reshape(-1, 3).T - 1
    of_triangles = np.cross(points[b] - points[a], points[c] - points[a])
    assert (np.einsum("ij,ij->i", of_triangles, normals[a]) > 0).mean() > 0.9


def test_relative_heights_are_said_in_the_object(made: Any) -> None:
    dataset = made.datasets("SURFACE_SEG")[0]
    assert "relative" in dataset.ContentDescription
    assert "relative" in dataset.SegmentSequence[0].SegmentLabel
    assert "relative" in dataset.SurfaceSequence[0].SurfaceComments


def test_metric_heights_are_said_to_be_mm(tmp_path: Path, make_objects: Any) -> None:
    dataset = make_objects(with_surface(tmp_path, is_metric=True)).datasets("SURFACE_SEG")[0]
    assert "relative" not in dataset.ContentDescription + dataset.SegmentSequence[0].SegmentLabel


def test_every_view_is_referenced_and_the_used_ones_are_sources_of_the_surface(made: Any) -> None:
    dataset = made.datasets("SURFACE_SEG")[0]
    referenced = [i.ReferencedSOPInstanceUID for s in dataset.ReferencedSeriesSequence for i in s.ReferencedInstanceSequence]
    used = dataset.SegmentSequence[0].ReferencedSurfaceSequence[0].SegmentSurfaceSourceInstanceSequence
    assert referenced == [view.sop_instance_uid for view in made.case.series.views]
    assert [item.ReferencedSOPInstanceUID for item in used] == list(made.case.surface.used_views)


def test_a_surface_without_scale_is_not_made(tmp_path: Path, make_objects: Any) -> None:
    assert make_objects(with_surface(tmp_path, lateral_unit="px")).datasets("SURFACE_SEG") == []


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("faces", np.array([[0, 1, 144]], np.int32), "do not exist"),
        ("faces", np.array([[0, 1, -1]], np.int32), "do not exist"),
        ("vertices", np.full((144, 3), np.nan, np.float32), "finite"),
        ("normals", np.zeros((3, 3), np.float32), "normal"),
    ],
)
def test_a_broken_mesh_is_refused(field: str, value: Any, why: str, tmp_path: Path, make_objects: Any) -> None:
    with pytest.raises(EncodingError, match=why):
        make_objects(with_surface(tmp_path, **{field: value}))
