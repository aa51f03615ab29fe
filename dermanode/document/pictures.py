"""The pictures of the report: photographs with the lesion's outline, and the surface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dermanode.dicom.measurements import best_mask
from dermanode.dicom.outline import outline
from dermanode.document.heights import HeightMap, height_map, legend
from dermanode.document.relief import Angle, Solid, shaded
from dermanode.domain import Case, Outcome, Surface, View
from dermanode.domain.series import RGB
from dermanode.errors import UnreadableObject

_BEST_PX, _VIEW_PX = 640, 360
"""The longest side of the photograph on the first page, and of the others."""
_QUALITY = 82
_ANGLES = (Angle(-35, 35), Angle(145, 22))
_SURFACE_SIZE = (300, 440)
_DARK, _BRIGHT = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture as the document holds it."""

    name: str
    """Unique in the document."""
    jpeg: bytes


@dataclass(frozen=True, eq=False)
class ViewPicture:
    """One photograph of the lesion."""

    number: int
    """Of the view in the series, from 1."""
    view: View
    picture: Picture | None
    """None where the pixels cannot be read."""
    has_outline: bool
    is_best: bool


@dataclass(frozen=True, eq=False)
class SurfacePictures:
    """The surface from two sides and its heights."""

    sides: tuple[Picture, ...]
    heights: Picture | None
    scale: HeightMap | None
    legend: Picture
    """The colours of the heights."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return (*self.sides, self.legend, *([self.heights] if self.heights else []))


@dataclass(frozen=True, eq=False)
class ComparedPictures:
    """One view beside the same view of an earlier visit."""

    number: int
    """Of the view in the series, from 1."""
    prior_case_id: str
    now: Picture
    then: Picture
    difference: Picture


def view_pictures(case: Case, outcome: Outcome) -> tuple[ViewPicture, ...]:
    """Every view in the order of the series; the best, which is the one that the report's outline lies on, is larger."""
    best = best_mask(case)
    first = best.sop_instance_uid if best else case.series.views[0].sop_instance_uid if case.series.views else None
    return tuple(_view(case, outcome, number, view, view.sop_instance_uid == first) for number, view in enumerate(case.series.views, 1))


def surface_pictures(surface: Surface) -> SurfacePictures:
    """As white paper shows it."""
    solid = Solid.of(surface)
    sides = tuple(Picture(f"surface-{n}", _jpeg(_cropped(shaded(solid, angle, _SURFACE_SIZE)))) for n, angle in enumerate(_ANGLES, 1))
    found = height_map(surface, _SURFACE_SIZE)
    return SurfacePictures(sides, Picture("heights", _jpeg(found.pixels)) if found else None, found, Picture("legend", _jpeg(legend())))


def compared_pictures(case: Case) -> tuple[ComparedPictures, ...]:
    """The first view that lies over a view of each earlier visit."""
    first = {pair.prior_case_id: pair for pair in reversed(case.comparisons)}
    return tuple(
        ComparedPictures(
            next((n for n, view in enumerate(case.series.views, 1) if view.sop_instance_uid == pair.sop_instance_uid), 0),
            pair.prior_case_id,
            *(
                Picture(f"compared-{place}-{name}", _jpeg(_reduced(pixels, _VIEW_PX)))
                for name, pixels in (("now", pair.now), ("then", pair.then), ("difference", pair.difference))
            ),
        )
        for place, pair in enumerate(reversed(first.values()))
    )


def _view(case: Case, outcome: Outcome, number: int, view: View, is_best: bool) -> ViewPicture:
    longest = _BEST_PX if is_best else _VIEW_PX
    try:
        pixels = _reduced(view.pixels(longest), longest)
    except UnreadableObject:
        return ViewPicture(number, view, None, False, is_best)
    lines = list(_outlines(case, outcome, view))
    drawn = _with_lines(pixels, [line * (pixels.shape[1] / view.columns, pixels.shape[0] / view.rows) for line in lines])
    return ViewPicture(number, view, Picture(f"view-{number}", _jpeg(drawn)), bool(lines), is_best)


def _outlines(case: Case, outcome: Outcome, view: View) -> Iterator[NDArray[np.float64]]:
    """Closed lines of (column, row) in source pixels, the first from 0 to 1."""
    summary = next((one for one in outcome.views if one.sop_instance_uid == view.sop_instance_uid), None)
    if summary is not None:
        # A view summary has the first pixel's centre at 0.
        yield from (np.asarray([*line, line[0]], np.float64) + 0.5 for line in summary.outlines)
        return
    mask = case.segmentation.mask(view.sop_instance_uid) if case.segmentation else None
    line = outline(mask.mask) if mask is not None and mask.mask.shape == (view.rows, view.columns) else None
    if line is not None:
        yield line


def _cropped(pixels: RGB, margin: int = 4) -> RGB:
    """Without the white rows above and below."""
    rows = np.flatnonzero((pixels < 255).any((1, 2)))
    return pixels[max(0, rows[0] - margin) : rows[-1] + margin + 1] if len(rows) else pixels


def _reduced(pixels: RGB, longest: int) -> RGB:
    if max(pixels.shape[:2]) <= longest:
        return pixels
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.BOX)
    return np.asarray(image)


def _with_lines(pixels: RGB, lines: list[NDArray[np.float64]]) -> RGB:
    """The picture with white lines in a dark seam: seen on skin and on the lesion alike."""
    if not lines:
        return pixels
    drawn = Image.fromarray(pixels)
    draw = ImageDraw.Draw(drawn)
    width = max(1, round(max(pixels.shape[:2]) / 320))
    for colour, thick in ((_DARK, width + 2), (_BRIGHT, width)):
        for line in lines:
            draw.line([(float(x) - 0.5, float(y) - 0.5) for x, y in line], fill=colour, width=thick, joint="curve")
    return np.asarray(drawn)


def _jpeg(pixels: RGB) -> bytes:
    content: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_QUALITY)
    return content
