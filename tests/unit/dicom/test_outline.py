from __future__ import annotations

import numpy as np
import pytest

from dermanode.dicom.outline import area_px, outline
from dermanode.testing.worked_cases import disc


def test_an_empty_mask_has_no_outline() -> None:
    assert outline(np.zeros((4, 5), bool)) is None


def test_the_outline_of_one_pixel_runs_around_it_half_a_pixel_from_its_centre() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    found = outline(mask)
    assert found is not None
    assert found.min(axis=0).tolist() == [2, 1]
    assert found.max(axis=0).tolist() == [3, 2]


def test_the_outline_is_closed() -> None:
    found = outline(disc(96, 128))
    assert found is not None
    assert found[0].tolist() == found[-1].tolist()


def test_a_lesion_that_fills_the_image_is_outlined_by_its_border_and_not_beyond() -> None:
    found = outline(np.ones((7, 9), bool))
    assert found is not None
    assert found.min() == 0
    assert found.max(axis=0).tolist() == [9, 7]


def test_the_outline_encloses_as_much_as_the_mask() -> None:
    mask = disc(768, 1024)
    found = outline(mask)
    assert found is not None
    assert area_px(found) == pytest.approx(mask.sum(), rel=0.002)
    assert len(found) < 150


def test_the_largest_region_is_outlined_and_holes_are_not() -> None:
    mask = np.zeros((20, 20), bool)
    mask[1:3, 1:3] = True
    mask[5:15, 5:15] = True
    mask[8:10, 8:10] = False
    found = outline(mask)
    assert found is not None
    assert area_px(found) == 100


def test_pixels_that_touch_at_a_corner_are_two_regions() -> None:
    found = outline(np.eye(2, dtype=bool))
    assert found is not None
    assert area_px(found) == 1
