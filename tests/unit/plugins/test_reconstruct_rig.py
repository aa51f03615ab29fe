"""What pictures and settings say of the rig."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dermanode_reconstruct.rig import arrangements, rig_of
from dermanode_reconstruct.settings import RingSettings

from dermanode.domain import View

RING = RingSettings()
NAMED = {"azimuth": "azimuth_deg", "elevation": "elevation_deg", "distance": "subject_distance_mm"}


@pytest.fixture
def view(make_view: Callable[..., View]) -> Callable[..., View]:
    def make(number: int | None = 1, *, acquisition: int | None = None, spacing_mm: float | None = 0.02, **geometry: float) -> View:
        made = make_view(np.zeros((30, 40, 3), np.uint8), number=number or 1, spacing_mm=spacing_mm)
        stated = {NAMED[name]: value for name, value in geometry.items()}
        return replace(made, number=number, acquisition_number=acquisition, geometry=replace(made.geometry, **stated))

    return make


def azimuths(views: list[View], place: int = 0) -> list[float]:
    return list(list(arrangements(views, RING))[place].azimuths_deg % 360)


def test_stated_azimuths_come_first_then_clockwise_and_nothing_else(view: Any) -> None:
    views = [view(k + 1, azimuth=90.0 * k) for k in range(4)]
    assert azimuths(views) == [0, 90, 180, 270]
    assert azimuths(views, 1) == [0, 270, 180, 90]
    assert len(list(arrangements(views, RING))) == 2


def test_without_azimuths_the_numbers_tell_the_place_a_gap_included(view: Any) -> None:
    assert azimuths([view(k) for k in (1, 2, 3, 5, 6, 7, 8)]) == [0, 45, 90, 180, 225, 270, 315]


def test_acquisition_numbers_go_before_instance_numbers(view: Any) -> None:
    assert azimuths([view(10 + k, acquisition=8 - k) for k in range(8)]) == [315, 270, 225, 180, 135, 90, 45, 0]


def test_equal_acquisition_numbers_say_nothing(view: Any) -> None:
    assert azimuths([view(k, acquisition=1) for k in range(1, 9)]) == list(RING.azimuths_deg)


@pytest.mark.parametrize("numbers", [[None] * 6, [1, 1, 2, 3, 4, 5], [11, 12, 13, 14, 15, 16]])
def test_numbers_that_are_no_places_leave_views_spread_evenly(numbers: list[int | None], view: Any) -> None:
    assert azimuths([view(number) for number in numbers]) == [0, 60, 120, 180, 240, 300]


def test_more_views_than_the_ring_has_are_spread_evenly(view: Any) -> None:
    assert azimuths([view(k + 1) for k in range(16)])[:3] == [0, 22.5, 45]


def test_the_elevation_tells_the_tilt_only_on_a_rig_that_states_azimuths(view: Any) -> None:
    rig = rig_of([view(1, azimuth=0.0, elevation=-70.0), view(2, elevation=-70.0), view(3, azimuth=90.0)], RING)
    assert list(rig.tilts_deg) == [20, RING.tilt_deg, RING.tilt_deg]


def test_a_view_without_a_spacing_has_that_of_the_others_for_the_same_field(view: Any) -> None:
    small = replace(view(2, spacing_mm=None), rows=15, columns=20)
    rig = rig_of([view(1), small], RING)
    assert rig.is_calibrated
    assert rig.calibrations[1].spacing_mm == (0.04, 0.04)
    assert rig.remarks == ("1 of 2 views state no pixel spacing: they are taken to show as wide a field as the others.",)


def test_without_any_spacing_the_rig_is_not_calibrated(view: Any) -> None:
    rig = rig_of([view(k, spacing_mm=None) for k in range(1, 9)], RING)
    assert not rig.is_calibrated
    assert "relative" in rig.scale_source
    assert rig.remarks == ()


def test_the_scales_source_tells_whose_distance_was_taken(view: Any) -> None:
    assert rig_of([view(distance=120.0)], RING).scale_source == "pixel spacing (0028,0030) and Subject Distance"
    assert rig_of([view()], RING).scale_source == "pixel spacing (0028,0030) and the rig's distance of 150 mm from the settings"


@pytest.mark.parametrize(
    ("kept", "stated", "said"),
    [
        ((0, 1, 2, 4, 5, 6, 7), True, ("Only 7 of the rig's 8 views came: none from azimuth 135 degrees.",)),
        ((0, 1, 2, 4, 5, 6, 7), False, ("Only 7 of the rig's 8 views came.",)),
        ((0, 2, 4, 6), True, ()),
        (range(8), True, ()),
    ],
)
def test_views_that_did_not_come_are_said(kept: Any, stated: bool, said: tuple[str, ...], view: Any) -> None:
    """Half of them and fewer: another rig than that of the settings."""
    views = [view(k + 1, **({"azimuth": 45.0 * k} if stated else {})) for k in kept]
    assert rig_of(views, RING).remarks == said
