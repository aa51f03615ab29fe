"""The settings of the classify stage."""

from __future__ import annotations

from typing import Literal

from dermanode.plugin_settings import PluginSettings


class ClassifySettings(PluginSettings):
    """How the answer is told."""

    diagnoses: Literal[7, 8] = 7
    """How many diagnoses are listed: 7 (HAM10000), or 8 (ISIC 2019), where AK and SCC are apart."""
    fusion: bool | None = None
    """Whether the groups come from the fusion of picture and geometry (the bundle `lesion_fusion`), or are sums over the diagnoses; left
    out, the one that did better on validation serves."""
