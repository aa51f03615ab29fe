"""Camera poses without a known order of the views, judged on rendered scenes whose poses are known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dermanode_reconstruct.skin_plane import skin_plane
from dermanode_reconstruct.structure_from_motion import FreePoses, Levelled, NoPoses, free_poses, levelled
from numpy.typing import NDArray

from dermanode.testing.scenes import Look, RenderedView, Ring, Scene, Shape, render

pytest.importorskip("pycolmap", reason="pycolmap is missing", exc_type=ImportError)

DOME = Scene(Shape.DOME, 1)
SIZE = (640, 480)


@cache
def shuffled(tilt_deg: float = 25.0, views: int = 8) -> tuple[RenderedView, ...]:
    """The views of a ring in no order."""
    taken = render(DOME, Ring(tilt_deg=tilt_deg, views=views), SIZE)
    return tuple(taken[place] for place in np.random.default_rng(0).permutation(views))


def grey(views: Sequence[RenderedView]) -> list[NDArray[np.uint8]]:
    return [cv2.cvtColor(view.pixels, cv2.COLOR_RGB2GRAY) for view in views]


def found(views: Sequence[RenderedView], **more: Any) -> FreePoses:
    return free_poses(grey(views), [view.intrinsics for view in views], **more)


@cache
def solved(mapper: Any) -> FreePoses:
    return found(shuffled(), mapper=mapper)


def turn_to_house(views: Sequence[RenderedView], used: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From the scene's frame to that of `levelled`: the rotation, and the origin in the scene."""
    rotations = np.array([views[view].rotation for view in used])
    centres = np.array([-views[view].rotation.T @ views[view].translation for view in used])
    right = rotations[0, 0] * [1, 1, 0] / np.linalg.norm(rotations[0, 0, :2])
    turn = np.stack([right, np.cross([0, 0, 1.0], right), [0, 0, 1.0]])
    meeting = centres - (centres[:, 2] / rotations[:, 2, 2])[:, None] * rotations[:, 2]
    return turn, np.median(meeting, axis=0)


def angles_deg(views: Sequence[RenderedView], over: Levelled) -> NDArray[np.float64]:
    """Between the found and the true rotations, both in the house's frame."""
    turn, _ = turn_to_house(views, over.views)
    cosines = [(np.trace(r.T @ views[v].rotation @ turn.T) - 1) / 2 for r, v in zip(over.poses.rotations, over.views, strict=True)]
    return np.rad2deg(np.arccos(np.clip(cosines, -1, 1)))


@pytest.mark.parametrize("mapper", ["incremental", "global"])
def test_shuffled_views_of_a_dome_are_found_in_their_places(mapper: Any) -> None:
    free = solved(mapper)
    over = levelled(free, 150.0)
    assert free.views == tuple(range(8))
    assert free.dropped == ()
    assert free.reprojection_error_px < 0.7
    assert angles_deg(shuffled(), over).max() < 0.3
    np.testing.assert_allclose(over.poses.tilts_deg, 25, atol=2.5)
    assert over.poses.centres[:, 2].min() > 0


def test_points_lie_on_the_skin_and_the_lesion_in_millimetres() -> None:
    """Within 0.1 mm: the distance of the ring, 0.3 mm off at 150, says the rest of the scale."""
    over = levelled(solved("incremental"), 150.0)
    turn, origin = turn_to_house(shuffled(), over.views)
    x, y, z = (over.points_mm @ turn + origin).T
    error = z - DOME.relief.height(x, y)
    assert np.sqrt((error**2).mean()) < 0.1
    lesion = DOME.relief.rho(x, y) < 0.9
    gain = np.polyfit(DOME.relief.height(x, y)[lesion], z[lesion], 1)[0]
    assert gain == pytest.approx(1, abs=0.05)


def test_the_distance_sets_the_scale() -> None:
    near, far = levelled(solved("incremental"), 75.0), levelled(solved("incremental"), 150.0)
    np.testing.assert_allclose(far.points_mm, 2 * near.points_mm)
    np.testing.assert_allclose(far.poses.centres, 2 * near.poses.centres)
    np.testing.assert_allclose(np.linalg.norm(far.poses.centres, axis=1), 150, rtol=0.01)


def test_the_poses_put_the_points_where_the_tracks_are() -> None:
    free = solved("incremental")
    over = levelled(free, 150.0)
    projected, _ = over.poses.project(over.points_mm, np.array([shuffled()[view].intrinsics for view in free.views]))
    errors = np.linalg.norm(projected - free.tracks.pixels, axis=2)
    assert np.nanmean(errors) == pytest.approx(free.reprojection_error_px)


