"""A rendered lesion of known volume, area and height: what reconstruction is measured against."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dermanode.domain.series import RGB
from dermanode.testing.camera import dark, photograph
from dermanode.testing.relief import USUAL_HEIGHT_MM, Relief, Shape, Truth
from dermanode.testing.ring import Matrix, Ring
from dermanode.testing.skin import Look, Neighbour, Skin, grow_skin


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
    # Not in the repr, from which UIDs are derived: a scene without them keeps the UIDs that it had before there were any.
    visit: int = field(default=0, repr=False)
    """Each visit has a noise, a jitter and motions of its own; the lesion and its skin are the same."""
    pressed: float = field(default=1.0, repr=False)
    """What the contact with a dermatoscope leaves of the height: 0.5 is pressed to half. Truth is that of the pressed lesion."""
    has_neighbour: bool = field(default=False, repr=False)
    """A second, smaller lesion lies beside this one. Truth and masks are those of the first."""

    def grown(self, percent: float, *, only_height: bool = False) -> Scene:
        """The same lesion on the same skin with its volume so much larger: all lengths grow alike, or the height alone."""
        factor = 1 + percent / 100
        height_mm = USUAL_HEIGHT_MM[Shape(self.shape)] if self.height_mm is None else self.height_mm
        if only_height:
            return replace(self, height_mm=height_mm * factor)
        length = factor ** (1 / 3)
        return replace(self, height_mm=height_mm * length, diameter_mm=self.diameter_mm * length)

    @cached_property
    def relief(self) -> Relief:
        rng = np.random.default_rng([self.seed, 1])
        waves = tuple(
            (k, self.irregularity * float(rng.uniform(0.3, 1) * c), float(rng.uniform(0, 6.28)))
            for k, c in ((2, 0.11), (3, 0.06), (5, 0.03))
        )
        height_mm = USUAL_HEIGHT_MM[Shape(self.shape)] if self.height_mm is None else self.height_mm
        return Relief(Shape(self.shape), self.diameter_mm / 2, height_mm * self.pressed, waves)

    @cached_property
    def neighbour(self) -> Neighbour | None:
        """The second lesion, a dome of 3 mm whose outline stays clear of a first one of the usual size."""
        if not self.has_neighbour:
            return None
        angle = np.random.default_rng([self.seed, 5]).uniform(0, 2 * np.pi)
        far_mm = float(self.relief.outline_mm(np.array(angle))) + 2.0
        return Neighbour(Relief(Shape.DOME, 1.5, 0.6), float(far_mm * np.cos(angle)), float(far_mm * np.sin(angle)))

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
    """World to camera, 3 x 3. Of a moved patient: lesion to camera."""
    translation: Matrix
    """World to camera, millimetres."""
    intrinsics: Matrix
    """K, in pixels."""
    azimuth_deg: float
    """Nominal."""
    ring: Ring
    """The rig that took it."""


def skin_before(scene: Scene, ring: Ring, size: tuple[int, int]) -> Skin:
    """The scene's skin as far and as finely as these cameras see it. Seen further or finer it would have other marks."""
    columns, rows = size
    # The farthest corner of a tilted picture still lies on the map.
    reach_mm = ring.field_mm / 2 * np.hypot(1, rows / columns / np.cos(np.deg2rad(ring.tilt_deg))) * 1.06 + 1
    step_mm = max(ring.spacing_mm(columns), 0.012)
    skin = grow_skin(scene.relief, scene.look, scene.seed, half_mm=float(reach_mm), step_mm=step_mm, beside=scene.neighbour)
    # Widened, not grown larger, for the same reason: this lesion may have been seen by a rig without distortion.
    return skin.widened(beyond_mm) if (beyond_mm := ring.beyond_mm(size)) else skin


def render(scene: Scene, ring: Ring | None = None, size: tuple[int, int] = (1024, 768), skin: Skin | None = None) -> list[RenderedView]:
    """The photographs that the ring takes, (columns, rows) = size: 3 s for eight of 1024 x 768 on one core.

    `skin` is that of another rig (`skin_before`), which sees the same lesion.
    """
    ring = Ring() if ring is None else ring
    skin = skin_before(scene, ring, size) if skin is None else skin
    visit = [scene.visit] if scene.visit else []
    rng, motion_rng = np.random.default_rng([scene.seed, 2, *visit]), np.random.default_rng([scene.seed, 3, *visit])
    poses = list(ring.poses(rng))
    states = ring.motion.states(ring.views, motion_rng)
    views = []
    for number, (azimuth_deg, pose, state) in enumerate(zip(ring.azimuths_deg(), poses, states, strict=True)):
        seen_by = state.seen_by(pose)
        if number in ring.capped:
            pixels, mask = dark(ring, size, rng)
        else:
            pixels, mask = photograph(skin, ring, seen_by, size, rng, state.warp)
        views.append(RenderedView(pixels, mask, *seen_by, ring.intrinsics(size), azimuth_deg, ring))
    return views
