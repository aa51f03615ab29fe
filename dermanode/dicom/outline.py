"""The outline of a mask, as SCOORD wants it: (column, row), the first pixel from 0 to 1 with its centre at 0.5 (PS3.3 C.18.6.1.2)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.float64]
"""N x 2: (column, row); the last point repeats the first."""


def outline(mask: NDArray[np.bool_], tolerance_px: float = 1.0) -> Polygon | None:
    """The outer outline of the mask's largest region, along pixel edges and then simplified; None for an empty mask.

    It never leaves the image. No point of the exact outline lies further than `tolerance_px` from the result
    (Douglas and Peucker 1973).
    """
    loops = _loops(mask)
    if not loops:
        return None
    largest = max(loops, key=lambda loop: abs(area_px(loop)))
    return _simplified(largest, tolerance_px)


def area_px(polygon: Polygon) -> float:
    """The signed area in square pixels (shoelace formula); positive for the outlines made here."""
    x, y = polygon[:, 0], polygon[:, 1]
    return float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2.0


def _loops(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Every boundary between lesion and not, as closed loops of pixel corners with the lesion on the right-hand side."""
    corner = _corner(mask)
    if corner is None:
        return []
    top, left, bottom, right = corner
    padded = np.pad(mask[top:bottom, left:right].astype(bool), 1)
    inside = padded[1:-1, 1:-1]
    width = inside.shape[1] + 1
    # A number for each corner. One directed edge for each side of a lesion pixel whose neighbour is none: where it starts, and its
    # direction, clockwise on the screen as they follow each other.
    starts, directions = [], []
    for direction, (neighbour, (right, below)) in enumerate(
        ((padded[:-2, 1:-1], (0, 0)), (padded[1:-1, 2:], (1, 0)), (padded[2:, 1:-1], (1, 1)), (padded[1:-1, :-2], (0, 1)))
    ):
        # Flat and then divided: several times quicker than the two coordinates at once.
        rows, columns = np.divmod(np.flatnonzero(inside > neighbour), inside.shape[1])
        starts.append((rows + below) * width + columns + right)
        directions.append(np.full(len(rows), direction))
    start, direction_of = np.concatenate(starts), np.concatenate(directions)
    followers = _followers(start, direction_of, width)
    is_turn = direction_of[followers] != direction_of
    row, column = np.divmod(start, width)
    corner_of = np.stack([column + left, row + top], axis=1).astype(np.float64)
    return [_closed(corner_of, is_turn, loop) for loop in _cycles(followers)]


def _followers(start: NDArray[np.int64], direction: NDArray[np.int64], width: int) -> NDArray[np.intp]:
    """The edge that follows each edge of a boundary."""
    end = start + np.array([1, width, -1, -width])[direction]
    order = np.argsort(start, kind="stable")
    first = np.searchsorted(start[order], end)
    follower: NDArray[np.intp] = order[first]
    other = order[np.minimum(first + 1, len(order) - 1)]
    # Where two pixels touch at a corner only, two edges leave it: turning right keeps them apart, so that no loop crosses itself.
    is_right = (start[other] == end) & (direction[other] == (direction + 1) % 4)
    follower[is_right] = other[is_right]
    return follower


def _cycles(followers: NDArray[np.intp]) -> Iterator[list[int]]:
    """The edges of each loop, one after the other."""
    following, is_left = followers.tolist(), [True] * len(followers)
    for first in range(len(following)):
        loop, edge = [], first
        while is_left[edge]:
            is_left[edge] = False
            loop.append(edge)
            edge = following[edge]
        if loop:
            yield loop


def _closed(corner_of: NDArray[np.float64], is_turn: NDArray[np.bool_], loop: list[int]) -> Polygon:
    """The corners at which a loop turns, and the one at which it begins, to which it comes back."""
    edges = np.array(loop)
    is_corner = np.concatenate([[True], is_turn[edges[:-1]]])
    return np.concatenate([corner_of[edges[is_corner]], corner_of[edges[:1]]])


def _corner(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """(top, left, bottom, right) of the box around what is lesion: a photograph of twelve megapixels is mostly skin."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    return top, int(columns[0]), bottom, int(columns[-1]) + 1


def _simplified(loop: Polygon, tolerance_px: float) -> Polygon:
    # A closed line has no ends: it is cut at its first corner and at the corner furthest from that.
    middle = int(np.argmax(np.hypot(*(loop - loop[0]).T)))
    keep = np.zeros(len(loop), dtype=bool)
    keep[[0, middle, -1]] = True
    first, last = np.array([0, middle]), np.array([middle, len(loop) - 1])
    while len(first):
        # All spans of a round at once: one by one they are hundreds of small steps.
        is_long = last - first >= 2
        first, last = first[is_long], last[is_long]
        if not len(first):
            break
        furthest, distance = _furthest(loop, first, last)
        is_far = distance > tolerance_px
        keep[furthest[is_far]] = True
        first, last = np.concatenate([first[is_far], furthest[is_far]]), np.concatenate([furthest[is_far], last[is_far]])
    simplified = loop[keep]
    # A lesion of a few pixels may collapse to a line: keep it exact.
    return simplified if len(simplified) >= 4 and area_px(simplified) > 0 else loop


def _furthest(loop: Polygon, first: NDArray[np.intp], last: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Of each span of a line, the point within that lies furthest from the span's chord, and its distance from it."""
    counts = last - first - 1
    begins = np.cumsum(counts) - counts
    span = np.repeat(np.arange(len(first)), counts)
    point = np.arange(len(span)) - begins[span] + first[span] + 1
    chord = loop[last] - loop[first]
    length = np.hypot(chord[:, 0], chord[:, 1])
    away = loop[point] - loop[first][span]
    across = np.abs(away[:, 0] * chord[span, 1] - away[:, 1] * chord[span, 0])
    distance = np.divide(across, length[span], out=np.hypot(away[:, 0], away[:, 1]), where=length[span] > 0)
    most = np.maximum.reduceat(distance, begins)
    at_most = np.flatnonzero(distance == most[span])
    # The first of those that lie equally far.
    return point[at_most[np.searchsorted(span[at_most], np.arange(len(first)))]], most
