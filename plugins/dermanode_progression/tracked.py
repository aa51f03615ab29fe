"""What is followed from visit to visit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dermanode_progression.settings import ProgressionSettings


class Change(Enum):
    """How two values are compared; the value is the formula."""

    PERCENT = "100 (now / then - 1)."
    """For what has a true zero."""
    DIFFERENCE = "now - then."
    """For scores and shares without unit."""
    POINTS = "100 (now - then), in percentage points."
    """For probabilities."""

    def written(self, value: float) -> str:
        """`23 %`, `0.12`, `23 percentage points`."""
        if self is Change.DIFFERENCE:
            return f"{value:.2f}"
        return f"{value:.0f} %" if self is Change.PERCENT else f"{value:.0f} percentage points"


@dataclass(frozen=True, slots=True)
class Tracked:
    """One quantity that is followed."""

    key: str
    """Of the features."""
    name: str
    """As a sentence begins."""
    code: str
    """Of its change since the last visit, after CHG, in our private scheme; since the first visit `1` is appended."""
    change: Change
    alert_above: float | None = None
    """None for what is reported and raises no alert."""
    is_height: bool = False
    """It comes of heights in millimetres: a relative surface, or skin pressed flat, has nothing to compare it with."""
    is_curvature: bool = False
    """It depends on the scale at which it was measured."""
    in_place_of: str | None = None
    """The key of what says the same better: where that is compared, this raises no second alert."""
    has_trend: bool = False


def tracked(settings: ProgressionSettings) -> tuple[Tracked, ...]:
    """The measurements that are followed, the most telling first. Sizes in pixels are not among them."""
    percent, difference = Change.PERCENT, Change.DIFFERENCE
    kappa, axis, score = settings.curvature_percent, settings.axis_percent, settings.abcd_score
    return (
        Tracked("volume_mm3", "Volume", "VOL", percent, settings.volume_percent, is_height=True, has_trend=True),
        Tracked("area_mm2", "Area", "AREA", percent, settings.area_percent, has_trend=True),
        # No alert of its own: the volume says it with less noise.
        Tracked("max_height_mm", "Maximum height", "HMAX", percent, is_height=True, has_trend=True),
        Tracked("long_axis_mm", "Long axis", "LONG", percent, axis),
        Tracked("short_axis_mm", "Short axis", "SHORT", percent, axis),
        Tracked("max_curvature_per_mm", "Maximum mean curvature", "KMAX", percent, kappa, is_height=True, is_curvature=True),
        # No alert of its own: it falls when a lesion spreads, and says little that the volume does not.
        Tracked("mean_curvature_per_mm", "Mean absolute curvature", "KMEAN", percent, is_height=True, is_curvature=True),
        Tracked("asymmetry", "Asymmetry of shape", "ASYM", difference, settings.asymmetry),
        Tracked("border_irregularity", "Border irregularity", "BORD", difference, settings.border_irregularity),
        Tracked("total_dermoscopy_score", "Total dermoscopy score", "TDS", difference, score),
        Tracked("abc_partial_score", "Weighted sum of A, B and C", "ABC", difference, score, in_place_of="total_dermoscopy_score"),
    )


def tracked_probability(settings: ProgressionSettings) -> Tracked:
    """The probability of malignant or suspicious, as something that is followed."""
    name = "Probability of malignant or suspicious"
    return Tracked("malignant_or_suspicious", name, "PROB", Change.POINTS, settings.probability_points)
