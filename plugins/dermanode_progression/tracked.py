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
    """Of its change since the last visit, in our private scheme; since the first visit `1` is appended."""
    change: Change
    alert_above: float


def tracked(settings: ProgressionSettings) -> tuple[Tracked, ...]:
    """The measurements that are followed, the most telling first. Sizes in pixels are not among them."""
    percent, difference = Change.PERCENT, Change.DIFFERENCE
    return (
        Tracked("volume_mm3", "Volume", "CHGVOL", percent, settings.volume_percent),
        Tracked("area_mm2", "Area", "CHGAREA", percent, settings.area_percent),
        Tracked("long_axis_mm", "Long axis", "CHGLONG", percent, settings.axis_percent),
        Tracked("short_axis_mm", "Short axis", "CHGSHORT", percent, settings.axis_percent),
        Tracked("max_curvature_per_mm", "Maximum mean curvature", "CHGKMAX", percent, settings.curvature_percent),
        Tracked("asymmetry", "Asymmetry of shape", "CHGASYM", difference, settings.asymmetry),
        Tracked("border_irregularity", "Border irregularity", "CHGBORD", difference, settings.border_irregularity),
        Tracked("abc_partial_score", "Weighted sum of A, B and C", "CHGABC", difference, settings.abc_score),
    )


def tracked_probability(settings: ProgressionSettings) -> Tracked:
    """The probability of malignant or suspicious, as something that is followed."""
    name = "Probability of malignant or suspicious"
    return Tracked("malignant_or_suspicious", name, "CHGPROB", Change.POINTS, settings.probability_points)
