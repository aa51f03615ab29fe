"""The ring of cameras around a scene: what the rig is, and where its cameras stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dermanode.testing.motion import STILL, Matrix, Motion

__all__ = ["Matrix", "Ring", "ring_pose"]


@dataclass(frozen=True, slots=True)
class Ring:
    """Cameras on a circle above the skin, all looking at its middle.

    World: millimetres, z = 0 is the skin, z grows towards the cameras. A camera's up vector is radial, so that the picture
    turns in its plane with the azimuth.
    """

    views: int = 8
    tilt_deg: float = 25.0
    """From the skin's normal."""
    distance_mm: float = 150.0
    field_mm: float = 20.0
    """Width of the picture, at the skin."""
    has_fixed_light: bool = False
    """A lamp that stands still; else it is on the camera."""
    rotation_jitter_deg: float = 0.7
    distance_jitter_mm: float = 0.3
    target_jitter_mm: float = 0.15
    defocus_px: float = 0.0
    """Standard deviation of the blur."""
    noise: float = 0.006
    """Of the sensor, as a share of full scale."""
    # Not in the repr, from which UIDs are derived: a rig without them keeps the UIDs that it had before there were any.
    distortion: tuple[float, float] = field(default=(0.0, 0.0), repr=False)
    """Brown's radial k1 and k2, in units of the focal length: k1 = -5 moves a picture's corner inwards by 3.5 %."""
    motion: Motion = field(default=STILL, repr=False)
    """What the skin does meanwhile."""
    capped: tuple[int, ...] = field(default=(), repr=False)
    """Views, counted from 0, that are taken with the cap on the lens."""

    def azimuths_deg(self) -> tuple[float, ...]:
        """The nominal azimuth of each view."""
        return tuple(360.0 * k / self.views for k in range(self.views))

    def spacing_mm(self, columns: int) -> float:
        """Millimetres a pixel, at the middle of the picture."""
        return self.field_mm / columns

    def intrinsics(self, size: tuple[int, int]) -> Matrix:
        """K for (columns, rows): the nominal camera, pixel centres at whole numbers."""
        columns, rows = size
        focal_px = self.distance_mm / self.spacing_mm(columns)
        return np.array([[focal_px, 0, (columns - 1) / 2], [0, focal_px, (rows - 1) / 2], [0, 0, 1.0]])

    def beyond_mm(self, size: tuple[int, int]) -> float:
        """How much further the cameras may see than those of a rig without distortion whose patient keeps still."""
        k1, k2 = self.distortion
        corner = (np.hypot(*size) / 2 / size[0] * self.field_mm / self.distance_mm) ** 2
        # Barrel distortion (k1 below 0) shows more; the straight ray lies further out than the bent one it is estimated by.
        bent_mm = 1.5 * max(0.0, -(k1 * corner + k2 * corner**2)) * self.field_mm
        motion = self.motion
        return float(bent_mm + motion.shift_mm + motion.breath_mm + self.field_mm * np.tan(np.deg2rad(motion.lean_deg)))

    def poses(self, rng: np.random.Generator) -> Iterator[tuple[Matrix, Matrix]]:
        """World-to-camera R and t of each view, with the rig's jitter."""
        for azimuth_deg in self.azimuths_deg():
            target = np.append(rng.normal(0, self.target_jitter_mm, 2), 0.0)
            distance_mm = self.distance_mm + rng.normal(0, self.distance_jitter_mm)
            tilt_deg = self.tilt_deg + rng.normal(0, self.rotation_jitter_deg)
            turn_deg = azimuth_deg + rng.normal(0, self.rotation_jitter_deg)
            roll = np.deg2rad(rng.normal(0, self.rotation_jitter_deg))
            rotation, shift = ring_pose(turn_deg, tilt_deg, distance_mm, target)
            rolled = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
            yield rolled @ rotation, rolled @ shift


def ring_pose(azimuth_deg: float, tilt_deg: float, distance_mm: float, target_mm: Matrix) -> tuple[Matrix, Matrix]:
    """World-to-camera R, t of a camera on the ring that looks at the target; x right, y down, z away from the camera."""
    azimuth, tilt = np.deg2rad(azimuth_deg), np.deg2rad(tilt_deg)
    away = np.array([np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    rotation = np.stack([right, np.cross(-away, right), -away])
    return rotation, -rotation @ (target_mm + distance_mm * away)
