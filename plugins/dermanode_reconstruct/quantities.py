"""What a metric surface measures itself, each number with the interval of its error."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain import Measurement
from dermanode.domain.codes import MM, MM2, MM3, Code
from dermanode_reconstruct.grid import Grid
from dermanode_reconstruct.skin_base import Base

Field = NDArray[np.float64]

_HEIGHT = Code("121207", "DCM", "Height")
_MAXIMUM, _MEAN = Code("56851009", "SCT", "Maximum"), Code("373098007", "SCT", "Mean")
_NORMAL_90 = 1.645
_CALIBRATION = 1.0
"""What the intervals are stretched by, so that 85 to 95 % of the scenes of `benchmarks/reconstruction.py` lie in them."""
_NARROW_MM = 0.25
"""Radius of what is too narrow to be the lesion's top: the end of a hair, an error of the stereo."""
_SEARCH_MM, _PEAK_MM = 0.15, 0.25
"""Sigmas of the smoothing with which the highest place is found, and of the weights of the paraboloid that is fitted there: the highest
point itself would be noise, and a smoothed one lies too low."""
_CALM_MM, _WIDEST = 0.012, 2.5
"""Where the surface scatters by more than this, both are wider by the square root of the ratio, up to so many times."""
_BIAS_PX = 0.1
"""Working pixels by which the matching may be off everywhere on the lesion against the skin around it: colours and furrows differ."""
_SCALE_ERROR = 0.007
"""Relative error of heights besides the tilt's own: spacing, distortion, smoothing."""
_PEAK_BIAS = 3.0
"""So many times that bias is the error of a highest point: it is chosen for being high."""
_OUTLINE_MM = 0.10
"""Least standard deviation of where an outline lies."""


@dataclass(frozen=True, eq=False)
class Errors:
    """What is uncertain, as standard deviations."""

    base: Base
    scatter_mm: float
    """Of each height, alike within 0.35 mm."""
    tilt: float
    """Relative, of every height."""
    outline_mm: float
    pixel_height_mm: float
    """The height that moves a point by one working pixel."""
    scale: float
    """The pictures' field against 20 mm."""


def measure(heights: Field, share: Field, grid: Grid, errors: Errors) -> tuple[Measurement, ...]:
    """Volume, highest point, mean height and footprint of a lesion.

    `heights` are n x n above the base, mm; `share` is how much of each cell is lesion, 0 to 1. Variances add up: that of the base under
    the lesion; the scatter of the surface, alike within 0.35 mm; what every height shares (tilt, scale); a bias everywhere; the
    outline's place times the height along it.
    """
    cell = grid.step_mm**2
    area = float(share.sum()) * cell
    volume = float((heights * share).sum()) * cell
    relative = float(np.hypot(errors.tilt, _SCALE_ERROR))
    bias_mm = _BIAS_PX * errors.pixel_height_mm
    rim = cv2.morphologyEx((share > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    perimeter = 2 * np.sqrt(np.pi * area) * 1.05
    outline_mm = float(np.hypot(errors.outline_mm, _OUTLINE_MM * errors.scale))
    rim_mm = float(abs(heights[rim]).mean()) if rim.any() else 0.0
    alike_mm2 = np.pi * (0.35 * errors.scale) ** 2
    volume_error = _together(
        np.sqrt(errors.base.variance_of_sum(share * cell)),
        errors.scatter_mm * np.sqrt(area * alike_mm2),
        relative * volume,
        bias_mm * area,
        outline_mm * perimeter * rim_mm,
    )
    reach = max(1, round(_NARROW_MM * errors.scale / grid.step_mm))
    opened = cv2.morphologyEx(heights, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2))
    width = float(np.clip(np.sqrt(errors.scatter_mm / (_CALM_MM * errors.scale)), 1.0, _WIDEST)) * errors.scale / grid.step_mm
    smooth = cv2.GaussianBlur(opened, (0, 0), _SEARCH_MM * width)
    peak = np.unravel_index(int(np.where(share > 0.5, smooth, -np.inf).argmax()), share.shape)
    highest = _vertex(heights, (int(peak[0]), int(peak[1])), _PEAK_MM * width)
    at_peak = np.zeros_like(share)
    at_peak[peak] = 1.0
    highest_error = _together(np.sqrt(errors.base.variance_of_sum(at_peak)), errors.scatter_mm, relative * highest, _PEAK_BIAS * bias_mm)
    mean = volume / area
    mean_error = _together(volume_error / area, mean * outline_mm * perimeter / area)
    return (
        _measured("volume_mm3", Code("RNU0", "IBSI", "Volume of Mesh"), volume, MM3, volume_error, None, _VOLUME_IS),
        _measured("max_height_mm", _HEIGHT, highest, MM, highest_error, _MAXIMUM, _HIGHEST_IS),
        _measured("mean_height_mm", _HEIGHT, mean, MM, mean_error, _MEAN, _MEAN_IS),
        _measured("footprint_mm2", Code("42798000", "SCT", "Area"), area, MM2, outline_mm * perimeter, None, _FOOTPRINT_IS),
    )


_VOLUME_IS = (
    "Integral of the height above the base (a quadratic fitted to the skin around) over the lesion, on the undecimated height field."
)
_HIGHEST_IS = (
    "Vertex of the paraboloid fitted around the highest place of the lesion (Gaussian weights of 0.25 mm, wider on a noisy surface), above "
    "the base."
)
_MEAN_IS = "Volume over footprint."
_FOOTPRINT_IS = "Area of the lesion in the skin plane: where at least half of the views' masks lie on the surface."


def _vertex(heights: Field, peak: tuple[int, int], sigma: float) -> float:
    """The highest value of the paraboloid fitted around a place, within one sigma (in cells) of it."""
    reach = int(np.ceil(2 * sigma))
    rows, columns = heights.shape
    i, j = (np.arange(max(0, at - reach), min(size, at + reach + 1)) for at, size in zip(peak, (rows, columns), strict=True))
    y, x = np.meshgrid((i - peak[0]) / sigma, (j - peak[1]) / sigma, indexing="ij")
    weight = np.exp(-0.25 * (x**2 + y**2)).ravel()
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1).reshape(-1, 6)
    values = heights[np.ix_(i, j)].ravel()
    fit = np.linalg.lstsq(terms * weight[:, None], values * weight, rcond=None)[0]
    angle, far = np.meshgrid(np.linspace(0, 2 * np.pi, 24, endpoint=False), np.linspace(0, 1, 6))
    across, down = far * np.cos(angle), far * np.sin(angle)
    around = fit[0] + fit[1] * across + fit[2] * down + fit[3] * across**2 + fit[4] * across * down + fit[5] * down**2
    return float(around.max())


def _together(*deviations: float) -> float:
    return float(np.sqrt(sum(one**2 for one in deviations)))


def _measured(key: str, concept: Code, value: float, unit: Code, error: float, derivation: Code | None, definition: str) -> Measurement:
    half = _NORMAL_90 * _CALIBRATION * error
    # What cannot be negative has no negative end: a sunken lesion's volume can.
    lower = max(0.0, value - half) if key == "footprint_mm2" else value - half
    return Measurement(
        key=key, concept=concept, value=value, unit=unit, lower=lower, upper=value + half, derivation=derivation, definition=definition
    )
