"""The settings of the fuse stage."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dermanode.plugin_settings import PluginSettings

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Lightness = Annotated[float, Field(ge=0.0, le=100.0)]
Positive = Annotated[float, Field(gt=0.0)]


class FuseSettings(PluginSettings):
    """Where the parts of the ABCD rule have their thresholds, and what is left out. Colours are CIE Lab (D65)."""

    least_lesion_px: Annotated[int, Field(ge=16)] = 100
    """A lesion of fewer source pixels is not measured."""
    asymmetric_shape: Fraction = 0.10
    """An axis counts as asymmetric (A) when more than this share of the lesion has no mirror image across it ..."""
    asymmetric_colour: Positive = 10.0
    """... or when colours differ across it by more than this on average (CIE76)."""
    abrupt_share: Fraction = 0.4
    """An eighth of the border is abrupt (B) when this share of the contrast between lesion and skin is crossed at the outline itself ..."""
    abrupt_contrast: Lightness = 8.0
    """... and that contrast is at least this much of L."""
    least_colour_share: Fraction = 0.05
    """A colour counts (C) when it covers this share of the lesion."""
    reference_skin: tuple[float, float, float] = (71.0, 11.0, 6.0)
    """The colour that the skin around the lesion is brought to before colours are counted."""
    hairy_above: Fraction = 0.05
    """With a larger share of hair in the picture the reader is told that hair may count as colour."""
