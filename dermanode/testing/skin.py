"""Skin as a dermatoscope sees it: pigment and blood in layers, relief in micrometres, hairs.

Colour is not painted: melanin and haemoglobin absorb, each in its own way, so that the lesion's chroma is its own and does not
follow the light. Achromatic pigment would hide the bias that shading brings into stereo.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermanode.testing.relief import Relief, Shape

Map = NDArray[np.float32]

_DERMIS = np.array([0.82, 0.74, 0.68], np.float32)
"""Linear sRGB reflectance of skin without melanin and blood."""
_MELANIN = np.array([0.42, 0.72, 1.16], np.float32)
"""Absorption in red, green and blue: about wavelength^-3.3 (S. L. Jacques, Phys. Med. Biol. 58, R37, 2013)."""
_HAEMOGLOBIN = np.array([0.06, 0.62, 0.50], np.float32)
_EPIDERMIS = (0.03, 0.12, 0.26, 0.55, 1.0, 1.7)
"""Melanin of the skin around the lesion, for Fitzpatrick types I to VI."""
_FAR = 1.7
"""Shares of the way to the outline beyond which the skin knows nothing of the lesion: raggedness reaches 0.5 further at most."""
_HAIR = np.array([0.07, 0.045, 0.03], np.float32)


@dataclass(frozen=True, eq=False)
class Skin:
    """Maps over the square |x|, |y| <= half_mm of the skin plane; row 0 is y = -half_mm."""

    half_mm: float
    step_mm: float
    albedo: Map
    """3 x rows x columns, linear: red, green, blue."""
    height_mm: Map
    """With furrows and grain."""
    is_lesion: NDArray[np.bool_]

    @cached_property
    def layers(self) -> tuple[Map, ...]:
        """What a camera samples: red, green, blue, slope along x, slope along y, lesion (0 or 1)."""
        step_mm = np.float32(self.step_mm)
        down, across = np.gradient(self.height_mm, step_mm, axis=0), np.gradient(self.height_mm, step_mm, axis=1)
        return (*self.albedo, across, down, self.is_lesion.astype(np.float32))

    def widened(self, by_mm: float) -> Skin:
        """The same skin in the middle of a larger one, mirrored at its edges: for cameras that look further than was planned."""
        cells = int(np.ceil(by_mm / self.step_mm))
        wider = (cells, cells)
        return Skin(
            self.half_mm + cells * self.step_mm,
            self.step_mm,
            np.pad(self.albedo, ((0, 0), wider, wider), mode="reflect"),
            np.pad(self.height_mm, wider, mode="reflect"),
            np.pad(self.is_lesion, cells),
        )


@dataclass(frozen=True, slots=True)
class Look:
    """How the skin and the lesion look, apart from their height."""

    skin_type: int = 2
    """Fitzpatrick, 1 to 6."""
    pigment: float = 1.0
    """How dark the lesion is; 0 leaves a flesh-coloured one."""
    network: float = 1.0
    dots: int = 60
    hairs: int = 5
    furrow_um: float = 20.0
    texture: float = 1.0
    """How much there is to see for stereo: 0.3 is a lesion of low texture."""
    # Not in the repr, from which UIDs are derived: a look without them keeps the UIDs that it had before there were any.
    has_long_hair: bool = field(default=False, repr=False)
    """One hair lies across the lesion."""
    has_ruler: bool = field(default=False, repr=False)
    """A paper ruler is stuck on the skin beside the lesion."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A second lesion in the field."""

    relief: Relief
    x_mm: float
    y_mm: float


