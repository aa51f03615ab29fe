"""A surface as a shaded picture: a software renderer for triangles, because a server has no screen and no OpenGL."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermanode.domain import HeightField, Surface
from dermanode.domain.series import RGB

Points = NDArray[np.float32]
"""N x 3."""
Faces = NDArray[np.int32]
"""M x 3, counter-clockwise seen from outside."""

_LARGEST_GRID = 88
"""Height fields are thinned to about so many points a side: finer than that no print shows."""
_AROUND = 0.35
"""Skin that is shown around a lesion, as a share of its extent."""
_SLACK = 1e-3
"""By which a pixel may lie outside a triangle: between neighbours there must be no hole."""
_AMBIENT = 0.35
_LIGHT = (-0.45, 0.55, 0.70)
"""Towards the light, in the viewer's frame: from the upper left, as people expect it."""
_EMPTY = (255, 255, 255)
_GREY = (188, 184, 180)


@dataclass(frozen=True, slots=True)
class Angle:
    """Where a surface is looked at from; (0, 90) is from right above."""

    azimuth_deg: float
    elevation_deg: float


@dataclass(frozen=True, eq=False)
class Solid:
    """Triangles to be drawn."""

    vertices: Points
    faces: Faces
    colours: RGB | None
    """N x 3, sRGB."""

    @classmethod
    def of(cls, surface: Surface) -> Solid:
        """The lesion with the skin around it where a height field is known, else the mesh; in the surface's own units."""
        if surface.height_field is not None:
            return cls._of_field(surface.height_field)
        return cls(surface.vertices, surface.faces, surface.colours)

    def sound(self) -> Solid:
        """Without the triangles that have a corner which is no place."""
        is_place = np.asarray(np.isfinite(self.vertices).all(axis=1))
        if is_place.all():
            return self
        return Solid(np.nan_to_num(self.vertices, posinf=0, neginf=0), self.faces[is_place[self.faces].all(1)], self.colours)

    @classmethod
    def _of_field(cls, field: HeightField) -> Solid:
        part = around_lesion(field)
        by = max(1, round(max(field.heights[part].shape) / _LARGEST_GRID))
        z = (field.heights + field.base)[part][::by, ::by]
        rows, columns = z.shape
        x = field.step * by * np.arange(columns)
        y = -field.step * by * np.arange(rows)
        vertices = np.stack([np.broadcast_to(x, z.shape), np.broadcast_to(y[:, None], z.shape), z], -1).reshape(-1, 3)
        corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
        a, b, c, d = corner, corner + 1, corner + columns, corner + columns + 1
        faces = np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)])
        return cls(vertices.astype(np.float32), faces.astype(np.int32), field.colours[part][::by, ::by].reshape(-1, 3))


def around_lesion(field: HeightField) -> tuple[slice, slice]:
    """The rows and columns of the lesion with some skin around it; all of them where no lesion is marked."""
    parts = []
    for axis, length in ((1, field.heights.shape[0]), (0, field.heights.shape[1])):
        marked = np.flatnonzero(field.is_lesion.any(axis))
        first, last = (int(marked[0]), int(marked[-1])) if len(marked) else (0, length - 1)
        more = int(np.ceil(_AROUND * (last - first + 1)))
        parts.append(slice(max(0, first - more), min(length, last + more + 1)))
    return parts[0], parts[1]


def shaded(solid: Solid, angle: Angle, size: tuple[int, int]) -> RGB:
    """The surface in its own colours under one light, as large as it fits into `size` (rows, columns); white around it."""
    solid = solid.sound()
    seen = solid.vertices @ _towards(angle).T.astype(np.float32)
    corners = seen[solid.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    facing = (normals[:, 2] > 0) & np.isfinite(length) & (length > 0)
    if not facing.any():
        return np.full((*size, 3), _EMPTY, np.uint8)
    corners, normals = corners[facing], normals[facing] / length[facing, None]
    light = np.asarray(_LIGHT, np.float32)
    shade = _AMBIENT + (1 - _AMBIENT) * np.clip(normals @ (light / np.linalg.norm(light)), 0, None)
    own = solid.colours[solid.faces[facing]].astype(np.float32).mean(1) if solid.colours is not None else np.asarray(_GREY, np.float32)
    colours = np.clip(own * shade[:, None] * 1.15, 0, 255).astype(np.uint8)
    placed, _ = _fitted(corners, size)
    nearest = _nearest(placed, size)
    canvas = np.full((size[0] * size[1], 3), _EMPTY, np.uint8)
    canvas[nearest >= 0] = colours[nearest[nearest >= 0]]
    return canvas.reshape(*size, 3)


def depths(solid: Solid, size: tuple[int, int]) -> tuple[NDArray[np.float32], float]:
    """z of what is seen from right above, rows x columns, not a number where nothing is; and how many pixels a unit of x takes."""
    solid = solid.sound()
    corners = solid.vertices[solid.faces]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0])[:, :2].T, (corners[:, 2] - corners[:, 0])[:, :2].T
    corners = corners[ax * by - ay * bx > 0]
    if not len(corners):
        return np.full(size, np.nan, np.float32), 1.0
    placed, scale = _fitted(corners, size)
    nearest = _nearest(placed, size).reshape(size)
    z = corners[:, :, 2].mean(1)
    return np.where(nearest >= 0, z[nearest], np.float32(np.nan)), scale


