"""The lesion's sizes: in the plane of the skin where a metric surface shows it, else from its outlines in the pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from dermanode.domain import HeightField, Measurement
from dermanode_fuse import catalogue as known
from dermanode_fuse.appearance import Appearance
from dermanode_fuse.error import Error
from dermanode_fuse.outline import reaches_edge
from dermanode_fuse.over_views import combined, spread
from dermanode_fuse.shape import Shape

_TILTED_ABOVE_DEG = 5.0
_POWERS = {"area": 1.0, "long_axis": 0.5, "short_axis": 0.5, "perimeter": 0.5}
"""Of the area, with which each size grows where the form stays."""


@dataclass(frozen=True)
class Sizes:
    """Which way served is said in the remarks."""

    axes: tuple[Measurement, ...]
    """Area, long axis, short axis, perimeter."""
    forms: tuple[Measurement, ...]
    """Eccentricity and compactness."""
    remarks: tuple[str, ...]


def measure_sizes(
    seen: Sequence[Appearance],
    field: HeightField | None,
    outline: Shape | None,
    footprint: Measurement | None,
    absent: list[tuple[str, str]],
) -> Sizes:
    """`field` is that of a metric surface, `outline` the lesion's in it, and `footprint` the lesion's area in the plane of the skin."""
    if field is None or outline is None:
        return _in_pictures(seen, absent)
    remarks = ["Area, axes, perimeter, eccentricity and compactness are those in the plane of the skin, from the reconstructed surface."]
    if reaches_edge(field):
        remarks.append("The lesion reaches the edge of the reconstructed skin: sizes are those of the part inside.")
    return Sizes(_axes(outline, seen, footprint), _forms(outline, seen), tuple(remarks))


def _axes(outline: Shape, seen: Sequence[Appearance], footprint: Measurement | None) -> tuple[Measurement, ...]:
    """With the interval of the footprint; where it has none, with the spread of the views."""
    error = Error.of(footprint)
    found = []
    for name, quantity in known.IN_SKIN.items():
        value: float = footprint.value if name == "area" and footprint is not None else getattr(outline, name)
        apart = error.power(_POWERS[name]) if error else spread([getattr(one.shape, name) for one in seen])
        found.append(known.reported(quantity, value, apart.ends(value) if apart else None))
    return tuple(found)


def _forms(outline: Shape, seen: Sequence[Appearance]) -> tuple[Measurement, ...]:
    """With the spread of the views: what tilts and masks make of a form."""
    roundness = {known.ECCENTRICITY: (outline.eccentricity, "eccentricity"), known.COMPACTNESS: (outline.compactness, "compactness")}
    found = []
    for quantity, (value, name) in roundness.items():
        apart = spread([getattr(one.shape, name) for one in seen])
        most = 1.0 if quantity is known.ECCENTRICITY else math.inf
        found.append(known.reported(quantity, value, apart.ends(value, most=most) if apart else None))
    return tuple(found)


def _in_pictures(seen: Sequence[Appearance], absent: list[tuple[str, str]]) -> Sizes:
    """In millimetres over the views with a scale; where there is none, in pixels of the first view."""
    scaled = [one for one in seen if one.has_scale]
    if not scaled:
        absent += [(in_mm.key, "no view states a pixel spacing") for in_mm, _, _ in known.SIZES]
    # Pixels of different cameras are not to be mixed: without spacing one view speaks.
    sized = scaled or seen[:1]
    views = [one.view for one in sized]
    axes = tuple(
        combined(in_mm if scaled else in_px, [getattr(one.shape, name) for one in sized], views) for in_mm, in_px, name in known.SIZES
    )
    all_views = [one.view for one in seen]
    forms = (
        combined(known.ECCENTRICITY, [one.shape.eccentricity for one in seen], all_views),
        combined(known.COMPACTNESS, [one.shape.compactness for one in seen], all_views),
    )
    tilt_deg = median(one.tilt_deg for one in seen)
    if tilt_deg <= _TILTED_ABOVE_DEG:
        return Sizes(axes, forms, ())
    short = 1 - math.cos(math.radians(tilt_deg))
    said = (
        f"Sizes are those in the image plane: the cameras were tilted by {tilt_deg:.0f} degrees, "
        f"so lengths are up to {short:.0%} too short and areas {short:.0%} too small."
    )
    return Sizes(axes, forms, (said,))
