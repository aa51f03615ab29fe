"""The settings of the risk stage."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dermanode.plugin_settings import PluginSettings

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class RiskSettings(PluginSettings):
    """The weights of the score, what each part is held against, the limits of the levels, and what is recommended."""

    probability_weight: Annotated[float, Field(gt=0.0, le=1.0)] = 0.40
    """Of the larger of P(malignant) and P(suspicious)."""
    growth_weight: Fraction = 0.25
    """Of the volume since the first visit: 1 for twice as much; a growth within its own error counts as 0."""
    curvature_weight: Fraction = 0.20
    """Of the largest mean curvature."""
    asymmetry_weight: Fraction = 0.10
    """Of the asymmetry of shape."""
    abcd_weight: Fraction = 0.05
    """Of the change of the ABCD rule's score. Where a term is missing, the weights of the others are scaled up to sum to 1."""
    curvature_reference_per_mm: Positive = 1.0
    """The largest mean curvature that counts as 1: that of a ball of 1 mm radius."""
    asymmetry_reference: Positive = 0.5
    """The asymmetry of shape that counts as 1: half of the lesion without mirror image."""
    abcd_reference: Positive = 2.0
    """The rise of the total dermoscopy score (of A, B and C where D was not scored) since the first visit that counts as 1."""
    moderate_from: Fraction = 0.20
    """The score, or the probability alone, from which on the level is moderate ..."""
    high_from: Fraction = 0.50
    """... and high."""
    is_alert_moderate: bool = True
    """An alert of the progression makes the level at least moderate."""
    recommendation_low: str = "The software's score is low, which excludes nothing. Routine skin checks as the physician advises."
    recommendation_moderate: str = "Review by a dermatologist; consider dermoscopic follow-up within three months."
    recommendation_high: str = "Prompt review by a dermatologist; consider biopsy or excision."

    @model_validator(mode="after")
    def _levels_are_in_order(self) -> Self:
        if self.high_from < self.moderate_from:
            raise ValueError("high_from must not be below moderate_from")
        return self
