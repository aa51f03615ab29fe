"""The picture of a difference, for people: also for those who do not tell red from green, and in grey."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain.series import RGB
from dermanode_progression.difference import Difference

# Okabe and Ito 2008: told apart by all.
_GAINED, _LOST = (213, 94, 0), (86, 180, 233)
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_LEAST_DELTA_E, _FULL_DELTA_E = 2.3, 20.0
"""Below the first nobody sees a difference (Mahy 1994)."""
_HATCH_PX, _HATCH_WIDTH_PX = 12, 4
_DASH_PX = 9
_SUBPIXELS = 4


def draw(now: RGB, found: Difference) -> RGB:
    """This visit in grey, with the change on it; rows x columns x 3, sRGB.

    Colour that changed is laid over it from blue (2.3, just visible) to yellow (20 and more, CIE76). What the lesion gained is hatched
    one way in vermilion, what it lost the other way in light blue. This visit's outline is drawn through, the earlier one's is dashed.
    """
    grey = cv2.cvtColor(now, cv2.COLOR_RGB2GRAY)
    picture: RGB = np.asarray(cv2.cvtColor(cv2.addWeighted(grey, 0.7, grey, 0, 50), cv2.COLOR_GRAY2RGB), np.uint8)
    if found.colour is not None:
        picture = _coloured(picture, found.colour)
    for area, colour, slant in ((found.lesion_now > found.lesion_then, _GAINED, 1), (found.lesion_then > found.lesion_now, _LOST, -1)):
        _hatch(picture, area, colour, slant)
    for outlines, is_dashed in ((found.outlines_then, True), (found.outlines_now, False)):
        _draw_outlines(picture, outlines, is_dashed)
    _draw_legend(picture, has_colour=found.colour is not None)
    return picture


def _hatch(picture: RGB, area: NDArray[np.bool_], colour: tuple[int, int, int], slant: int) -> None:
    left, top, width, height = cv2.boundingRect(area.view(np.uint8))
    box = slice(top, top + height), slice(left, left + width)
    rows, columns = np.arange(top, top + height)[:, None], np.arange(left, left + width)
    picture[box][area[box] & ((rows + slant * columns) % _HATCH_PX < _HATCH_WIDTH_PX)] = colour


def _coloured(picture: RGB, colour: NDArray[np.float32]) -> RGB:
    share = np.clip((colour - _LEAST_DELTA_E) / (_FULL_DELTA_E - _LEAST_DELTA_E), 0, 1)
    size = (picture.shape[1], picture.shape[0])
    levels = cv2.resize((255 * share).astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
    tints = _tints(levels)
    # Seen through the more, the less it changed.
    opacity = cv2.LUT(levels, np.minimum(255 * 0.85, np.arange(256) * 3.0).astype(np.uint8))
    weight = cv2.merge([opacity] * 3)
    laid: RGB = cv2.add(cv2.multiply(picture, 255 - weight, scale=1 / 255), cv2.multiply(tints, weight, scale=1 / 255))
    return laid


def _tints(levels: NDArray[np.uint8]) -> RGB:
    """Levels in cividis, which grows evenly in lightness and looks alike to people who are colour-blind (Nunez 2018)."""
    tints: RGB = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB)
    return tints


def _draw_outlines(picture: RGB, outlines: Sequence[NDArray[np.float64]], is_dashed: bool) -> None:
    for outline in outlines:
        closed = np.vstack([outline, outline[:1]])
        pieces = _dashes(closed) if is_dashed else [closed]
        fixed = [np.round(piece * 2**_SUBPIXELS).astype(np.int32) for piece in pieces]
        # Black beside white is seen on any ground.
        for colour, width in ((_BLACK, 4), (_WHITE, 2)):
            cv2.polylines(picture, fixed, False, colour, width, cv2.LINE_AA, _SUBPIXELS)


def _dashes(line: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.arange(0.0, along[-1], 1.0)
    points = np.column_stack([np.interp(at, along, line[:, k]) for k in (0, 1)])
    return [points[start : start + _DASH_PX + 1] for start in range(0, len(points), 2 * _DASH_PX)]


def _draw_legend(picture: RGB, *, has_colour: bool) -> None:
    """In the lower left corner, at a size that fits the picture; none in a picture too small to read it."""
    rows, columns = picture.shape[:2]
    line = max(16, round(0.028 * min(rows, columns)))
    entries = ["gained", "lost", "now", "then (dashed)", *(["colour change 2.3 to 20"] if has_colour else [])]
    if columns < 18 * line or rows < 3 * line * len(entries):
        return
    top, width = rows - line * len(entries) - line // 2, 14 * line
    picture[top : rows - line // 4, : width + line] //= 3
    for number, words in enumerate(entries):
        y = top + number * line + line // 2
        box = (slice(y - line // 4, y + line // 4), slice(line // 3, 3 * line))
        if words in ("gained", "lost"):
            colour, slant = (_GAINED, 1) if words == "gained" else (_LOST, -1)
            area = np.zeros(picture.shape[:2], bool)
            area[box] = True
            _hatch(picture, area, colour, slant)
        elif words == "now":
            cv2.line(picture, (line // 3, y), (3 * line, y), _WHITE, 2)
        elif words.startswith("then"):
            for x in range(line // 3, 3 * line, 2 * _DASH_PX):
                cv2.line(picture, (x, y), (min(x + _DASH_PX, 3 * line), y), _WHITE, 2)
        else:
            ramp = np.linspace(0, 255, picture[box].shape[1]).astype(np.uint8)
            picture[box] = _tints(np.tile(ramp, (picture[box].shape[0], 1)))
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(picture, words, (3 * line + line // 2, y + line // 4), font, line / 34, _WHITE, 1, cv2.LINE_AA)
