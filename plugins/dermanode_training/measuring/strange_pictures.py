"""Pictures of other things than a lesion under a dermatoscope, drawn here: what a classifier must not take for one."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain.series import RGB

SIDE = 512
BUNDLED = (
    "astronaut", "brick", "camera", "cell", "chelsea", "clock_motion", "coffee", "coins", "color", "grass", "gravel", "horse",
    "hubble_deep_field", "ihc", "microaneurysms", "moon", "motorcycle_left", "page", "phantom", "retina", "rocket", "text",
)  # fmt: skip
"""Of scikit-image's samples, where it is installed; those that its package does not bring along are left out, nothing is fetched."""

Canvas = NDArray[np.uint8]


def strange_pictures(seed: int = 20261121) -> Iterator[tuple[str, RGB]]:
    """Names and pictures, rows x columns x 3; the same for the same seed."""
    yield from _blanks()
    yield from _noises(np.random.default_rng(seed))
    yield from _patterns()
    for name, draw in (("CT slice", _slice), ("shoe", _shoe), ("face", _face), ("text", _text), ("radiograph of a hand", _hand)):
        yield name, draw()
    yield from _samples()


def _blanks() -> Iterator[tuple[str, RGB]]:
    colours = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "red": (200, 30, 30), "green": (30, 160, 60)}
    colours |= {"blue": (30, 60, 200), "skin": (222, 180, 160)}
    for name, colour in colours.items():
        yield f"blank, {name}", np.full((SIDE, SIDE, 3), colour, np.uint8)


def _noises(random: np.random.Generator) -> Iterator[tuple[str, RGB]]:
    yield "noise, colour", random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    yield "noise, grey", np.repeat(random.integers(0, 256, (SIDE, SIDE, 1), np.uint8), 3, axis=2)
    coarse = random.integers(0, 256, (16, 16, 3), np.uint8)
    yield "noise, clouds", np.asarray(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)


