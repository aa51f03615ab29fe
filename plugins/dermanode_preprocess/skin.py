"""The healthy skin around a lesion, estimated before there is a mask, and how it is lit."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain.series import RGB

_GRID_PX = 64
_VIGNETTE_L = 20.0
_HIGHLIGHT = 250
_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Skin:
    """Where healthy skin is, and its illumination."""

    mask: NDArray[np.bool_]
    """True on healthy skin; a coarse grid over the whole image."""
    light: NDArray[np.float32]
    """L of evenly pigmented skin under this illumination, on the same grid."""

    @property
    def fraction(self) -> float:
        return float(self.mask.mean())

    def mean_lab(self, lab: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The mean colour (L, a, b) of the skin in an OpenCV 8-bit Lab image of any size."""
        small = cv2.resize(lab, self.mask.shape[::-1], interpolation=cv2.INTER_AREA)
        chosen = small[self.mask] if self.mask.any() else small.reshape(-1, 3)
        mean: NDArray[np.float64] = chosen.mean(axis=0, dtype=np.float64) * (100 / 255, 1, 1) - (0, 128, 128)
        return mean

    def light_correction(self, rows: int, columns: int) -> NDArray[np.float32]:
        """What to add to L, rows x columns, to light the skin evenly; its mean over the skin is 0."""
        mean = self.light[self.mask].mean() if self.mask.any() else self.light.mean()
        # Beyond the skin (under a big lesion, in black corners) the polynomial extrapolates: it is held to what the skin showed.
        seen = self.light[self.mask] if self.mask.any() else self.light
        held = np.clip(self.light, seen.min(), seen.max())
        correction: NDArray[np.float32] = cv2.resize((mean - held).astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
        return correction


def find_skin(pixels: RGB) -> Skin:
    """Healthy skin by a robust fit: L of evenly lit skin is a quadratic of the position (illumination falls off smoothly), and
    a lesion is what lies off that surface, darker or of another colour.

    Works on a coarse grid. Black corners and highlights are left out; the border of the picture, where skin is likeliest, weighs
    more in the first fit. Tukey's biweight does the rest, sharper on the dark side because lesions are darker than skin.
    """
    small = cv2.resize(pixels, (_GRID_PX, _GRID_PX), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
    light = lab[..., 0]
    # A step in from the black, where the rim of the vignette still shades the skin.
    is_dark = cv2.dilate((light < _VIGNETTE_L).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    usable = ~(_corner_dark(is_dark) | (small.min(axis=2) >= _HIGHLIGHT))
    if usable.sum() < 32:
        return Skin(np.zeros_like(usable), light.copy())

    axis = np.linspace(-1, 1, _GRID_PX)
    x, y = np.meshgrid(axis, axis)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    edge = np.maximum(abs(x), abs(y))
    likely = np.where(usable, 0.2 + edge**2, 0.0) * _brighter_half(light, usable) * _like_the_rim(lab, usable & (edge > 0.8))
    fit, mask = _fit_light(terms, light, likely / likely.max())
    # Now that the light is known, skin in the shade is told from a lesion: it has the skin's chromaticity, which light leaves alone.
    tones = np.log(np.maximum(small[..., (0, 2)], 8.0) / np.maximum(small[..., 1:2], 8.0))
    fit, mask = _fit_light(terms, light, np.where(usable, np.maximum(likely / likely.max(), _alike(tones, mask)), 0.0))
    mask &= usable
    for channel in (1, 2):
        value = lab[..., channel]
        if mask.any():
            middle = float(np.median(value[mask]))
            spread = max(1.5, 1.4826 * float(np.median(abs(value[mask] - middle))))
            mask &= abs(value - middle) < 3 * spread
    return Skin(mask, fit.astype(np.float32))


def _fit_light(
    terms: NDArray[np.float64], light: NDArray[np.float32], likely: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The surface of skin's L by iteratively reweighted least squares, and the pixels that lie on it."""
    weight = likely
    for _ in range(_ROUNDS):
        fit = _weighted_fit(terms, light, weight)
        off = light - fit
        spread = max(1.5, 1.4826 * float(np.median(abs(off[weight > 0.1 * weight.max()]))))
        off = off / np.where(off < 0, 2.5 * spread, 3.5 * spread)
        weight = likely * np.where(abs(off) < 1, (1 - np.clip(off, -1, 1) ** 2) ** 2, 0.0)
    return fit, abs(off) < 0.75


def _alike(tones: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How much the chromaticity of each pixel is that of the masked ones, 0 to 1."""
    if not mask.any():
        return np.zeros(mask.shape)
    middle = np.median(tones[mask], axis=0)
    spread = np.maximum(0.02, 1.4826 * np.median(abs(tones[mask] - middle), axis=0))
    likeness: NDArray[np.float64] = np.exp(-0.5 * (((tones - middle) / (2 * spread)) ** 2).sum(axis=-1))
    return likeness


def _corner_dark(is_dark: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The dark regions that reach the border of the picture: the corners outside the dermatoscope's field."""
    _, labels = cv2.connectedComponents(is_dark.astype(np.uint8), connectivity=4)
    rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return is_dark & np.isin(labels, rim)


def _brighter_half(light: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 where brighter than Otsu's threshold, little below: a start on the skin's side when the lesion is most of the picture."""
    levels = np.clip(light[usable] * 2.55, 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return np.where(light * 2.55 > threshold, 1.0, 0.1)


def _like_the_rim(lab: NDArray[np.float32], rim: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How much each pixel's colour is that of the picture's rim, 0.02 to 1: a lesion is in the middle more often than not."""
    if rim.sum() < 32:
        return np.ones(lab.shape[:2])
    # L differs over the skin by illumination, a and b much less.
    scaled = lab * np.array([0.5, 1.0, 1.0], np.float32)
    light = lab[..., 0]
    brighter = rim & (light >= np.median(light[rim]))
    distance = np.linalg.norm(scaled - np.median(scaled[brighter], axis=0), axis=-1)
    spread = max(2.0, float(np.median(distance[brighter])))
    likeness: NDArray[np.float64] = np.maximum(0.02, np.exp(-((distance / (2.5 * spread)) ** 2)))
    return likeness


def _weighted_fit(terms: NDArray[np.float64], values: NDArray[np.float32], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least-squares surface through `values`, on their grid; a little damping keeps it flat where nothing is known."""
    weighted = terms * weight.reshape(-1, 1)
    damping = np.diag([0.0, *([1e-2 * float(weight.sum())] * 5)])
    coefficients = np.linalg.solve(weighted.T @ terms + damping, weighted.T @ values.reshape(-1))
    surface: NDArray[np.float64] = (terms @ coefficients).reshape(values.shape)
    return surface
