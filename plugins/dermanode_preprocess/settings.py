"""The settings of the preprocess stage."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dermanode.plugin_settings import PluginSettings

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class CleaningSettings(PluginSettings):
    """How a photograph is cleaned. Lengths are pixels of the working image, colours are CIE Lab (D65)."""

    working_size_px: Annotated[int, Field(ge=64, le=2048)] = 512
    """Rows and columns of the cleaned image."""
    gaussian_sigma_px: Annotated[float, Field(gt=0.0)] = 1.2
    """Of the 3 x 3 Gaussian."""
    clahe_clip: Annotated[float, Field(gt=0.0)] = 2.0
    """Clip limit of the contrast-limited equalisation of L."""
    clahe_tiles: Annotated[int, Field(ge=1)] = 8
    """Tiles in each direction."""
    hair_kernel_px: Annotated[int, Field(ge=3)] = 9
    """Length of the lines of the morphological closing: hair is thinner than this."""
    hair_contrast: Annotated[int, Field(ge=1, le=255)] = 14
    """How many grey levels darker than its surroundings a hair is."""
    hair_length_px: Annotated[int, Field(ge=6, le=256)] = 42
    """Over this length a hair is straight."""
    most_isotropy: Fraction = 0.64
    """Mean darkness along lines of all directions as a share of that in the best one: what has more is a network or a dot, no hair."""
    hair_reach_px: Annotated[float, Field(ge=0)] = 50.0
    """How far a hair reaches from end to end, at least."""
    least_elongation: Annotated[float, Field(ge=1.0)] = 9.0
    """How many times longer than wide a hair is, at least."""
    least_hair_fraction: Fraction = 0.002
    """With less hair than this nothing is painted over."""
    most_hair_fraction: Fraction = 0.45
    """With more than this nothing is painted over either: too little skin would be left to paint from."""
    reference_skin: tuple[float, float, float] = (71.0, 11.0, 6.0)
    """L, a, b that healthy skin is brought to: the median over 300 training images of HAM10000 and ISIC 2018, so that most move little."""
    most_shift: Annotated[float, Field(ge=0.0)] = 45.0
    """The colour normalisation never moves colours further than this (CIE76): what needs more is no skin in ordinary light."""
    most_delta_e: Annotated[float, Field(gt=0.0)] = 5.0
    """The distance from the reference above which the reader is told that the colours are not normalised."""
    least_skin_fraction: Fraction = 0.03
    """With less healthy skin in the picture than this there is nothing to normalise against."""
    blurred_below: Annotated[float, Field(ge=0.0)] = 5.0
    """Variance of the Laplacian below which the reader is told that the view is blurred."""
    glaring_above: Fraction = 0.02
    """Share of saturated pixels above which the reader is told of glare."""


DEFAULTS = CleaningSettings()
