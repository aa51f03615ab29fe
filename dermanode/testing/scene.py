"""A rendered lesion of known volume, area and height: what reconstruction is measured against."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dermanode.domain.series import RGB
from dermanode.testing.camera import Matrix, Ring, photograph
from dermanode.testing.relief import USUAL_HEIGHT_MM, Relief, Shape, Truth
from dermanode.testing.skin import Look, grow_skin


@dataclass(frozen=True)
class Scene:
    """One lesion on its skin. The same fields always make the same scene; `render` photographs it."""

    shape: Shape = Shape.DOME
    seed: int = 0
    diameter_mm: float = 7.5
    """Of the circle that the outline wobbles around."""
    height_mm: float | None = None
    """None: usual for the shape."""
    irregularity: float = 1.0
    """0 makes the outline a circle."""
    look: Look = field(default_factory=Look)

    @cached_property
    def relief(self) -> Relief:
        rng = np.random.default_rng([self.seed, 1])
        waves = tuple(
            (k, self.irregularity * float(rng.uniform(0.3, 1) * c), float(rng.uniform(0, 6.28)))
            for k, c in ((2, 0.11), (3, 0.06), (5, 0.03))
        )
        height_mm = USUAL_HEIGHT_MM[Shape(self.shape)] if self.height_mm is None else self.height_mm
        return Relief(Shape(self.shape), self.diameter_mm / 2, height_mm, waves)

    @property
    def truth(self) -> Truth:
        """What a measurement should find."""
        return self.relief.truth


@dataclass(frozen=True, eq=False)
class RenderedView:
    """One photograph of a scene, with everything about it that is known."""

    pixels: RGB
    """Rows x columns x 3, sRGB."""
    mask: NDArray[np.bool_]
    """Rows x columns: the lesion, as the outline in the skin says it."""
    rotation: Matrix
    """World to camera, 3 x 3."""
    translation: Matrix
    """World to camera, millimetres."""
    intrinsics: Matrix
    """K, in pixels."""
    azimuth_deg: float
    """Nominal."""


def render(scene: Scene, ring: Ring | None = None, size: tuple[int, int] = (1024, 768)) -> list[RenderedView]:
    """The photographs that the ring takes, (columns, rows) = size: 3 s for eight of 1024 x 768 on one core."""
    ring = Ring() if ring is None else ring
    columns, rows = size
    # The farthest corner of a tilted picture still lies on the map.
    reach_mm = ring.field_mm / 2 * np.hypot(1, rows / columns / np.cos(np.deg2rad(ring.tilt_deg))) * 1.06 + 1
    skin = grow_skin(scene.relief, scene.look, scene.seed, half_mm=float(reach_mm), step_mm=max(ring.spacing_mm(columns), 0.012))
    rng = np.random.default_rng([scene.seed, 2])
    views = []
    for azimuth_deg, pose in zip(ring.azimuths_deg(), list(ring.poses(rng)), strict=True):
        pixels, mask = photograph(skin, ring, pose, size, rng)
        views.append(RenderedView(pixels, mask, *pose, ring.intrinsics(size), azimuth_deg))
    return views
