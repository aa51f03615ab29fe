"""The settings of the explain stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dermanode.plugin_settings import PluginSettings


class ExplainSettings(PluginSettings):
    """How the answer is explained, and which answer."""

    method: Literal["integrated-grad-cam", "grad-cam", "lime"] = "integrated-grad-cam"
    """The first compares a crop with its blurred self, and did best in `benchmarks/explanation.py`; `grad-cam` is the plain one, twice
    as quick; `lime` asks the network some hundred times a view and makes no use of its inside."""
    explained: str = "top"
    """`top` is the most probable diagnosis; else a label of the classification, such as MEL or MALIGNANT."""
    most_views: Annotated[int, Field(ge=0)] = 3
    """Of a series, how many views are explained: those in which the class is most probable. 0 explains all of them."""
    superpixels: Annotated[int, Field(ge=4, le=400)] = 60
    """LIME: into how many parts a crop is divided, about."""
    samples: Annotated[int, Field(ge=20, le=5000)] = 400
    """LIME: how many crops with hidden parts the network is asked about."""
