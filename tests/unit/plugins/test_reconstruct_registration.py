"""Cameras found from photographs, judged on rendered rings whose poses are known; and the points and pictures on the way there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dermanode_reconstruct.dense import solve
from dermanode_reconstruct.grid import Grid
from dermanode_reconstruct.photograph import Photograph, take
from dermanode_reconstruct.poses import Poses
from dermanode_reconstruct.registration import NoDepth, Registered, register
from dermanode_reconstruct.rig import arrangements, rig_of
from dermanode_reconstruct.screening import is_blurred, sharpness, why_empty
from dermanode_reconstruct.settings import ReconstructSettings
from dermanode_reconstruct.stack import Stack, stacks
from dermanode_reconstruct.tracks import follow, rectified
from numpy.typing import NDArray

from dermanode.domain import Case
from dermanode.testing.scenes import Motion, RenderedView, Ring, Scene, Shape

DOME = Scene(Shape.DOME, 1)
SETTINGS = ReconstructSettings(is_motion_searched=False)
SCALE = 2.0
"""Of pictures of 512 px, whose pixels are so many times as large as those of 1024."""


def photographs_of(case: Case) -> list[Photograph]:
    views = case.series.views
    assert case.segmentation is not None
    masks = [case.segmentation.mask(view.sop_instance_uid) for view in views]
    return take(views, masks, rig_of(views, SETTINGS.ring).calibrations, SETTINGS.working_px, 1)


def registered(case: Case, folder: Path, **settings: Any) -> Registered:
    chosen = SETTINGS.model_copy(update=settings)
    ways = arrangements(case.series.views, chosen.ring)
    rig = rig_of(case.series.views, chosen.ring)
    return register(photographs_of(case), rig, ways, chosen, scale=SCALE, threads=1, workdir=folder, limit_s=100)


@pytest.fixture(scope="module")
def case(darkroom: Any) -> Case:
    return darkroom.case(darkroom.render(DOME), DOME)


@pytest.fixture(scope="module")
def ring(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Registered:
    return registered(case, tmp_path_factory.mktemp("ring"))


def to_skin(views: list[RenderedView]) -> Poses:
    """The true poses in the frame of a registration: the first view sees x to the right."""
    true = Poses(np.array([view.rotation for view in views]), np.array([view.translation for view in views]))
    right = true.rotations[0, 0] * [1, 1, 0] / np.linalg.norm(true.rotations[0, 0, :2])
    return true.moved(np.stack([right, np.cross([0, 0, 1.0], right), [0, 0, 1.0]]), np.zeros(3))


def angles_deg(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    cosines = (np.einsum("vij,vij->v", one, other) - 1) / 2
    return np.rad2deg(np.arccos(np.clip(cosines, -1, 1)))


def test_the_cameras_of_a_ring_are_found(ring: Registered, darkroom: Any) -> None:
    """Within 0.4 degrees, at pictures of 512 px."""
    true = to_skin(darkroom.render(DOME))
    assert [one.view.number for one in ring.photographs] == list(range(1, 9))
    assert angles_deg(ring.poses.rotations, true.rotations).max() < 0.4
    assert ring.tilt_deg == pytest.approx(float(np.median(true.tilts_deg)), abs=0.2)
    assert ring.error_px < 0.4
    assert ring.words == "ring tracks (the stated azimuths)"
    assert ring.dropped == ()


def test_the_points_lie_on_the_skin_and_the_lesion(ring: Registered, darkroom: Any) -> None:
    view = darkroom.render(DOME)[0]
    at = (ring.points_mm @ ring.poses.rotations[0].T + ring.poses.translations[0] - view.translation) @ view.rotation
    error = ring.points_mm[:, 2] - DOME.relief.height(at[:, 0], at[:, 1])
    assert abs(np.median(error)) < 0.03
    assert np.percentile(abs(error), 80) < 0.1


def test_the_cameras_are_as_far_from_the_skin_as_stated(ring: Registered) -> None:
    along = ring.poses.centres[:, 2] / -ring.poses.rotations[:, 2, 2]
    assert float(np.median(along)) == pytest.approx(150.0)


def test_a_patient_who_moved_changes_neither_scale_nor_tilt(darkroom: Any, tmp_path: Path) -> None:
    views = darkroom.render(DOME, Ring(motion=Motion(shift_mm=2.0, turn_deg=6.0, lean_deg=4.0, moved_from=5)))
    found, true = registered(darkroom.case(views, DOME), tmp_path), to_skin(views)
    assert found.rig_error_deg is not None
    assert found.rig_error_deg > 5.0
    assert (found.poses.centres[:, 2] / true.centres[:, 2]).mean() == pytest.approx(1.0, abs=0.003)
    assert found.poses.tilts_deg == pytest.approx(true.tilts_deg, abs=0.5)


def test_the_rig_is_told_to_stand_as_it_says(ring: Registered) -> None:
    assert ring.rig_error_deg is not None
    assert ring.rig_error_deg < 4.0
    assert ring.tilt_error < 0.01


def test_pictures_that_share_nothing_fit_in_no_arrangement(darkroom: Any, tmp_path: Path) -> None:
    strangers = [darkroom.render(DOME)[0], *(darkroom.render(Scene(Shape.DOME, seed))[k] for k, seed in ((3, 99), (5, 99)))]
    with pytest.raises(NoDepth, match="the views do not fit together"):
        registered(darkroom.case(strangers, DOME), tmp_path)


def test_points_are_followed_around_the_ring(ring: Registered, darkroom: Any) -> None:
    grid = Grid.around((0.0, 0.0), 7.0, 0.055)
    pictures, to_picture = rectified(ring.photographs, ring.poses, grid)
    tracks = follow(pictures, to_picture, 0, 300).long(4)
    assert len(tracks) > 60
    projected, _ = ring.poses.project(ring.points_mm, np.array([one.intrinsics for one in ring.photographs]))
    assert projected.shape[1] == tracks.pixels.shape[1] == 8
    black = [*pictures[:3], np.zeros_like(pictures[3]), *pictures[4:]]
    past = follow(black, to_picture, 0, 300)
    assert not past.is_seen[:, 3].any()
    assert (past.is_seen[:, 4].sum()) > 30


def test_a_black_picture_has_no_corners_to_follow(ring: Registered) -> None:
    grid = Grid.around((0.0, 0.0), 3.0, 0.1)
    pictures, to_picture = rectified(ring.photographs, ring.poses, grid)
    assert len(follow([np.zeros_like(one) for one in pictures], to_picture, 0, 300)) == 0


@pytest.fixture(scope="module")
def chroma(case: Case, darkroom: Any) -> Stack:
    """Of the true cameras, over 10 mm."""
    poses = to_skin(darkroom.render(DOME))
    return stacks(photographs_of(case), poses, Grid(-5.6, 5.6, 0.1, 113), "cpu", 1)[0]


def true_height(stack: Stack, darkroom: Any) -> NDArray[np.float64]:
    view = darkroom.render(DOME)[0]
    right = view.rotation[0] * [1, 1, 0] / np.linalg.norm(view.rotation[0, :2])
    turn = np.stack([right, np.cross([0, 0, 1.0], right), [0, 0, 1.0]])
    x, y = np.meshgrid(stack.grid.x, stack.grid.y)
    scene = np.stack([x, y, np.zeros_like(x)], -1) @ turn
    return DOME.relief.height(scene[..., 0], scene[..., 1])


def test_on_the_true_surface_the_pictures_agree_best(chroma: Stack, darkroom: Any) -> None:
    import torch

    evened = chroma.evened(0.8)
    true = torch.from_numpy(true_height(chroma, darkroom).astype(np.float32))
    apart = [float(evened.sample(true + off)[:, :-1].var(0).mean()) for off in (-0.3, 0.0, 0.3)]
    assert apart[1] < 0.5 * min(apart[0], apart[2])


def test_outside_the_picture_nothing_is_trusted(case: Case, darkroom: Any) -> None:
    import torch

    wide = stacks(photographs_of(case), to_skin(darkroom.render(DOME)), Grid(-14.0, 14.0, 0.28, 101), "cpu", 1)[0]
    trust = wide.sample(torch.zeros(101, 101))[:, -1]
    assert (trust[:, 0, 0] == 0).all()
    assert (trust[:, 50, 50] > 0).all()


def test_heights_are_the_scenes(chroma: Stack, darkroom: Any) -> None:
    solved = solve(chroma, -1.2 * SCALE, 4.0 * SCALE, SCALE)
    error = solved.height.numpy() - true_height(chroma, darkroom)
    inner = (slice(12, -12), slice(12, -12))
    assert abs(np.median(error[inner])) < 0.05
    assert np.sqrt((error[inner] ** 2).mean()) < 0.15
    assert solved.agreement > 0.8
    assert float(solved.deviation_mm.mean()) < 0.1


def test_where_no_picture_looks_heights_are_still_numbers(case: Case, darkroom: Any) -> None:
    wide = stacks(photographs_of(case), to_skin(darkroom.render(DOME)), Grid(-14.0, 14.0, 0.28, 101), "cpu", 1)[0]
    assert bool(solve(wide, -1.2, 4.0, SCALE).height.isfinite().all())


@pytest.fixture
def made(case: Case) -> Callable[[NDArray[np.uint8]], Any]:
    """A photograph with other pixels."""
    from dataclasses import replace

    one = photographs_of(case)[0]

    def make(grey: NDArray[np.uint8]) -> Photograph:
        return replace(one, grey=grey)

    return make


def test_empty_pictures_are_told_by_their_reason(made: Any, ring: Registered) -> None:
    grey = ring.photographs[0].grey
    assert why_empty(ring.photographs[0]) is None
    assert "lens covered" in str(why_empty(made(np.full_like(grey, 3))))
    assert "shows nothing" in str(why_empty(made(np.full_like(grey, 250))))


def test_blur_is_told_and_darkness_is_not_blur(made: Any, ring: Registered) -> None:
    grey = ring.photographs[0].grey
    usual = sharpness(ring.photographs[1])
    assert is_blurred(made(np.asarray(cv2.GaussianBlur(grey, (0, 0), 5))), usual)
    assert not is_blurred(made(np.asarray(grey // 2)), usual)
    assert not is_blurred(ring.photographs[0], usual)
