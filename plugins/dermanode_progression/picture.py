"""A view at the size at which visits are laid over each other, with the lesion's outline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain import View
from dermanode.domain.series import RGB

WORKING_PX = 1024
_SUBPIXELS = 4

Matrix = NDArray[np.float64]
Mask = NDArray[np.uint8]
"""Rows x columns; 1 inside the lesion, else 0."""
Polygon = Sequence[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Picture:
    """A view whose longest side is at most `WORKING_PX`."""

    view: View
    pixels: RGB
    to_source: Matrix
    """3 x 3: maps (column, row, 1) of these pixels to those of the source."""
    outlines: tuple[NDArray[np.float64], ...]
    """Closed polygons, N x 2: (column, row) in these pixels."""

    @property
    def size(self) -> tuple[int, int]:
        """(columns, rows)."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def lesion(self) -> Mask:
        return filled(self.outlines, self.size)


def open_picture(view: View, outlines: Sequence[Polygon]) -> Picture:
    """The view with outlines given in source pixels. Raises `UnreadableObject`."""
    pixels = view.pixels(WORKING_PX)
    scale = WORKING_PX / max(pixels.shape[:2])
    if scale < 1:
        size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    to_source = scaling(view.columns / pixels.shape[1], view.rows / pixels.shape[0])
    to_here = inverse(to_source)
    return Picture(view, pixels, to_source, tuple(moved(np.asarray(polygon, np.float64), to_here) for polygon in outlines))


def scaling(across: float, down: float) -> Matrix:
    """Enlarges a picture; pixel centres are at whole numbers on both sides: u' = (u + 0.5) s - 0.5."""
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1.0]])


def inverse(homography: Matrix) -> Matrix:
    return np.asarray(np.linalg.inv(homography), np.float64)


def moved(points: NDArray[np.float64], homography: Matrix) -> NDArray[np.float64]:
    """Points, N x 2, through a homography."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float64)


def filled(outlines: Sequence[NDArray[np.float64]], size: tuple[int, int]) -> Mask:
    """The inside of polygons, on a grid of (columns, rows) = size."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    for polygon in outlines:
        # What lies far off the grid overflows OpenCV's fixed-point coordinates.
        held = np.clip(polygon, -4 * WORKING_PX, 8 * WORKING_PX)
        cv2.fillPoly(mask, [np.round(held * 2**_SUBPIXELS).astype(np.int32)], 1, shift=_SUBPIXELS)
    return mask
