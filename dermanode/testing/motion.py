"""What the skin does between the views of one series: it breathes, and a patient may move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Plane = NDArray[np.float32]
_WAVES = 2
_WAVELENGTHS_MM = (15.0, 40.0)


@dataclass(frozen=True, slots=True)
class Motion:
    """How far the skin is, in each view, from where it was when it was described."""

    breath_mm: float = 0.0
    """Largest shift along each axis of a smooth warp in the skin's plane, another one in each view."""
    sway_um: float = 0.0
    """Largest change of height of a smooth sway, another one in each view."""
    shift_mm: float = 0.0
    """The patient moved so far, along the skin."""
    turn_deg: float = 0.0
    """The patient turned so far, about the skin's normal."""
    lean_deg: float = 0.0
    """The patient leaned so far, about an axis in the skin."""
    moved_from: int = 0
    """Counted from 0, the first view after the patient moved; 0 is a rig put up elsewhere, which is no motion between the views."""

    def states(self, views: int, rng: np.random.Generator) -> Iterator[State]:
        """Where the skin is in each view."""
        way, axis = rng.uniform(0, 2 * np.pi, 2)
        turned = _turn(np.array([0, 0, 1.0]), self.turn_deg) @ _turn(np.array([np.cos(axis), np.sin(axis), 0]), self.lean_deg)
        shift = self.shift_mm * np.array([np.cos(way), np.sin(way), 0])
        for view in range(views):
            warp = Warp.drawn(self.breath_mm, self.sway_um / 1000, rng) if self.breath_mm or self.sway_um else None
            yield State(turned, shift, warp) if view >= self.moved_from else State(np.eye(3), np.zeros(3), warp)


STILL = Motion()


@dataclass(frozen=True, eq=False)
class State:
    """The skin at the moment of one view."""

    rotation: Matrix
    """3 x 3: from the skin as it was described to the world."""
    shift_mm: Matrix
    warp: Warp | None

    def seen_by(self, pose: tuple[Matrix, Matrix]) -> tuple[Matrix, Matrix]:
        """The pose of a camera, given to the world, as R and t from the skin to the camera."""
        rotation, translation = pose
        if not self.shift_mm.any() and np.array_equal(self.rotation, np.eye(3)):
            return pose
        return rotation @ self.rotation, rotation @ self.shift_mm + translation


@dataclass(frozen=True, eq=False)
class Warp:
    """A smooth field over the skin's plane: which point of the skin lies at a place, and how much higher than it was."""

    waves: NDArray[np.float32]
    """Three (across, down, up) x waves x (along x, along y, phase)."""
    sizes_mm: tuple[float, float, float]

    @classmethod
    def drawn(cls, breath_mm: float, sway_mm: float, rng: np.random.Generator) -> Warp:
        length = rng.uniform(*_WAVELENGTHS_MM, (3, _WAVES))
        angle, phase = rng.uniform(0, 2 * np.pi, (2, 3, _WAVES))
        k = 2 * np.pi / length
        waves = np.stack((k * np.cos(angle), k * np.sin(angle), phase), axis=-1).astype(np.float32)
        return cls(waves, (breath_mm, breath_mm, sway_mm))

    def at(self, x_mm: Plane, y_mm: Plane) -> tuple[Plane, Plane, Plane]:
        """Shift across and down to the point of the skin that lies at (x, y), and its rise, in millimetres."""
        across, down, up = (
            sum((np.float32(size / _WAVES) * np.sin(a * x_mm + b * y_mm + p) for a, b, p in waves), np.zeros_like(x_mm))
            for size, waves in zip(self.sizes_mm, self.waves, strict=True)
        )
        return across, down, up


def _turn(axis: Matrix, angle_deg: float) -> Matrix:
    """The rotation about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(angle_deg)
    turned: Matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turned
