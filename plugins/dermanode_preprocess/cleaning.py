"""A photograph made ready for networks: the recipe of the paper, in the order that serves it.

1. Bicubic resize to the working size, first: hair then has a known width in pixels, and every later step costs the same for every camera.
   The whole image is kept and each axis scaled on its own (as in the paper); nothing is cut off and no pixel is invented.
2. Hair, before smoothing and contrast enhancement, which would blur its edges and raise the skin's texture to the same contrast.
3. Gaussian, before CLAHE, which would amplify the noise.
4. Illumination, before CLAHE: a slope of light is no local contrast.
5. CLAHE on L.
6. Colour normalisation, last, so that what is reported of the skin's colour holds for the image that leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain.findings import ViewQuality
from dermanode.domain.series import RGB
from dermanode_preprocess.hair import find_hair, paint_over
from dermanode_preprocess.settings import DEFAULTS, CleaningSettings
from dermanode_preprocess.skin import Skin, find_skin

_GREY_CHROMA = 2.0


@dataclass(frozen=True, eq=False)
class Cleaned:
    """One cleaned image."""

    pixels: RGB
    """Working size squared, x 3, sRGB."""
    to_source: NDArray[np.float64]
    """3 x 3: maps (column, row, 1) of working pixel centres to pixel centres of the image that was cleaned."""
    quality: ViewQuality
    skin_fraction: float
    """Share of the picture that was taken for healthy skin."""
    is_grey: bool
    """The picture has no colour; its colours were not normalised, because they would be invented."""


def clean(rgb: RGB, settings: CleaningSettings = DEFAULTS) -> Cleaned:
    """Cleans an image of any size, rows x columns x 3. The same input gives the same output, bit for bit."""
    size = settings.working_size_px
    image = _resize(rgb, size)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    blur = _blur(grey)
    glare = cv2.countNonZero(cv2.inRange(image, (250, 250, 250), (255, 255, 255))) / size**2

    hair = find_hair(image, settings)
    is_painted = settings.least_hair_fraction <= hair.fraction <= settings.most_hair_fraction
    if is_painted:
        image = paint_over(image, hair)
    skin = find_skin(image)
    has_skin = skin.fraction >= settings.least_skin_fraction
    before = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    # numpy takes ten times as long for sums over an axis of three.
    _, a, b, _ = cv2.sumElems(cv2.absdiff(before, (0, 128, 128, 0)))
    is_grey = (a + b) / (2 * size**2) < _GREY_CHROMA

    image = cv2.GaussianBlur(image, (3, 3), settings.gaussian_sigma_px)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    light = lab[..., 0]
    if has_skin:
        light = cv2.add(light, np.round(skin.light_correction(size, size) * 2.55).astype(np.int16), dtype=cv2.CV_8U)
    clahe = cv2.createCLAHE(settings.clahe_clip, (settings.clahe_tiles, settings.clahe_tiles))
    lab = cv2.merge([clahe.apply(light), lab[..., 1], lab[..., 2]])
    if has_skin and not is_grey:
        lab = _normalise(lab, skin, settings)
    pixels: RGB = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    reference = np.asarray(settings.reference_skin)
    quality = ViewQuality(
        hair_fraction=hair.fraction if is_painted else 0.0,
        delta_e_before=float(np.linalg.norm(skin.mean_lab(before) - reference)),
        delta_e_after=float(np.linalg.norm(skin.mean_lab(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)) - reference)),
        blur=blur,
        glare_fraction=glare,
    )
    rows, columns = rgb.shape[:2]
    return Cleaned(pixels, scaling((size, size), (rows, columns)), quality, skin.fraction, is_grey)


def scaling(from_shape: tuple[int, int], to_shape: tuple[int, int]) -> NDArray[np.float64]:
    """The 3 x 3 map of pixel centres between two samplings (rows, columns) of one picture: u' = (u + 0.5) s - 0.5."""
    (from_rows, from_columns), (to_rows, to_columns) = from_shape, to_shape
    sx, sy = to_columns / from_columns, to_rows / from_rows
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]], dtype=np.float64)


def _resize(rgb: RGB, size: int) -> RGB:
    """Bicubic; what is more than twice too big is averaged down first, because bicubic interpolation alone would alias."""
    rgb = np.ascontiguousarray(rgb)
    rows, columns = rgb.shape[:2]
    most = 2 * size - 1
    if rows > most or columns > most:
        rgb = cv2.resize(rgb, (min(columns, most), min(rows, most)), interpolation=cv2.INTER_AREA)
    resized: RGB = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_CUBIC)
    return resized


def _blur(grey: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000)."""
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(deviation[0, 0]) ** 2


def _normalise(lab: NDArray[np.uint8], skin: Skin, settings: CleaningSettings) -> NDArray[np.uint8]:
    """Moves all colours by the skin's distance from the reference, at most by `most_shift`."""
    shift = np.asarray(settings.reference_skin) - skin.mean_lab(lab)
    distance = float(np.linalg.norm(shift))
    if distance > settings.most_shift:
        shift *= settings.most_shift / distance
    levels = np.round(shift * (255 / 100, 1, 1))
    moved: NDArray[np.uint8] = cv2.add(lab, (*levels, 0.0), dtype=cv2.CV_8U)
    return moved
