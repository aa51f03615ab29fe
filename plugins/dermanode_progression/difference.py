"""What changed between two photographs that lie over each other: area, outline and colour."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain import Measurement
from dermanode.domain.codes import MM, NO_UNITS, PERCENT, Quantity, private
from dermanode.domain.series import RGB
from dermanode_progression.picture import Mask, Picture, filled, inverse, moved
from dermanode_progression.registration import Registration

_COLOUR_SCALE = 2
"""Colour is compared on a grid this much coarser: what a photograph's noise and grain change from pixel to pixel is no change."""
_RING = (0.05, 0.30)
"""Skin around the lesion, in diameters from its outline."""
_LEAST_RING_PX = 300
_FITTED_PX = 4000

_HOW = "This visit's outline against that of the earlier visit, brought onto the same picture by the skin around the lesion."
AREA = Quantity(
    "registered_area_change_percent", private("REGAREA", "Change of area, registered"), PERCENT, f"100 (now / then - 1). {_HOW}"
)
OVERLAP = Quantity(
    "outline_overlap", private("REGIOU", "Overlap of outlines"), NO_UNITS, f"Area in both outlines by the area in either (Jaccard). {_HOW}"
)
_SHIFT = "distance from one outline to the other, from points of either"
MEAN_SHIFT = Quantity("border_shift_mean_mm", private("BSHIFTMEAN", "Mean displacement of the border"), MM, f"Mean {_SHIFT}. {_HOW}")
MAX_SHIFT = Quantity(
    "border_shift_max_mm", private("BSHIFTMAX", "Largest displacement of the border"), MM, f"Largest {_SHIFT} (Hausdorff). {_HOW}"
)
_OF_DIAMETER = "In percent of the diameter of a circle of the earlier area; the view states no pixel spacing."
MEAN_SHIFT_PERCENT = Quantity("border_shift_mean_percent", MEAN_SHIFT.concept, PERCENT, f"{MEAN_SHIFT.definition} {_OF_DIAMETER}")
MAX_SHIFT_PERCENT = Quantity("border_shift_max_percent", MAX_SHIFT.concept, PERCENT, f"{MAX_SHIFT.definition} {_OF_DIAMETER}")
COLOUR = Quantity(
    "colour_change",
    private("DELTAE", "Change of colour"),
    NO_UNITS,
    "Mean CIE76 distance between both visits inside either outline, after the earlier picture was multiplied, in each of red, green and "
    "blue, by what makes the skin around (0.05 to 0.30 diameters) alike; on a grid of half the working size.",
)
SKIN_COLOUR = Quantity(
    "skin_colour_change",
    private("DELTAESKIN", "Change of colour of the skin around"),
    NO_UNITS,
    "The same of the skin around the lesion: what light, camera and registration do without any change of the lesion.",
)


@dataclass(frozen=True, eq=False)
class Difference:
    """Two visits on this visit's grid. Arrays are rows x columns of the working picture."""

    then: RGB
    """The earlier picture brought onto this one; black where it shows nothing."""
    outlines_now: tuple[NDArray[np.float64], ...]
    outlines_then: tuple[NDArray[np.float64], ...]
    lesion_now: Mask
    lesion_then: Mask
    colour: NDArray[np.float32] | None
    """CIE76 distance, on a grid of half the size, 0 beyond the earlier picture; None with too little skin around to match colours by."""
    measurements: tuple[Measurement, ...]
    remarks: tuple[str, ...]
    """What could not be measured, as parts of a sentence."""


