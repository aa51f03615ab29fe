"""The ring of cameras around a scene, and one camera's photograph of the skin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from dermanode.domain.series import RGB
from dermanode.testing.skin import Skin

Matrix = NDArray[np.float64]
_SEARCHES = 6
"""Fixed-point steps of the ray search; each shrinks the error by slope * tan(tilt), below 0.5 for all shapes at 25 degrees."""
_GAIN = 1.05
_VIGNETTE = 0.12


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


def photograph(
    skin: Skin, ring: Ring, pose: tuple[Matrix, Matrix], size: tuple[int, int], rng: np.random.Generator
) -> tuple[RGB, NDArray[np.bool_]]:
    """One picture of the skin and where the lesion is in it: rows x columns [x 3], (columns, rows) = size.

    The skin is a height field seen from above, so a ray meets it once: the point is found by fixed-point search.
    """
    rotation, shift = pose
    columns, rows = size
    inverse = rotation.T @ np.linalg.inv(ring.intrinsics(size))
    centre = (-rotation.T @ shift).astype(np.float32)
    u, v = np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)[:, None]
    rays = [np.float32(a) * u + np.float32(b) * v + np.float32(c) for a, b, c in inverse]
    slope_x, slope_y = rays[0] / rays[2], rays[1] / rays[2]
    x0, y0 = centre[0] - centre[2] * slope_x, centre[1] - centre[2] * slope_y

    n, scale, offset = skin.height_mm.shape[0], np.float32(1 / skin.step_mm), np.float32(skin.half_mm / skin.step_mm)
    flat = skin.height_mm.ravel()
    z = np.zeros((rows, columns), np.float32)
    for _ in range(_SEARCHES):
        i = _clamped((y0 + z * slope_y) * scale + offset, n).astype(np.int32)
        j = _clamped((x0 + z * slope_x) * scale + offset, n).astype(np.int32)
        z = flat.take(i * n + j)
    # The search above looks heights up in the nearest cell; the last step interpolates.
    z = _bilinear(skin.height_mm[..., None], y0 + z * slope_y, x0 + z * slope_x, scale, offset)[..., 0]
    x, y = x0 + z * slope_x, y0 + z * slope_y

    seen = _bilinear(skin.layers, y, x, scale, offset)
    irradiance, highlight = _light(seen[..., 3], seen[..., 4], (x, y, z), centre, ring)
    radial = ((u - (columns - 1) / 2) ** 2 + (v - (rows - 1) / 2) ** 2) / ((columns / 2) ** 2 + (rows / 2) ** 2)
    linear = _GAIN * (1 - _VIGNETTE * radial)[..., None] * (seen[..., :3] * irradiance[..., None] + highlight[..., None])
    if ring.defocus_px:
        linear = _blurred(linear, ring.defocus_px)
    noise = rng.standard_normal(linear.shape, np.float32) * np.float32(ring.noise)
    return srgb(linear + noise * np.sqrt(np.maximum(linear, 0.02))), seen[..., 5] > 0.5


def _light(
    across: NDArray[np.float32], down: NDArray[np.float32], point: tuple[NDArray[np.float32], ...], centre: NDArray[np.float32], ring: Ring
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lambertian irradiance (1 on level skin under the lamp) and a weak highlight, as polarised light leaves it."""
    eye = [centre[k] - point[k] for k in range(3)]
    distance = np.sqrt(eye[0] ** 2 + eye[1] ** 2 + eye[2] ** 2)
    eye = [part / distance for part in eye]
    lamp = [np.float32(0.35), np.float32(-0.25), np.float32(0.90277)] if ring.has_fixed_light else eye
    length = np.sqrt(across**2 + down**2 + 1)
    normal = [-across / length, -down / length, 1 / length]
    irradiance = np.maximum(sum(normal[k] * lamp[k] for k in range(3)), 0)
    if not ring.has_fixed_light:
        irradiance *= (np.float32(ring.distance_mm) / distance) ** 2 / np.float32(np.cos(np.deg2rad(ring.tilt_deg)))
    half = [lamp[k] + eye[k] for k in range(3)]
    half_length = np.sqrt(half[0] ** 2 + half[1] ** 2 + half[2] ** 2)
    facing = np.maximum(sum(normal[k] * half[k] for k in range(3)) / half_length, 0)
    return irradiance.astype(np.float32), (0.025 * facing**48).astype(np.float32)


def _clamped(at: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    clamped: NDArray[np.float32] = np.clip(at + np.float32(0.5), 0, n - 1)
    return clamped


def _bilinear(
    maps: NDArray[np.float32], y: NDArray[np.float32], x: NDArray[np.float32], scale: np.float32, offset: np.float32
) -> NDArray[np.float32]:
    """Samples of maps (rows x columns x channels) at points in millimetres."""
    n, channels = maps.shape[0], maps.shape[2]
    rows, columns = np.clip(y * scale + offset, 0, n - 1.001), np.clip(x * scale + offset, 0, n - 1.001)
    i, j = rows.astype(np.int32), columns.astype(np.int32)
    down, across = (rows - i)[..., None], (columns - j)[..., None]
    flat, at = maps.reshape(-1, channels), i * n + j
    top = flat.take(at, axis=0) * (1 - across) + flat.take(at + 1, axis=0) * across
    bottom = flat.take(at + n, axis=0) * (1 - across) + flat.take(at + n + 1, axis=0) * across
    sampled: NDArray[np.float32] = top * (1 - down) + bottom * down
    return sampled


def _blurred(picture: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    reach = int(np.ceil(3 * sigma_px))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2).astype(np.float32)
    weights /= weights.sum()
    for axis in (0, 1):
        pad = [(reach, reach) if k == axis else (0, 0) for k in range(3)]
        padded, length = np.pad(picture, pad, mode="edge"), picture.shape[axis]
        picture = sum((w * padded.take(range(k, k + length), axis=axis) for k, w in enumerate(weights)), np.zeros_like(picture))
    return picture


def srgb(linear: NDArray[np.float32]) -> RGB:
    """Linear light, 0 to 1, as sRGB bytes (IEC 61966-2-1)."""
    table = _srgb_table()
    encoded: RGB = table.take((np.clip(linear, 0, 1) * np.float32(len(table) - 1) + np.float32(0.5)).astype(np.int32))
    return encoded


@cache
def _srgb_table() -> NDArray[np.uint8]:
    linear = np.linspace(0, 1, 8192)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table: NDArray[np.uint8] = np.rint(encoded * 255).astype(np.uint8)
    return table
