"""What is laid over a photograph, drawn so that nobody takes the picture for a photograph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dermanode.domain import HeatMap
from dermanode.domain.series import RGB

Heat = NDArray[np.float32]
"""Rows x columns, 0 to 1."""

# Viridis (van der Walt and Smith 2015, CC0): the same steps for every eye, also for colour-blind ones, and no colour of skin.
_COLOURS = (
    (68, 1, 84),
    (72, 40, 120),
    (62, 74, 137),
    (49, 104, 142),
    (38, 130, 142),
    (31, 158, 137),
    (53, 183, 121),
    (109, 205, 89),
    (180, 222, 44),
    (253, 231, 37),
)
_MOST_OPAQUE = 0.75
_OUTLINE = (255, 255, 255)
_PAPER, _INK = (16, 16, 16), (255, 255, 255)


def heat_on(heat_map: HeatMap, size: tuple[int, int], source_size: tuple[int, int]) -> Heat:
    """The heat over the whole view, in a picture of `size` (rows, columns) of a source of `source_size`; 0 beyond the map's grid."""
    return laid_on(heat_map.heat, heat_map.to_source, size, source_size)


def laid_on(values: Heat, grid_to_source: NDArray[np.float64], size: tuple[int, int], source_size: tuple[int, int]) -> Heat:
    """Values of a grid of its own, laid over the whole view as `heat_on` does it."""
    (rows, columns), (source_rows, source_columns) = size, source_size
    to_source = np.diag([source_columns / columns, source_rows / rows, 1.0])  # between corners of pixels, as Pillow counts
    to_grid = _shift(0.5) @ np.linalg.inv(grid_to_source) @ _shift(-0.5) @ to_source
    matrix = tuple(float(value) for value in (to_grid / to_grid[2, 2]).ravel()[:8])
    if matrix[1] == matrix[3] == matrix[6] == matrix[7] == 0:
        # The usual one: a scale and a shift. Axis by axis it is several times quicker.
        down = _along(np.asarray(values, np.float32), 0, rows, matrix[4], matrix[5])
        return _along(down, 1, columns, matrix[0], matrix[2]).clip(0, 1)
    grid = Image.fromarray(np.ascontiguousarray(values, np.float32))
    laid = grid.transform((columns, rows), Image.Transform.PERSPECTIVE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(laid, np.float32).clip(0, 1)


def _along(values: Heat, axis: int, count: int, scale: float, shift: float) -> Heat:
    """Bilinear along one axis, as Pillow does it: 0 beyond the grid, its outermost values up to its border."""
    last = values.shape[axis] - 1
    at = scale * (np.arange(count) + 0.5) + shift
    below = np.floor(at - 0.5)
    share = (at - 0.5 - below).astype(np.float32)
    share = share[:, None] if axis == 0 else share[None, :]
    first: Heat = values.take(below.clip(0, last).astype(np.intp), axis)
    laid: Heat = values.take((below + 1).clip(0, last).astype(np.intp), axis)
    laid -= first
    laid *= share
    laid += first
    is_beyond = (at < 0) | (at >= last + 1)
    laid[(slice(None),) * axis + (is_beyond,)] = 0
    return laid


def _shift(by: float) -> NDArray[np.float64]:
    return np.array([[1, 0, by], [0, 1, by], [0, 0, 1]], np.float64)


def coloured(heat: Heat) -> NDArray[np.uint8]:
    """The heat as a picture to lay over another: rows x columns x 4, the fourth how opaque."""
    # Four bytes are looked up as one number: several times quicker than as four.
    found = _table().view(np.uint32)[:, 0].take((255 * heat + 0.5).astype(np.uint8))
    return np.asarray(found[..., None].view(np.uint8))


@lru_cache(maxsize=1)
def _table() -> NDArray[np.uint8]:
    """The colours of `coloured` from none to full heat: 256 x 4."""
    levels = np.linspace(0, 1, 256, dtype=np.float32)
    anchors = np.linspace(0, 1, len(_COLOURS))
    table = np.stack([np.interp(levels, anchors, [colour[channel] for colour in _COLOURS]) for channel in range(3)], -1)
    opaque = 255 * _MOST_OPAQUE * levels**0.8
    return np.asarray(np.concatenate([table, opaque[:, None]], -1).round().astype(np.uint8))


def laid_over(photograph: RGB, heat: Heat) -> RGB:
    """The photograph in grey under the heat in colours, both of one size."""
    grey = Image.fromarray(photograph).convert("L").convert("RGBA")
    return np.asarray(Image.alpha_composite(grey, Image.fromarray(coloured(heat))).convert("RGB"))


def with_outline(picture: RGB, polygon: NDArray[np.float64], *, has_border: bool = False) -> RGB:
    """The picture with a closed line through points (column, row), the first pixel from 0 to 1.

    With a dark border the line is seen on skin of any colour.
    """
    drawn = Image.fromarray(picture)
    width = max(1, round(max(picture.shape[:2]) / 400))
    points = [(float(x) - 0.5, float(y) - 0.5) for x, y in polygon]
    if has_border:
        ImageDraw.Draw(drawn).line(points, fill=_PAPER, width=3 * width, joint="curve")
    ImageDraw.Draw(drawn).line(points, fill=_OUTLINE, width=width, joint="curve")
    return np.asarray(drawn)


def with_legend(picture: RGB, lines: Sequence[str], least_columns: int = 480, *, has_scale: bool = True) -> RGB:
    """The picture with a strip below it, which hides nothing of it: the lines, and the colours from low to high where it has any.

    A picture narrower than `least_columns` is given black columns on its right, so that the words fit.
    """
    rows, columns = picture.shape[:2]
    strip = _legend(tuple(lines), max(columns, least_columns), has_scale)
    drawn: RGB = np.full((rows + strip.shape[0], strip.shape[1], 3), _PAPER, np.uint8)
    drawn[:rows, :columns] = picture
    drawn[rows:] = strip
    return drawn


@lru_cache(maxsize=8)
def _legend(lines: tuple[str, ...], width: int, has_scale: bool) -> RGB:
    """The strip alone; the views of a case often have the same."""
    line_px = max(18, width // 40)
    gap = line_px // 2
    strip = Image.new("RGB", (width, gap * 2 + line_px * len(lines)), _PAPER)
    draw = ImageDraw.Draw(strip)
    bar_columns = width // 4 if has_scale else 0
    if has_scale:
        _draw_scale(strip, (width - bar_columns - gap, gap), (bar_columns, line_px), gap)
    room = width - bar_columns - (3 if has_scale else 2) * gap
    for number, line in enumerate(lines):
        draw.text((gap, gap + number * line_px), line, fill=_INK, font=_font(draw, line, int(0.8 * line_px), room))
    return np.asarray(strip)


def _draw_scale(canvas: Image.Image, at: tuple[int, int], size: tuple[int, int], gap: int) -> None:
    """The colours as they look over a middle grey, with the words `low` and `high` below."""
    columns, rows = size
    ramp = np.tile(np.linspace(0, 1, columns, dtype=np.float32), (rows // 2, 1))
    canvas.paste(Image.fromarray(laid_over(np.full((*ramp.shape, 3), 128, np.uint8), ramp)), at)
    draw = ImageDraw.Draw(canvas)
    font = _font(draw, "low", int(0.8 * rows), columns)
    below = at[1] + rows // 2 + gap // 4
    draw.text((at[0], below), "low", fill=_INK, font=font)
    draw.text((at[0] + columns - draw.textlength("high", font=font), below), "high", fill=_INK, font=font)


def _font(draw: ImageDraw.ImageDraw, text: str, size_px: int, room_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, smaller where the text would not fit."""
    font = _default_font(size_px)
    while size_px > 8 and draw.textlength(text, font=font) > room_px:
        size_px -= 1
        font = _default_font(size_px)
    return font


@lru_cache(maxsize=64)
def _default_font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
