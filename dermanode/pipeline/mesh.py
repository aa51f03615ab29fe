"""The surface as the page turns it: JSON with at most so many triangles that a browser stays quick.

Arrays are written as Plotly writes them, `{"dtype": "f4", "bdata": base64 of little-endian numbers}`: a tenth of the time and half of the
bytes of decimal digits.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import fast_simplification
import numpy as np
from numpy.typing import NDArray

from dermanode.domain import CameraPose, HeightField, Surface

MOST_FACES = 12_000
SKIN_SIDE = 96
"""At most so many samples along a side of the skin around the lesion."""
_OVERLAP = 2
"""Samples by which that skin goes on beneath the lesion's rim: no gap shows where a mesh was smoothed or decimated."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Part:
    """A mesh with what is known at each of its N corners."""

    vertices: Floats
    faces: NDArray[np.int32]
    colours: NDArray[np.uint8]
    heights: Floats | None = None
    """Above the base."""
    curvature: Floats | None = None
    is_lesion: NDArray[np.bool_] | None = None

    @property
    def content(self) -> dict[str, object]:
        return {
            **{axis: _packed(self.vertices[:, index], "f4") for index, axis in enumerate("xyz")},
            **{corner: _packed(self.faces[:, index], "u2" if len(self.vertices) <= 2**16 else "u4") for index, corner in enumerate("ijk")},
            "colours": _packed(self.colours, "u1"),
            "heights": None if self.heights is None else _packed(self.heights, "f4"),
            "curvature": None if self.curvature is None else _packed(self.curvature, "f4"),
            "is_lesion": None if self.is_lesion is None else _packed(self.is_lesion, "u1"),
        }


