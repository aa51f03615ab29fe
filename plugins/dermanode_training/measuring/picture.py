"""A confusion matrix as a picture: counts, shares of the row, and colour by the share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_TOP, _RIGHT, _BOTTOM = 118, 250, 112
"""Margins in pixels: the title above, totals and the scale on the right, labels and the axis' name below."""
_CELL, _BAR, _TITLE, _LABEL, _SMALL = 92, 22, 30, 22, 17

_INK, _GREY, _PALE, _PAPER, _RULE = (33, 37, 41), (108, 117, 125), (173, 181, 189), (255, 255, 255), (222, 226, 230)
_SCALE = np.array([(247, 250, 253), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107)], np.float64)
"""ColorBrewer's Blues: even steps of lightness, so that it also reads in grey."""
_DARK = 0.6
"""From this share on a cell is so dark that its text is white."""

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the cells are, in pixels: wide enough for the longest label."""

    labels: tuple[str, ...]

    @property
    def cell(self) -> int:
        return max(_CELL, self._longest + 18)

    @property
    def left(self) -> int:
        return max(150, self._longest + 84)

    @property
    def side(self) -> int:
        return self.cell * len(self.labels)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the whole picture."""
        return self.left + self.side + _RIGHT, _TOP + self.side + _BOTTOM

    def cell_at(self, row: int, column: int) -> tuple[slice, slice]:
        """The rows and columns of the picture that a cell covers."""
        top, left = _TOP + self.cell * row, self.left + self.cell * column
        return slice(top, top + self.cell), slice(left, left + self.cell)

    @property
    def _longest(self) -> int:
        return max(round(_font(_LABEL).getbbox(label)[2]) for label in self.labels)


def confusion_picture(labels: Sequence[str], counts: NDArray[np.int64], title: str, subtitle: str = "") -> NDArray[np.uint8]:
    """Rows x columns x 3, laid out as `Layout` says; row k of `counts` is what was found for the true label k."""
    layout = Layout(tuple(labels))
    width, height = layout.size
    canvas = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((layout.left, 30), title, _INK, _fitting(title, _TITLE, width - layout.left - 16))
    draw.text((layout.left, 74), subtitle, _GREY, _fitting(subtitle, 19, width - layout.left - 16))
    totals = counts.sum(1)
    shares = np.divide(counts, totals[:, None], out=np.zeros(counts.shape), where=totals[:, None] > 0)
    for row, label in enumerate(labels):
        for column in range(len(labels)):
            _cell(draw, layout, row, column, int(counts[row, column]), float(shares[row, column]))
        along = layout.cell * (row + 0.5)
        draw.text((layout.left - 14, _TOP + along), label, _INK, _font(_LABEL), anchor="rm")
        draw.text((layout.left + layout.side + 14, _TOP + along), f"n = {totals[row]:,}", _GREY, _font(19), anchor="lm")
        draw.text((layout.left + along, _TOP + layout.side + 14), label, _INK, _font(_LABEL), anchor="mt")
    right, bottom = layout.left + layout.side, _TOP + layout.side
    draw.rectangle((layout.left, _TOP, right - 1, bottom - 1), outline=_GREY)
    draw.text((layout.left + layout.side / 2, bottom + 60), "found (most probable)", _GREY, _font(_LABEL), anchor="mt")
    _upright(canvas, "truth", (38, _TOP + layout.side // 2))
    _colour_bar(draw, right + 140, _TOP, layout.side)
    return np.asarray(canvas, np.uint8)


def colour_of(share: float) -> Colour:
    """From nearly white at 0 to dark blue at 1."""
    place = float(np.clip(share, 0, 1)) * (len(_SCALE) - 1)
    red, green, blue = (round(float(np.interp(place, range(len(_SCALE)), _SCALE[:, k]))) for k in range(3))
    return red, green, blue


def _cell(draw: ImageDraw.ImageDraw, layout: Layout, row: int, column: int, count: int, share: float) -> None:
    rows, columns = layout.cell_at(row, column)
    draw.rectangle((columns.start, rows.start, columns.stop - 1, rows.stop - 1), fill=colour_of(share), outline=_RULE)
    ink = _PALE if not count else _PAPER if share > _DARK else _INK
    across, down = columns.start + layout.cell / 2, rows.start + layout.cell / 2
    draw.text((across, down - 11), f"{count:,}", ink, _font(25), anchor="mm")
    if count:
        draw.text((across, down + 19), f"{share:.0%}" if share >= 0.01 else "< 1%", ink, _font(_SMALL), anchor="mm")


def _colour_bar(draw: ImageDraw.ImageDraw, left: int, top: int, height: int) -> None:
    for line in range(height):
        draw.line((left, top + line, left + _BAR, top + line), fill=colour_of(1 - line / (height - 1)))
    draw.rectangle((left, top, left + _BAR, top + height - 1), outline=_GREY)
    for share in (0, 0.25, 0.5, 0.75, 1):
        draw.text((left + _BAR + 8, top + (height - 1) * (1 - share)), f"{share:.0%}", _GREY, _font(_SMALL), anchor="lm")
    draw.text((left + _BAR / 2, top + height + 16), "share of row", _GREY, _font(_SMALL), anchor="mt")


def _upright(canvas: Image.Image, text: str, middle: tuple[int, int]) -> None:
    """Text that is read from below to above."""
    font = _font(_LABEL)
    left, top, right, bottom = font.getbbox(text)
    label = Image.new("RGB", (int(right - left) + 4, int(bottom - top) + 4), _PAPER)
    ImageDraw.Draw(label).text((2 - left, 2 - top), text, _GREY, font)
    turned = label.rotate(90, expand=True)
    canvas.paste(turned, (middle[0] - turned.width // 2, middle[1] - turned.height // 2))


def _fitting(text: str, size: int, width: int) -> Font:
    """The font of that size, or the largest smaller one in which the text is no wider."""
    while size > 10 and _font(size).getbbox(text)[2] > width:
        size -= 1
    return _font(size)


def _font(size: int) -> Font:
    return ImageFont.load_default(size)
