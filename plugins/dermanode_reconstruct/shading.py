"""How steep a surface is, from how dark it is: the part of the brightness that pigment does not explain."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode_reconstruct.patch import Patch
from dermanode_reconstruct.settings import ReconstructSettings

Field = NDArray[np.float64]

_GAMMA = 2.2
_ROUNDS = 5
_CHROMA_NOISE = 0.02
"""What rounding and noise do to log R - log G of a smoothed 8-bit picture."""


def slope(patch: Patch, settings: ReconstructSettings) -> Field:
    """|grad z| at every grid point, under light from the camera on matt skin: I = 1 / sqrt(1 + |grad z|^2), 1 where skin is flat.

    - Pigment is told from shade by its colour: melanin and blood change log R - log G and log B - log G, shade does not. What these two
      explain of the log brightness (a robust regression) is taken out, and a quadratic of the position for the light's own fall-off.
    - The skin around the lesion counts as flat. Its scatter is the noise: darkening within it is no slope.
    """
    linear = np.maximum(patch.pixels.astype(np.float64) / 255, 1 / 255) ** _GAMMA
    red, green, blue = (cv2.GaussianBlur(np.log(linear[..., c]), (0, 0), settings.smoothing_cells) for c in range(3))
    brightness = (red + green + blue) / 3
    skin = ~patch.is_lesion
    x, y = np.meshgrid(np.linspace(-1, 1, len(patch.x)), np.linspace(-1, 1, len(patch.y)))
    ones = np.ones_like(x)
    light = np.stack([ones, x, y, x * x, x * y, y * y], axis=-1)
    even = brightness - light @ _robust_fit(light[skin], brightness[skin], least=1e-4)
    colour = np.stack([ones, red - green, blue - green], axis=-1)
    everywhere = np.ones_like(skin)
    shade = even - colour @ _robust_fit(colour[everywhere], even[everywhere], least=_CHROMA_NOISE)

    flat = float(np.median(shade[skin]))
    noise = 1.4826 * float(np.median(abs(shade[skin] - flat)))
    darkening = np.minimum(0.0, shade - flat + settings.noise_margin * noise)
    facing = np.exp(np.maximum(darkening, np.log(np.cos(np.deg2rad(settings.steepest_deg)))))
    steepness: Field = np.sqrt(np.maximum(0.0, facing**-2 - 1))
    return steepness


def _robust_fit(terms: Field, values: Field, least: float) -> Field:
    """Coefficients by least squares with Huber's weights; a term that varies less than `least` explains little (ridge)."""
    weight = np.ones(len(values))
    damping = len(values) * least**2 * np.diag([0.0, *[1.0] * (terms.shape[1] - 1)])
    for _ in range(_ROUNDS):
        weighted = terms * weight[:, None]
        coefficients = np.linalg.solve(weighted.T @ terms + damping, weighted.T @ values)
        off = abs(values - terms @ coefficients)
        limit = 1.345 * max(1e-6, 1.4826 * float(np.median(off)))
        weight = np.minimum(1.0, limit / np.maximum(off, limit))
    return np.asarray(coefficients, dtype=np.float64)
