"""The reconstruct stage, judged on shapes whose heights are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from dermanode_reconstruct import reconstruct
from dermanode_reconstruct.eikonal import rise
from dermanode_reconstruct.mesh import grid_faces, is_manifold
from numpy.typing import NDArray

from dermanode.domain import Surface

SKIN = np.array([0.68, 0.36, 0.27])
"""Linear reflectance."""


def photograph(
    height_px: float, *, rows: int = 480, columns: int = 640, radius_px: float = 100, melanin: float = 0.0, noise: float = 1.0
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A spherical cap on flat skin, lit from the camera: its picture and its mask."""
    y, x = np.mgrid[:rows, :columns].astype(float)
    distance = np.hypot(x - columns / 2, y - rows / 2)
    inside = distance < radius_px
    ball = (radius_px**2 + height_px**2) / (2 * height_px) if height_px else np.inf
    facing = np.sqrt(1 - np.where(inside, distance, 0) ** 2 / ball**2)
    # Melanin absorbs blue most (Beer and Lambert).
    albedo = SKIN * np.exp(-melanin * inside[..., None] * np.array([0.4, 0.8, 1.3]))
    encoded = 255 * (albedo * facing[..., None]) ** (1 / 2.2)
    encoded += np.random.default_rng(3).normal(0, noise, encoded.shape)
    return np.clip(np.round(encoded), 0, 255).astype(np.uint8), inside


@pytest.fixture
def surface_of(make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any) -> Callable[..., Surface]:
    def surface_of(pixels: NDArray[np.uint8], mask: NDArray[np.bool_], **view: Any) -> Surface:
        found = reconstruct(make_case(make_view(pixels, **view), masks=[mask]), context)
        assert found is not None, context.reasons
        return found

    return surface_of


def test_a_cone_rises_by_its_slope() -> None:
    y, x = np.mgrid[:101, :101] - 50.0
    distance = np.hypot(x, y)
    height = rise(np.full((101, 101), 0.5), 0.1, distance >= 40)
    assert height[50, 50] == pytest.approx(0.5 * 40 * 0.1, rel=0.05)
    assert (height[distance >= 40] == 0).all()


def test_heights_do_not_depend_on_the_way_the_grid_is_turned() -> None:
    slope = np.random.default_rng(1).uniform(0, 1, (30, 40))
    ground = np.zeros((30, 40), bool)
    ground[0] = True
    np.testing.assert_allclose(rise(slope, 1.0, ground), rise(slope.T, 1.0, ground.T).T, atol=1e-9)


@pytest.mark.parametrize("height_px", [20.0, 35.0, 60.0])
def test_a_dome_comes_back_with_its_height(surface_of: Callable[..., Surface], height_px: float) -> None:
    surface = surface_of(*photograph(height_px))
    assert surface.vertices[:, 2].max() == pytest.approx(height_px, rel=0.25)


def test_a_dome_is_highest_in_its_middle(surface_of: Callable[..., Surface]) -> None:
    vertices = surface_of(*photograph(40.0)).vertices
    top = vertices[vertices[:, 2] > 0.95 * vertices[:, 2].max()].mean(axis=0)
    assert np.hypot(top[0] - 320, top[1] + 240) < 15  # y leads up


def test_pigment_alone_makes_little_relief(surface_of: Callable[..., Surface]) -> None:
    flat = surface_of(*photograph(0.0, melanin=0.9)).measurements[0].value
    dome = surface_of(*photograph(40.0, melanin=0.9)).measurements[0].value
    assert flat < 0.2 * dome


def test_skin_is_flat(surface_of: Callable[..., Surface]) -> None:
    surface = surface_of(*photograph(40.0))
    assert surface.is_lesion is not None
    far = np.hypot(surface.vertices[:, 0] - 320, surface.vertices[:, 1] + 240) > 110
    assert abs(surface.vertices[far, 2]).max() < 0.05


@pytest.mark.parametrize(("rows", "columns"), [(480, 640), (300, 1200), (900, 300)])
def test_the_mesh_has_about_ten_thousand_faces_and_is_manifold(surface_of: Callable[..., Surface], rows: int, columns: int) -> None:
    surface = surface_of(*photograph(40.0, rows=rows, columns=columns, radius_px=120))
    assert 8_000 <= len(surface.faces) <= 12_000
    assert surface.is_manifold
    assert len(np.unique(surface.faces)) == len(surface.vertices)
    corners = surface.vertices[surface.faces].astype(float)
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (facing[:, 2] > 0).all()
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=1), 1, atol=1e-5)
    assert (surface.normals[:, 2] > 0).all()


