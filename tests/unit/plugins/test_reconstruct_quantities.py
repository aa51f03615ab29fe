"""The numbers of a height field and their intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dermanode_reconstruct.grid import Grid
from dermanode_reconstruct.quantities import Errors, measure
from dermanode_reconstruct.skin_base import fit_base

from dermanode.domain import Measurement
from dermanode.testing.scenes import Relief, Shape

GRID = Grid.around((0.0, 0.0), 7.0, 0.055)
X, Y = np.meshgrid(GRID.x, GRID.y)
NOISE = np.random.default_rng(2).normal(0, 0.005, X.shape)


def errors(relief: Relief) -> Errors:
    inside = relief.rho(X, Y) < 1
    base = fit_base(relief.height(X, Y) + NOISE, inside, np.ones_like(inside), GRID, 1.0, np.zeros_like(inside))
    assert base is not None
    return Errors(base=base, scatter_mm=0.01, tilt=0.005, outline_mm=0.02, pixel_height_mm=0.043, scale=1.0)


def measured(relief: Relief, uncertain: Errors | None = None) -> dict[str, Measurement]:
    inside = (relief.rho(X, Y) < 1).astype(float)
    return {one.key: one for one in measure(relief.height(X, Y) + NOISE, inside, GRID, uncertain or errors(relief))}


@pytest.mark.parametrize("relief", [Relief(Shape.DOME, 3.0, 2.0), Relief(Shape.PLATEAU, 3.0, 1.0), Relief(Shape.FLAT, 3.2, 0.15)])
def test_numbers_are_those_of_the_shape(relief: Relief) -> None:
    found, truth = measured(relief), relief.truth
    assert set(found) == {"volume_mm3", "max_height_mm", "mean_height_mm", "footprint_mm2"}
    for key, true in (
        ("volume_mm3", truth.volume_mm3),
        ("max_height_mm", truth.height_mm),
        ("mean_height_mm", truth.volume_mm3 / truth.area_mm2),
        ("footprint_mm2", truth.area_mm2),
    ):
        one = found[key]
        assert one.lower is not None
        assert one.upper is not None
        assert one.value == pytest.approx(true, rel=0.03, abs=0.01), key
        assert one.lower < true < one.upper, key


def test_each_error_widens_what_it_concerns() -> None:
    relief = Relief(Shape.DOME, 3.0, 2.0)
    plain = errors(relief)

    def half_width(uncertain: Errors, key: str) -> float:
        one = measured(relief, uncertain)[key]
        assert one.upper is not None
        return one.upper - one.value

    for wider, keys in (
        (replace(plain, tilt=0.05), ("volume_mm3", "max_height_mm", "mean_height_mm")),
        (replace(plain, scatter_mm=0.1), ("volume_mm3", "max_height_mm")),
        (replace(plain, outline_mm=0.5), ("footprint_mm2",)),
    ):
        for key in keys:
            assert half_width(wider, key) > 1.2 * half_width(plain, key), key


def test_a_sunken_lesion_has_a_negative_volume() -> None:
    relief = Relief(Shape.DOME, 3.0, 1.0)
    inside = (relief.rho(X, Y) < 1).astype(float)
    found = {one.key: one.value for one in measure(-relief.height(X, Y) + NOISE, inside, GRID, errors(relief))}
    assert found["volume_mm3"] == pytest.approx(-relief.truth.volume_mm3, rel=0.03)
