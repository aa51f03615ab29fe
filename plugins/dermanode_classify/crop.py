"""The square of a picture that shows the lesion with some skin around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Square:
    """A part of a picture in pixels; never larger than the picture's shorter side."""

    left: float
    top: float
    side: float

    def cut(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """That part of the picture, whole pixels."""
        left, top, side = round(self.left), round(self.top), max(1, round(self.side))
        return picture[top : top + side, left : left + side]


def square_around(mask: NDArray[np.bool_], margin: float, least: float) -> Square:
    """The square about the mask's box, wider by `margin` on each side (a share of the box), at least `least` of the shorter side.

    It is moved to lie inside the picture. Without any lesion it is the middle of the picture.
    """
    rows, columns = mask.shape
    shorter = min(rows, columns)
    down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(down):
        return Square((columns - shorter) / 2, (rows - shorter) / 2, shorter)
    height, width = down[-1] + 1 - down[0], across[-1] + 1 - across[0]
    side = float(np.clip((1 + 2 * margin) * max(height, width), least * shorter, shorter))
    left = (across[0] + across[-1] + 1 - side) / 2
    top = (down[0] + down[-1] + 1 - side) / 2
    return Square(float(np.clip(left, 0, columns - side)), float(np.clip(top, 0, rows - side)), side)