def test_tracks_have_their_pixel_centres_at_whole_numbers() -> None:
    """COLMAP has them at halves. The rays of one view, met with the true surface, must hit the tracks in the view across the ring:
    there the picture is upside down, so half a pixel in both would be one.
    """
    views = shuffled()
    tracks = solved("incremental").tracks.pixels
    one, other = (next(i for i, view in enumerate(views) if view.azimuth_deg == azimuth) for azimuth in (0.0, 180.0))
    both = np.isfinite(tracks[:, [one, other]]).all(axis=(1, 2))
    assert both.sum() >= 20
    here, there = views[one], views[other]
    rays = np.column_stack([tracks[both, one], np.ones(both.sum())]) @ np.linalg.inv(here.intrinsics).T @ here.rotation
    centre = -here.rotation.T @ here.translation
    height = np.zeros(both.sum())
    for _ in range(50):
        points = centre + ((height - centre[2]) / rays[:, 2])[:, None] * rays
        height = DOME.relief.height(points[:, 0], points[:, 1])
    seen = (points @ there.rotation.T + there.translation) @ there.intrinsics.T
    shift = np.median(seen[:, :2] / seen[:, 2:] - tracks[both, other], axis=0)
    assert abs(shift).max() < 0.3


def test_small_and_large_pictures_go_together() -> None:
    views = list(shuffled()[:4])
    pictures, cameras = grey(views), [view.intrinsics for view in views]
    pictures[0] = cv2.resize(pictures[0], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    doubled = np.diag([2.0, 2.0, 1.0]) @ cameras[0]
    doubled[:2, 2] += 0.5
    free = free_poses(pictures, [doubled, *cameras[1:]])
    assert 0 in free.views
    assert angles_deg(views, levelled(free, 150.0)).max() < 1.0
    assert np.nanmax(free.tracks.pixels[:, 0, 0]) > 640


def test_the_same_pictures_give_the_same_poses() -> None:
    again = found(shuffled(), mapper="incremental")
    np.testing.assert_array_equal(again.points, solved("incremental").points)
    np.testing.assert_array_equal(again.poses.rotations, solved("incremental").poses.rotations)


def test_views_that_only_turn_have_no_parallax() -> None:
    with pytest.raises(NoPoses, match=r"no parallax: .* tilted by [01]\.\d degrees"):
        found(shuffled(tilt_deg=0.0))


def test_skin_without_marks_gives_a_reason() -> None:
    look = Look(texture=0.05, hairs=0, dots=0, network=0, pigment=0.2)
    with pytest.raises(NoPoses, match="marks in common"):
        found(render(Scene(Shape.DOME, 1, look=look), Ring(views=3), (512, 384)))


def test_a_stranger_among_the_views_is_dropped_with_its_reason() -> None:
    stranger = render(Scene(Shape.DOME, 99), Ring(views=1), SIZE)
    free = found([*shuffled()[:4], *stranger])
    assert free.views == (0, 1, 2, 3)
    assert free.dropped == ((4, "has too few marks in common"),)


def test_two_views_are_too_few() -> None:
    with pytest.raises(NoPoses, match="2 pictures are fewer than 3"):
        found(shuffled()[:2])


def test_the_limit_is_kept(tmp_path: Path) -> None:
    with pytest.raises(NoPoses, match=r"not found within 0\.05 s"):
        found(shuffled(), limit_s=0.05, workdir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_behind_and_nothing_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found(shuffled()[:3], workdir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def crowded_lesion(seed: int, lesion_points: int) -> NDArray[np.float64]:
    """Skin with a little scatter, and a plateau full of marks."""
    rng = np.random.default_rng(seed)
    skin = np.column_stack([rng.uniform(-10, 10, (200, 2)), rng.normal(0, 0.02, 200)])
    skin = skin[np.hypot(skin[:, 0], skin[:, 1]) > 4]
    lesion = np.column_stack([rng.uniform(-2.5, 2.5, (lesion_points, 2)), 1 + rng.normal(0, 0.02, lesion_points)])
    return np.concatenate([skin, lesion])


@pytest.mark.parametrize("seed", range(5))
def test_the_skin_is_found_below_a_lesion_that_has_most_of_the_marks(seed: int) -> None:
    tilt = np.deg2rad(30)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    plane = skin_plane(crowded_lesion(seed, 400) @ turn.T + [3, 4, 5])
    assert plane is not None
    assert abs(plane.normal @ turn[:, 2]) > np.cos(np.deg2rad(0.2))
    assert abs(plane.offset) == pytest.approx(abs(turn[:, 2] @ [3, 4, 5]), abs=0.02)


@pytest.mark.parametrize("points", [np.zeros((5, 3)), np.zeros((50, 3)), np.linspace(0, 1, 50)[:, None] * [1.0, 2, 3]])
def test_points_that_are_no_surface_have_no_plane(points: NDArray[np.float64]) -> None:
    assert skin_plane(points) is None


def test_a_cloud_is_no_skin() -> None:
    assert skin_plane(np.random.default_rng(0).uniform(-1, 1, (300, 3))) is None
