"""The patch of a view that becomes the mesh: a regular grid over the lesion and a rim of skin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain import View
from dermanode_reconstruct.settings import ReconstructSettings


@dataclass(frozen=True, eq=False)
class Patch:
    """Samples of a view on a grid of square cells. Arrays are grid rows x grid columns."""

    x: NDArray[np.float64]
    """Of each grid column, in the lateral unit, from the centre of the source's first pixel."""
    y: NDArray[np.float64]
    step: float
    """Side of a cell in the lateral unit."""
    pixels: NDArray[np.float32]
    """Rows x columns x 3, sRGB 0 to 255, averaged over a cell."""
    is_lesion: NDArray[np.bool_]


def cut_patch(view: View, mask: NDArray[np.bool_], settings: ReconstructSettings) -> Patch:
    """The grid over the lesion's bounding box and its rim, inside the picture, with about `settings.faces` triangles.

    One lateral unit is a millimetre where the view knows its pixel spacing, else a source pixel. Raises `UnreadableObject`.
    """
    row_mm, column_mm = view.geometry.pixel_spacing_mm or (1.0, 1.0)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = rows[0] * row_mm, rows[-1] * row_mm
    left, right = columns[0] * column_mm, columns[-1] * column_mm
    rim = settings.rim_fraction * max(bottom - top, right - left) + max(row_mm, column_mm)
    top, bottom = max(0.0, top - rim), min((view.rows - 1) * row_mm, bottom + rim)
    left, right = max(0.0, left - rim), min((view.columns - 1) * column_mm, right + rim)
    step = ((bottom - top) * (right - left) / (settings.faces / 2)) ** 0.5
    x = left + step * np.arange(max(2, round((right - left) / step) + 1))
    y = top + step * np.arange(max(2, round((bottom - top) / step) + 1))

    # Two source samples a cell are enough; what the codec leaves beyond that is averaged away.
    step_px = step / min(row_mm, column_mm)
    longest_px = max(view.rows, view.columns)
    pixels = view.pixels(longest_side_px=min(longest_px, int(np.ceil(2 * longest_px / step_px))))
    to_decoded_x, to_decoded_y = pixels.shape[1] / view.columns, pixels.shape[0] / view.rows
    sigma_x, sigma_y = (0.5 * step / column_mm * to_decoded_x, 0.5 * step / row_mm * to_decoded_y)
    smooth = cv2.GaussianBlur(pixels, (0, 0), sigmaX=max(0.3, sigma_x), sigmaY=max(0.3, sigma_y)).astype(np.float32)
    # Pixel centres are at whole numbers on both sides: u' = (u + 0.5) s - 0.5.
    map_x, map_y = np.meshgrid((x / column_mm + 0.5) * to_decoded_x - 0.5, (y / row_mm + 0.5) * to_decoded_y - 0.5)
    sampled = cv2.remap(smooth, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    grid_rows = np.clip(np.round(y / row_mm).astype(int), 0, view.rows - 1)
    grid_columns = np.clip(np.round(x / column_mm).astype(int), 0, view.columns - 1)
    return Patch(x, y, step, sampled, mask[np.ix_(grid_rows, grid_columns)])
