"""What a surface adds to the numbers: nothing in millimetres unless its heights are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dermanode.domain import Measurement, Surface
from dermanode.domain.codes import Quantity
from dermanode_fuse import catalogue as known
from dermanode_fuse.error import Error
from dermanode_fuse.mesh import LesionMesh
from dermanode_fuse.shape import Shape

_VOLUMES_DIFFER = 0.05

Absent = tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class Solid:
    """The measurements that a surface allows."""

    measurements: tuple[Measurement, ...] = ()
    absent: Absent = ()
    """(key, reason) of what it does not allow."""
    remarks: tuple[str, ...] = ()

    def measurement(self, key: str) -> Measurement | None:
        return next((one for one in self.measurements if one.key == key), None)


def measure_solid(surface: Surface | None, outline: Shape | None = None) -> Solid:
    """The surface's own measurements, which win over what can be computed of its mesh, and then the rest; `outline` is the lesion's in
    the plane of the skin."""
    if surface is None:
        return Solid(absent=tuple((q.key, "no surface was reconstructed") for q in known.SOLID))
    if not surface.is_metric:
        return Solid(surface.measurements, tuple((q.key, f"heights are relative ({surface.method})") for q in known.SOLID))
    mesh, own = LesionMesh(surface), {one.key: one for one in surface.measurements}
    volume = mesh.volume if surface.is_closed else None
    found = _values(mesh, volume, own, outline)
    errors = _errors(own, found)
    computed = tuple(
        known.reported(_at_scale(quantity, surface), value, _ends(quantity, value, errors))
        for quantity, value in found.items()
        if quantity.key not in own
    )
    absent = tuple((q.key, _why_absent(q, surface)) for q in known.SOLID if q not in found and q.key not in own)
    return Solid((*surface.measurements, *computed), absent, tuple(_remarks(own, volume, computed)))


def _values(mesh: LesionMesh, volume: float | None, own: Mapping[str, Measurement], outline: Shape | None) -> dict[Quantity, float]:
    """What can be computed, in the order in which it is reported."""
    found: dict[Quantity, float] = {}
    if volume is not None:
        found[known.VOLUME] = volume
    if mesh.has_lesion:
        found[known.SURFACE_AREA] = mesh.area
    if (field := mesh.surface.height_field) is not None and field.is_lesion.any():
        heights = field.heights[field.is_lesion]
        found[known.MAX_HEIGHT], found[known.MEAN_HEIGHT] = float(heights.max()), float(heights.mean(dtype=float))
    if outline is not None or mesh.has_lesion:
        found[known.FOOTPRINT] = outline.area if outline is not None else mesh.footprint
    if mesh.has_lesion:
        if (curvature := mesh.curvature()) is not None:
            found[known.MEAN_CURVATURE], found[known.MAX_CURVATURE] = curvature
        stated, height = own.get(known.VOLUME.key), own.get(known.MAX_HEIGHT.key)
        filled = stated.value if stated else volume
        top = height.value if height else found.get(known.MAX_HEIGHT, mesh.thickness if mesh.surface.is_closed else 0.0)
        if filled is not None and top * mesh.box_footprint > 0:
            found[known.BOX_SHARE] = filled / (top * mesh.box_footprint)
        if mesh.footprint > 0:
            found[known.SURFACE_RATIO] = mesh.area / mesh.footprint
    return found


def _errors(own: Mapping[str, Measurement], found: Mapping[Quantity, float]) -> dict[Quantity, Error]:
    """The relative error of each computed value, where the surface states one that goes on into it."""
    volume, most, mean = (Error.of(own.get(q.key)) for q in (known.VOLUME, known.MAX_HEIGHT, known.MEAN_HEIGHT))
    footprint = Error.of(own.get(known.FOOTPRINT.key)) or Error()
    # Height is volume over footprint, so what is known of one says something of the other.
    height = mean or volume or most
    if height is None:
        return {}
    steep = height.power(2)
    # SA = A + E: the footprint, and what slopes add to it, which goes with the square of the height.
    ratio = found.get(known.SURFACE_RATIO, 1.0)
    excess = (ratio - 1) / ratio
    errors = {
        known.VOLUME: height.beside(footprint),
        known.SURFACE_AREA: footprint.power(1 - excess).beside(steep.power(excess)),
        known.MAX_HEIGHT: height,
        known.MEAN_HEIGHT: height,
        known.MEAN_CURVATURE: height.beside(footprint),
        known.MAX_CURVATURE: height.beside(footprint),
        known.SURFACE_RATIO: steep.beside(footprint).power(excess),
    }
    if volume is not None and most is not None:
        errors[known.BOX_SHARE] = volume.beside(most)
    return errors


def _ends(quantity: Quantity, value: float, errors: Mapping[Quantity, Error]) -> tuple[float, float] | None:
    least, most = {known.BOX_SHARE: (0.0, 1.0), known.SURFACE_RATIO: (1.0, math.inf)}.get(quantity, (0.0, math.inf))
    return errors[quantity].ends(value, least, most) if quantity in errors else None


def _at_scale(quantity: Quantity, surface: Surface) -> Quantity:
    """A curvature is nothing without the scale at which it was taken."""
    scale = surface.curvature_scale_mm
    said = "The surface does not state the scale of its curvature." if scale is None else f"At a scale of {scale:.2g} mm."
    return replace(quantity, definition=quantity.definition.replace("{scale}", said))


def _why_absent(quantity: Quantity, surface: Surface) -> str:
    if quantity is known.VOLUME and not surface.is_closed:
        return "the surface is open: it bounds no volume"
    if quantity in (known.MAX_HEIGHT, known.MEAN_HEIGHT):
        return "the surface brings no heights above its base"
    if surface.is_lesion is None or not surface.is_lesion.any():
        return "the surface does not say which part of it is lesion"
    if quantity in (known.MEAN_CURVATURE, known.MAX_CURVATURE):
        return "the surface states no curvature of the lesion"
    return "the surface has no volume to share a box with" if quantity is known.BOX_SHARE else "the lesion covers nothing of the skin"


def _remarks(own: Mapping[str, Measurement], volume: float | None, computed: tuple[Measurement, ...]) -> list[str]:
    remarks = []
    stated = own.get(known.VOLUME.key)
    if volume is not None and stated is not None and abs(volume - stated.value) > _VOLUMES_DIFFER * abs(stated.value):
        remarks.append(
            f"The mesh encloses {volume:.3g} mm3 and the reconstruction states {stated.value:.3g} mm3: they differ by more than "
            f"{_VOLUMES_DIFFER:.0%}."
        )
    if computed and all(one.lower is None for one in computed):
        remarks.append("The reconstruction states no error, so what is computed of its surface has no interval.")
    return remarks
