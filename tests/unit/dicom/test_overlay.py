"""A heat map lies where its matrix says, and looks like nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from dermanode.dicom.overlay import coloured, heat_on, laid_over, with_legend
from dermanode.domain import UID, HeatMap

SOURCE = (60, 80)


def heat_map(heat: np.ndarray, to_source: list[list[float]]) -> HeatMap:
    return HeatMap(sop_instance_uid=UID("1.2.3"), heat=heat.astype(np.float32), to_source=np.array(to_source, np.float64))


def test_a_map_at_source_resolution_is_shown_as_it_is() -> None:
    heat = np.random.default_rng(0).random(SOURCE).astype(np.float32)
    np.testing.assert_allclose(heat_on(heat_map(heat, np.eye(3).tolist()), SOURCE, SOURCE), heat, atol=1e-6)


def test_a_coarse_map_covers_its_part_of_the_source_and_nothing_else() -> None:
    # Two by two, each of ten pixels; the first pixel of the source that it covers is (20, 10).
    found = heat_on(heat_map(np.ones((2, 2)), [[10, 0, 24.5], [0, 10, 14.5], [0, 0, 1]]), SOURCE, SOURCE)
    expected = np.zeros(SOURCE, bool)
    expected[10:30, 20:40] = True
    np.testing.assert_array_equal(found > 0, expected)
    assert found[expected].min() == 1


@pytest.mark.parametrize("size", [(30, 40), (120, 160)])
def test_heat_stays_in_its_place_at_every_size(size: tuple[int, int]) -> None:
    y, x = np.mgrid[: SOURCE[0], : SOURCE[1]]
    spot = np.exp(-((x - 50) ** 2 + (y - 20) ** 2) / 30)
    found = heat_on(heat_map(spot, np.eye(3).tolist()), size, SOURCE)
    rows, columns = np.mgrid[: size[0], : size[1]]
    scale = size[0] / SOURCE[0]
    assert (found * columns).sum() / found.sum() == pytest.approx(50.5 * scale - 0.5, abs=0.1 * scale)
    assert (found * rows).sum() / found.sum() == pytest.approx(20.5 * scale - 0.5, abs=0.1 * scale)


@pytest.mark.parametrize("seed", range(4))
def test_a_scaled_map_is_laid_as_pillow_lays_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    heat = random.random((7, 9)).astype(np.float32)
    scale, shift = random.uniform(3, 11, 2), random.uniform(-8, 20, 2)
    to_source = [[scale[0], 0, shift[0]], [0, scale[1], shift[1]], [0, 0, 1]]
    nearly = [[scale[0], 1e-12, shift[0]], [0, scale[1], shift[1]], [0, 0, 1]]  # which goes through Pillow
    for size in (SOURCE, (30, 40), (97, 113)):
        found, expected = (heat_on(heat_map(heat, matrix), size, SOURCE) for matrix in (to_source, nearly))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_turned_map_is_turned_back() -> None:
    heat = np.zeros((4, 4))
    heat[0, 3] = 1
    # A quarter turn: the grid's columns run down the source.
    found = heat_on(heat_map(heat, [[0, 10, 14.5], [10, 0, 14.5], [0, 0, 1]]), SOURCE, SOURCE)
    assert np.unravel_index(int(found.argmax()), SOURCE)[0] in range(40, 50)


def test_without_heat_the_photograph_is_grey_and_with_heat_it_is_coloured() -> None:
    photograph = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    cold, hot = laid_over(photograph, np.zeros((8, 8), np.float32)), laid_over(photograph, np.ones((8, 8), np.float32))
    assert (cold.max(-1) == cold.min(-1)).all()
    assert (hot[..., 0].astype(int) - hot[..., 2] > 60).all()  # yellow


def test_what_is_hotter_is_more_opaque() -> None:
    opaque = coloured(np.linspace(0, 1, 50, dtype=np.float32)[None])[0, :, 3].astype(int)
    assert opaque[0] == 0
    assert (np.diff(opaque) >= 0).all()
    assert opaque[-1] < 255


def test_the_legend_is_a_strip_below_and_hides_nothing() -> None:
    picture = np.full((40, 30, 3), 200, np.uint8)
    drawn = with_legend(picture, ["AI - RESEARCH USE", "Grad-CAM"], least_columns=300)
    np.testing.assert_array_equal(drawn[:40, :30], picture)
    assert drawn.shape[1] == 300
    assert drawn[40:].max() > 200  # words
