"""Hair on the skin: found by closing across it, painted over from beside it (DullRazor, Lee et al. 1997)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain.series import RGB
from dermanode_preprocess.settings import CleaningSettings

_DIRECTIONS = 12


@dataclass(frozen=True, eq=False)
class Hair:
    """Where hair is: `mask` is True on it, rows x columns."""

    mask: NDArray[np.bool_]

    @property
    def fraction(self) -> float:
        return float(self.mask.mean())


def find_hair(pixels: RGB, settings: CleaningSettings) -> Hair:
    """Dark, thin, long and straight structures. As in DullRazor, a grey closing along lines of several directions fills what is
    narrower than the line; what it fills by `hair_contrast` or more is a candidate. A second look at half size finds thick hair.

    DullRazor's check of length alone lets a dense pigment network pass, whose meshes join. So a candidate must also lie on a line:
    the mean darkness along `hair_length_px` is high in one direction and not in most, as it is in a network or a globule.
    """
    # Pigment and vessels are faintest in red, where black hair is as dark as elsewhere.
    red = np.ascontiguousarray(pixels[..., 0])
    rows, columns = red.shape
    half = (max(1, columns // 2), max(1, rows // 2))
    small = cv2.resize(red, half, interpolation=cv2.INTER_AREA)
    fine, thick = _darkness(red, settings), _darkness(small, settings)
    on_line = _on_line(cv2.max(thick, cv2.resize(fine, half, interpolation=cv2.INTER_AREA)), settings)
    candidates = cv2.max(fine, cv2.resize(thick, (columns, rows), interpolation=cv2.INTER_LINEAR)) >= settings.hair_contrast
    mask = candidates.astype(np.uint8) & cv2.resize(on_line, (columns, rows), interpolation=cv2.INTER_NEAREST)
    mask = _long(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)), settings)
    # The soft edges of a hair are darker than the skin too, and would bleed into what replaces it.
    return Hair(cv2.dilate(mask, np.ones((3, 3), np.uint8)).astype(bool))


def paint_over(pixels: RGB, hair: Hair) -> RGB:
    """The image with hair replaced by Telea's inpainting (2004); pixels beside hair are left as they are.

    The fill is computed at half size: hair is thin, so what replaces it is smooth, and the cost falls to a quarter.
    """
    rows, columns = hair.mask.shape
    half = (max(1, columns // 2), max(1, rows // 2))
    mask = hair.mask.astype(np.uint8)
    small_mask = (cv2.resize(mask * 255, half, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    small = cv2.inpaint(cv2.resize(pixels, half, interpolation=cv2.INTER_AREA), small_mask, 2, cv2.INPAINT_TELEA)
    filled: RGB = pixels.copy()
    cv2.copyTo(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR), mask, filled)
    return filled


def _darkness(red: NDArray[np.uint8], settings: CleaningSettings) -> NDArray[np.uint8]:
    """By how many levels each pixel is darker than what lies beside the thin structure that it is on."""
    closed = red
    for line in _lines(settings.hair_kernel_px, 4):
        closed = cv2.max(closed, cv2.morphologyEx(red, cv2.MORPH_CLOSE, line))
    darkness: NDArray[np.uint8] = cv2.subtract(closed, red)
    return darkness


def _on_line(darkness: NDArray[np.uint8], settings: CleaningSettings) -> NDArray[np.uint8]:
    """1 where the mean darkness along a line is high in one direction and, over all directions, much lower. Works at half size."""
    # One black hair is not to outweigh the rest of the line.
    limited = cv2.min(darkness, 4 * settings.hair_contrast)
    lines = _lines(settings.hair_length_px // 2, _DIRECTIONS)
    best, mean = np.zeros(darkness.shape, np.float32), np.zeros(darkness.shape, np.float32)
    for line in lines:
        along = _mean_along(limited, line)
        best, mean = cv2.max(best, along), cv2.add(mean, along)
    mean /= len(lines)
    found: NDArray[np.uint8] = ((best >= 0.6 * settings.hair_contrast) & (mean <= settings.most_isotropy * best)).astype(np.uint8)
    return found


def _mean_along(image: NDArray[np.uint8], line: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The mean over the pixels of `line`, laid on each pixel in turn: a few shifted sums are far quicker than a filter of its size."""
    rows, columns = image.shape
    reach = line.shape[0] // 2
    padded = cv2.copyMakeBorder(image, reach, reach, reach, reach, cv2.BORDER_REFLECT).astype(np.uint16)
    total = np.zeros(image.shape, np.uint16)
    steps = np.argwhere(line)
    for row, column in steps:
        total += padded[row : row + rows, column : column + columns]
    return total.astype(np.float32) / np.float32(len(steps))


def _long(mask: NDArray[np.uint8], settings: CleaningSettings) -> NDArray[np.uint8]:
    """The connected parts of `mask` that reach over `hair_reach_px` and are thin for their length, as no streak of a lesion is."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    reach = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    # In a strip of width w the mean distance to the edge is w / 4.
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    area = np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    width = 4 * np.bincount(labels.ravel(), weights=depth.ravel(), minlength=len(stats)) / area
    is_hair = (reach >= settings.hair_reach_px) & (reach >= settings.least_elongation * width)
    is_hair[0] = False
    kept: NDArray[np.uint8] = is_hair[labels].astype(np.uint8)
    return kept


def _lines(length_px: int, directions: int) -> tuple[NDArray[np.uint8], ...]:
    """Structuring elements: lines of that length, evenly turned through 180 degrees."""
    middle = length_px // 2
    lines = []
    for angle in np.arange(directions) * np.pi / directions:
        reach = np.array([np.cos(angle), np.sin(angle)]) / max(abs(np.cos(angle)), abs(np.sin(angle))) * middle
        ends = np.round([middle - reach, middle + reach]).astype(int)
        element = np.zeros((2 * middle + 1, 2 * middle + 1), np.uint8)
        lines.append(cv2.line(element, tuple(map(int, ends[0])), tuple(map(int, ends[1])), 1))
    return tuple(lines)
