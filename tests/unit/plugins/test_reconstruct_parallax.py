"""Whether there is depth to see, judged on points projected by known cameras."""

from __future__ import annotations

import numpy as np
import pytest
from dermanode_reconstruct.parallax import measure_parallax
from dermanode_reconstruct.poses import ring_poses
from dermanode_reconstruct.tracks import Tracks
from numpy.typing import NDArray

K = np.array([[7680.0, 0, 511.5], [0, 7680.0, 383.5], [0, 0, 1]])


def tracks(tilt_deg: float, azimuths_deg: NDArray[np.float64], seed: int = 0) -> tuple[Tracks, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    count = len(azimuths_deg)
    points = np.column_stack([rng.uniform(-6, 6, (200, 2)), rng.normal(0, 0.02, 200)])
    intrinsics = np.repeat(K[None], count, axis=0)
    pixels, _ = ring_poses(azimuths_deg, np.full(count, tilt_deg), np.full(count, 150.0)).project(points, intrinsics)
    return Tracks(pixels + rng.normal(0, 0.3, pixels.shape)), intrinsics


@pytest.mark.parametrize("tilt_deg", [5.0, 10.0, 25.0, 40.0])
@pytest.mark.parametrize("views", [3, 4, 8])
def test_the_tilt_is_measured_from_the_pictures_alone(tilt_deg: float, views: int) -> None:
    azimuths = 360.0 * np.arange(views) / views
    found = measure_parallax(*tracks(tilt_deg, azimuths), azimuths)
    assert found.pairs >= views - 1
    assert found.tilt_deg == pytest.approx(tilt_deg, abs=0.8)


def test_cameras_that_only_turn_show_hardly_any() -> None:
    azimuths = 45.0 * np.arange(8)
    assert measure_parallax(*tracks(0.0, azimuths), azimuths).tilt_deg < 2.5


def test_views_in_one_place_or_opposite_each_other_tell_nothing() -> None:
    azimuths = np.array([0.0, 180.0, 5.0])
    found = measure_parallax(*tracks(25.0, azimuths), azimuths)
    assert found.pairs == 0
    assert np.isnan(found.tilt_deg)
