"""Lesions with more than one height over a place, which a height field cannot hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dermanode_reconstruct.grid import Grid, Matrix
from dermanode_reconstruct.poisson import is_height_field

_LEAST_CELL_MM = 0.2
_POINTS_A_CELL = 6.0
"""With fewer no cell has two layers of two points, whatever the lesion's shape."""
_NOISES = 4.0
"""A cell is so many times as large as the points' heights scatter; less would take noise for layers."""


def overhangs(points_mm: Matrix, noise_mm: float, is_lesion: NDArray[np.bool_], grid: Grid) -> bool:
    """Whether the tracked points (N x 3, heights uncertain by `noise_mm`) show two layers of skin over the lesion.

    A few hundred points lie 0.5 mm apart, so only an overhang of a millimetre and more is seen. Poisson's surface (`mesh_cloud`) would
    hold it, but wants ten times as many points: the height field stays, and the reader is told what it misses.
    """
    column = np.round((points_mm[:, 0] - grid.left_mm) / grid.step_mm).astype(int)
    row = np.round((grid.top_mm - points_mm[:, 1]) / grid.step_mm).astype(int)
    inside = (column >= 0) & (column < grid.count) & (row >= 0) & (row < grid.count)
    inside[inside] = is_lesion[row[inside], column[inside]]
    found = points_mm[inside]
    if not len(found):
        return False
    area_mm2 = float(is_lesion.sum()) * grid.step_mm**2
    cell_mm = max(_LEAST_CELL_MM, _NOISES * noise_mm, float(np.sqrt(_POINTS_A_CELL * area_mm2 / len(found))))
    return not is_height_field(found, cell_mm)
