"""F3D: the paper's twelve geometric features of a case, free of scale where that can be, and how far its surface is to be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermanode.domain import Case, Features, Measurement, Segmentation, Surface
from dermanode_classify.relief import Relief, relief_of

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
class _Seen:
    """What the features are read from."""

    features: Features
    relief: Relief | None

    def value(self, key: str) -> float:
        """NaN where it was not measured."""
        found = self.features.value(key)
        return math.nan if found is None or not math.isfinite(found) else found

    def rise(self, of: Callable[[Relief], float]) -> float:
        """Something of the relief; NaN without one."""
        return math.nan if self.relief is None else of(self.relief)


FEATURES: dict[str, Callable[[_Seen], float]] = {
    "volume_ratio": lambda seen: _log(seen.rise(lambda one: one.volume / one.diameter**3)),
    "surface_mm2": lambda seen: _log(seen.value("surface_mm2")),
    "max_height_ratio": lambda seen: _log(seen.rise(lambda one: one.top / one.diameter)),
    "mean_height_share": lambda seen: seen.rise(lambda one: one.mean_height / one.top if one.top > 0 else math.nan),
    "mean_curvature_by_diameter": lambda seen: _log(seen.rise(lambda one: one.mean_curvature * one.diameter)),
    "max_curvature_by_diameter": lambda seen: _log(seen.rise(lambda one: one.max_curvature * one.diameter)),
    "box_share": lambda seen: seen.rise(lambda one: one.box_share),
    "surface_ratio": lambda seen: _log(seen.rise(lambda one: one.area / one.projected - 1)),
    "asymmetry": lambda seen: seen.value("asymmetry"),
    "border_irregularity": lambda seen: _log(seen.value("border_irregularity")),
    "colour_variance": lambda seen: _log(seen.value("colour_variance")),
    "dermoscopy_score": lambda seen: seen.value("total_dermoscopy_score"),
}
"""The twelve in the paper's order: V, SA, Dmax, Dmean, mean and max curvature, V/Vbbox, SA ratio, asymmetry, border irregularity, colour
variance, ABCD. What has no natural limit is a logarithm.

All but SA are free of scale, so that a photograph without millimetres has them too, and all of the relief are read from the height field
alone, so that they mean the same for a metric surface and for the shading of one view. V is in cubes of the diameter D of the circle of the
lesion's area, Dmax, the largest height above the skin, in D, and Dmean, the mean height, in Dmax: V, Dmax and Dmean are two numbers as soon
as the size is left out, because V is Dmean times the area. Curvatures are |H| D with the height field smoothed over a share of D, not those
of `surface.mean_curvature`, whose scale is in millimetres. SA carries the size. The paper's delta ABCD is a change between visits, which
one visit has not: the total dermoscopy score stands in, and nothing stands in for that."""


def geometry_of(case: Case) -> Geometry | None:
    """The twelve features of a case and conf3D; None where the fuse stage measured nothing."""
    if case.features is None:
        return None
    seen = _Seen(case.features, relief_of(case.surface) if case.surface else None)
    values = np.array([feature(seen) for feature in FEATURES.values()])
    return Geometry(values, surface_confidence(case.surface, case.segmentation))


def surface_confidence(surface: Surface | None, segmentation: Segmentation | None) -> float:
    """conf3D: what the surface states; where it states nothing, heights x views x interval x outline, each 0 to 1.

    Heights: 1 in millimetres, `RELATIVE` otherwise. Views: n / (n + 1). Interval: 1 less the relative half width of the 90 % interval of
    the volume or relief, `NO_INTERVAL` where none is stated. Outline: mean confidence of the masks of the views that were used. A mesh that
    is no manifold counts `BROKEN`; without a surface it is 0.
    """
    if surface is None:
        return 0.0
    if surface.confidence is not None and math.isfinite(surface.confidence):
        return float(np.clip(surface.confidence, 0, 1))
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


def _log(value: float) -> float:
    """Natural logarithm; what is nothing or negative counts as a ten-thousandth."""
    return math.nan if math.isnan(value) else math.log(max(value, 1e-4))
