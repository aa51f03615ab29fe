"""One camera's photograph of the skin, ray by ray."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from dermanode.domain.series import RGB
from dermanode.testing.motion import Plane, Warp
from dermanode.testing.ring import Matrix, Ring, ring_pose
from dermanode.testing.skin import Skin

__all__ = ["Matrix", "Ring", "dark", "photograph", "ring_pose", "srgb"]

Linear = NDArray[np.float64]
"""Linear light: rows x columns x 3, 1 is white."""
_SEARCHES = 6
"""Fixed-point steps of the ray search; each shrinks the error by slope * tan(tilt), below 0.5 for all shapes at 25 degrees."""
_GAIN = 1.05
_VIGNETTE = 0.12
_LAMP = (np.float32(0.35), np.float32(-0.25), np.float32(0.90277))
"""Where a lamp that stands still stands."""
_BAND_PX = 16_384
"""So many pixels are rendered at a time: their planes stay in the processor's cache."""


def photograph(
    skin: Skin, ring: Ring, pose: tuple[Matrix, Matrix], size: tuple[int, int], rng: np.random.Generator, warp: Warp | None = None
) -> tuple[RGB, NDArray[np.bool_]]:
    """One picture of the skin and where the lesion is in it: rows x columns [x 3], (columns, rows) = size.

    The skin is a height field seen from above, so a ray meets it once: the point is found by fixed-point search.
    """
    columns, rows = size
    mask = np.empty((rows, columns), np.bool_)
    if not ring.defocus_px:
        pixels = np.empty((rows, columns, 3), np.uint8)
        for band, linear, is_lesion in _bands(skin, ring, pose, size, warp):
            mask[band], pixels[band] = is_lesion, _developed(linear, ring, rng)
        return pixels, mask
    picture = np.empty((rows, columns, 3))
    for band, linear, is_lesion in _bands(skin, ring, pose, size, warp):
        mask[band], picture[band] = is_lesion, linear
    return _developed(_blurred(picture, ring.defocus_px), ring, rng), mask


def dark(ring: Ring, size: tuple[int, int], rng: np.random.Generator) -> tuple[RGB, NDArray[np.bool_]]:
    """The picture that is taken with the cap on the lens; there is no lesion in it."""
    columns, rows = size
    return _developed(np.zeros((rows, columns, 3)), ring, rng), np.zeros((rows, columns), np.bool_)


