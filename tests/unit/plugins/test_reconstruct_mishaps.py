"""Series to which something happened, through the reconstruct stage: what was wrong is said, and no wrong number goes without a word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dermanode.domain import Case
from dermanode.testing.scenes import Look, Mishap, Ring, Scene, Shape, Stated

pytest.importorskip("pycolmap", reason="pycolmap is missing", exc_type=ImportError)

DOME = Scene(Shape.DOME, 1)
SAID = {
    Mishap.MISSING_VIEW: "Only 7 of the rig's 8 views came: none from azimuth 180 degrees.",
    Mishap.LENS_CAP: "was the lens covered?",
    Mishap.NEIGHBOUR: "",
    Mishap.LONG_HAIR: "",
    Mishap.RULER: "",
    Mishap.PRESSED: "pressed flat",
    Mishap.MOVED_PATIENT: "the patient or the camera moved",
    Mishap.BREATHING: "the skin moved between the views",
    Mishap.MIXED_SIZES: "different pixel spacings",
    Mishap.MIXED_CAMERAS: "different pixel spacings",
    Mishap.OTHER_LESION: "they show another lesion, or the patient moved",
    Mishap.SHUFFLED: "structure from motion, because the ring's azimuths do not fit",
    Mishap.REVERSED: "clockwise",
    Mishap.NO_AZIMUTHS: "azimuths by the views' numbers",
    Mishap.NO_SCALE: "its size is not",
    Mishap.NO_GEOMETRY: "its size is not",
}
"""Nothing where the surface is right as it is: what is robust needs no excuse."""


@pytest.mark.parametrize("mishap", list(Mishap))
def test_what_happened_is_said_and_the_numbers_are_right(mishap: Mishap, darkroom: Any, reconstructed: Callable[..., Any]) -> None:
    taken = darkroom.take(mishap, DOME)
    found = reconstructed(darkroom.case(taken.views, taken.scene, azimuths_deg=taken.azimuths_deg, unstated=taken.unstated))
    assert found.surface is not None, found.reasons
    assert SAID[mishap] in found.words
    assert found.surface.is_metric is (mishap not in (Mishap.NO_SCALE, Mishap.NO_GEOMETRY))
    if found.surface.is_metric:
        assert found.measured("volume_mm3").value == pytest.approx(taken.scene.truth.volume_mm3, rel=0.06)
        assert found.measured("max_height_mm").value == pytest.approx(taken.scene.truth.height_mm, rel=0.08)


Tries = Callable[..., Any]


@pytest.fixture
def tried(darkroom: Any, reconstructed: Callable[..., Any]) -> Tries:
    """A changed dome through the stage, without structure from motion: `change` gets its eight views."""

    def run(change: Callable[[list[Any]], list[Any]] = list, *, after: Callable[[Case], Case] = lambda case: case, **stated: Any) -> Any:
        return reconstructed(after(darkroom.case(change(darkroom.render(DOME)), DOME, **stated)), is_motion_searched=False)

    return run


def assert_right(found: Any) -> None:
    assert found.surface is not None, found.reasons
    assert found.surface.is_metric, found.words
    assert found.measured("volume_mm3").value == pytest.approx(DOME.truth.volume_mm3, rel=0.05)


def assert_relative(found: Any, why: str) -> None:
    assert found.surface is not None, found.reasons
    assert not found.surface.is_metric
    assert any(remark.startswith("No surface in millimetres: ") and why in remark for remark in found.surface.remarks), found.words
    assert {one.key for one in found.surface.measurements} == {"relative_relief"}


def test_a_view_that_moved_elsewhere_on_the_ring_is_dropped_with_the_reason(tried: Tries) -> None:
    found = tried(azimuths_deg=[0, 45, 90, 135, 180, 225, 270, 292])
    assert_right(found)
    [(_, why)] = found.surface.dropped_views
    assert "a wrong azimuth" in why


def test_azimuths_that_are_all_off_by_45_change_nothing(tried: Tries) -> None:
    found = tried(azimuths_deg=[(45 * k + 45) % 360 for k in range(8)])
    assert_right(found)
    assert found.surface.remarks == ()


def test_a_gap_that_the_numbers_do_not_show_is_found(tried: Tries) -> None:
    """Seven views numbered without a gap, no azimuths: the numbers alone would put three of them in the wrong places."""
    found = tried(lambda views: views[:3] + views[4:], unstated={Stated.AZIMUTH})
    assert_right(found)
    assert "Only 7 of the rig's 8 views came." in found.surface.remarks
    assert len(found.surface.used_views) >= 6


def test_of_five_views_of_one_lesion_and_three_of_another_the_five_are_measured(darkroom: Any, tried: Tries) -> None:
    found = tried(lambda views: views[:5] + darkroom.render(replace(DOME, seed=1_000_001))[5:])
    assert_right(found)
    assert len(found.surface.used_views) == 5
    assert "another lesion" in found.words


def test_a_view_out_of_focus_is_dropped_as_such(tried: Tries) -> None:
    found = tried(lambda views: [*views[:2], replace(views[2], pixels=cv2.GaussianBlur(views[2].pixels, (0, 0), 8.0)), *views[3:]])
    assert_right(found)
    assert [why for _, why in found.surface.dropped_views] == ["it is out of focus"]


def test_masks_over_two_lesions_leave_the_larger_one_and_say_so(darkroom: Any, reconstructed: Callable[..., Any]) -> None:
    views = darkroom.render(DOME)
    masks = [view.mask | spot(view, 7.0) for view in views]
    found = reconstructed(darkroom.case(views, DOME, masks=masks))
    assert_right(found)
    assert "1 more lesion in the field: only the largest was measured." in found.surface.remarks


def spot(view: Any, x_mm: float) -> NDArray[np.bool_]:
    """A disc of 3 mm on the skin."""
    rows, columns = np.indices(view.mask.shape)
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(view.intrinsics).T @ view.rotation
    centre = -view.rotation.T @ view.translation
    at = centre - rays * (centre[2] / rays[..., 2])[..., None]
    return np.asarray(np.hypot(at[..., 0] - x_mm, at[..., 1]) < 1.5)


@pytest.mark.parametrize(("outlined", "said"), [(6, ""), (1, "outlined in only 1 of 8 views")])
def test_views_without_an_outline_still_show_depth(outlined: int, said: str, darkroom: Any, reconstructed: Callable[..., Any]) -> None:
    views = darkroom.render(DOME)
    masks = [view.mask if place < outlined else np.zeros_like(view.mask) for place, view in enumerate(views)]
    found = reconstructed(darkroom.case(views, DOME, masks=masks))
    assert_right(found)
    assert len(found.surface.used_views) == 8
    assert said in found.words


def test_outlines_that_contradict_one_another_are_said(darkroom: Any, reconstructed: Callable[..., Any]) -> None:
    views = darkroom.render(DOME)
    wrong = np.zeros_like(views[0].mask)
    wrong[20:90, 30:120] = True
    found = reconstructed(darkroom.case(views, DOME, masks=[wrong if k in (1, 4, 6) else view.mask for k, view in enumerate(views)]))
    assert "The outlines of the views do not agree" in found.words
    area = found.measured("footprint_mm2")
    assert area.lower <= DOME.truth.area_mm2 <= area.upper


def test_a_lesion_without_marks_is_not_measured(darkroom: Any, reconstructed: Callable[..., Any]) -> None:
    """Whatever height is looked at, the pictures agree: one of them would be reported, off by half, with a narrow interval."""
    bare = replace(DOME, look=Look(texture=0.05, hairs=0, dots=0, network=0, pigment=0.3))
    assert_relative(reconstructed(darkroom.case(darkroom.render(bare), bare)), "too little to see")


def test_a_cap_on_six_of_eight_views_is_said_of_each(darkroom: Any, reconstructed: Callable[..., Any]) -> None:
    ring = Ring(capped=(0, 1, 2, 4, 5, 6))
    found = reconstructed(darkroom.case(darkroom.render(DOME, ring), DOME))
    assert_relative(found, "only 2 of 8 views are of use, and depth needs 3")
    assert [why for _, why in found.surface.dropped_views].count("it is black: was the lens covered?") == 6


def test_two_views_are_said_to_be_too_few(tried: Tries) -> None:
    assert_relative(tried(lambda views: views[:2]), "depth needs 3 views, and 2 came")


def test_what_the_views_do_not_state_is_taken_from_elsewhere_and_said(tried: Tries) -> None:
    """Half of them no spacing, all of them no distance; and the outline reaches the edge of one."""

    def without(case: Case) -> Case:
        views = tuple(
            replace(view, geometry=replace(view.geometry, pixel_spacing_mm=None)) if place % 2 else view
            for place, view in enumerate(case.series.views)
        )
        assert case.segmentation is not None
        first, *others = case.segmentation.masks
        outlines = replace(case.segmentation, masks=(replace(first, touches_border=True), *others))
        return replace(case, series=replace(case.series, views=views), findings=(outlines,))

    found = tried(after=without, unstated={Stated.DISTANCE})
    assert_right(found)
    assert "4 of 8 views state no pixel spacing" in found.words
    assert "the rig's distance in the settings was taken" in found.words
    assert "reaches the edge of a picture" in found.words