def differ(now: Picture, then: Picture, fit: Registration) -> Difference:
    """Measures what changed from `then` to `now`."""
    size = now.size
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpPerspective(then.pixels, fit.to_then, size, flags=flags)
    seen = cv2.warpPerspective(np.ones(then.pixels.shape[:2], np.uint8), fit.to_then, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    back = inverse(fit.to_then)
    outlines_then = tuple(moved(outline, back) for outline in then.outlines)
    lesion_now, lesion_then = now.lesion, filled(outlines_then, size)
    measured: list[Measurement] = []
    remarks: list[str] = []
    is_whole = not _is_cut(lesion_now) and not _is_cut(then.lesion) and _lies_inside(outlines_then, size) and seen[lesion_now > 0].all()
    if is_whole:
        measured += _outline_measurements(now, lesion_now, lesion_then)
    else:
        remarks.append("the lesion is not whole in both pictures, so area and border are not compared")
    colour, ring = _colour_change(now.pixels, laid, seen, lesion_now | lesion_then)
    if colour is None or ring is None:
        remarks.append("there is too little skin around the lesion to match colours by")
    else:
        either = _coarse(lesion_now | lesion_then, colour.shape) & _coarse(seen, colour.shape)
        measured += [
            _measurement(q, float(colour[where].mean()), now) for q, where in ((COLOUR, either), (SKIN_COLOUR, ring)) if where.any()
        ]
    return Difference(laid, now.outlines, outlines_then, lesion_now, lesion_then, colour, tuple(measured), tuple(remarks))


def _outline_measurements(now: Picture, lesion_now: Mask, lesion_then: Mask) -> Iterator[Measurement]:
    area_now, area_then = cv2.countNonZero(lesion_now), cv2.countNonZero(lesion_then)
    if not (area_now and area_then):
        return
    yield _measurement(AREA, 100 * (area_now / area_then - 1), now)
    shared = cv2.countNonZero(lesion_now & lesion_then)
    yield _measurement(OVERLAP, shared / (area_now + area_then - shared), now)
    apart = [_distances(lesion_now, lesion_then), _distances(lesion_then, lesion_now)]
    mean, largest = sum(float(d.mean()) for d in apart) / 2, max(float(d.max()) for d in apart)
    spacing = now.view.geometry.pixel_spacing_mm
    if spacing is None:
        share = 100 / (2 * math.sqrt(area_then / math.pi))
        yield _measurement(MEAN_SHIFT_PERCENT, mean * share, now)
        yield _measurement(MAX_SHIFT_PERCENT, largest * share, now)
    else:
        pixel_mm = float(spacing[0] * now.to_source[1, 1] + spacing[1] * now.to_source[0, 0]) / 2
        yield _measurement(MEAN_SHIFT, mean * pixel_mm, now)
        yield _measurement(MAX_SHIFT, largest * pixel_mm, now)


def _distances(one: Mask, other: Mask) -> NDArray[np.float32]:
    """How far each point of one outline is from the other, in pixels."""
    left, top, width, height = cv2.boundingRect(one | other)
    box = slice(top, top + height), slice(left, left + width)
    contours, _ = cv2.findContours(other[box], cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    edge = np.full((height, width), 255, np.uint8)
    cv2.drawContours(edge, contours, -1, 0, 1)
    away = cv2.distanceTransform(edge, cv2.DIST_L2, cv2.DIST_MASK_5)
    mine, _ = cv2.findContours(one[box], cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(mine).reshape(-1, 2)
    return np.asarray(away[points[:, 1], points[:, 0]], np.float32)


def _colour_change(now: RGB, laid: RGB, seen: Mask, either: Mask) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | tuple[None, None]:
    """CIE76 distance on the coarse grid, and the skin that colours were matched by; None where there is too little of it."""
    smooth = []
    for pixels in (now, laid):
        small = cv2.resize(pixels, None, fx=1 / _COLOUR_SCALE, fy=1 / _COLOUR_SCALE, interpolation=cv2.INTER_AREA)
        smooth.append(cv2.GaussianBlur(small, (0, 0), 1.5).astype(np.float32) / np.float32(255))
    shape = smooth[0].shape[:2]
    area = cv2.countNonZero(either) / _COLOUR_SCALE**2
    diameter = 2 * np.sqrt(area / np.pi)
    outside = cv2.distanceTransform(1 - _coarse(either, shape).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    inner = cv2.erode(seen, np.ones((17, 17), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    ring = (outside > _RING[0] * diameter) & (outside < _RING[1] * diameter) & _coarse(inner, shape)
    rows, columns = np.nonzero(ring)
    if len(rows) < _LEAST_RING_PX:
        return None, None
    # Light and white balance multiply. The factor's logarithm is a plane: another place of the lamp shades a picture from side to side.
    every = slice(None, None, max(1, len(rows) // _FITTED_PX))
    at = rows[every], columns[every]
    terms = np.column_stack([np.ones(len(at[0])), at[1] / shape[1], at[0] / shape[0]])
    ratios = np.log(np.maximum(smooth[0][at], 0.02) / np.maximum(smooth[1][at], 0.02))
    plane = np.linalg.lstsq(terms, ratios.astype(np.float64), rcond=None)[0].astype(np.float32)
    across = np.exp(np.arange(shape[1], dtype=np.float32)[:, None] / shape[1] * plane[1])
    down = np.exp(np.arange(shape[0], dtype=np.float32)[:, None] / shape[0] * plane[2] + plane[0])
    matched = np.minimum(smooth[1] * across[None] * down[:, None], 1)
    off = cv2.cvtColor(smooth[0], cv2.COLOR_RGB2Lab) - cv2.cvtColor(matched, cv2.COLOR_RGB2Lab)
    squares = off * off
    distance = np.sqrt(squares[..., 0] + squares[..., 1] + squares[..., 2])
    distance[~_coarse(inner, shape)] = 0
    return distance, ring


def _coarse(mask: Mask, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.asarray(cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST) > 0)


def _is_cut(lesion: Mask) -> bool:
    return bool(lesion[0].any() or lesion[-1].any() or lesion[:, 0].any() or lesion[:, -1].any())


def _lies_inside(outlines: tuple[NDArray[np.float64], ...], size: tuple[int, int]) -> bool:
    return all((outline >= 0).all() and (outline <= np.array(size) - 1).all() for outline in outlines)


def _measurement(quantity: Quantity, value: float, now: Picture) -> Measurement:
    return Measurement(
        key=quantity.key,
        concept=quantity.concept,
        value=value,
        unit=quantity.unit,
        definition=quantity.definition,
        view_uid=now.view.sop_instance_uid,
    )