def _bands(
    skin: Skin, ring: Ring, pose: tuple[Matrix, Matrix], size: tuple[int, int], warp: Warp | None
) -> Iterator[tuple[slice, Linear, NDArray[np.bool_]]]:
    """Linear light, and where the lesion is, for a few rows at a time."""
    rotation, shift = pose
    columns, rows = size
    inverse = rotation.T @ np.linalg.inv(ring.intrinsics(size))
    centre = (-rotation.T @ shift).astype(np.float32)
    u, every_v = np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)[:, None]
    height = max(1, _BAND_PX // columns)
    for first in range(0, rows, height):
        band = slice(first, min(first + height, rows))
        v = every_v[band]
        straight = (u, v) if ring.distortion == (0.0, 0.0) else _undistorted(u, v, ring, size)
        rays = [np.float32(a) * straight[0] + np.float32(b) * straight[1] + np.float32(c) for a, b, c in inverse]
        seen, point = _struck(skin, (rays[0] / rays[2], rays[1] / rays[2]), centre, warp)
        irradiance, highlight = _light(seen[3], seen[4], point, centre, ring)
        radial = ((u - (columns - 1) / 2) ** 2 + (v - (rows - 1) / 2) ** 2) / ((columns / 2) ** 2 + (rows / 2) ** 2)
        gain = _GAIN * (1 - _VIGNETTE * radial)
        linear = np.empty((*gain.shape, 3))
        for channel in range(3):
            linear[..., channel] = gain * (seen[channel] * irradiance + highlight)
        yield band, linear, seen[5] > 0.5


def _undistorted(u: Plane, v: Plane, ring: Ring, size: tuple[int, int]) -> tuple[Plane, Plane]:
    """Where a camera without distortion would have these pixels: Brown's radial model, solved for the straight ray by fixed point."""
    intrinsics = ring.intrinsics(size)
    focal_px, (centre_u, centre_v) = intrinsics[0, 0], intrinsics[:2, 2]
    x, y = (u - centre_u) / focal_px, (v - centre_v) / focal_px
    bent = x**2 + y**2
    k1, k2 = ring.distortion
    straight = bent
    for _ in range(8):
        straight = bent / (1 + k1 * straight + k2 * straight**2) ** 2
    factor = 1 / (1 + k1 * straight + k2 * straight**2)
    return (x * factor * focal_px + centre_u).astype(np.float32), (y * factor * focal_px + centre_v).astype(np.float32)


def _struck(
    skin: Skin, slope: tuple[Plane, Plane], centre: NDArray[np.float32], warp: Warp | None
) -> tuple[list[Plane], tuple[Plane, Plane, Plane]]:
    """What rays of these slopes see of the skin's layers, and the points (x, y, z) where they meet it."""
    x0, y0 = centre[0] - centre[2] * slope[0], centre[1] - centre[2] * slope[1]
    n, scale, offset = skin.height_mm.shape[0], np.float32(1 / skin.step_mm), np.float32(skin.half_mm / skin.step_mm)
    flat = skin.height_mm.ravel()
    z = np.zeros(x0.shape, np.float32)
    # The skin's point at (x, y) is at (x + across, y + down) in its maps, and was lower by `up`.
    across, down, up = (np.float32(0), np.float32(0), np.float32(0)) if warp is None else warp.at(x0, y0)
    for _ in range(_SEARCHES):
        i = _clamped((y0 + down + z * slope[1]) * scale + offset, n).astype(np.intp)
        j = _clamped((x0 + across + z * slope[0]) * scale + offset, n).astype(np.intp)
        i *= n
        i += j
        found = flat.take(i) + up
        if np.array_equal(found, z):
            break
        z = found
    if warp is not None:
        across, down, up = warp.at(x0 + z * slope[0], y0 + z * slope[1])
    # The search above looks heights up in the nearest cell; the last step interpolates.
    y, x = y0 + down + z * slope[1], x0 + across + z * slope[0]
    z = _bilinear((skin.height_mm,), y, x, scale, offset)[0] + up
    x, y = x0 + z * slope[0], y0 + z * slope[1]
    return _bilinear(skin.layers, y + down, x + across, scale, offset), (x, y, z)


def _light(across: Plane, down: Plane, point: tuple[Plane, ...], centre: NDArray[np.float32], ring: Ring) -> tuple[Plane, Plane]:
    """Lambertian irradiance (1 on level skin under the lamp) and a weak highlight, as polarised light leaves it."""
    eye = [centre[k] - point[k] for k in range(3)]
    distance = np.sqrt(eye[0] ** 2 + eye[1] ** 2 + eye[2] ** 2)
    eye = [part / distance for part in eye]
    lamp = _LAMP if ring.has_fixed_light else eye
    length = np.sqrt(across**2 + down**2 + 1)
    normal = [-across / length, -down / length, 1 / length]
    irradiance = np.maximum(sum(normal[k] * lamp[k] for k in range(3)), 0)
    if not ring.has_fixed_light:
        irradiance *= (np.float32(ring.distance_mm) / distance) ** 2 / np.float32(np.cos(np.deg2rad(ring.tilt_deg)))
    half = [lamp[k] + eye[k] for k in range(3)]
    half_length = np.sqrt(half[0] ** 2 + half[1] ** 2 + half[2] ** 2)
    facing = np.maximum(sum(normal[k] * half[k] for k in range(3)) / half_length, 0)
    return irradiance.astype(np.float32), (0.025 * facing**48).astype(np.float32)


def _clamped(at: Plane, n: int) -> Plane:
    at += np.float32(0.5)
    return np.clip(at, 0, n - 1, out=at)


def _bilinear(maps: tuple[Plane, ...], y: Plane, x: Plane, scale: np.float32, offset: np.float32) -> list[Plane]:
    """Samples of each of the maps (rows x columns) at points in millimetres."""
    n = maps[0].shape[0]
    rows, columns = np.clip(y * scale + offset, 0, n - 1.001), np.clip(x * scale + offset, 0, n - 1.001)
    i, j = rows.astype(np.intp), columns.astype(np.intp)
    down, across = rows - i, columns - j
    up, back = 1 - down, 1 - across
    corners = (i * n + j, i * n + j + 1, (i + 1) * n + j, (i + 1) * n + j + 1)
    sampled = []
    for plane in maps:
        flat = plane.ravel()
        a, b, c, d = (flat.take(corner) for corner in corners)
        top = a * back + b * across
        bottom = c * back + d * across
        sampled.append(top * up + bottom * down)
    return sampled


def _blurred(picture: Linear, sigma_px: float) -> Linear:
    reach = int(np.ceil(3 * sigma_px))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2).astype(np.float32)
    weights /= weights.sum()
    for axis in (0, 1):
        pad = [(reach, reach) if k == axis else (0, 0) for k in range(3)]
        padded, length = np.pad(picture, pad, mode="edge"), picture.shape[axis]
        picture = sum((w * padded.take(range(k, k + length), axis=axis) for k, w in enumerate(weights)), np.zeros_like(picture))
    return picture


def _developed(linear: Linear, ring: Ring, rng: np.random.Generator) -> RGB:
    """Linear light with the sensor's noise, as sRGB bytes."""
    noise = rng.standard_normal(linear.shape, np.float32) * np.float32(ring.noise)
    return srgb(linear + noise * np.sqrt(np.maximum(linear, 0.02)))


def srgb(linear: Linear) -> RGB:
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