def encode_mesh(surface: Surface) -> bytes:
    """The surface, the skin around it where it is closed and that skin is known, and the cameras.

    x, y, z and for each corner `colours` (three bytes), `heights` above the base, `curvature` and `is_lesion` or null; i, j, k of each
    triangle; `skin` of the same form or null; `cameras` with view, centre and the directions in the surface's frame.
    """
    field = surface.height_field
    part = _reduced(
        _Part(
            vertices=surface.vertices,
            faces=surface.faces,
            colours=surface.colours,
            heights=None if field is None else surface.vertices[:, 2] - _base_at(field, surface.vertices[:, 0], surface.vertices[:, 1]),
            curvature=surface.mean_curvature,
            is_lesion=surface.is_lesion,
        )
    )
    content = {
        **(_creased(part) if surface.is_closed else part).content,
        # An open mesh shows its own surroundings; of a closed one the lesion would stand in the air.
        "skin": _skin(field, part.vertices).content if field is not None and surface.is_closed else None,
        "cameras": [_camera(pose) for pose in surface.cameras],
        "lateral_unit": surface.lateral_unit,
        "z_unit": "mm" if surface.is_metric else "relative height",
        "is_metric": surface.is_metric,
        "is_closed": surface.is_closed,
        "curvature_scale_mm": surface.curvature_scale_mm,
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def _packed(values: NDArray[Any], dtype: str) -> dict[str, str]:
    return {"dtype": dtype, "bdata": base64.b64encode(np.ascontiguousarray(values, dtype=f"<{dtype}").tobytes()).decode()}


def _camera(pose: CameraPose) -> dict[str, object]:
    right, down, forward = pose.rotation
    directions = {"centre": pose.centre, "right": right, "down": down, "forward": forward}
    return {"view": str(pose.sop_instance_uid), **{name: [round(float(v), 5) for v in vector] for name, vector in directions.items()}}


def _reduced(part: _Part) -> _Part:
    """Quadric edge collapse (Garland and Heckbert 1997); each corner gets the mean of those that fell into it."""
    if len(part.faces) <= MOST_FACES:
        return part
    points = np.array(part.vertices, dtype=np.float32)
    triangles = np.array(part.faces, dtype=np.int32)
    _, _, collapses = fast_simplification.simplify(points, triangles, target_count=MOST_FACES, return_collapses=True)
    vertices, faces, fate = fast_simplification.replay_simplification(points, triangles, collapses)
    counts = np.maximum(np.bincount(fate, minlength=len(vertices)), 1)

    def mean(values: NDArray[Any]) -> Floats:
        means: Floats = np.bincount(fate, weights=values, minlength=len(vertices)) / counts
        return means

    return _Part(
        vertices=vertices,
        faces=faces,
        colours=np.stack([mean(part.colours[:, channel]) for channel in range(3)], axis=1).round().astype(np.uint8),
        heights=None if part.heights is None else mean(part.heights),
        curvature=None if part.curvature is None else mean(part.curvature),
        is_lesion=None if part.is_lesion is None else mean(part.is_lesion) >= 0.5,
    )


def _creased(part: _Part) -> _Part:
    """The mesh with corners of their own for the walls and the floor: a browser's smooth shading would else darken the lesion's rim."""
    if part.is_lesion is None:
        return part
    is_top = part.is_lesion[part.faces].all(axis=1)
    used, others = np.unique(part.faces[~is_top], return_inverse=True)
    faces = part.faces.copy()
    faces[~is_top] = others.reshape(-1, 3) + len(part.vertices)

    def doubled(values: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([values, values[used]])

    return _Part(
        vertices=doubled(part.vertices),
        faces=faces,
        colours=doubled(part.colours),
        heights=None if part.heights is None else doubled(part.heights),
        curvature=None if part.curvature is None else doubled(part.curvature),
        is_lesion=np.concatenate([part.is_lesion, np.zeros(len(used), bool)]),
    )


def _base_at(field: HeightField, x: Floats, y: Floats) -> Floats:
    """The base's z at points, bilinear; beyond the field, that of its nearest edge."""
    rows, columns = field.base.shape
    column = np.clip((x - field.left) / field.step, 0, columns - 1)
    row = np.clip((field.top - y) / field.step, 0, rows - 1)
    c, r = np.minimum(column.astype(int), max(columns - 2, 0)), np.minimum(row.astype(int), max(rows - 2, 0))
    right, below = np.minimum(c + 1, columns - 1), np.minimum(r + 1, rows - 1)
    across, down = column - c, row - r
    upper = field.base[r, c] * (1 - across) + field.base[r, right] * across
    lower = field.base[below, c] * (1 - across) + field.base[below, right] * across
    z: Floats = upper * (1 - down) + lower * down
    return z


def _skin(field: HeightField, lesion: Floats) -> _Part:
    """The skin around the lesion, on a grid of at most `SKIN_SIDE` samples a side, with a hole where the mesh of these corners stands."""
    row, column = (np.unique(np.linspace(0, n - 1, min(n, SKIN_SIDE)).round().astype(int)) for n in field.heights.shape)
    index = np.arange(len(row) * len(column)).reshape(len(row), len(column))
    upper_left, upper_right, lower_left, lower_right = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate(
        [
            np.stack([upper_left, lower_left, upper_right], -1).reshape(-1, 3),
            np.stack([upper_right, lower_left, lower_right], -1).reshape(-1, 3),
        ]
    )
    at_row, at_column = (grid.ravel() for grid in np.meshgrid(row, column, indexing="ij"))
    hole = _reached(field, lesion)
    for _ in range(_OVERLAP):
        hole = ~_grown(~hole)
    is_inside = hole[at_row, at_column]
    faces = faces[~is_inside[faces].all(axis=1)]
    # A triangle across the hole's edge ends on it, so that the hole is as smooth as the outline and has no steps of the grid.
    used, faces = np.unique(faces, return_inverse=True)
    at_row, at_column, moves = at_row[used], at_column[used], is_inside[used]
    edge = np.argwhere(_grown(hole) & ~hole)
    for corner in np.flatnonzero(moves):  # one by one: a ragged mask's table of all distances would fill the memory
        away = (at_row[corner] - edge[:, 0]) ** 2 + (at_column[corner] - edge[:, 1]) ** 2
        at_row[corner], at_column[corner] = edge[away.argmin()]
    heights = field.heights[at_row, at_column]
    # A quarter of a step lower where it is the lesion's own surface, so that the two do not flicker.
    sunk = np.where(field.is_lesion[at_row, at_column], field.step / 4, 0)
    x, y = field.left + field.step * at_column, field.top - field.step * at_row
    return _Part(
        vertices=np.stack([x, y, field.base[at_row, at_column] + heights - sunk], axis=1),
        faces=faces.reshape(-1, 3).astype(np.int32),
        colours=field.colours[at_row, at_column],
        heights=heights,
    )


def _reached(field: HeightField, lesion: Floats) -> NDArray[np.bool_]:
    """The parts of the lesion on which corners of its mesh lie: of a field with two, only one may have been meshed."""
    rows, columns = field.is_lesion.shape
    row = np.clip(((field.top - lesion[:, 1]) / field.step).round(), 0, rows - 1).astype(int)
    column = np.clip(((lesion[:, 0] - field.left) / field.step).round(), 0, columns - 1).astype(int)
    reached = np.zeros((rows, columns), bool)
    reached[row, column] = field.is_lesion[row, column]
    while (grown := _grown(reached) & field.is_lesion).sum() > reached.sum():
        reached = grown
    return reached


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and its four neighbours."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown
