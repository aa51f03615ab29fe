"""The settings of the progression stage."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dermanode.plugin_settings import PluginSettings

Positive = Annotated[float, Field(gt=0.0)]


class ProgressionSettings(PluginSettings):
    """From which change on the reader is alerted; decreases raise no alert."""

    volume_percent: Positive = 20.0
    """Growth of the volume."""
    curvature_percent: Positive = 15.0
    """Growth of the largest mean curvature."""
    area_percent: Positive = 20.0
    """Growth of the area."""
    axis_percent: Positive = 20.0
    """Growth of the long or the short axis."""
    asymmetry: Positive = 0.10
    """Growth of the asymmetry of shape (0 to 1)."""
    border_irregularity: Positive = 0.15
    """Growth of the border's irregularity."""
    abc_score: Positive = 1.0
    """Growth of the weighted sum of A, B and C of the ABCD rule."""
    probability_points: Positive = 20.0
    """Growth of the probability of malignant or suspicious, in percentage points."""