def test_lateral_distances_are_millimetres_where_spacing_is_known(surface_of: Callable[..., Surface]) -> None:
    surface = surface_of(*photograph(40.0), spacing_mm=0.05)
    assert surface.is_lesion is not None
    lesion = surface.vertices[surface.is_lesion]
    assert surface.lateral_unit == "mm"
    assert np.ptp(lesion[:, 0]) == pytest.approx(200 * 0.05, abs=0.45)
    assert lesion[:, 0].mean() == pytest.approx(320 * 0.05, abs=0.1)
    assert surface.scale_source == "pixel spacing (0028,0030)"


def test_lateral_distances_are_pixels_where_it_is_not(surface_of: Callable[..., Surface]) -> None:
    surface = surface_of(*photograph(40.0))
    assert surface.lateral_unit == "px"
    assert any("no pixel spacing" in remark for remark in surface.remarks)


def test_heights_are_never_metric_and_nothing_is_given_in_millimetres(surface_of: Callable[..., Surface]) -> None:
    surface = surface_of(*photograph(40.0), spacing_mm=0.05)
    assert not surface.is_metric
    assert {m.unit.value for m in surface.measurements} == {"1"}
    assert surface.mean_curvature is None
    assert any("relative" in remark for remark in surface.remarks)


def test_the_relief_does_not_depend_on_the_scale(surface_of: Callable[..., Surface]) -> None:
    in_px, in_mm = surface_of(*photograph(40.0)), surface_of(*photograph(40.0), spacing_mm=0.05)
    assert in_px.measurements[0].value == pytest.approx(in_mm.measurements[0].value, rel=0.02)


def test_colours_are_those_of_the_source(surface_of: Callable[..., Surface]) -> None:
    pixels, mask = photograph(40.0, melanin=0.9)
    surface = surface_of(pixels, mask)
    at = np.round(surface.vertices[:, :2] * [1, -1]).astype(int)
    assert abs(surface.colours.astype(float) - pixels[at[:, 1], at[:, 0]]).mean() < 3


def test_a_scaled_decode_gives_the_same_surface(surface_of: Callable[..., Surface]) -> None:
    small = surface_of(*photograph(40.0, noise=0)).measurements[0].value
    big = surface_of(*photograph(160.0, rows=1920, columns=2560, radius_px=400, noise=0)).measurements[0].value
    assert small == pytest.approx(big, rel=0.05)


def test_contact_is_remarked(surface_of: Callable[..., Surface]) -> None:
    assert any("pressed flat" in remark for remark in surface_of(*photograph(40.0), is_contact=True).remarks)


def test_the_sharpest_view_that_shows_the_whole_lesion_is_used(
    make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any
) -> None:
    pixels, mask = photograph(40.0)
    cut = mask | (np.mgrid[:480, :640][1] < 320) & (abs(np.mgrid[:480, :640][0] - 240) < 50)
    views = [make_view(pixels, number=n) for n in (1, 2, 3)]
    surface = reconstruct(make_case(*views, masks=[cut, mask, np.zeros_like(mask)]), context)
    assert surface is not None
    assert surface.used_views == (views[1].sop_instance_uid,)
    assert dict(surface.dropped_views) == {
        views[0].sop_instance_uid: "single-view method; view 2 was used",
        views[2].sop_instance_uid: "no lesion was found in it",
    }


def test_without_a_segmentation_it_declines(make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any) -> None:
    assert reconstruct(make_case(make_view(photograph(40.0)[0])), context) is None
    assert "not segmented" in context.reasons[0]


@pytest.mark.parametrize("fill", [False, True])
def test_without_lesion_or_without_skin_it_declines(
    make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any, fill: bool
) -> None:
    pixels, mask = photograph(40.0)
    assert reconstruct(make_case(make_view(pixels), masks=[np.full_like(mask, fill)]), context) is None
    assert "skin around it" in context.reasons[0]


def test_a_face_turned_over_is_not_manifold() -> None:
    faces = grid_faces(4, 5)
    assert is_manifold(faces)
    turned = faces.copy()
    turned[3] = turned[3, ::-1]
    assert not is_manifold(turned)


def test_three_faces_on_one_edge_are_not_manifold() -> None:
    assert not is_manifold(np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]], np.int32))


def test_open3d_agrees_that_the_mesh_is_sound(surface_of: Callable[..., Surface]) -> None:
    open3d = pytest.importorskip("open3d", reason="Open3D or the libraries that it needs are missing", exc_type=ImportError)
    surface = surface_of(*photograph(40.0))
    mesh = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(surface.vertices.astype(float)), open3d.utility.Vector3iVector(surface.faces.copy())
    )
    assert mesh.is_edge_manifold(allow_boundary_edges=True)
    assert mesh.is_vertex_manifold()
    assert mesh.is_orientable()
