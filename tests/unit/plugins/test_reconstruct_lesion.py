"""The masks of all views, brought together on the surface."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dermanode_reconstruct.distinctness import indistinct_share
from dermanode_reconstruct.grid import Grid
from dermanode_reconstruct.lesion import Lesion, cell_shares, find_extent, lie
from dermanode_reconstruct.overhang import overhangs
from dermanode_reconstruct.poses import ring_poses
from numpy.typing import NDArray

K = np.array([[3840.0, 0, 255.5], [0, 3840.0, 191.5], [0, 0, 1]])
GRID = Grid.around((0.0, 0.0), 7.0, 0.08)
X, Y = np.meshgrid(GRID.x, GRID.y)
POSES = ring_poses(90.0 * np.arange(4), np.full(4, 20.0), np.full(4, 150.0))
FLAT = np.zeros_like(X)
Discs = Sequence[tuple[float, float, float]]


def photograph(view: int, discs: Discs | None) -> Any:
    """What a camera sees of discs on flat skin; only what these functions look at."""
    if discs is None:
        return SimpleNamespace(mask=None, intrinsics=K)
    columns, rows = np.meshgrid(np.arange(512), np.arange(384))
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(K).T @ POSES.rotations[view]
    at = POSES.centres[view] - rays * (POSES.centres[view][2] / rays[..., 2])[..., None]
    inside = np.any([np.hypot(at[..., 0] - x, at[..., 1] - y) < radius for x, y, radius in discs], axis=0)
    return SimpleNamespace(mask=inside.astype(np.uint8) * 255, intrinsics=K)


def lesion(*by_view: Discs | None) -> Lesion:
    found = lie([photograph(view, discs) for view, discs in enumerate(by_view)], POSES, GRID, FLAT)
    assert found is not None
    return found


ONE: Discs = ((1.0, -0.5, 2.5),)


def test_masks_that_agree_make_the_lesion() -> None:
    found = lesion(ONE, ONE, ONE, ONE)
    assert found.is_lesion.sum() * GRID.step_mm**2 == pytest.approx(np.pi * 2.5**2, rel=0.01)
    assert cell_shares(found).sum() * GRID.step_mm**2 == pytest.approx(np.pi * 2.5**2, rel=0.005)
    assert X[found.is_lesion].mean() == pytest.approx(1.0, abs=0.02)
    assert Y[found.is_lesion].mean() == pytest.approx(-0.5, abs=0.02)
    assert found.consistency > 0.97
    assert found.outline_error_mm < 0.02
    assert (found.others, found.outlined) == (0, 4)


def test_one_view_that_says_otherwise_is_outvoted_and_counts_against_the_outline() -> None:
    agreed, found = lesion(ONE, ONE, ONE, ONE), lesion(ONE, ONE, ((1.0, -0.5, 3.2),), ONE)
    assert found.is_lesion.sum() == pytest.approx(agreed.is_lesion.sum(), rel=0.04)
    assert found.outline_error_mm > 0.1
    assert found.consistency < agreed.consistency


def test_a_view_without_a_mask_has_no_vote() -> None:
    found = lesion(ONE, None, None, ONE)
    assert found.outlined == 2
    assert found.is_lesion.sum() * GRID.step_mm**2 == pytest.approx(np.pi * 2.5**2, rel=0.01)


def test_of_two_lesions_the_larger_is_measured_and_the_other_counted() -> None:
    both: Discs = (*ONE, (-3.5, 2.5, 1.0))
    found = lesion(both, both, both, both)
    assert found.others == 1
    assert not found.is_lesion[np.hypot(X + 3.5, Y - 2.5) < 1].any()
    assert (found.level[np.hypot(X + 3.5, Y - 2.5) < 0.8] < 0.5).all()


def test_specks_are_no_lesions_and_holes_are_filled() -> None:
    specks: Discs = (*ONE, (-4.0, -3.0, 0.15))
    assert lesion(specks, specks, specks, specks).others == 0


def test_masks_that_show_different_places_make_none() -> None:
    apart = [[(float(x), float(y), 1.0)] for x, y in ((-3, -3), (3, -3), (3, 3), (-3, 3))]
    assert lie([photograph(view, discs) for view, discs in enumerate(apart)], POSES, GRID, FLAT) is None


def test_no_mask_makes_none() -> None:
    nothing = [photograph(view, None) for view in range(4)]
    assert lie(nothing, POSES, GRID, FLAT) is None
    assert find_extent(nothing, POSES, 7.0, 0.1) is None


def test_the_extent_holds_the_lesion() -> None:
    found = find_extent([photograph(view, ONE) for view in range(4)], POSES, 7.0, 0.1)
    assert found is not None
    assert found.middle_mm == pytest.approx((1.0, -0.5), abs=0.1)
    assert found.radius_mm == pytest.approx(2.5, abs=0.15)


LESION = np.hypot(X, Y) < 3


def nodule(points: int, overhang_mm: float) -> NDArray[np.float64]:
    """A stem with a flat cap 3 mm above the skin, seen on top and, where it overhangs, below."""
    rng = np.random.default_rng(4)
    angle, far = rng.uniform(0, 2 * np.pi, points), 2.9 * np.sqrt(rng.uniform(size=points))
    top = np.column_stack([far * np.cos(angle), far * np.sin(angle), np.full(points, 3.0)])
    below = top[far > 2.9 - overhang_mm] * [1, 1, 0.05]
    return np.concatenate([top, below]) + rng.normal(0, 0.01, (len(top) + len(below), 3))


@pytest.mark.parametrize("points", [300, 3000])
def test_two_layers_of_points_are_an_overhang(points: int) -> None:
    assert overhangs(nodule(points, 1.5), 0.01, LESION, GRID)


@pytest.mark.parametrize("cloud", [nodule(3000, 0.0), nodule(300, 0.0), np.empty((0, 3)), nodule(300, 1.5) + np.array([30.0, 0, 0])])
def test_one_layer_or_none_is_no_overhang(cloud: NDArray[np.float64]) -> None:
    assert not overhangs(cloud, 0.01, LESION, GRID)


def test_noise_is_no_overhang() -> None:
    rng = np.random.default_rng(5)
    cloud = nodule(3000, 0.0)
    assert not overhangs(cloud + rng.normal(0, 0.3, cloud.shape) * [0, 0, 1], 0.3, LESION, GRID)


@pytest.mark.parametrize(("contrast", "is_told"), [(0.2, True), (0.0, False)])
def test_a_height_is_told_only_where_there_is_something_to_see(contrast: float, is_told: bool) -> None:
    """Pictures of flat skin with and without marks, each with its own noise."""
    import torch
    from dermanode_reconstruct.stack import Stack

    rng = np.random.default_rng(6)
    wide = Grid(-8.8, 8.8, 0.08, 221)
    grid = Grid(-5.6, 5.6, 0.08, 141)
    marks = contrast * rng.normal(size=(1, 2, 221, 221))
    noise = 0.01 * rng.normal(size=(4, 2, 221, 221))
    channels = np.concatenate([marks + noise, np.ones((4, 1, 221, 221))], axis=1).astype(np.float32)
    stack = Stack(grid, torch.from_numpy(channels), torch.from_numpy(POSES.centres.astype(np.float32)), wide)
    share = indistinct_share(stack, torch.zeros(141, 141), np.ones((141, 141), bool), 20.0, 1.0)
    assert (share < 0.01) is is_told
    assert share < 0.01 or share > 0.5
