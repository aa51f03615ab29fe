"""The lesion's area on a grid as one sheet of triangles, cut along the outline inside the cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode_reconstruct.mesh import Faces

Field = NDArray[np.float64]

LEVEL = 0.5
"""The outline runs where the level set has this value."""
_NEAREST = 0.05
"""No nearer to a grid point than this share of a cell does the outline cross: nearer would make slivers."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """A piece of the plane without holes, in triangles."""

    rows_columns: Field
    """N x 2, in cells of the grid."""
    faces: Faces
    """Counter-clockwise where columns lead right and rows down, seen from above."""


def level_set(is_lesion: NDArray[np.bool_] | NDArray[np.floating], *, sigma_cells: float = 1.0) -> Field:
    """A field whose contour at 0.5 is one closed outline without holes, off the rim of the grid; empty where the mask is.

    A mask of bool is smoothed and then raised or lowered so that the area stays (a circle of radius r would shrink by sigma^2 / 2r);
    a float one, 0 to 1, is taken as it is. Kept is the largest part whose points are neighbours along rows or columns: parts that
    touch at a corner only are apart.
    """
    if is_lesion.dtype == np.bool_:
        largest, hole = _part_and_holes(is_lesion.astype(np.bool_))
        whole = largest | hole
        level = cv2.GaussianBlur(whole.astype(np.float32), (0, 0), sigma_cells, borderType=cv2.BORDER_REPLICATE).astype(np.float64)
        if 0 < (rank := level.size - int(whole.sum())) < level.size:
            below, above = np.partition(level.ravel(), (rank - 1, rank))[[rank - 1, rank]]
            level = np.clip(level + LEVEL - (below + above) / 2, 0.0, 1.0)
    else:
        level = np.array(is_lesion, dtype=np.float64)
    level[[0, -1], :] = level[:, [0, -1]] = 0.0
    largest, hole = _part_and_holes(level > LEVEL)
    return np.where(hole, 1.0, np.where(largest, level, np.minimum(level, LEVEL - 1e-3)))


def _part_and_holes(inside: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The largest 4-connected part, and what it encloses."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=4)
    if count == 1:
        return np.zeros_like(inside), np.zeros_like(inside)
    largest = parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    # Outside is joined across corners where inside is not; what reaches the rim of the grid is no hole.
    _, outside = cv2.connectedComponents(np.pad(~largest, 1, constant_values=True).astype(np.uint8), connectivity=8)
    return largest, ~largest & (outside != outside[0, 0])[1:-1, 1:-1]


def sheet(level: Field) -> Sheet:
    """Marching squares over the grid: whole cells inside make two triangles, cells on the outline are cut by linear interpolation.

    `level` is as `level_set` gives it; then the sheet is one disc: every edge has one or two triangles and every point one fan.
    """
    rows, columns = level.shape
    inside = level > LEVEL
    corner = (slice(None, -1), slice(1, None))
    a, b = inside[corner[0], corner[0]], inside[corner[0], corner[1]]
    c, d = inside[corner[1], corner[0]], inside[corner[1], corner[1]]
    cases = a.astype(np.int8) + 2 * c + 4 * d + 8 * b
    at_row, at_column = np.nonzero(cases)
    point = at_row * columns + at_column
    across, down = rows * columns + point, 2 * rows * columns + point
    # The eight places of a cell in the order of `_CYCLE`; an edge has the number of its upper or left end.
    places = np.stack([point, down, point + columns, across + columns, point + columns + 1, down + 1, point + 1, across], axis=1)
    table = _triangles()[cases[at_row, at_column]]
    used = table[:, :, 0] >= 0
    cell, triangle = np.nonzero(used)
    faces = places[cell[:, None], table[cell, triangle]]
    is_used = np.zeros(3 * rows * columns, bool)
    is_used[faces] = True
    renumbered = np.cumsum(is_used, dtype=np.int32) - 1
    return Sheet(_positions(level, np.flatnonzero(is_used)), renumbered[faces])


def _positions(level: Field, numbers: NDArray[np.int64]) -> Field:
    """Rows and columns of the points with these numbers: grid points, crossings along rows, crossings along columns."""
    rows, columns = level.shape
    kind, point = np.divmod(numbers, rows * columns)
    row, column = np.divmod(point, columns)
    down, right = kind == 2, kind == 1
    near = level[row, column]
    far = level[np.minimum(row + down, rows - 1), np.minimum(column + right, columns - 1)]
    cut = kind > 0
    share = np.zeros(len(numbers))
    share[cut] = np.clip((LEVEL - near[cut]) / (far[cut] - near[cut]), _NEAREST, 1 - _NEAREST)
    return np.stack([row + down * share, column + right * share], axis=1)


_CYCLE = 8
"""Places around a cell, counter-clockwise from the upper left: corner, edge, corner, edge, ..."""


@cache
def _triangles() -> NDArray[np.int64]:
    """16 x 3 x 3: the triangles of each case in places of the cell, -1 where there is none.

    Bit k of a case says that corner k, counter-clockwise from the upper left, is inside. Opposite corners are not joined.
    """
    table = np.full((16, 3, 3), -1, dtype=np.int64)
    for case in range(1, 16):
        corners = [k for k in range(4) if case >> k & 1]
        if case in (0b0101, 0b1010):
            polygons = [[(2 * k - 1) % _CYCLE, 2 * k, 2 * k + 1] for k in corners]
        else:
            # The run of inside corners starts after an outside one.
            start = next((k for k in corners if not case >> (k - 1) % 4 & 1), 0)
            run = [(2 * (start + i)) % _CYCLE for i in range(len(corners))]
            polygons = [run if case == 0b1111 else [(run[0] - 1) % _CYCLE, *run, (run[-1] + 1) % _CYCLE]]
        triangles = [(polygon[0], polygon[i], polygon[i + 1]) for polygon in polygons for i in range(1, len(polygon) - 1)]
        table[case, : len(triangles)] = triangles
    return table
