"""The lesion as a closed mesh, and the check that it bounds a solid."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from dermanode_reconstruct.closed_mesh import ClosedMesh, close, sampled
from dermanode_reconstruct.mesh import Mesh, NoMesh, grid_faces
from dermanode_reconstruct.outline import level_set, sheet
from dermanode_reconstruct.soundness import repaired, soundness
from numpy.typing import NDArray

from dermanode.testing.scenes import Relief, Shape

N, HALF_MM = 257, 7.0
STEP_MM = 2 * HALF_MM / (N - 1)
X, Y = np.meshgrid(np.linspace(-HALF_MM, HALF_MM, N), np.linspace(HALF_MM, -HALF_MM, N))
WAVES = ((2, 0.1, 0.3), (3, 0.08, 1.0), (5, 0.03, 2.0))


def closed(heights: NDArray[Any], mask: NDArray[Any], **more: Any) -> ClosedMesh:
    """On a base that is tilted and bent."""
    base = 0.01 * X**2 - 0.005 * Y**2 + 0.02 * X
    colours = np.stack([np.clip(128 + 15 * X, 0, 255), np.clip(128 + 15 * Y, 0, 255), np.full_like(X, 7)], axis=-1).astype(np.uint8)
    return close(heights.astype(np.float32), base.astype(np.float32), colours, mask, -HALF_MM, HALF_MM, STEP_MM, **more)


def plan_area(mesh: ClosedMesh) -> float:
    """Of the top, seen from above."""
    top = mesh.faces[mesh.is_top[mesh.faces].all(axis=1)]
    a, b, c = (mesh.vertices[top[:, k], :2] for k in range(3))
    areas = np.cross(np.pad(b - a, ((0, 0), (0, 1))), np.pad(c - a, ((0, 0), (0, 1))))[:, 2] / 2
    assert (areas > 0).all()
    return float(areas.sum())


@pytest.mark.parametrize(
    ("shape", "height_mm", "radius_mm"),
    [
        (Shape.DOME, 2.0, 3.0),
        (Shape.DOME, 2.0, 1.0),
        (Shape.FLAT, 0.15, 3.2),
        (Shape.PLATEAU, 3.0, 2.5),
        (Shape.TWO_LOBES, 1.5, 3.5),
        (Shape.CRATER, 1.0, 5.2),
    ],
)
def test_the_mesh_of_a_lesion_is_a_solid_with_the_lesions_volume(shape: Shape, height_mm: float, radius_mm: float) -> None:
    relief = Relief(shape, radius_mm, height_mm, WAVES)
    mask = relief.rho(X, Y) < 1
    mesh = closed(relief.height(X, Y), mask)
    found = soundness(mesh.vertices, mesh.faces)
    assert found.is_sound, found.problems
    assert found.is_watertight
    assert found.is_manifold
    assert found.is_oriented
    assert found.euler == 2
    assert 8_000 <= len(mesh.faces) <= 12_000
    assert found.volume == pytest.approx(mesh.volume)
    assert mesh.volume - mesh.filled_volume == pytest.approx(relief.truth.volume_mm3, rel=0.005)
    assert plan_area(mesh) == pytest.approx(mask.sum() * STEP_MM**2, rel=0.001)


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_neither_breaks_the_mesh_nor_changes_its_volume(seed: int) -> None:
    relief = Relief(Shape.TWO_LOBES, 3.5, 1.5, WAVES)
    mask = relief.rho(X, Y) < 1
    heights = relief.height(X, Y) + np.random.default_rng(seed).normal(0, 0.02, X.shape)
    mesh = closed(heights, mask)
    assert soundness(mesh.vertices, mesh.faces).is_sound
    assert mesh.volume == pytest.approx(np.maximum(heights, 0)[mask].sum() * STEP_MM**2, rel=0.005)


def test_ragged_and_dusty_masks_make_one_solid() -> None:
    rng = np.random.default_rng(5)
    ragged = np.hypot(X, Y) + rng.normal(0, 0.5, X.shape) < 2.5
    mesh = closed(np.full_like(X, 0.4), ragged)
    found = soundness(mesh.vertices, mesh.faces)
    assert found.is_sound, found.problems
    assert found.euler == 2


def test_parts_that_touch_at_a_corner_are_apart_and_holes_are_filled() -> None:
    mask = np.zeros((60, 60), bool)
    mask[10:30, 10:30] = True
    mask[30:40, 30:40] = True
    mask[18:21, 18:21] = False
    level = level_set(mask)
    inside = level > 0.5
    assert inside[19, 19]
    assert not inside[32:, 32:].any()
    sharp = level_set(mask.astype(float))
    for cut in (sheet(level), sheet(sharp)):
        points = np.column_stack([cut.rows_columns, np.zeros(len(cut.rows_columns))])
        found = soundness(points, cut.faces)
        assert (found.is_manifold, found.is_oriented, found.euler) == (True, True, 1)


def test_every_case_of_a_cell_makes_a_manifold_sheet() -> None:
    """Noise as a level set has all sixteen, saddles included."""
    level = level_set(np.random.default_rng(2).uniform(0.2, 1.0, (80, 90)))
    cut = sheet(level)
    found = soundness(np.column_stack([cut.rows_columns[:, 1], -cut.rows_columns[:, 0], np.zeros(len(cut.rows_columns))]), cut.faces)
    assert not found.pinched_vertices
    assert (found.is_manifold, found.is_oriented, found.empty_faces, found.euler) == (True, True, 0, 1)


def test_a_level_set_gives_the_outline_within_a_cell() -> None:
    radius_mm = 1.03
    level = np.clip(0.5 + (radius_mm - np.hypot(X, Y)) / (4 * STEP_MM), 0, 1)
    assert plan_area(closed(np.ones_like(X), level)) == pytest.approx(np.pi * radius_mm**2, rel=0.002)


def test_sunken_parts_are_filled_and_said() -> None:
    relief = Relief(Shape.DOME, 3.0, 1.0)
    mask = relief.rho(X, Y) < 1
    mesh = closed(-relief.height(X, Y), mask)
    assert soundness(mesh.vertices, mesh.faces).is_sound
    assert mesh.filled_volume == pytest.approx(relief.truth.volume_mm3, rel=0.01)
    assert mesh.volume == pytest.approx(plan_area(mesh) * 0.01 * STEP_MM, rel=0.01)


def test_a_flat_lesion_of_no_height_still_has_no_empty_face() -> None:
    mesh = closed(np.zeros_like(X), np.hypot(X, Y) < 2)
    assert soundness(mesh.vertices, mesh.faces).is_sound
    assert soundness(mesh.vertices.astype(np.float32).astype(float), mesh.faces).is_sound


def test_a_lesion_at_the_rim_of_the_field_is_closed_there() -> None:
    mesh = closed(np.full_like(X, 0.5), np.hypot(X - 6, Y) < 3)
    assert soundness(mesh.vertices, mesh.faces).is_sound


def test_vertices_know_their_place_on_the_field() -> None:
    relief = Relief(Shape.DOME, 3.0, 2.0, WAVES)
    heights = relief.height(X, Y)
    mesh = closed(heights, relief.rho(X, Y) < 1)
    np.testing.assert_allclose(sampled(X, mesh.rows_columns), mesh.vertices[:, 0], atol=1e-9)
    np.testing.assert_allclose(sampled(Y, mesh.rows_columns), mesh.vertices[:, 1], atol=1e-9)
    top = mesh.is_top
    above = mesh.vertices[top, 2] - mesh.vertices[~top, 2]
    assert abs(above - sampled(heights, mesh.rows_columns[top])).max() < 0.02
    np.testing.assert_allclose(mesh.colours[:, 0], np.clip(128 + 15 * mesh.vertices[:, 0], 0, 255), atol=1.5)
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1)
    assert (mesh.normals[top, 2] > 0).all()
    assert (mesh.normals[~top, 2] < 0).all()


@pytest.mark.parametrize(("heights", "mask"), [(0.5, False), (np.nan, True)])
def test_without_outline_or_heights_there_is_no_mesh(heights: float, mask: bool) -> None:
    with pytest.raises(NoMesh, match="outline is empty" if not mask else "has holes"):
        closed(np.full_like(X, heights), np.full(X.shape, mask))


TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], np.int32)
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
TWO = np.concatenate([CORNERS, CORNERS[1:] * -1])
"""A second tetrahedron that has its first corner in common with the first."""
MIRRORED = np.array([[0, 4, 5], [0, 6, 4], [4, 6, 5], [5, 6, 0]], np.int32)


def broken(name: str) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    if name == "sound":
        return CORNERS, TETRAHEDRON
    if name == "hole":
        return CORNERS, TETRAHEDRON[:3]
    if name == "turned":
        return CORNERS, np.concatenate([TETRAHEDRON[:3], TETRAHEDRON[3:, ::-1]])
    if name == "inside out":
        return CORNERS, TETRAHEDRON[:, ::-1]
    if name == "pinched":
        return TWO, np.concatenate([TETRAHEDRON, MIRRORED])
    assert name == "fin"
    return np.concatenate([CORNERS, [[1, 1, 1.0]]]), np.concatenate([TETRAHEDRON, np.array([[0, 1, 4]], np.int32)])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("sound", ()),
        ("hole", ("3 edges have only one face",)),
        ("turned", ("3 edges have faces that turn against each other",)),
        ("inside out", ("it is turned inside out",)),
        ("pinched", ("1 vertices join parts that only touch",)),
        ("fin", ("2 edges have only one face", "1 edges have more than two faces")),
    ],
)
def test_what_is_wrong_with_a_mesh_is_said(name: str, problem: tuple[str, ...]) -> None:
    found = soundness(*broken(name))
    assert found.problems == problem
    assert found.is_sound == (not problem)


def test_the_volume_of_a_tetrahedron_is_a_sixth_of_its_box() -> None:
    assert soundness(CORNERS + 100, TETRAHEDRON).volume == pytest.approx(1 / 6)


def test_faces_without_area_are_counted() -> None:
    flat = np.concatenate([TETRAHEDRON, np.array([[0, 1, 1]], np.int32)])
    assert soundness(CORNERS, flat).empty_faces == 1


@pytest.fixture
def open3d() -> Any:
    found: ModuleType = pytest.importorskip("open3d", reason="Open3D or the libraries that it needs are missing", exc_type=ImportError)
    return found


@pytest.mark.parametrize("name", ["sound", "hole", "turned", "pinched", "fin"])
def test_open3d_sees_what_the_check_sees(open3d: Any, name: str) -> None:
    vertices, faces = broken(name)
    found = soundness(vertices, faces)
    mesh = open3d.geometry.TriangleMesh(open3d.utility.Vector3dVector(vertices), open3d.utility.Vector3iVector(faces))
    assert mesh.is_edge_manifold(allow_boundary_edges=True) == (found.crowded_edges == 0)
    assert mesh.is_edge_manifold(allow_boundary_edges=False) == found.is_watertight
    assert mesh.is_vertex_manifold() == (found.pinched_vertices == 0)
    assert mesh.euler_poincare_characteristic() == found.euler
    if name == "sound":
        assert mesh.is_watertight()
        assert mesh.get_volume() == pytest.approx(found.volume)


def test_open3d_agrees_that_a_lesions_mesh_is_sound(open3d: Any) -> None:
    relief = Relief(Shape.CRATER, 3.0, 1.0, WAVES)
    mesh = closed(relief.height(X, Y), relief.rho(X, Y) < 1)
    theirs = open3d.geometry.TriangleMesh(open3d.utility.Vector3dVector(mesh.vertices), open3d.utility.Vector3iVector(mesh.faces))
    assert theirs.is_watertight()
    assert theirs.is_orientable()
    assert theirs.get_volume() == pytest.approx(mesh.volume)


def as_mesh(vertices: NDArray[np.float64], faces: NDArray[np.int32]) -> Mesh:
    grey = np.full(vertices.shape, 90, np.uint8)
    return Mesh(vertices=vertices, faces=faces, normals=np.zeros_like(vertices), colours=grey, is_top=np.ones(len(vertices), bool))


def ball() -> Mesh:
    relief = Relief(Shape.DOME, 2.0, 1.5)
    return closed(relief.height(X, Y), relief.rho(X, Y) < 1, faces=1_000)


@pytest.mark.usefixtures("open3d")
def test_a_mesh_with_torn_turned_and_doubled_faces_is_repaired() -> None:
    whole = ball()
    faces = np.delete(whole.faces, [40, 41, 300], axis=0)
    faces[7] = faces[7, ::-1]
    faces = np.concatenate([faces, faces[:5], np.array([[3, 3, 8]], np.int32)])
    assert not soundness(whole.vertices, faces).is_sound
    mended = repaired(as_mesh(whole.vertices, faces))
    assert soundness(mended.vertices, mended.faces).is_sound
    assert mended.volume == pytest.approx(whole.volume, rel=0.01)
    assert (mended.colours == 90).all()


@pytest.mark.usefixtures("open3d")
def test_what_cannot_be_mended_is_refused() -> None:
    with pytest.raises(NoMesh):
        repaired(as_mesh(CORNERS, np.array([[0, 0, 1]], np.int32)))


def test_a_sound_mesh_is_left_as_it_is() -> None:
    mesh = ball()
    assert repaired(mesh) is mesh


def test_an_open_grid_is_a_manifold_sheet() -> None:
    y, x = np.mgrid[:4, :5].astype(float)
    found = soundness(np.stack([x.ravel(), -y.ravel(), np.zeros(20)], axis=1), grid_faces(4, 5))
    assert (found.is_watertight, found.is_manifold, found.is_oriented, found.euler) == (False, True, True, 1)
