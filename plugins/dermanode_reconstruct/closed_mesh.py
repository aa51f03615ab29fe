"""The lesion as a solid: its skin on top, the base as a floor, walls along the outline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import fast_simplification
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dermanode_reconstruct.mesh import Faces, Mesh, NoMesh, vertex_normals
from dermanode_reconstruct.outline import LEVEL, Field, Sheet, level_set, sheet
from dermanode_reconstruct.soundness import soundness

_THINNEST = 0.01
"""Of a cell's side: the solid is nowhere thinner, so that no face is empty and the top never meets the floor."""
_SURPLUS = 1.5
"""The sheet starts with so many times the triangles that it shall have: fewer, and quadrics have nothing to choose from."""
_MOST = 6.0
"""More than this many times only costs time."""
_MOST_LOST = 0.01
"""A decimation that loses more than this share of the volume has failed."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClosedMesh(Mesh):
    """The solid between a height field and its base, inside the outline. Its volume is the integral of `max(heights, thinnest)`."""

    rows_columns: NDArray[np.float64]
    """N x 2: where each vertex lies on the height field's grid, for whatever else is known there. The floor lies under the top."""
    filled_volume: float
    """What the solid has more than the field, because it may not be thinner than a hundredth of a cell: the sunken parts."""


def close(
    heights: NDArray[np.floating],
    base: NDArray[np.floating],
    colours: NDArray[np.uint8],
    is_lesion: NDArray[np.bool_] | NDArray[np.floating],
    left: float,
    top: float,
    step: float,
    *,
    faces: int = 10_000,
) -> ClosedMesh:
    """The closed mesh of the lesion with about `faces` triangles: the fields of `dermanode.domain.HeightField`, row 0 with the largest y.

    `is_lesion` is a mask, or a level set from 0 to 1 whose contour at 0.5 is the outline. Only its largest part is meshed, with its holes
    filled; the outermost rows and columns count as outside.

    Top and floor have the same triangles seen from above, so that the solid is a bundle of prisms: it cannot cross itself, and is
    watertight and manifold whenever the one sheet is a disc. Decimation is by quadric edge collapse (Garland and Heckbert 1997) with
    the outline kept; where it folds the sheet over, a coarser grid is used instead. Raises `NoMesh`.
    """
    if not (np.isfinite(heights).all() and np.isfinite(base).all()):
        raise NoMesh("the height field has holes")
    level = level_set(is_lesion)
    inside = level > LEVEL
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        raise NoMesh("the outline is empty")
    # Nothing outside the outline's box and the cells around it is looked at.
    window = (slice(max(0, rows[0] - 2), rows[-1] + 3), slice(max(0, columns[0] - 2), columns[-1] + 3))
    corner = np.array([window[0].start, window[1].start])
    thick = np.maximum(heights[window].astype(np.float64), _THINNEST * step)
    floor = base[window].astype(np.float64)
    whole, *others = _sheets(level[window], thick + floor, step, faces)
    volume = _Prisms.of(*whole(), floor, step).volume
    failed: list[str] = []
    for other in others:
        prisms = _Prisms.of(*other(), floor, step)
        if problem := prisms.problem(volume):
            failed.append(problem)
            continue
        places = prisms.cut.rows_columns + corner
        x, y = left + step * places[:, 1], top - step * places[:, 0]
        # What decimation lost of the volume, some 0.02 %, is given back everywhere.
        over = prisms.under + np.maximum(prisms.thickness * (volume / prisms.volume), _THINNEST * step)
        upper, lower = np.stack([x, y, over], axis=1), np.stack([x, y, prisms.under], axis=1)
        vertices, solid = np.concatenate([upper, lower]), _walled(prisms.cut.faces, len(x))
        if problems := soundness(vertices, solid).problems:
            failed.extend(problems)
            continue
        painted = np.clip(np.round(sampled(colours[window], prisms.cut.rows_columns)), 0, 255).astype(np.uint8)
        return ClosedMesh(
            vertices=vertices,
            faces=solid,
            normals=np.concatenate([vertex_normals(upper, prisms.cut.faces), -vertex_normals(lower, prisms.cut.faces)]),
            colours=np.concatenate([painted, painted]),
            is_top=np.arange(2 * len(x)) < len(x),
            rows_columns=np.concatenate([places, places]),
            filled_volume=float((thick - heights[window])[inside[window]].sum()) * step**2,
        )
    raise NoMesh("; ".join(dict.fromkeys(failed)))


@dataclass(frozen=True, eq=False)
class _Prisms:
    """A sheet and what stands under each of its points."""

    cut: Sheet
    under: Field
    """z of the floor."""
    thickness: Field
    areas: Field
    """Of each triangle seen from above; negative where it is folded over."""
    volume: float

    @classmethod
    def of(cls, cut: Sheet, z: Field, floor: Field, step: float) -> _Prisms:
        under = sampled(floor, cut.rows_columns)
        thickness = np.maximum(z - under, _THINNEST * step)
        (ay, ax), (by, bx), (cy, cx) = (cut.rows_columns[cut.faces[:, corner]].T for corner in range(3))
        # Rows lead down: counter-clockwise is clockwise in rows and columns.
        areas = ((cx - ax) * (by - ay) - (bx - ax) * (cy - ay)) * (step**2 / 2)
        return cls(cut, under, thickness, areas, float((areas * thickness[cut.faces].mean(axis=1)).sum()))

    def problem(self, volume: float) -> str | None:
        """Why this does not stand for the solid with that volume."""
        if folded := int((self.areas <= 0).sum()):
            return f"{folded} faces of the top are folded over"
        return "decimation changes the volume" if abs(self.volume / volume - 1) > _MOST_LOST else None


