"""The skin that heights are counted from."""

from __future__ import annotations

import numpy as np
import pytest
from dermanode_reconstruct.grid import Grid
from dermanode_reconstruct.skin_base import fit_base
from numpy.typing import NDArray

GRID = Grid.around((0.5, -0.3), 7.0, 0.055)
X, Y = np.meshgrid(GRID.x, GRID.y)
BOWED = 0.1 + 0.02 * X - 0.03 * Y + 0.004 * X**2 - 0.002 * X * Y
LESION = np.hypot(X, Y) < 3
ALL, NONE = np.ones_like(LESION), np.zeros_like(LESION)


def skin(noise_mm: float = 0.01) -> NDArray[np.float64]:
    return np.asarray(BOWED + np.where(LESION, 1.5, 0.0) + np.random.default_rng(1).normal(0, noise_mm, X.shape))


def test_bent_and_tilted_skin_is_carried_on_under_the_lesion() -> None:
    base = fit_base(skin(), LESION, ALL, GRID, 1.0, NONE)
    assert base is not None
    assert abs(base.field - BOWED)[LESION].max() < 0.01
    assert base.scatter_mm == pytest.approx(0.01, rel=0.2)


def test_a_hair_and_a_second_lesion_do_not_lift_it() -> None:
    height = skin()
    height[abs(X + 0.3 * Y - 3.5) < 0.1] += 0.3
    other = np.hypot(X - 4.8, Y) < 1.2
    height[other] += 0.6
    base = fit_base(height, LESION, ALL, GRID, 1.0, other)
    assert base is not None
    assert abs((base.field - BOWED)[LESION].mean()) < 0.01


def test_the_variance_of_a_sum_is_larger_for_a_lesion_that_is_larger_or_rougher_around() -> None:
    def variance(lesion: NDArray[np.bool_], noise_mm: float) -> float:
        height = BOWED + np.random.default_rng(1).normal(0, noise_mm, X.shape)
        base = fit_base(height, lesion, ALL, GRID, 1.0, NONE)
        assert base is not None
        return base.variance_of_sum(lesion * GRID.step_mm**2)

    assert variance(LESION, 0.02) > 2 * variance(LESION, 0.01) > 0
    assert variance(np.hypot(X, Y) < 4, 0.01) > variance(LESION, 0.01)


@pytest.mark.parametrize("seen", [NONE, X > 2.5])
def test_too_little_skin_in_sight_makes_no_base(seen: NDArray[np.bool_]) -> None:
    assert fit_base(skin(), LESION, seen, GRID, 1.0, NONE) is None
