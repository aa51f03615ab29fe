"""Where cameras stand over the skin, and what they see of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermanode_reconstruct.grid import Grid, Matrix


@dataclass(frozen=True, eq=False)
class Poses:
    """World-to-camera poses of V cameras: X_camera = R X + t, in mm. A camera's x leads right, y down, z away from it.

    The world is right-handed: z = 0 is the skin, z leads to the cameras.
    """

    rotations: Matrix
    """V x 3 x 3."""
    translations: Matrix
    """V x 3."""

    def __len__(self) -> int:
        return len(self.rotations)

    @property
    def centres(self) -> Matrix:
        """V x 3: where the cameras stand."""
        return np.asarray(-np.einsum("vji,vj->vi", self.rotations, self.translations))

    @property
    def tilts_deg(self) -> Matrix:
        """Of each optical axis against the skin's normal."""
        return np.rad2deg(np.arccos(np.clip(-self.rotations[:, 2, 2], -1, 1)))

    def chosen(self, which: NDArray[np.int_]) -> Poses:
        return Poses(self.rotations[which], self.translations[which])

    def moved(self, turn: Matrix, origin_mm: Matrix) -> Poses:
        """In the world X' = turn (X - origin)."""
        rotations = self.rotations @ turn.T
        return Poses(rotations, self.translations + np.einsum("vij,j->vi", self.rotations, origin_mm))

    def project(self, points_mm: Matrix, intrinsics: Matrix) -> tuple[Matrix, Matrix]:
        """N x V x 2 pixels and N x V x 3 camera coordinates of N x 3 points; `intrinsics` are V x 3 x 3."""
        seen = np.einsum("vij,nj->nvi", self.rotations, points_mm) + self.translations
        pixels = seen[..., :2] / seen[..., 2:] * intrinsics[:, [0, 1], [0, 1]] + intrinsics[:, :2, 2]
        return pixels, seen


def ring_pose(azimuth_deg: float, tilt_deg: float, distance_mm: float) -> tuple[Matrix, Matrix]:
    """R, t of a camera on the ring that looks at the origin. Its up vector is radial: the picture turns in its plane with the azimuth."""
    azimuth, tilt = np.deg2rad(azimuth_deg), np.deg2rad(tilt_deg)
    away = np.array([np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    return np.stack([right, np.cross(-away, right), -away]), np.array([0.0, 0.0, distance_mm])


def ring_poses(azimuths_deg: Matrix, tilts_deg: Matrix, distances_mm: Matrix) -> Poses:
    """The nominal poses of a ring whose first camera sees x to the right and y up."""
    turned = azimuths_deg - azimuths_deg[0] - 90.0
    made = [ring_pose(*one) for one in zip(turned, tilts_deg, distances_mm, strict=True)]
    return Poses(np.array([r for r, _ in made]), np.array([t for _, t in made]))


def plane_homographies(poses: Poses, intrinsics: Matrix, grid: Grid) -> Matrix:
    """V x 3 x 3: maps (column, row, 1) of a grid on the skin plane to (column, row, 1) of each picture."""
    planes = np.concatenate([poses.rotations[:, :, :2], poses.translations[:, :, None]], axis=2)
    return np.asarray(intrinsics @ planes @ grid.to_plane())
