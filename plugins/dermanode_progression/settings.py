"""The settings of the progression stage."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dermanode.plugin_settings import PluginSettings

Positive = Annotated[float, Field(gt=0.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class ProgressionSettings(PluginSettings):
    """From which change on the reader is alerted, and what is shown of it; decreases raise no alert."""

    volume_percent: Positive = 20.0
    """Growth of the volume."""
    curvature_percent: Positive = 15.0
    """Growth of the largest mean curvature."""
    slope_per_30_days: Positive = 0.10
    """Growth in 30 days as a share of the first visit's value: of the volume or, where that has no trend, of the area."""
    area_percent: Positive = 20.0
    """Growth of the area."""
    axis_percent: Positive = 20.0
    """Growth of the long or the short axis."""
    asymmetry: Positive = 0.10
    """Growth of the asymmetry of shape (0 to 1)."""
    border_irregularity: Positive = 0.15
    """Growth of the border's irregularity."""
    abcd_score: Positive = 1.5
    """Growth of the total dermoscopy score or, where that is not known, of the sum of A, B and C: more than one step of A (1.3), which
    an axis close to its threshold takes by chance."""
    probability_points: Positive = 20.0
    """Growth of the probability of malignant or suspicious, in percentage points."""
    error_factor: Positive = 1.0
    """A change that exceeds its threshold raises an alert when it also exceeds its own error, the half-width of its 90 % interval,
    times this."""
    trend_days: Annotated[float, Field(ge=1.0)] = 14.0
    """Visits that span fewer days have no trend: errors, divided by little time, would pass for a steep one."""
    pictures: Annotated[int, Field(ge=0, le=16)] = 1
    """How many views are laid over their like of the last visit; 0 for none."""
    least_matches: Annotated[int, Field(ge=8)] = 25
    """Two views of which fewer points of the skin fit together are not laid over each other ..."""
    least_likeness: Fraction = 0.35
    """... nor are those whose skin, laid over each other, correlates less than this."""
