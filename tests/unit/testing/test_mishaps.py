"""Series to which something happened: each is a valid series, and has what its name says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dermanode.dicom.read import read_series
from dermanode.domain import Series
from dermanode.testing.scenes import Mishap, Ring, unlucky_series, write_series

SIZE = (96, 72)
VIEWS = 8


def taken(mishap: Mishap, folder: Path) -> Series:
    return read_series(write_series(folder, unlucky_series(mishap, ring=Ring(views=VIEWS), size=SIZE)))


@pytest.mark.parametrize("mishap", list(Mishap))
def test_every_mishap_leaves_a_series_that_can_be_read(mishap: Mishap, tmp_path: Path) -> None:
    series = taken(mishap, tmp_path)

    assert len(series.views) == VIEWS - (mishap is Mishap.MISSING_VIEW)
    assert all(view.pixels().shape == (view.rows, view.columns, 3) for view in series.views)


def test_missing_view_leaves_a_gap_in_the_azimuths(tmp_path: Path) -> None:
    assert [view.geometry.azimuth_deg for view in taken(Mishap.MISSING_VIEW, tmp_path).views] == [0, 45, 90, 135, 225, 270, 315]


def test_capped_view_is_black(tmp_path: Path) -> None:
    assert [k for k, view in enumerate(taken(Mishap.LENS_CAP, tmp_path).views) if view.pixels().mean() < 5] == [VIEWS // 2]


def test_mixed_cameras_differ_in_size_scale_and_distance(tmp_path: Path) -> None:
    views = taken(Mishap.MIXED_CAMERAS, tmp_path).views

    assert len({(view.rows, view.columns) for view in views}) == 2
    assert len({view.geometry.pixel_spacing_mm for view in views}) == 2
    assert {view.geometry.subject_distance_mm for view in views} == {150.0, 105.0}


def test_wrong_azimuths_are_stated_for_the_same_pictures(tmp_path: Path) -> None:
    right, reversed_, shuffled = (
        taken(mishap, tmp_path / mishap.name).views for mishap in (Mishap.NO_AZIMUTHS, Mishap.REVERSED, Mishap.SHUFFLED)
    )

    assert [view.geometry.azimuth_deg for view in reversed_] == [0, 315, 270, 225, 180, 135, 90, 45]
    assert all(np.array_equal(a.pixels(), b.pixels()) for a, b in zip(right, reversed_, strict=True))
    assert [view.geometry.azimuth_deg for view in shuffled] == [0, 45, 90, 135, 180, 225, 270, 315]
    assert not any(np.array_equal(a.pixels(), b.pixels()) for a, b in zip(right, shuffled, strict=True))


def test_what_is_not_stated_is_not_read(tmp_path: Path) -> None:
    geometry = taken(Mishap.NO_GEOMETRY, tmp_path / "none").views[0].geometry
    scaleless = taken(Mishap.NO_SCALE, tmp_path / "scaleless").views[1].geometry

    assert geometry.pixel_spacing_mm is geometry.subject_distance_mm is geometry.elevation_deg is geometry.azimuth_deg is None
    assert (scaleless.pixel_spacing_mm, scaleless.subject_distance_mm) == (None, None)
    assert (scaleless.elevation_deg, scaleless.azimuth_deg) == (-65.0, 45.0)
