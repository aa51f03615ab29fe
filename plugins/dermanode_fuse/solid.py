"""What a surface adds to the numbers: nothing in millimetres unless its heights are."""

from __future__ import annotations

import numpy as np

from dermanode.domain import Measurement, Surface
from dermanode.domain.codes import Quantity
from dermanode_fuse.catalogue import MAX_CURVATURE, SOLID, SURFACE_AREA, VOLUME


def measure_solid(surface: Surface | None) -> tuple[tuple[Measurement, ...], tuple[tuple[str, str], ...]]:
    """The surface's own measurements and those in millimetres, and (key, reason) of what it does not allow."""
    if surface is None:
        return (), tuple((q.key, "no surface was reconstructed") for q in SOLID)
    if not surface.is_metric:
        return surface.measurements, tuple((q.key, f"heights are relative ({surface.method})") for q in SOLID)
    found: dict[Quantity, float] = {}
    absent: list[tuple[str, str]] = []
    corners = surface.vertices.astype(np.float64)[surface.faces]
    if surface.is_closed:
        # Measured from the middle, so that rounding does not grow with the distance from the origin.
        v0, v1, v2 = np.moveaxis(corners - corners.mean(axis=(0, 1)), 1, 0)
        found[VOLUME] = float(abs((v0 * np.cross(v1, v2)).sum()) / 6)
    else:
        absent.append((VOLUME.key, "the surface is open: it bounds no volume"))
    if surface.is_lesion is not None:
        lesion = corners[surface.is_lesion[surface.faces].all(axis=1)]
        found[SURFACE_AREA] = float(np.linalg.norm(np.cross(lesion[:, 1] - lesion[:, 0], lesion[:, 2] - lesion[:, 0]), axis=1).sum() / 2)
    else:
        absent.append((SURFACE_AREA.key, "the surface does not say which part of it is lesion"))
    if surface.mean_curvature is not None and surface.is_lesion is not None and surface.is_lesion.any():
        found[MAX_CURVATURE] = float(np.percentile(abs(surface.mean_curvature[surface.is_lesion]), 99))
    else:
        absent.append((MAX_CURVATURE.key, "the surface states no curvature of the lesion"))
    own = {m.key for m in surface.measurements}
    computed = tuple(
        Measurement(key=q.key, concept=q.concept, value=value, unit=q.unit, definition=q.definition)
        for q, value in found.items()
        if q.key not in own
    )
    return (*surface.measurements, *computed), tuple((key, why) for key, why in absent if key not in own)