def grow_skin(relief: Relief, look: Look, seed: int, *, half_mm: float, step_mm: float, beside: Neighbour | None = None) -> Skin:
    """The maps of one lesion on its skin; the same arguments give the same maps.

    The marks of the skin are drawn by the seed alone: a lesion that has grown lies on the skin it lay on.
    """
    rng = np.random.default_rng(seed)
    n = round(2 * half_mm / step_mm) + 1
    axis = np.linspace(-half_mm, half_mm, n)
    own, height = _laid(relief, axis)
    rho = own
    if beside is not None:
        others, raised = _laid(beside.relief, axis, beside.x_mm, beside.y_mm)
        rho, height = np.minimum(own, others), height + raised
    ragged = rho + 0.045 * _noise(rng, n, half_mm, 1.2) + 0.02 * _noise(rng, n, half_mm, 0.35)
    inside = _step(1.07, 0.93, ragged)

    blotches = _noise(rng, n, half_mm, 2.2)
    mottle = _noise(rng, n, half_mm, 0.45)
    grain = _noise(rng, n, half_mm, 0.09) + 0.7 * _noise(rng, n, half_mm, 0.045)
    net = _cells(rng, n, half_mm, 0.34)
    lines = np.exp(-((net / 0.075) ** 2))
    where_net = np.clip(0.55 + 0.6 * _noise(rng, n, half_mm, 1.6), 0, 1) * _step(0.15, 0.6, rho)
    depth = 1.25 * look.pigment * inside
    epidermis = _EPIDERMIS[look.skin_type - 1]
    melanin = epidermis * (1 + look.texture * (0.16 * mottle + 0.10 * grain))
    melanin += depth * np.maximum(0.95 + look.texture * (0.28 * blotches + 0.14 * mottle + 0.07 * grain), 0.35)
    melanin += look.network * look.texture * depth * where_net * 0.9 * (lines - 0.3)
    _add_dots(melanin, rng, relief, look, half_mm, step_mm)

    vessels = np.exp(-((_cells(rng, n, half_mm, 1.9) / 0.05) ** 2)) * np.clip(_noise(rng, n, half_mm, 2.5), 0, 1)
    blood = 0.40 + look.texture * (0.05 * _noise(rng, n, half_mm, 3.0) + 0.035 * _noise(rng, n, half_mm, 0.7) + 0.03 * grain)
    blood += 0.25 * vessels + 0.15 * look.pigment * inside

    # Skin markings: two sizes of polygons, the furrows between them as deep as asked for, and shallower on the lesion.
    fold = np.exp(-((_cells(rng, n, half_mm, 0.85) / 0.06) ** 2)) + 0.5 * np.exp(-((_cells(rng, n, half_mm, 0.42) / 0.05) ** 2))
    furrows = look.furrow_um / 1000 * fold * (1 - 0.6 * inside)
    height = height - furrows + 0.0025 * grain
    melanin = np.maximum(melanin + 0.05 * epidermis * fold, 0)

    blood = np.maximum(blood, 0)
    albedo = np.stack([c * np.exp(-melanin * m - blood * h) for c, m, h in zip(_DERMIS, _MELANIN, _HAEMOGLOBIN, strict=True)])
    _add_hairs(albedo, rng, look.hairs, half_mm, step_mm)
    if look.has_long_hair:
        _add_long_hair(albedo, np.random.default_rng([seed, 4]), half_mm, step_mm)
    if look.has_ruler:
        _stick_ruler(albedo, height, float(relief.outline_mm(np.array(np.pi / 2))) + 1.0, axis)
    return Skin(half_mm, step_mm, albedo.astype(np.float32), height.astype(np.float32), own <= 1)


def _laid(relief: Relief, axis: NDArray[np.float64], x_mm: float = 0.0, y_mm: float = 0.0) -> tuple[Map, Map]:
    """The share of the way to the outline, and the height, over the maps. Far from the lesion the share is only said to be large."""
    reach = _FAR * float(relief.outline_mm(np.linspace(0, 2 * np.pi, 360)).max())
    columns, rows = (slice(*np.searchsorted(axis, (at - reach, at + reach))) for at in (x_mm, y_mm))
    x, y = axis[None, columns] - x_mm, axis[rows, None] - y_mm
    near = relief.rho(x, y)
    rho, height = np.full((len(axis), len(axis)), 9, np.float32), np.zeros((len(axis), len(axis)), np.float32)
    rho[rows, columns] = near
    height[rows, columns] = relief.height(x, y) if relief.shape is Shape.TWO_LOBES else relief.profile(near)
    return rho, height


def _step(low: float, high: float, value: Map) -> Map:
    """0 at low, 1 at high, smooth between; low may be the larger."""
    t = np.clip((value - low) / (high - low), 0, 1)
    smooth: Map = t * t * (3 - 2 * t)
    return smooth


def _resized(small: NDArray[Any], n: int) -> Map:
    return np.asarray(Image.fromarray(small.astype(np.float32)).resize((n, n), Image.Resampling.BICUBIC))


def _noise(rng: np.random.Generator, n: int, half_mm: float, size_mm: float) -> Map:
    """Smooth noise with features of about that size: standard deviation about 1, made small and enlarged."""
    cells = min(max(4, round(2 * half_mm / size_mm * 2)), n)
    return _resized(rng.standard_normal((cells, cells), np.float32), n) * np.float32(1.25)


def _cells(rng: np.random.Generator, n: int, half_mm: float, size_mm: float) -> Map:
    """Distance to the nearest border of a random polygon mesh, in millimetres (Worley 1996: F2 - F1, halved)."""
    m = min(n, max(64, round(2 * half_mm / min(size_mm / 7, 0.12))))
    count = int(np.ceil(2 * half_mm / size_mm)) + 4
    jitter = rng.random((2, count, count), np.float32)
    at = (np.arange(m, dtype=np.float32) + 0.5) * np.float32(2 * half_mm / m / size_mm) + 1
    cell = at.astype(np.int32)
    first, second = np.full((m, m), 9, np.float32), np.full((m, m), 9, np.float32)
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            r, c = (cell + row)[:, None], (cell + column)[None, :]
            distance = (r + jitter[0, r, c] - at[:, None]) ** 2 + (c + jitter[1, r, c] - at[None, :]) ** 2
            second = np.minimum(second, np.maximum(first, distance))
            first = np.minimum(first, distance)
    return _resized((np.sqrt(second) - np.sqrt(first)) * (size_mm / 2), n)


