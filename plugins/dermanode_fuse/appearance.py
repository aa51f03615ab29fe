"""What one view says of the lesion's form, border and colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dermanode.domain import View
from dermanode_fuse.abcd import Symmetry, abrupt_sectors, colour_variance, colours, symmetry
from dermanode_fuse.patch import cut_patch
from dermanode_fuse.settings import FuseSettings
from dermanode_fuse.shape import Region, Shape, measure_shape
from dermanode_fuse.structures import Structures, structures


@dataclass(frozen=True, eq=False)
class Outlined:
    """A view whose lesion can be measured."""

    view: View
    region: Region


@dataclass(frozen=True, eq=False)
class Appearance:
    """One view's lesion in numbers."""

    view: View
    shape: Shape
    """In millimetres where the view has a scale, else in source pixels."""
    symmetry: Symmetry
    colour_variance: float
    abrupt_sectors: int | None
    colours: tuple[str, ...] | None
    structures: Structures

    @property
    def has_scale(self) -> bool:
        return self.view.geometry.pixel_spacing_mm is not None

    @property
    def tilt_deg(self) -> float:
        """Between the optical axis and the skin's normal, where the view is one of a ring's, else 0.

        The elevation is against the horizon (PS3.3, Camera Elevation Angle; -90 is down): it says something about the skin only on a
        rig that lies on it, which states azimuths.
        """
        geometry = self.view.geometry
        if geometry.elevation_deg is None or geometry.azimuth_deg is None:
            return 0.0
        return float(np.clip(abs(90.0 + geometry.elevation_deg), 0, 85))


def look_at(outlined: Outlined, settings: FuseSettings) -> Appearance:
    """Measures one view. Raises `UnreadableObject`."""
    view = outlined.view
    patch = cut_patch(view, outlined.region)
    return Appearance(
        view=view,
        shape=measure_shape(outlined.region, *(view.geometry.pixel_spacing_mm or (1.0, 1.0))),
        symmetry=symmetry(patch, settings),
        colour_variance=colour_variance(patch),
        abrupt_sectors=abrupt_sectors(patch, settings),
        colours=colours(patch, settings),
        structures=structures(patch, settings),
    )
