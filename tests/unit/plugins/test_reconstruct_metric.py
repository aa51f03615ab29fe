"""The surface of several views: what it promises about its frame, its mesh, its numbers and their errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from dermanode_reconstruct.soundness import soundness
from numpy.typing import NDArray

from dermanode.domain import Surface
from dermanode.domain.codes import MM, MM2, MM3
from dermanode.testing.scenes import RenderedView, Ring, Scene, Shape, Stated

LOBES = Scene(Shape.TWO_LOBES, 3)
"""Neither turned nor mirrored is it itself."""
DOME, PLATEAU = Scene(Shape.DOME, 1), Scene(Shape.PLATEAU, 2)
Reconstructed = Callable[..., Any]


@pytest.fixture(scope="module")
def lobes(darkroom: Any, reconstructed: Reconstructed) -> Any:
    return reconstructed(darkroom.case(darkroom.render(LOBES), LOBES))


@pytest.fixture(scope="module")
def dome(darkroom: Any, reconstructed: Reconstructed) -> Any:
    return reconstructed(darkroom.case(darkroom.render(DOME), DOME))


def seen_by(surface: Surface, number: int, points: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """Where the camera of a used view sees points of the surface's frame: N x 2 source pixels."""
    camera = surface.cameras[number]
    seen = (points - camera.centre) @ camera.rotation.T
    return np.asarray(seen[:, :2] / seen[:, 2:] * camera.focal_px + (np.array(size) - 1) / 2)


def to_scene(surface: Surface, points: NDArray[Any], view: RenderedView) -> NDArray[np.float64]:
    """From the surface's frame to the scene's, by way of the reference camera, which both know."""
    camera = surface.cameras[0]
    return np.asarray(((points - camera.centre) @ camera.rotation.T - view.translation) @ view.rotation)


def field_points(surface: Surface, heights: NDArray[Any]) -> NDArray[np.float64]:
    field = surface.height_field
    assert field is not None
    rows, columns = np.indices(heights.shape)
    return np.stack([field.left + field.step * columns, field.top - field.step * rows, field.base + heights], -1).reshape(-1, 3)


@pytest.mark.parametrize("scene", [DOME, PLATEAU])
def test_volume_height_and_area_are_those_of_the_scene_and_lie_in_their_intervals(
    scene: Scene, darkroom: Any, reconstructed: Reconstructed
) -> None:
    found = reconstructed(darkroom.case(darkroom.render(scene, None, (640, 480)), scene))
    truth = scene.truth
    for key, true, within in (
        ("volume_mm3", truth.volume_mm3, 0.03),
        ("max_height_mm", truth.height_mm, 0.06),
        ("mean_height_mm", truth.volume_mm3 / truth.area_mm2, 0.03),
        ("footprint_mm2", truth.area_mm2, 0.03),
    ):
        measured = found.measured(key)
        assert measured.value == pytest.approx(true, rel=within), key
        assert measured.lower < measured.value < measured.upper
        assert measured.lower - 0.01 * true <= true <= measured.upper + 0.01 * true, key
        assert measured.unit == {"volume_mm3": MM3, "footprint_mm2": MM2}.get(key, MM)


def test_the_frame_leads_right_and_up_in_the_reference_view(lobes: Any) -> None:
    camera = lobes.surface.cameras[0]
    assert camera.sop_instance_uid == lobes.surface.used_views[0]
    assert np.linalg.det(camera.rotation) == pytest.approx(1)
    assert camera.rotation[0, 0] > 0.99
    assert camera.rotation[1, 1] < -0.8
    assert all(one.centre[2] > 100 for one in lobes.surface.cameras)


def test_the_heights_are_those_of_the_scene_and_not_of_its_mirror_image(lobes: Any, darkroom: Any) -> None:
    surface, view = lobes.surface, darkroom.render(LOBES)[0]
    errors = []
    for heights in (surface.height_field.heights, surface.height_field.heights[:, ::-1]):
        at = to_scene(surface, field_points(surface, heights), view)
        error = heights.ravel() - LOBES.relief.height(at[:, 0], at[:, 1])
        errors.append(float(np.sqrt((error[surface.height_field.is_lesion.ravel()] ** 2).mean())))
    assert errors[0] < 0.1
    assert errors[1] > 3 * errors[0]


@pytest.mark.parametrize("number", [0, 3])
def test_the_mesh_lies_on_the_mask_of_each_view(lobes: Any, darkroom: Any, number: int) -> None:
    surface, view = lobes.surface, darkroom.render(LOBES)[number]
    drawn = np.zeros(view.mask.shape, np.uint8)
    top = surface.faces[surface.is_lesion[surface.faces].all(axis=1)]
    pixels = seen_by(surface, number, surface.vertices, view.mask.shape[::-1]).round().astype(np.int32)
    for triangle in pixels[top]:
        cv2.fillConvexPoly(drawn, triangle, 1)
    assert (view.mask & (drawn > 0)).sum() / (view.mask | (drawn > 0)).sum() > 0.93


def test_the_mesh_is_a_solid_of_the_size_that_is_reported(lobes: Any) -> None:
    surface = lobes.surface
    found = soundness(surface.vertices.astype(float), surface.faces)
    assert found.is_sound, found.problems
    assert surface.is_closed
    assert surface.is_manifold
    assert 8_000 <= len(surface.faces) <= 12_000
    assert found.volume == pytest.approx(lobes.measured("volume_mm3").value, rel=0.02)
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=1), 1, atol=1e-5)