def _patterns() -> Iterator[tuple[str, RGB]]:
    along = np.linspace(0, 255, SIDE).astype(np.uint8)
    row, column = np.broadcast_to(along, (SIDE, SIDE)), np.broadcast_to(along[:, None], (SIDE, SIDE))
    yield "gradient, grey", np.stack([row, row, row], -1)
    yield "gradient, colour", np.stack([row, column, 255 - row], -1)
    place = np.arange(SIDE)
    stripes = np.where((place // 32) % 2, 235, 20).astype(np.uint8)
    yield "stripes", np.repeat(np.broadcast_to(stripes, (SIDE, SIDE))[..., None], 3, axis=2)
    board = (((place[:, None] // 64) + (place // 64)) % 2).astype(bool)
    yield "chequered", np.where(board[..., None], (240, 240, 240), (30, 30, 30)).astype(np.uint8)
    bars = np.array(
        [(235, 235, 235), (235, 235, 16), (16, 235, 235), (16, 235, 16), (235, 16, 235), (235, 16, 16), (16, 16, 235)], np.uint8
    )
    yield "test card", np.broadcast_to(bars[place * len(bars) // SIDE], (SIDE, SIDE, 3)).copy()


def _slice() -> RGB:
    """An axial slice of a chest, as a phantom: body, lungs, spine, heart, ribs."""
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(canvas, (256, 266), (220, 165), 0, 0, 360, 120, -1)
    cv2.ellipse(canvas, (256, 266), (206, 151), 0, 0, 360, 145, -1)
    for side in (-1, 1):
        cv2.ellipse(canvas, (256 + side * 105, 250), (72, 105), side * 8, 0, 360, 25, -1)
        for angle in range(-60, 61, 24):
            radians = np.deg2rad(angle)
            rib = (round(256 + side * 208 * np.cos(radians)), round(266 + 152 * np.sin(radians)))
            cv2.ellipse(canvas, rib, (16, 6), 90 + side * angle, 0, 360, 235, -1)
    cv2.ellipse(canvas, (276, 232), (58, 48), 25, 0, 360, 165, -1)
    cv2.ellipse(canvas, (256, 360), (34, 28), 0, 0, 360, 240, -1)
    cv2.ellipse(canvas, (256, 360), (12, 10), 0, 0, 360, 130, -1)
    grain = np.random.default_rng(3).normal(0, 6, canvas.shape)
    grey = np.clip(cv2.GaussianBlur(canvas, (0, 0), 1.2) + grain, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _shoe() -> RGB:
    canvas = np.full((SIDE, SIDE, 3), (236, 233, 226), np.uint8)
    upper = np.array([(70, 350), (80, 230), (150, 215), (190, 250), (290, 300), (400, 320), (450, 350)], np.int32)
    cv2.fillPoly(canvas, [upper], (45, 60, 110))
    cv2.rectangle(canvas, (62, 350), (456, 384), (248, 248, 248), -1)
    cv2.rectangle(canvas, (62, 384), (456, 398), (90, 60, 40), -1)
    for k in range(5):
        cv2.line(canvas, (200 + 26 * k, 262 + 10 * k), (222 + 26 * k, 238 + 12 * k), (250, 250, 250), 6)
    cv2.ellipse(canvas, (115, 228), (36, 12), -8, 0, 360, (25, 32, 60), -1)
    return _softened(canvas)


def _face() -> RGB:
    canvas = np.full((SIDE, SIDE, 3), (120, 150, 185), np.uint8)
    cv2.ellipse(canvas, (256, 520), (190, 110), 0, 0, 360, (60, 70, 90), -1)
    cv2.ellipse(canvas, (256, 190), (150, 165), 0, 0, 360, (70, 45, 30), -1)
    cv2.ellipse(canvas, (256, 260), (125, 165), 0, 0, 360, (224, 180, 155), -1)
    for side in (-1, 1):
        cv2.ellipse(canvas, (256 + side * 50, 235), (24, 13), 0, 0, 360, (250, 250, 250), -1)
        cv2.circle(canvas, (256 + side * 50, 235), 10, (70, 50, 35), -1)
        cv2.ellipse(canvas, (256 + side * 50, 205), (32, 8), 0, 180, 360, (60, 40, 25), 5)
    cv2.line(canvas, (256, 245), (246, 300), (195, 145, 120), 4)
    cv2.ellipse(canvas, (256, 345), (46, 18), 0, 0, 180, (180, 80, 85), -1)
    return _softened(canvas)


def _text() -> RGB:
    canvas = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for line in range(14):
        cv2.putText(canvas, "Findings: none. Impression:"[line % 5 :], (24, 48 + 34 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (20, 20, 20), 2)
    return canvas


def _hand() -> RGB:
    canvas = np.full((SIDE, SIDE), 15, np.uint8)
    cv2.ellipse(canvas, (256, 380), (95, 90), 0, 0, 360, 95, -1)
    for across, up, tilt in ((150, 215, -20), (205, 145, -8), (256, 120, 0), (307, 145, 8), (375, 290, 40)):
        for thick, light in ((40, 95), (16, 205)):
            cv2.line(canvas, (round(256 + (across - 256) * 0.55), 380), (across, up), light, thick)
        cv2.circle(canvas, (round((across + 256) / 2 + tilt / 4), (up + 380) // 2), 12, 120, 4)
    grey = cv2.GaussianBlur(canvas, (0, 0), 2.0)
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


def _softened(canvas: Canvas) -> RGB:
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 1.5), np.uint8)


def _samples() -> Iterator[tuple[str, RGB]]:
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        return
    # Read from the package's folder: scikit-image's own functions would fetch what it does not bring along.
    for path in sorted((Path(found.origin).parent / "data").glob("*")):
        if path.stem in BUNDLED and path.suffix in (".png", ".jpg"):
            pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
            if pixels is not None:
                yield f"sample, {path.stem}", np.asarray(pixels, np.uint8)