def _towards(angle: Angle) -> NDArray[np.float64]:
    """Surface to viewer: x leads right, y up and z to the viewer."""
    azimuth, tilt = np.deg2rad(angle.azimuth_deg), np.deg2rad(90 - angle.elevation_deg)
    turned = np.array([[np.cos(azimuth), np.sin(azimuth), 0], [-np.sin(azimuth), np.cos(azimuth), 0], [0, 0, 1]])
    leant = np.array([[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]])
    towards: NDArray[np.float64] = leant @ turned
    return towards


def _fitted(corners: Points, size: tuple[int, int], margin: float = 0.02) -> tuple[Points, float]:
    """The triangles in pixels, M x 3 x (column, row, depth to the viewer), and how many pixels a unit takes."""
    flat = corners[..., :2].reshape(-1, 2)
    low, high = flat.min(0), flat.max(0)
    room = np.array([size[1], size[0]]) * (1 - 2 * margin)
    scale = float((room / np.maximum(high - low, 1e-9)).min())
    middle = (low + high) / 2
    placed = np.empty_like(corners)
    placed[..., 0] = (corners[..., 0] - middle[0]) * scale + size[1] / 2
    placed[..., 1] = size[0] / 2 - (corners[..., 1] - middle[1]) * scale
    placed[..., 2] = corners[..., 2]
    return placed, scale


def _nearest(triangles: Points, size: tuple[int, int]) -> NDArray[np.int64]:
    """For each pixel, row by row, which triangle is nearest to the viewer; -1 where there is none.

    Triangles of like size are filled together, one pixel of all their boxes at a time; then everything is laid down from the farthest to
    the nearest, so that the last stays.
    """
    rows, columns = size
    low = np.floor(triangles[..., :2].min(1)).astype(np.int32)
    reach = (np.ceil(triangles[..., :2].max(1)).astype(np.int32) - low).max(1)
    pixels, owners, depths = [], [], []
    for width in 2 ** np.arange(1, int(np.ceil(np.log2(max(rows, columns, 2)))) + 2):
        chosen = np.flatnonzero((reach <= width) & (reach > width // 2 if width > 2 else reach > 0))
        if not len(chosen):
            continue
        step = max(1, 2_000_000 // int(width) ** 2)
        for start in range(0, len(chosen), step):
            some = chosen[start : start + step]
            where, which, depth = _fragments(triangles[some], low[some], int(reach[some].max()), size)
            pixels.append(where)
            owners.append(some[which])
            depths.append(depth)
    nearest = np.full(rows * columns, -1, np.int64)
    if not pixels:
        return nearest
    depth = np.concatenate(depths)
    span = float(np.ptp(depth)) or 1.0
    # 16 bits sort by radix, ten times faster than floating point.
    order = np.argsort(((depth - depth.min()) / span * 65535).astype(np.uint16), kind="stable")
    nearest[np.concatenate(pixels)[order]] = np.concatenate(owners)[order]
    return nearest


def _fragments(
    triangles: Points, low: NDArray[np.int32], width: int, size: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]:
    """(pixel, triangle, depth) of every pixel whose centre lies in a triangle; `low` is the corner (column, row) of its box."""
    rows, columns = size
    (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = (triangles[:, corner].T for corner in range(3))
    doubled = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    is_line = doubled == 0
    shrink = np.where(is_line, np.float32(0), 1 / np.where(is_line, np.float32(1), doubled))
    step_y, step_x = np.divmod(np.arange(width * width, dtype=np.int32), width)
    across = (low[:, 0] + np.float32(0.5) - x0)[:, None] + step_x.astype(np.float32)
    down = (low[:, 1] + np.float32(0.5) - y0)[:, None] + step_y.astype(np.float32)
    second = across * ((y2 - y0) * shrink)[:, None] - down * ((x2 - x0) * shrink)[:, None]
    third = down * ((x1 - x0) * shrink)[:, None] - across * ((y1 - y0) * shrink)[:, None]
    inside = (second >= -_SLACK) & (third >= -_SLACK) & (second + third <= 1 + _SLACK)
    inside[is_line] = False
    which, place = np.nonzero(inside)
    column, row = low[which, 0] + step_x[place], low[which, 1] + step_y[place]
    depth = z0[which] + second[which, place] * (z1 - z0)[which] + third[which, place] * (z2 - z0)[which]
    shown = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    return (row * columns + column)[shown], which[shown], depth[shown]
