"""F3D: the paper's twelve geometric features of a case, free of scale where that can be, and how far its surface is to be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermanode.domain import Case, Features, Measurement, Segmentation, Surface

RELATIVE = 0.5
"""What relative heights are trusted against metric ones."""
NO_INTERVAL = 0.5
"""What a surface without an error interval is trusted against one whose interval is nothing."""
BROKEN = 0.5
"""What a surface that is no manifold is trusted against one that is."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """What the third dimension and the outline say of a lesion."""

    values: NDArray[np.float64]
    """One for each of `FEATURES`, in their order; NaN where it is absent."""
    confidence: float
    """conf3D, 0 to 1; 0 without a surface."""


@dataclass(frozen=True, eq=False)
class Relief:
    """The lesion's part of a surface above the skin around it, in the surface's own units."""

    volume: float
    """Over the projected area; sunken parts count negative."""
    area: float
    """Of the triangles."""
    projected: float
    """Of the triangles seen from above."""
    box: float
    """Volume of the box around the part that rises."""

    @property
    def diameter(self) -> float:
        """Of the circle of the projected area."""
        return 2 * math.sqrt(self.projected / math.pi)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the features are read from."""

    features: Features
    surface: Surface | None
    relief: Relief | None

    def value(self, *keys: str) -> float:
        """The first of these measurements that is there; NaN without any."""
        found = (self.features.value(key) for key in keys)
        return next((one for one in found if one is not None and math.isfinite(one)), math.nan)

    @property
    def mean_diameter(self) -> float:
        """Of the circle of the lesion's area, in the unit that its sizes have."""
        return 2 * math.sqrt(self.value("area_mm2", "area_px") / math.pi)

    def curvature(self, of: Callable[[NDArray[np.float32]], float]) -> float:
        """Of the lesion's mean curvature, times the mean diameter: free of scale."""
        surface = self.surface
        if surface is None or surface.mean_curvature is None or surface.is_lesion is None or not surface.is_lesion.any() or not self.relief:
            return math.nan
        return of(surface.mean_curvature[surface.is_lesion]) * self.relief.diameter


FEATURES: dict[str, Callable[[_Seen], float]] = {
    # V and Dmax are given as shares of Dmean, so that a photograph without scale has them too; SA and Dmean carry the size.
    "volume_ratio": lambda seen: _log(seen.relief.volume / seen.relief.diameter**3) if seen.relief else math.nan,
    "surface_mm2": lambda seen: _log(seen.value("surface_mm2")),
    "longest_ratio": lambda seen: _log(seen.value("long_axis_mm", "long_axis_px") / seen.mean_diameter),
    "mean_diameter_mm": lambda seen: _log(2 * math.sqrt(seen.value("area_mm2") / math.pi)),
    "mean_curvature_ratio": lambda seen: seen.curvature(lambda one: float(abs(one.mean()))),
    "max_curvature_ratio": lambda seen: seen.curvature(lambda one: float(np.percentile(abs(one), 99))),
    "box_share": lambda seen: seen.relief.volume / seen.relief.box if seen.relief and seen.relief.box else math.nan,
    "surface_ratio": lambda seen: _log(seen.relief.area / seen.relief.projected - 1) if seen.relief else math.nan,
    "asymmetry": lambda seen: seen.value("asymmetry"),
    "border_irregularity": lambda seen: _log(seen.value("border_irregularity")),
    "colour_variance": lambda seen: _log(seen.value("colour_variance")),
    "abcd": lambda seen: seen.value("total_dermoscopy_score", "abc_partial_score"),
}
"""The twelve in the paper's order: V, SA, Dmax, Dmean, mean and max curvature, V/Vbbox, SA ratio, asymmetry, border irregularity, colour
variance, ABCD. Sizes are logarithms. The paper's delta ABCD is a change between visits, which one visit has not: its score stands in."""


def geometry_of(case: Case) -> Geometry | None:
    """The twelve features of a case and conf3D; None where the fuse stage measured nothing."""
    if case.features is None:
        return None
    seen = _Seen(case.features, case.surface, _relief(case.surface) if case.surface else None)
    values = np.array([feature(seen) for feature in FEATURES.values()])
    return Geometry(values, surface_confidence(case.surface, case.segmentation))


def surface_confidence(surface: Surface | None, segmentation: Segmentation | None) -> float:
    """conf3D = heights x views x interval x outline, each 0 to 1.

    Heights: 1 in millimetres, `RELATIVE` otherwise. Views: n / (n + 1). Interval: 1 less the relative half width of the 90 % interval of
    the volume or relief, `NO_INTERVAL` where none is stated. Outline: mean confidence of the masks of the views that were used. A mesh that
    is no manifold counts `BROKEN`; without a surface it is 0.
    """
    if surface is None:
        return 0.0
    views = len(surface.used_views)
    masks = [segmentation.mask(uid) if segmentation else None for uid in surface.used_views]
    outline = float(np.mean([mask.confidence if mask else 0.0 for mask in masks])) if masks else 0.0
    heights = 1.0 if surface.is_metric else RELATIVE
    return heights * views / (views + 1) * _certainty(surface.measurements) * outline * (1.0 if surface.is_manifold else BROKEN)


def _certainty(measurements: tuple[Measurement, ...]) -> float:
    for key in ("volume_mm3", "relative_relief"):
        for one in measurements:
            if one.key == key and one.value and one.lower is not None and one.upper is not None:
                return float(np.clip(1 - (one.upper - one.lower) / (2 * abs(one.value)), 0, 1))
    return NO_INTERVAL


def _relief(surface: Surface) -> Relief | None:
    """None where the surface does not tell lesion from skin, or shows only one of them."""
    lesion = surface.is_lesion
    if lesion is None or not lesion.any() or lesion.all():
        return None
    vertices = surface.vertices.astype(np.float64)
    # A closed mesh has walls and a floor: only what faces the camera is skin.
    is_up = surface.normals[:, 2] > 0
    skin = vertices[~lesion & is_up, 2]
    if not len(skin):
        return None
    ground = float(np.median(skin))
    corners = vertices[surface.faces[(lesion & is_up)[surface.faces].all(axis=1)]]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    seen_from_above = abs(across[:, 2]) / 2
    projected = float(seen_from_above.sum())
    if not projected:
        return None
    height = corners[..., 2].mean(1) - ground
    sides = np.ptp(corners.reshape(-1, 3)[:, :2], axis=0)
    top = max(0.0, float(corners[..., 2].max()) - ground)
    area = float(np.linalg.norm(across, axis=1).sum() / 2)
    return Relief(float((seen_from_above * height).sum()), area, projected, float(sides.prod()) * top)


def _log(value: float) -> float:
    """Natural logarithm; what is nothing or negative counts as a ten-thousandth."""
    return math.nan if math.isnan(value) else math.log(max(value, 1e-4))