def sampled(field: NDArray[np.generic], rows_columns: Field) -> Field:
    """The field, rows x columns [x channels], at N places between its points, by bilinear interpolation: N [x channels]."""
    rows, columns = field.shape[:2]
    row, column = np.clip(rows_columns[:, 0], 0, rows - 1), np.clip(rows_columns[:, 1], 0, columns - 1)
    i, j = np.minimum(row.astype(np.intp), rows - 2), np.minimum(column.astype(np.intp), columns - 2)
    extra = (1,) * (field.ndim - 2)
    down, across = (row - i).reshape(-1, *extra), (column - j).reshape(-1, *extra)
    values = field.astype(np.float64)
    upper = values[i, j] * (1 - across) + values[i, j + 1] * across
    lower = values[i + 1, j] * (1 - across) + values[i + 1, j + 1] * across
    between: Field = upper * (1 - down) + lower * down
    return between


def _sheets(level: Field, z: Field, step: float, faces: int) -> list[Callable[[], tuple[Sheet, Field]]]:
    """Makers of sheets in the cells of the window, with z at each of their points: the whole one, then those that may serve, best first."""
    inside = level > LEVEL
    # A row or column that crosses the outline gives one edge of it; the walls take two triangles an edge, top and floor share the rest.
    outline = int((inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum())
    triangles = 2 * int(inside.sum())
    # The outline grows with the factor, the sheet with its square.
    factor = 1.0
    if triangles < _SURPLUS * (faces - 2 * outline) / 2:
        factor = float(np.sqrt(_SURPLUS * faces / (2 * triangles)))
    elif triangles > _MOST * faces / 2:
        factor = float(np.sqrt(_MOST * faces / (2 * triangles)))
    fine, fine_z = _regridded(level, z, factor)
    wanted = max(64, faces // 2 - round(outline * factor))
    coarser = factor * float(np.sqrt(wanted / len(fine.faces)))
    return [
        lambda: (fine, fine_z),
        *(partial(_decimated, fine, fine_z, step, wanted, patience) for patience in (7.0, 3.0)),
        *(partial(_regridded, level, z, coarser * share) for share in (1.0, 0.7, 0.5)),
    ]


def _regridded(level: Field, z: Field, factor: float) -> tuple[Sheet, Field]:
    """The sheet of a grid that is finer by the factor, in cells of the old one."""
    if factor == 1.0:
        cut = sheet(level)
        return cut, sampled(z, cut.rows_columns)
    rows, columns = (max(4, round((n - 1) * factor) + 1) for n in level.shape)
    zoom = (rows / level.shape[0], columns / level.shape[1])
    # Cubic between the points of the heights: bilinear facets would show as edges. The outline's level set stays between 0 and 1.
    smooth = ndimage.zoom(z, zoom, order=3, mode="nearest")
    cut = sheet(level_set(ndimage.zoom(level, zoom, order=1, mode="nearest")))
    scale = np.array([(level.shape[0] - 1) / (rows - 1), (level.shape[1] - 1) / (columns - 1)])
    return Sheet(cut.rows_columns * scale, cut.faces), sampled(smooth, cut.rows_columns)


def _decimated(fine: Sheet, z: Field, step: float, wanted: int, patience: float) -> tuple[Sheet, Field]:
    """At most about `wanted` triangles, the outline as it was; a lower `patience` (the library's `agg`) takes longer and folds less."""
    if len(fine.faces) <= wanted:
        return fine, z
    rows, columns = fine.rows_columns.T
    points = np.stack([step * columns, -step * rows, z], axis=1)
    points, faces = fast_simplification.simplify(points, fine.faces, target_count=wanted, agg=patience, preserve_border=True)
    faces = np.asarray(faces, dtype=np.int32)
    return Sheet(np.stack([points[:, 1] / -step, points[:, 0] / step], axis=1), faces), points[:, 2]


def _border(faces: Faces) -> NDArray[np.int32]:
    """B x 2: the edges with one triangle, each in that triangle's direction."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    keys = edges.min(axis=1).astype(np.int64) * (int(faces.max()) + 1) + edges.max(axis=1)
    order = np.argsort(keys)
    fresh = np.diff(keys[order], prepend=-1) != 0
    single: NDArray[np.int32] = edges[order[fresh & np.append(fresh[1:], True)]]
    return single


def _walled(faces: Faces, n: int) -> Faces:
    """The faces of the solid over n points: the sheet on top, turned over as the floor (its points after the top's), and the walls."""
    start, end = _border(faces).T
    walls = [np.stack([start, start + n, end + n], axis=1), np.stack([start, end + n, end], axis=1)]
    solid: Faces = np.concatenate([faces, faces[:, ::-1] + n, *walls]).astype(np.int32)
    return solid
