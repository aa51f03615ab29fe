"""The settings of the reconstruct stage."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dermanode.plugin_settings import PluginSettings

Positive = Annotated[float, Field(gt=0.0)]


class RingSettings(BaseModel):
    """How the cameras stand where the pictures do not say it themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    distance_mm: Positive = 150.0
    """From the camera to the lesion, where the picture states no Subject Distance."""
    tilt_deg: Annotated[float, Field(ge=0.0, lt=80.0)] = 25.0
    """Of the optical axes against the skin's normal, where the pictures state no azimuth with an elevation. It is measured and
    corrected."""
    azimuths_deg: tuple[float, ...] = (0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)
    """Of the first, second, ... view (by Acquisition Number, else Instance Number) around the lesion, counter-clockwise seen from
    above, where the pictures do not state theirs. The picture turns in its plane with the azimuth. Another number of views is taken to be
    spread evenly."""
    turn_trust_deg: Positive = 1.0
    """Standard deviation of the rig's angles."""
    shift_trust_mm: Positive = 0.5
    """Standard deviation of where the rig's cameras look, and from how far."""

    @model_validator(mode="after")
    def _has_no_two_views_in_one_place(self) -> Self:
        if len({azimuth % 360 for azimuth in self.azimuths_deg}) != len(self.azimuths_deg):
            raise ValueError("azimuths_deg names one azimuth twice")
        return self


class ReconstructSettings(PluginSettings):
    """How the surface is made: from several views where they show depth, else from the shading of one."""

    ring: RingSettings = RingSettings()
    """The rig, as a small block: `distance_mm`, `tilt_deg`, `azimuths_deg`."""
    is_motion_searched: bool = True
    """Where the ring's azimuths do not fit the pictures, look for the cameras by structure from motion (COLMAP; 2 to 10 s)."""
    motion_mapper: Annotated[str, Field(pattern="^(incremental|global)$")] = "incremental"
    """COLMAP's mapper."""
    motion_limit_s: Positive = 20.0
    """Structure from motion gives up after so long."""
    working_px: Annotated[int, Field(ge=384, le=4096)] = 1024
    """Longer side of the pictures that geometry works on."""
    least_tilt_deg: Annotated[float, Field(ge=1.0, lt=45.0)] = 3.0
    """Below this tilt the views show no parallax, and one view's shading serves."""
    most_error_px: Positive = 1.5
    """Median reprojection error, in working pixels, above which poses are not believed."""
    highest_mm: Positive = 4.0
    """No lesion is taken to be higher, in pictures of 20 mm width; wider pictures allow for more in proportion."""
    lowest_mm: Annotated[float, Field(lt=0.0)] = -1.2
    """Nor deeper."""
    is_shading_fused: bool = True
    """Let photometric stereo sharpen the surface where the light moves with the camera and its slopes agree with the stereo's."""
    curvature_scale_mm: Annotated[float, Field(ge=0.15, le=2.0)] = 0.27
    """The mean curvature is that of the surface smoothed by a Gaussian of this standard deviation."""
    faces: Annotated[int, Field(ge=200, le=200_000)] = 10_000
    """About how many triangles the mesh has."""
    rim_fraction: Annotated[float, Field(gt=0.0, le=2.0)] = 0.25
    """One view: the skin kept around the lesion, as a share of the lesion's longer side."""
    smoothing_cells: Annotated[float, Field(gt=0.0)] = 1.5
    """One view: standard deviation of the Gaussian over the shading, in grid cells: noise would read as slope."""
    noise_margin: Annotated[float, Field(ge=0.0)] = 2.0
    """One view: darkening is slope only where it exceeds this many standard deviations of the shading on the flat skin around."""
    steepest_deg: Annotated[float, Field(gt=0.0, lt=90.0)] = 75.0
    """One view: no slope is taken to be steeper."""
    least_lesion_px: Annotated[int, Field(ge=1)] = 200
    """A lesion of fewer source pixels has no shading to work from."""
