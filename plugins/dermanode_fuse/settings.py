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
    spot_contrast: Positive = 1.0
    """A dot or a streak (D) has at least this second derivative of L across it, times the scale squared: a quarter of the contrast of a
    spot as wide as the scale ..."""
    globule_contrast: Positive = 2.0
    """... a globule this ..."""
    network_contrast: Positive = 0.5
    """... a line of a network this, and its holes half of it."""
    least_dots: Annotated[int, Field(ge=1)] = 3
    """So many dots count as a structure: the rule asks for more than two ..."""
    least_globules: Annotated[int, Field(ge=1)] = 3
    """... so many globules ..."""
    least_streaks: Annotated[int, Field(ge=1)] = 3
    """... and so many streaks at the border that lead outwards."""
    network_lines: Fraction = 0.15
    """Network is where dark lines cover this share of a window of 0.16 diameters ..."""
    network_holes: Positive = 4.0
    """... that has so many light holes ..."""
    network_irregularity: Positive = 0.5
    """... whose distances from each to the nearest vary by no more than this share ..."""
    least_network_share: Fraction = 0.10
    """... and it counts when it covers this share of the lesion."""
    flat_lightness: Positive = 0.8
    """An area is structureless where the standard deviation of L is below this, slow shading taken out ..."""
    least_structureless_share: Fraction = 0.10
    """... and counts when it is more than this share of the lesion, as the rule says."""
    hairy_above: Fraction = 0.05
    """With a larger share of hair in the picture the reader is told that hair may count as colour."""
