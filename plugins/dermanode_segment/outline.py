"""From a map of probabilities to one lesion: refined along the picture's edges, in one piece, without holes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain.series import RGB

Probability = NDArray[np.float32]

_HALF = 0.5
_STEP = 1 / 255
_FIELD_PX = 256
"""The longest side on which the mean field is worked out."""


@dataclass(frozen=True, slots=True)
class OutlineRules:
    """The bundle's own choices, made on its validation pictures. Lengths are shares of the working side."""

    threshold: float = 0.5
    """What the network must say for a pixel to be lesion."""
    refinements: int = 0
    """Rounds of mean field; 0 leaves the network's own edge."""
    bilateral_weight: float = 1.0
    gaussian_weight: float = 0.5
    reach: float = 0.02
    edge: float = 0.02
    """How much contrast (0 to 1, squared) an edge needs to stop a label."""
    nearness: float = 0.5
    """How far from the centre a second lesion may be and still win against a smaller one in the middle."""
    is_one_piece: bool = True
    """Of several pieces one is kept."""
    are_holes_filled: bool = True


def lesion_probability(probability: Probability, picture: RGB, rules: OutlineRules) -> Probability:
    """The probability with everything but the one lesion pushed below one half, its holes above it; all below where there is none."""
    logit = _logit(np.clip(probability, 1e-4, 1 - 1e-4)) - _logit(np.float32(rules.threshold))
    refined = _mean_field(logit, picture, rules) if rules.refinements else _sigmoid(logit)
    lesion = (refined > _HALF).astype(np.uint8)
    if rules.is_one_piece:
        lesion = _one_piece(lesion, refined, rules)
    if rules.are_holes_filled:
        lesion = _filled(lesion)
    return np.asarray(np.where(lesion > 0, np.maximum(refined, _HALF + _STEP), np.minimum(refined, _HALF - _STEP)), np.float32)


def to_source(probability: Probability, matrix: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.bool_]:
    """The mask at source resolution; `matrix` maps (column, row, 1) of the working pixels to source pixels."""
    # Eight bits are enough for the edge between two working pixels, and keep a 12,000 x 9,000 picture at 108 MB.
    levels = np.round(probability * 255).astype(np.uint8)
    warped = cv2.warpPerspective(levels, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped >= 128)


def touches_border(mask: NDArray[np.bool_]) -> bool:
    """True when the lesion reaches an edge of the picture, so that a part of it may not be seen."""
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def _logit(chance: NDArray[np.float32] | np.float32) -> Probability:
    return np.asarray(np.log(chance / (1 - chance)), np.float32)


def _sigmoid(logit: NDArray[np.floating]) -> Probability:
    return np.asarray(1 / (1 + np.exp(-logit)), np.float32)


def _mean_field(logit: Probability, picture: RGB, rules: OutlineRules) -> Probability:
    """Dense-CRF-like: a label is drawn to those near it, and more to those near it that look alike.

    Mean field of Kraehenbuehl and Koltun (NIPS 2011), with the guided filter (He et al., PAMI 2013) in place of the bilateral one. What
    neighbours say is smooth, so it is worked out on fewer pixels (as in He and Sun, Fast Guided Filter, 2015) and added to all of them.
    """
    rows, columns = picture.shape[:2]
    fewer = min(1.0, _FIELD_PX / max(rows, columns))
    size = (max(1, round(columns * fewer)), max(1, round(rows * fewer)))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    guide = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    own = cv2.resize(logit, size, interpolation=cv2.INTER_AREA)
    radius = max(1, round(rules.reach * max(size)))
    heard = np.zeros_like(own)
    for _ in range(rules.refinements):
        chance = _sigmoid(own + heard)
        alike = _guided(guide, chance, radius, rules.edge**2)
        near = cv2.GaussianBlur(chance, (0, 0), radius / 2)
        heard = rules.bilateral_weight * (4 * alike - 2) + rules.gaussian_weight * (4 * near - 2)
    return _sigmoid(logit + cv2.resize(heard, (columns, rows), interpolation=cv2.INTER_LINEAR))


def _guided(guide: Probability, signal: Probability, radius: int, epsilon: float) -> Probability:
    window = (2 * radius + 1, 2 * radius + 1)
    mean_guide, mean_signal = cv2.blur(guide, window), cv2.blur(signal, window)
    covariance = cv2.blur(guide * signal, window) - mean_guide * mean_signal
    variance = cv2.blur(guide * guide, window) - mean_guide * mean_guide
    slope = covariance / (variance + epsilon)
    offset = mean_signal - slope * mean_guide
    return np.asarray(cv2.blur(slope, window) * guide + cv2.blur(offset, window), np.float32)


def _one_piece(lesion: NDArray[np.uint8], chance: Probability, rules: OutlineRules) -> NDArray[np.uint8]:
    """The piece with the most probability, counted less the further its centre is from the picture's."""
    count, labels, _, centres = cv2.connectedComponentsWithStats(lesion, connectivity=8)
    if count <= 2:
        return lesion
    rows, columns = lesion.shape
    away = np.hypot(centres[:, 0] / columns - 0.5, centres[:, 1] / rows - 0.5)
    mass = np.bincount(labels.ravel(), weights=chance.ravel(), minlength=count)
    score = mass * np.exp(-0.5 * (away / rules.nearness) ** 2)
    return np.asarray(labels == 1 + int(np.argmax(score[1:])), np.uint8)


def _filled(lesion: NDArray[np.uint8]) -> NDArray[np.uint8]:
    contours, _ = cv2.findContours(lesion, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(lesion.copy(), contours, -1, 1, cv2.FILLED), np.uint8)
