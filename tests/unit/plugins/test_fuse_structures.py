"""D of the ABCD rule, each structure against a picture in which it is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from dermanode_fuse.patch import cut_patch
from dermanode_fuse.settings import FuseSettings
from dermanode_fuse.shape import main_region
from dermanode_fuse.structures import Structures, structures
from numpy.typing import NDArray

Image = NDArray[np.uint8]
SETTINGS = FuseSettings()
SIDE, RADIUS = 600, 200
DIAMETER = 2 * RADIUS
MIDDLE = (SIDE // 2, SIDE // 2)
BROWN, DARK = (150, 105, 80), (80, 50, 35)


def lesion() -> tuple[Image, NDArray[np.bool_]]:
    """A brown disc on skin, and where it is."""
    picture = np.full((SIDE, SIDE, 3), (205, 165, 150), np.uint8)
    cv2.circle(picture, MIDDLE, RADIUS, BROWN, -1)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(mask, MIDDLE, RADIUS, 1, -1)
    return picture, mask > 0


def places(count: int, reach: float = 0.75) -> Iterator[tuple[int, int]]:
    """Evenly over the lesion (a sunflower's seeds)."""
    for number in range(count):
        away, angle = reach * RADIUS * math.sqrt((number + 0.5) / count), number * 2.39996
        yield round(MIDDLE[0] + away * math.cos(angle)), round(MIDDLE[1] + away * math.sin(angle))


def spotted(count: int, radius: float) -> Image:
    picture, _ = lesion()
    for place in places(count):
        cv2.circle(picture, place, round(radius), DARK, -1, cv2.LINE_AA)
    return picture


def netted(spacing: float, *, shift: float = 0.0, seed: int = 0) -> Image:
    """Light holes on a hexagonal grid, each moved by up to `shift` spacings, in dark lines."""
    picture, mask = lesion()
    random = np.random.default_rng(seed)
    net = np.full_like(picture, (105, 70, 50))
    for row, y in enumerate(np.arange(0, SIDE, spacing * math.sqrt(3) / 2)):
        for x in np.arange(0, SIDE, spacing) + (row % 2) * spacing / 2:
            at = np.array([x, y]) + random.uniform(-shift, shift, 2) * spacing
            cv2.circle(net, (round(at[0]), round(at[1])), round(0.36 * spacing), BROWN, -1, cv2.LINE_AA)
    picture[mask] = net[mask]
    return picture


def streaked(count: int, *, is_radial: bool = True) -> Image:
    picture, _ = lesion()
    for angle in np.arange(count) * 2 * math.pi / max(1, count):
        out = np.array([math.cos(angle), math.sin(angle)])
        along = out if is_radial else np.array([-out[1], out[0]])
        middle = np.array(MIDDLE) + 0.9 * RADIUS * out
        ends = [tuple(int(v) for v in (middle + sign * 0.14 * RADIUS * along).round()) for sign in (-1, 1)]
        cv2.line(picture, ends[0], ends[1], DARK, 7, cv2.LINE_AA)
    return picture


def noisy(picture: Image, amplitude: float = 14.0) -> Image:
    noise = cv2.GaussianBlur(np.random.default_rng(1).standard_normal((SIDE, SIDE)).astype(np.float32), (0, 0), 6)
    return np.clip(picture + amplitude * noise[..., None] / noise.std(), 0, 255).astype(np.uint8)


@pytest.fixture
def structures_of(make_view: Callable[..., Any]) -> Callable[[Image], Structures]:
    return lambda picture: structures(cut_patch(make_view(picture), main_region(lesion()[1])), SETTINGS)


def test_lesion_of_one_colour_is_structureless_and_nothing_else(structures_of: Callable[[Image], Structures]) -> None:
    found = structures_of(lesion()[0])
    assert found.names(SETTINGS) == ("structureless areas",)
    assert found.structureless_share > 0.8


def test_mottled_lesion_is_not_structureless(structures_of: Callable[[Image], Structures]) -> None:
    found = structures_of(noisy(lesion()[0]))
    assert found.structureless_share < 0.05
    assert "structureless areas" not in found.names(SETTINGS)


@pytest.mark.parametrize("count", [12, 60])
def test_dots_are_counted(structures_of: Callable[[Image], Structures], count: int) -> None:
    found = structures_of(spotted(count, 0.009 * DIAMETER))
    assert (found.dots, found.globules, found.streaks) == (count, 0, 0)
    assert "dots" in found.names(SETTINGS)
    assert "pigment network" not in found.names(SETTINGS)


@pytest.mark.parametrize("count", [5, 12])
def test_larger_spots_are_globules(structures_of: Callable[[Image], Structures], count: int) -> None:
    found = structures_of(spotted(count, 0.03 * DIAMETER))
    assert (found.dots, found.globules, found.streaks) == (0, count, 0)
    assert "globules" in found.names(SETTINGS)


@pytest.mark.parametrize("radius", [0.009, 0.03])
def test_two_spots_are_not_enough(structures_of: Callable[[Image], Structures], radius: float) -> None:
    assert structures_of(spotted(2, radius * DIAMETER)).names(SETTINGS) == ("structureless areas",)


@pytest.mark.parametrize(("spacing", "shift"), [(0.04, 0.0), (0.05, 0.0), (0.05, 0.5)])
def test_dark_lines_around_light_holes_are_a_network(structures_of: Callable[[Image], Structures], spacing: float, shift: float) -> None:
    found = structures_of(netted(spacing * DIAMETER, shift=shift))
    assert "pigment network" in found.names(SETTINGS)
    assert found.network_share > 0.9
    # The lines' crossings are no dots, nor their ends at the border streaks.
    assert shift or found.names(SETTINGS) == ("pigment network",)


def test_holes_that_are_moved_about_lie_less_regularly(structures_of: Callable[[Image], Structures]) -> None:
    spread = [structures_of(netted(0.05 * DIAMETER, shift=shift)).network_irregularity for shift in (0.0, 0.2, 0.5)]
    assert spread == sorted(spread)
    assert spread[0] < 0.05


def test_lines_that_lead_out_of_the_lesion_are_streaks(structures_of: Callable[[Image], Structures]) -> None:
    found = structures_of(streaked(10))
    assert found.streaks == 10
    assert "branched streaks" in found.names(SETTINGS)


def test_lines_along_the_border_are_no_streaks(structures_of: Callable[[Image], Structures]) -> None:
    assert structures_of(streaked(10, is_radial=False)).streaks == 0


def test_picture_twice_as_large_shows_the_same_structures(
    make_view: Callable[..., Any], structures_of: Callable[[Image], Structures]
) -> None:
    picture = spotted(12, 0.03 * DIAMETER)
    doubled = cut_patch(make_view(picture.repeat(2, 0).repeat(2, 1)), main_region(lesion()[1].repeat(2, 0).repeat(2, 1)))
    assert structures(doubled, SETTINGS).globules == structures_of(picture).globules


def test_thresholds_are_settings(structures_of: Callable[[Image], Structures]) -> None:
    found = structures_of(spotted(12, 0.009 * DIAMETER))
    assert "dots" not in found.names(FuseSettings(least_dots=13))
    assert "structureless areas" not in found.names(FuseSettings(least_structureless_share=0.99))