def test_the_mesh_lies_on_the_height_field(lobes: Any) -> None:
    surface, field = lobes.surface, lobes.surface.height_field
    top = surface.vertices[surface.is_lesion]
    at = [((top[:, 0] - field.left) / field.step).astype(np.float32), ((field.top - top[:, 1]) / field.step).astype(np.float32)]
    sampled = cv2.remap((field.base + field.heights).astype(np.float32), at[0][None], at[1][None], cv2.INTER_LINEAR)[0]
    assert np.percentile(abs(sampled - top[:, 2]), 99) < 0.03
    assert field.is_lesion.sum() * field.step**2 == pytest.approx(lobes.measured("footprint_mm2").value, rel=0.02)


def test_the_curvature_at_the_top_of_a_dome_is_the_scenes(dome: Any) -> None:
    """h (1 - r^2 / R^2)^2 bends by 4 h / R^2 at its top."""
    surface = dome.surface
    near = surface.is_lesion & (surface.vertices[:, 2] > np.percentile(surface.vertices[surface.is_lesion, 2], 97))
    assert float(np.median(surface.mean_curvature[near])) == pytest.approx(4 * 2.0 / 3.75**2, rel=0.2)
    assert surface.curvature_scale_mm is not None


def test_normals_lead_outwards_and_colours_are_the_lesions(dome: Any) -> None:
    surface = dome.surface
    floor = ~surface.is_lesion
    assert (surface.normals[surface.is_lesion, 2] > 0).all()
    assert (surface.normals[floor, 2] < 0).all()
    assert surface.colours[surface.is_lesion].mean() < surface.height_field.colours[~surface.height_field.is_lesion].mean()


def test_tilt_error_and_confidence_are_told(dome: Any, darkroom: Any) -> None:
    surface = dome.surface
    tilts = np.rad2deg(np.arccos([-view.rotation[2, 2] for view in darkroom.render(DOME)]))
    assert surface.tilt_deg == pytest.approx(float(np.median(tilts)), abs=0.3)
    assert 0 < surface.reprojection_error_px < 0.5
    assert 0.6 < surface.confidence < 1
    assert len(surface.cameras) == len(surface.used_views) == 8
    assert surface.scale_source == "Pixel Spacing and Subject Distance"


def test_without_a_spacing_nothing_is_in_millimetres(darkroom: Any, reconstructed: Reconstructed, lobes: Any) -> None:
    found = reconstructed(darkroom.case(darkroom.render(LOBES), LOBES, unstated={Stated.SPACING, Stated.DISTANCE}))
    surface = found.surface
    assert not surface.is_metric
    assert surface.lateral_unit == "px"
    assert surface.mean_curvature is None
    assert surface.curvature_scale_mm is None
    assert {one.key for one in surface.measurements} == {"relative_relief"}
    assert not any("mm" in one.unit.value for one in surface.measurements)
    # The same shape, in pixels of 20 mm / 512.
    field, metric = surface.height_field, lobes.surface.height_field
    assert field.step * 20 / 512 == pytest.approx(metric.step, rel=0.01)
    assert np.ptp(surface.vertices[:, 0]) * 20 / 512 == pytest.approx(np.ptp(lobes.surface.vertices[:, 0]), rel=0.02)


@pytest.mark.parametrize("views", [3, 4])
def test_few_views_are_enough(views: int, darkroom: Any, reconstructed: Reconstructed) -> None:
    found = reconstructed(darkroom.case(darkroom.render(DOME, Ring(views=views)), DOME))
    assert found.surface.is_metric
    assert len(found.surface.used_views) == views
    assert found.measured("volume_mm3").value == pytest.approx(DOME.truth.volume_mm3, rel=0.04)
    assert ("Only 3 views fit together" in found.words) is (views == 3)


def test_neighbours_of_an_open_ring_are_enough(darkroom: Any, reconstructed: Reconstructed, dome: Any) -> None:
    """Points are not followed across the gap: heights were 6 % too small where they were."""
    found = reconstructed(darkroom.case(darkroom.render(DOME)[:4], DOME))
    assert found.measured("volume_mm3").value == pytest.approx(DOME.truth.volume_mm3, rel=0.03)
    assert found.surface.tilt_deg == pytest.approx(dome.surface.tilt_deg, abs=1.0)
    assert found.surface.confidence < dome.surface.confidence


def test_no_tilt_is_no_parallax_and_leaves_relative_heights(darkroom: Any, reconstructed: Reconstructed) -> None:
    found = reconstructed(darkroom.case(darkroom.render(DOME, Ring(tilt_deg=0.0)), DOME))
    assert not found.surface.is_metric
    assert "No surface in millimetres: the views show no parallax" in found.surface.remarks[0]
    assert {one.key for one in found.surface.measurements} == {"relative_relief"}


def test_another_tilt_than_the_rigs_is_measured(darkroom: Any, reconstructed: Reconstructed) -> None:
    found = reconstructed(darkroom.case(darkroom.render(DOME, Ring(tilt_deg=15.0)), DOME, unstated={Stated.ELEVATION}))
    assert found.surface.tilt_deg == pytest.approx(15.0, abs=1.0)
    assert found.measured("volume_mm3").value == pytest.approx(DOME.truth.volume_mm3, rel=0.05)


def test_the_same_views_give_the_same_surface_on_one_thread_and_nearly_on_two(
    darkroom: Any, reconstructed: Reconstructed, dome: Any
) -> None:
    case = darkroom.case(darkroom.render(DOME), DOME)
    again, both = reconstructed(case).surface, reconstructed(case, threads=2).surface
    np.testing.assert_array_equal(again.vertices, dome.surface.vertices)
    np.testing.assert_array_equal(again.faces, dome.surface.faces)
    np.testing.assert_array_equal(again.height_field.heights, dome.surface.height_field.heights)
    np.testing.assert_allclose(both.height_field.heights, dome.surface.height_field.heights, atol=1e-4)
