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
_SLACK = 2e-3
"""By how many pixels a centre may lie outside a triangle: between neighbours there must be no hole."""
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
    a, b, c = solid.faces.T
    first = seen[a]
    normals = np.cross(seen[b] - first, seen[c] - first)
    length = np.sqrt(np.einsum("ij,ij->i", normals, normals))
    facing = (normals[:, 2] > 0) & np.isfinite(length) & (length > 0)
    if not facing.any():
        return np.full((*size, 3), _EMPTY, np.uint8)
    faces = solid.faces[facing]
    light = np.asarray(_LIGHT, np.float32)
    shade = _AMBIENT + (1 - _AMBIENT) * np.clip(normals[facing] @ (light / np.linalg.norm(light)) / length[facing], 0, None)
    if solid.colours is not None:
        own = sum(solid.colours[corner].astype(np.float32) for corner in faces.T) / np.float32(3)
    else:
        own = np.asarray(_GREY, np.float32)
    placed, _ = _fitted(seen[faces], size)
    # Four bytes are looked up as one number, several times quicker than three; the last stands for no triangle, -1.
    table = np.full((len(faces) + 1, 4), 255, np.uint8)
    table[:-1, :3] = np.clip(own * shade[:, None] * 1.15, 0, 255)
    table[-1, :3] = _EMPTY
    return np.ascontiguousarray(table.view(np.uint32)[nearest(placed, size), 0].view(np.uint8).reshape(*size, 4)[..., :3])


def depths(solid: Solid, size: tuple[int, int]) -> tuple[NDArray[np.float32], float]:
    """z of what is seen from right above, rows x columns, not a number where nothing is; and how many pixels a unit of x takes."""
    solid = solid.sound()
    corners = solid.vertices[solid.faces]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0])[:, :2].T, (corners[:, 2] - corners[:, 0])[:, :2].T
    corners = corners[ax * by - ay * bx > 0]
    if not len(corners):
        return np.full(size, np.nan, np.float32), 1.0
    placed, scale = _fitted(corners, size)
    seen = nearest(placed, size).reshape(size)
    z = corners[:, :, 2].mean(1)
    return np.where(seen >= 0, z[seen], np.float32(np.nan)), scale


def _towards(angle: Angle) -> NDArray[np.float64]:
    """Surface to viewer: x leads right, y up and z to the viewer."""
    azimuth, tilt = np.deg2rad(angle.azimuth_deg), np.deg2rad(90 - angle.elevation_deg)
    turned = np.array([[np.cos(azimuth), np.sin(azimuth), 0], [-np.sin(azimuth), np.cos(azimuth), 0], [0, 0, 1]])
    leant = np.array([[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]])
    towards: NDArray[np.float64] = leant @ turned
    return towards


def _fitted(corners: Points, size: tuple[int, int], margin: float = 0.02) -> tuple[Points, float]:
    """The triangles in pixels, M x 3 x (column, row, depth to the viewer), and how many pixels a unit takes."""
    x, y = corners[..., 0], corners[..., 1]
    low, high = np.array([x.min(), y.min()]), np.array([x.max(), y.max()])
    room = np.array([size[1], size[0]]) * (1 - 2 * margin)
    scale = float((room / np.maximum(high - low, 1e-9)).min())
    middle = (low + high) / 2
    placed = np.empty_like(corners)
    placed[..., 0] = (corners[..., 0] - middle[0]) * scale + size[1] / 2
    placed[..., 1] = size[0] / 2 - (corners[..., 1] - middle[1]) * scale
    placed[..., 2] = corners[..., 2]
    return placed, scale


def nearest(triangles: Points, size: tuple[int, int]) -> NDArray[np.int64]:
    """For each pixel, row by row, which triangle is nearest to the viewer; -1 where there is none.

    Everything is laid down from the farthest to the nearest, so that the last stays.
    """
    where, owner, depth = _fragments(triangles, size)
    seen = np.full(size[0] * size[1], -1, np.int64)
    if len(where):
        span = float(np.ptp(depth)) or 1.0
        # 16 bits sort by radix, ten times faster than floating point.
        order = np.argsort(((depth - depth.min()) * (65535 / span)).astype(np.uint16), kind="stable")
        seen[where[order]] = owner[order]
    return seen


def _fragments(triangles: Points, size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """(pixel, triangle, depth) of every pixel whose centre lies in a triangle.

    Between its longest edge and the two others a triangle covers one run of pixels in each row: only what is covered is computed.
    """
    rows, columns = size
    corners = triangles[np.arange(len(triangles))[:, None], np.argsort(triangles[..., 1], axis=1)]
    (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = np.ascontiguousarray(corners.transpose(1, 2, 0))
    doubled = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    shrink = _inverse(doubled)
    z_x = ((z1 - z0) * (y2 - y0) - (z2 - z0) * (y1 - y0)) * shrink
    z_y = ((z2 - z0) * (x1 - x0) - (z1 - z0) * (x2 - x0)) * shrink
    lean, upper_lean, lower_lean = (x2 - x0) * _inverse(y2 - y0), (x1 - x0) * _inverse(y1 - y0), (x2 - x1) * _inverse(y2 - y1)
    first, count = _within(y0, y2, rows)
    count[doubled == 0] = 0

    one, row = _run(first, count)
    height = (row + np.float32(0.5)).clip(y0[one], y2[one])
    along = x0[one] + (height - y0[one]) * lean[one]
    is_upper = height < y1[one]
    over = np.where(is_upper, x0[one] + (height - y0[one]) * upper_lean[one], x1[one] + (height - y1[one]) * lower_lean[one])
    first, count = _within(np.minimum(along, over), np.maximum(along, over), columns)

    line, column = _run(first, count)
    at_left = z0[one] + (row + np.float32(0.5) - y0[one]) * z_y[one] + (np.float32(0.5) - x0[one]) * z_x[one]
    depth = at_left[line] + column.astype(np.float32) * z_x[one][line]
    return (row * columns)[line] + column, one[line], depth


def _within(low: NDArray[np.float32], high: NDArray[np.float32], end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first pixel whose centre lies between two places, and how many do, of those from 0 to the end."""
    first = np.ceil(low - (0.5 + _SLACK)).clip(0, end).astype(np.int64)
    last = np.floor(high - (0.5 - _SLACK)).clip(-1, end - 1).astype(np.int64)
    return first, np.maximum(last - first + 1, 0)


def _run(first: NDArray[np.int64], count: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the runs, and the number in it, of runs laid end to end: (0, 0, 1) and (5, 6, 3) of runs from 5 and 3, 2 and 1 long."""
    which = np.repeat(np.arange(len(count)), count)
    return which, np.arange(len(which)) + (first - (np.cumsum(count) - count))[which]


def _inverse(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """0 of 0."""
    return np.where(values == 0, np.float32(0), 1 / np.where(values == 0, np.float32(1), values)).astype(np.float32)
