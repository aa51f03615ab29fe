"""A view as geometry sees it: pixels at a working size, the camera's intrinsics and the lesion's mask."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain import View, ViewMask
from dermanode_reconstruct.grid import Matrix


@dataclass(frozen=True, eq=False)
class Photograph:
    """One decoded view."""

    view: View
    pixels: NDArray[np.uint8]
    """Rows x columns x 3, sRGB as it came: normalised colours would no longer tell pigment from shade."""
    intrinsics: Matrix
    """K of these pixels, pixel centres at whole numbers."""
    to_source: float
    """Source pixels for each of these."""
    mask: NDArray[np.uint8] | None
    """Rows x columns: how much of the pixel is lesion, 0 to 255; None where the lesion was not found."""
    grey: NDArray[np.uint8]
    distance_mm: float
    """From the camera to the lesion, as stated or assumed."""

    @property
    def spacing_mm(self) -> float:
        """Of these pixels, where the optical axis meets the skin."""
        return self.distance_mm / float(self.intrinsics[0, 0])


@dataclass(frozen=True, slots=True)
class Calibration:
    """How large a pixel is at the lesion, and how far the camera was from it."""

    spacing_mm: tuple[float, float]
    """(between rows, between columns) of source pixels."""
    distance_mm: float


def take(
    views: Sequence[View], masks: Sequence[ViewMask | None], calibrations: Sequence[Calibration], working_px: int, threads: int
) -> list[Photograph]:
    """Decodes the views, side by side. Raises `UnreadableObject`."""
    with ThreadPoolExecutor(max(1, min(threads, len(views))), thread_name_prefix="decode") as pool:
        return list(pool.map(partial(_photograph, working_px=working_px), views, masks, calibrations))


def _photograph(view: View, mask: ViewMask | None, calibration: Calibration, *, working_px: int) -> Photograph:
    longest = max(view.rows, view.columns)
    pixels = view.pixels(min(working_px, longest))
    if max(pixels.shape[:2]) > 1.3 * working_px:
        scale = working_px / max(pixels.shape[:2])
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    rows, columns = pixels.shape[:2]
    shrunk = None
    if mask is not None and mask.mask.any():
        # Two samples a pixel each way are enough of a mask.
        every = max(1, min(view.rows // rows, view.columns // columns) // 2)
        whole = mask.mask[::every, ::every].astype(np.uint8) * np.uint8(255)
        shrunk = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA) if whole.shape != (rows, columns) else whole
    scale_x, scale_y = columns / view.columns, rows / view.rows
    row_mm, column_mm = calibration.spacing_mm
    intrinsics = np.array(
        [
            [calibration.distance_mm / column_mm * scale_x, 0, (columns - 1) / 2],
            [0, calibration.distance_mm / row_mm * scale_y, (rows - 1) / 2],
            [0, 0, 1.0],
        ]
    )
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return Photograph(view, pixels, intrinsics, 1 / scale_x, shrunk, grey, calibration.distance_mm)
