"""A square grid on the skin plane, row 0 at the largest y, as a picture of the skin is held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """`count` x `count` points, `step_mm` apart."""

    left_mm: float
    """x of column 0."""
    top_mm: float
    """y of row 0."""
    step_mm: float
    count: int

    @classmethod
    def around(cls, middle_mm: tuple[float, float], half_mm: float, step_mm: float) -> Grid:
        """The grid whose outermost points lie at least `half_mm` from the middle; its count is odd, so that the middle is a point."""
        reach = int(np.ceil(half_mm / step_mm))
        return cls(middle_mm[0] - reach * step_mm, middle_mm[1] + reach * step_mm, step_mm, 2 * reach + 1)

    @property
    def half_mm(self) -> float:
        return self.step_mm * (self.count - 1) / 2

    @property
    def middle_mm(self) -> tuple[float, float]:
        return self.left_mm + self.half_mm, self.top_mm - self.half_mm

    @property
    def x(self) -> Matrix:
        """Of each column, in mm."""
        return np.asarray(self.left_mm + self.step_mm * np.arange(self.count))

    @property
    def y(self) -> Matrix:
        """Of each row, in mm."""
        return np.asarray(self.top_mm - self.step_mm * np.arange(self.count))

    def to_plane(self) -> Matrix:
        """3 x 3: maps (column, row, 1) to (x, y, 1)."""
        return np.array([[self.step_mm, 0, self.left_mm], [0, -self.step_mm, self.top_mm], [0, 0, 1]])

    def widened(self, factor: float) -> Grid:
        """The same step and middle, reaching `factor` times as far."""
        return Grid.around(self.middle_mm, self.half_mm * factor, self.step_mm)

    def coarser(self, factor: int) -> Grid:
        """Every `factor`-th point; the count less one must be a multiple of it."""
        return Grid(self.left_mm, self.top_mm, self.step_mm * factor, (self.count - 1) // factor + 1)
