"""What a photograph may look like elsewhere: another angle, another lamp, another camera, hair, a vignette.

Every function takes its random generator, so that a seed gives the same pictures again.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from dermanode_classify.crop import Square
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Strength:
    """How far the pictures may go. Probabilities are per picture."""

    scale: tuple[float, float] = (0.75, 1.3)
    stretch: float = 0.15
    """Largest change of the aspect ratio: a 4:3 photograph becomes a square one at the working size."""
    shift: float = 0.1
    """Largest shift, as a share of the side."""
    brightness: float = 0.2
    contrast: float = 0.25
    cast: float = 0.1
    """Largest gain of a single colour channel."""
    blur: float = 0.2
    jpeg: float = 0.3
    noise: float = 0.15
    grain: float = 0.1
    hair: float = 0.2
    vignette: float = 0.15
    glare: float = 0.05


def augment(
    pixels: Pixels, mask: Pixels | None, square: Square, side_px: int, strength: Strength, random: np.random.Generator
) -> tuple[Pixels, Pixels | None]:
    """That square of a picture, and of its mask, moved alike, as side_px x side_px x 3."""
    matrix = _affine(square, side_px, strength, random)
    border = cv2.BORDER_REFLECT_101 if random.random() < 0.8 else cv2.BORDER_REPLICATE
    moved = cv2.warpAffine(pixels, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR, borderMode=border)
    moved_mask = None if mask is None else cv2.warpAffine(mask, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR, borderMode=border)
    return _appearance(moved, strength, random), moved_mask


def _affine(square: Square, side_px: int, strength: Strength, random: np.random.Generator) -> NDArray[np.float64]:
    angle = random.uniform(0, 2 * np.pi)
    scale = side_px / square.side * random.uniform(*strength.scale)
    stretch = 1 + random.uniform(-strength.stretch, strength.stretch)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = np.diag([scale * stretch, scale / stretch]) @ turn @ np.diag([random.choice([-1.0, 1.0]), 1.0])
    centre = np.array([square.left, square.top]) + (square.side - 1) / 2
    target = (side_px - 1) / 2 + random.uniform(-strength.shift, strength.shift, 2) * side_px
    return np.column_stack([linear, target - linear @ centre])


def _appearance(pixels: Pixels, strength: Strength, random: np.random.Generator) -> Pixels:
    if random.random() < strength.hair:
        pixels = _hair(pixels, random)
    if random.random() < strength.glare:
        pixels = _glare(pixels, random)
    if random.random() < strength.grain:
        pixels = _grain(pixels, random)
    if random.random() < strength.vignette:
        pixels = _vignette(pixels, random)
    pixels = _light(pixels, strength, random)
    if random.random() < strength.blur:
        pixels = cv2.GaussianBlur(pixels, (0, 0), random.uniform(0.4, 1.6)).astype(np.uint8)
    if random.random() < strength.noise:
        noise = random.standard_normal(pixels.shape, np.float32) * random.uniform(2, 10)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if random.random() < strength.jpeg:
        _, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(25, 95))])
        pixels = np.asarray(cv2.imdecode(code, cv2.IMREAD_UNCHANGED), np.uint8)
    return pixels


def _light(pixels: Pixels, strength: Strength, random: np.random.Generator) -> Pixels:
    """Brightness, contrast, gamma and colour cast as one table for each channel."""
    level = np.arange(256) / 255
    gain = (1 + random.uniform(-strength.cast, strength.cast, 3)) * (1 + random.uniform(-strength.brightness, strength.brightness))
    contrast = 1 + random.uniform(-strength.contrast, strength.contrast)
    gamma = random.uniform(0.8, 1.25)
    table = ((level[:, None] ** gamma * gain - 0.55) * contrast + 0.55) * 255
    table = np.clip(table, 0, 255).astype(np.uint8)
    pixels = cv2.LUT(pixels, table.reshape(1, 256, 3)).astype(np.uint8)
    if random.random() < 0.2:
        grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        amount = random.uniform(-0.25, 0.5)
        pixels = cv2.addWeighted(pixels, 1 - amount, grey, amount, 0).astype(np.uint8)
    return pixels


def _hair(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Dark or blond arcs over the picture."""
    drawn, side = pixels.copy(), pixels.shape[0]
    shade = tuple(int(level) for level in random.uniform((10, 5, 0), (90, 70, 55)))
    step = np.linspace(0, 1, 24)[:, None]
    for _ in range(int(random.integers(1, 12))):
        start, middle, end = random.uniform(-0.2, 1.2, (3, 2)) * side
        middle = (start + end) / 2 + (middle - (start + end) / 2) * 0.35
        arc = (1 - step) ** 2 * start + 2 * step * (1 - step) * middle + step**2 * end
        cv2.polylines(drawn, [np.round(arc * 8).astype(np.int32)], False, shade, int(random.integers(1, 3)), cv2.LINE_AA, 3)
    return np.asarray(cv2.addWeighted(drawn, 0.85, pixels, 0.15, 0), np.uint8)


def _glare(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """A few saturated highlights."""
    side = pixels.shape[0]
    light = np.zeros(pixels.shape[:2], np.float32)
    for column, row in random.uniform(0, side, (int(random.integers(1, 8)), 2)):
        cv2.circle(light, (int(column), int(row)), int(random.integers(1, max(2, side // 24))), 1.0, -1)
    light = cv2.GaussianBlur(light, (0, 0), 1.2)[..., None]
    return np.asarray(pixels * (1 - light) + 250 * light, np.uint8)


def _grain(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Skin relief: a smooth random field that lightens and darkens."""
    side = pixels.shape[0]
    coarse = random.standard_normal((side // 2, side // 2), np.float32)
    field = cv2.GaussianBlur(coarse, (0, 0), random.uniform(0.6, 3.0))
    field = cv2.resize(field / (field.std() + 1e-6), (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(pixels * (1 + random.uniform(0.02, 0.08) * field[..., None]), 0, 255), np.uint8)


def _vignette(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """The dark rim of a round dermatoscope, soft or hard."""
    side = pixels.shape[0]
    rows, columns = np.mgrid[:side, :side]
    centre = (side - 1) / 2 + random.uniform(-0.06, 0.06, 2) * side
    radius = np.hypot(rows - centre[0], columns - centre[1]) / (side / 2)
    edge, softness = random.uniform(0.95, 1.3), random.uniform(0.01, 0.35)
    light = 1 / (1 + np.exp((radius - edge) / softness * 3))
    floor = random.uniform(0, 0.4)
    return np.asarray(pixels * (floor + (1 - floor) * light[..., None]), np.uint8)