def _add_dots(melanin: NDArray[Any], rng: np.random.Generator, relief: Relief, look: Look, half_mm: float, step_mm: float) -> None:
    """Round spots of dense pigment inside the lesion."""
    for _ in range(look.dots):
        angle, share, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 0.85)), rng.uniform(0.05, 0.12)
        far = float(share * relief.outline_mm(np.array(angle)))
        rows, columns, distance = _around(melanin.shape[0], far * np.cos(angle), far * np.sin(angle), 2 * radius, half_mm, step_mm)
        melanin[rows, columns] += 0.7 * look.pigment * look.texture * np.exp(-((distance / radius) ** 4))


def _around(n: int, x: float, y: float, reach: float, half_mm: float, step_mm: float) -> tuple[slice, slice, Map]:
    """A window of the maps around a point, and the distances from it in millimetres."""
    low_x, high_x = (int(np.clip((v + half_mm) / step_mm, 0, n)) for v in (x - reach, x + reach))
    low_y, high_y = (int(np.clip((v + half_mm) / step_mm, 0, n)) for v in (y - reach, y + reach))
    across = np.arange(low_x, high_x) * step_mm - half_mm - x
    down = np.arange(low_y, high_y) * step_mm - half_mm - y
    return slice(low_y, high_y), slice(low_x, high_x), np.hypot(across[None, :], down[:, None]).astype(np.float32)


def _add_hairs(albedo: Map, rng: np.random.Generator, count: int, half_mm: float, step_mm: float) -> None:
    """Dark bent hairs on the skin, each a quadratic curve of even width."""
    for _ in range(count):
        angle, bend, width = rng.uniform(0, 2 * np.pi), rng.uniform(-0.25, 0.25), rng.uniform(0.016, 0.036)
        middle, length = rng.uniform(-0.5, 0.5, 2) * half_mm, rng.uniform(4, 10)
        _lay_hair(albedo, (angle, bend, width, length), middle, half_mm, step_mm)


def _add_long_hair(albedo: Map, rng: np.random.Generator, half_mm: float, step_mm: float) -> None:
    """A coarse hair through the lesion's middle and beyond its outline."""
    _lay_hair(albedo, (rng.uniform(0, 2 * np.pi), rng.uniform(-0.1, 0.1), 0.05, 15.0), rng.uniform(-0.5, 0.5, 2), half_mm, step_mm)


def _lay_hair(albedo: Map, hair: tuple[float, float, float, float], middle: NDArray[np.float64], half_mm: float, step_mm: float) -> None:
    n = albedo.shape[1]
    angle, bend, width, length = hair
    along = np.linspace(-0.5, 0.5, int(length / step_mm * 1.5))
    side = bend * length * along**2
    x = middle[0] + length * along * np.cos(angle) - side * np.sin(angle)
    y = middle[1] + length * along * np.sin(angle) + side * np.cos(angle)
    reach = int(np.ceil(2 * width / step_mm))
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            i, j = np.rint((y + half_mm) / step_mm).astype(int) + row, np.rint((x + half_mm) / step_mm).astype(int) + column
            near = np.hypot(i * step_mm - half_mm - y, j * step_mm - half_mm - x)
            cover = np.clip(1.5 - near / width, 0, 1) * np.clip((0.5 - np.abs(along)) * 8, 0, 1)
            is_on = (i >= 0) & (j >= 0) & (i < n) & (j < n) & (cover > 0)
            i, j, cover = i[is_on], j[is_on], cover[is_on].astype(np.float32)
            for plane, colour in zip(albedo, _HAIR, strict=True):
                plane[i, j] = np.minimum(plane[i, j], plane[i, j] * (1 - cover) + colour * cover)


def _stick_ruler(albedo: Map, height: Map, from_mm: float, axis: NDArray[np.float64]) -> None:
    """White paper, 2 mm wide and 0.1 mm thick, beside the lesion; a mark a millimetre, a longer one every five."""
    rows = slice(*np.searchsorted(axis, (from_mm, from_mm + 2)))
    down = axis[rows, None] - from_mm
    nearest = np.rint(axis)
    is_mark = (np.abs(axis - nearest) < 0.06)[None, :] & (down < np.where(nearest % 5 == 0, 1.3, 0.8)[None, :])
    albedo[:, rows] = np.where(is_mark, 0.05, 0.85)
    height[rows] = 0.1
