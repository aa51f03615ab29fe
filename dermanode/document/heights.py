"""A surface's heights as colours, seen from right above, with a scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermanode.dicom import overlay
from dermanode.document.relief import Solid, around_lesion, depths
from dermanode.domain import HeightField, Surface
from dermanode.domain.series import RGB

_LARGEST_BAR = 0.35
"""Of the picture's width."""


@dataclass(frozen=True, eq=False)
class HeightMap:
    """Heights as a picture."""

    pixels: RGB
    low: float
    """What the lowest colour stands for, in mm where the surface is metric."""
    high: float
    bar_length: float
    """Of the scale bar, in the surface's lateral unit: 1, 2 or 5 times a power of ten."""
    bar_share: float
    """Of the scale bar, of the picture's width."""


def legend() -> RGB:
    """The colours from the lowest to the highest, in one row."""
    return np.ascontiguousarray(np.tile(overlay.coloured(np.linspace(0, 1, 256, dtype=np.float32))[None, :, :3], (8, 1, 1)))


def height_map(surface: Surface, size: tuple[int, int]) -> HeightMap | None:
    """The heights above the skin where they are known, else those above the lowest point; None where nothing is to be seen.

    `size` is the largest picture, (rows, columns).
    """
    if surface.height_field is not None:
        heights, outline, px_a_unit = _of_field(surface.height_field, size)
    else:
        heights, px_a_unit = depths(Solid.of(surface), size)
        outline = np.zeros(heights.shape, bool)
        heights = heights - np.nanmin(heights) if np.isfinite(heights).any() else heights
    known = np.isfinite(heights)
    if not known.any():
        return None
    low, high = min(0.0, float(np.percentile(heights[known], 0.5))), float(np.percentile(heights[known], 99.9))
    high = high if high > low else low + 1.0
    shares = np.where(known, (heights - low) / (high - low), 0).clip(0, 1).astype(np.float32)
    pixels = np.where(known[..., None], overlay.coloured(shares)[..., :3], np.uint8(255))
    pixels[outline] = 255
    length = _round_below(_LARGEST_BAR * pixels.shape[1] / px_a_unit)
    return HeightMap(pixels, low, high, length, length * px_a_unit / pixels.shape[1])


def _of_field(field: HeightField, size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.bool_], float]:
    """Heights, the lesion's outline, and pixels a unit."""
    part = around_lesion(field)
    heights = field.heights[part]
    scale = min(size[0] / heights.shape[0], size[1] / heights.shape[1])
    to = (max(1, round(scale * heights.shape[1])), max(1, round(scale * heights.shape[0])))
    enlarged = np.asarray(Image.fromarray(np.ascontiguousarray(heights, np.float32)).resize(to, Image.Resampling.BILINEAR))
    lesion = np.asarray(Image.fromarray(field.is_lesion[part]).convert("L").resize(to, Image.Resampling.BILINEAR)) > 127
    inner = np.pad(lesion, 1)
    within = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return enlarged, lesion & ~within, scale / field.step


def _round_below(length: float) -> float:
    power = 10.0 ** math.floor(math.log10(length))
    return next(digit * power for digit in (5, 2, 1) if digit * power <= length * (1 + 1e-9))
