"""How a lesion stands out of the skin around it: numbers that mean the same for a metric surface and for the shading of one photograph."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain import HeightField, Surface

Field = NDArray[np.float64]

_FINE = 0.01
"""Standard deviation, in diameters, of the smoothing before heights and slopes are read: about a cell of a photograph's grid, to which that
of eight views is brought, because noise between neighbours reads as slope."""
_CURVED = 0.04
"""The same before curvature: 0.24 mm of a lesion of 6 mm."""


@dataclass(frozen=True)
class Relief:
    """The lesion's part of a surface above the skin around it, in the surface's own units."""

    volume: float
    """Over the projected area; sunken parts count negative."""
    area: float
    """Of the lesion's skin."""
    projected: float
    """The same, seen from above."""
    top: float
    """Largest height; 0 where nothing rises."""
    rectangle: float
    """Area of the rectangle around the lesion, seen from above."""
    mean_curvature: float = math.nan
    """Mean of |H|, H the mean curvature, at a scale of `_CURVED` diameters; NaN where it is not known at that scale."""
    max_curvature: float = math.nan
    """99th percentile of |H|."""

    @property
    def diameter(self) -> float:
        """Of the circle of the projected area."""
        return 2 * math.sqrt(self.projected / math.pi)

    @property
    def mean_height(self) -> float:
        return self.volume / self.projected

    @property
    def box_share(self) -> float:
        """Of the box around the lesion that stands on the base; NaN where nothing rises."""
        return self.volume / (self.rectangle * self.top) if self.top > 0 and self.rectangle > 0 else math.nan


def relief_of(surface: Surface) -> Relief | None:
    """From the height field, or without one from a mesh that shows lesion and skin; None where neither tells lesion from skin."""
    return _of_field(surface.height_field) if surface.height_field is not None else _of_mesh(surface)


def _of_field(field: HeightField) -> Relief | None:
    lesion = field.is_lesion
    count = int(np.count_nonzero(lesion))
    if not count:
        return None
    heights = field.heights.astype(np.float64)
    diameter_cells = 2 * math.sqrt(count / math.pi)
    smooth, slope_x, slope_y = _sloped(heights, _FINE * diameter_cells, field.step)
    _, curved_x, curved_y = _sloped(heights, _CURVED * diameter_cells, field.step)
    cell = field.step**2
    _, sides, _ = cv2.minAreaRect(np.argwhere(lesion).astype(np.float32))
    bent = _absolute_curvature(curved_x, curved_y, field.step)[lesion]
    return Relief(
        volume=float(heights[lesion].sum()) * cell,
        area=float(np.sqrt(1 + slope_x**2 + slope_y**2)[lesion].sum()) * cell,
        projected=count * cell,
        top=max(0.0, float(smooth[lesion].max())),
        # A cell has an extent of its own.
        rectangle=float((sides[0] + 1) * (sides[1] + 1)) * cell,
        mean_curvature=float(bent.mean()),
        max_curvature=float(np.percentile(bent, 99)),
    )


def _sloped(heights: Field, scale_cells: float, step: float) -> tuple[Field, Field, Field]:
    """The heights, smoothed, and their slopes along x and along the rows."""
    smooth = cv2.GaussianBlur(heights, (0, 0), scale_cells) if scale_cells > 0.3 else heights
    along_rows, along_x = (np.asarray(slope) for slope in np.gradient(smooth, step))
    return np.asarray(smooth), along_x, along_rows


def _absolute_curvature(zx: Field, zy: Field, step: float) -> Field:
    """|H| of a height field of these slopes, H = ((1 + zy^2) zxx - 2 zx zy zxy + (1 + zx^2) zyy) / (2 (1 + zx^2 + zy^2)^1.5)."""
    zyy, zyx = np.gradient(zy, step)
    zxx = np.gradient(zx, step, axis=1)
    return np.asarray(abs((1 + zy**2) * zxx - 2 * zx * zy * zyx + (1 + zx**2) * zyy) / (2 * (1 + zx**2 + zy**2) ** 1.5))


def _of_mesh(surface: Surface) -> Relief | None:
    lesion = surface.is_lesion
    if lesion is None or not lesion.any() or lesion.all():
        return None
    vertices = surface.vertices.astype(np.float64)
    # A closed mesh has walls and a floor: only what faces the camera is skin.
    is_up = surface.normals[:, 2] > 0
    skin = vertices[~lesion & is_up, 2]
    if not len(skin):
        return None
    ground = float(np.median(skin))
    corners = vertices[surface.faces[(lesion & is_up)[surface.faces].all(axis=1)]]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    seen_from_above = abs(across[:, 2]) / 2
    projected = float(seen_from_above.sum())
    if not projected:
        return None
    _, sides, _ = cv2.minAreaRect(corners[..., :2].reshape(-1, 2).astype(np.float32))
    return Relief(
        volume=float((seen_from_above * (corners[..., 2].mean(1) - ground)).sum()),
        area=float(np.linalg.norm(across, axis=1).sum() / 2),
        projected=projected,
        top=max(0.0, float(corners[..., 2].max()) - ground),
        rectangle=float(sides[0] * sides[1]),
    )
