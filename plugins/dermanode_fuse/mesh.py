"""What is measured on a triangle mesh, in the mesh's own units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain import Surface


@dataclass(frozen=True, eq=False)
class LesionMesh:
    """The mesh of a surface that says which of its vertices lie on the lesion's skin."""

    surface: Surface

    @cached_property
    def _vertices(self) -> NDArray[np.float64]:
        # From the middle, so that rounding does not grow with the distance from the origin.
        vertices = self.surface.vertices.astype(np.float64)
        return np.asarray(vertices - vertices.mean(axis=0))

    @cached_property
    def _skin(self) -> NDArray[np.int32]:
        """The lesion's triangles."""
        lesion = self.surface.is_lesion
        return self.surface.faces if lesion is None else self.surface.faces[lesion[self.surface.faces].all(axis=1)]

    @cached_property
    def _across(self) -> NDArray[np.float64]:
        """For each of the lesion's triangles (v1 - v0) x (v2 - v0)."""
        v0, v1, v2 = (self._vertices[self._skin[:, corner]] for corner in range(3))
        return np.cross(v1 - v0, v2 - v0)

    @property
    def has_lesion(self) -> bool:
        return self.surface.is_lesion is not None and len(self._skin) > 0

    @property
    def volume(self) -> float:
        """Of the closed mesh, by the divergence theorem: |sum of v0 . (v1 x v2)| / 6."""
        v0, v1, v2 = (self._vertices[self.surface.faces[:, corner]] for corner in range(3))
        return abs(float(np.einsum("ij,ij->", v0, np.cross(v1, v2)))) / 6

    @cached_property
    def area(self) -> float:
        """Of the lesion's triangles."""
        return float(np.linalg.norm(self._across, axis=1).sum()) / 2

    @cached_property
    def footprint(self) -> float:
        """What the lesion's triangles cover, seen from the camera."""
        return float(np.maximum(self._across[:, 2], 0).sum()) / 2

    @cached_property
    def box_footprint(self) -> float:
        """Area of the smallest rectangle around the lesion, seen from the camera."""
        _, sides, _ = cv2.minAreaRect(self._vertices[np.unique(self._skin), :2].astype(np.float32))
        return float(sides[0] * sides[1])

    @property
    def thickness(self) -> float:
        """Of the whole mesh, along z."""
        return float(np.ptp(self._vertices[:, 2]))

    def curvature(self) -> tuple[float, float] | None:
        """Mean and 99th percentile of |H| over the lesion's skin, each vertex for the area around it: a decimated mesh has more of them
        where it bends. None where the surface states no curvature."""
        curvature = self.surface.mean_curvature
        if curvature is None or not self.has_lesion:
            return None
        weights = np.repeat(np.linalg.norm(self._across, axis=1), 3)
        around = np.bincount(self._skin.ravel(), weights, minlength=len(curvature))
        there = around > 0
        size, around = abs(curvature[there].astype(np.float64)), around[there]
        order = size.argsort()
        below = around[order].cumsum()
        most = order[np.searchsorted(below, 0.99 * below[-1])]
        return float(size @ around / below[-1]), float(size[most])
