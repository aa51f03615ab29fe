"""The settings of the reconstruct stage."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dermanode.plugin_settings import PluginSettings


class ReconstructSettings(PluginSettings):
    """How the surface is made of one view."""

    faces: Annotated[int, Field(ge=200, le=200_000)] = 10_000
    """About how many triangles the mesh has."""
    rim_fraction: Annotated[float, Field(gt=0.0, le=2.0)] = 0.25
    """The skin kept around the lesion, as a share of the lesion's longer side."""
    smoothing_cells: Annotated[float, Field(gt=0.0)] = 1.5
    """Standard deviation of the Gaussian over the shading, in grid cells: noise would read as slope."""
    noise_margin: Annotated[float, Field(ge=0.0)] = 2.0
    """Darkening is slope only where it exceeds this many standard deviations of the shading on the flat skin around."""
    steepest_deg: Annotated[float, Field(gt=0.0, lt=90.0)] = 75.0
    """No slope is taken to be steeper."""
    least_lesion_px: Annotated[int, Field(ge=1)] = 200
    """A lesion of fewer source pixels has no shading to work from."""
