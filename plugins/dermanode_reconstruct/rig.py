"""What pictures and settings say of the rig: calibration, and where on the ring each view may stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dermanode.domain import View
from dermanode_reconstruct.grid import Matrix
from dermanode_reconstruct.photograph import Calibration
from dermanode_reconstruct.settings import RingSettings

_ASSUMED_FIELD_MM = 20.0
"""Width of a dermatoscope's picture, for the shape of the cameras where nothing tells the scale."""


@dataclass(frozen=True, eq=False)
class Rig:
    """Of V views, in their order."""

    calibrations: tuple[Calibration, ...]
    is_calibrated: bool
    """False: no view states a pixel spacing, so that all lengths are relative."""
    scale_source: str
    tilts_deg: Matrix
    """Nominal."""
    remarks: tuple[str, ...] = ()
    """What the reader must know of it."""


@dataclass(frozen=True, eq=False)
class Arrangement:
    """One way in which the views may stand around the lesion."""

    azimuths_deg: Matrix
    words: str


def rig_of(views: Sequence[View], ring: RingSettings) -> Rig:
    """The rig of the views. A view without a spacing has that of the others, of the same field of view where the size differs."""
    stated = [view for view in views if view.geometry.pixel_spacing_mm is not None]
    distances = [view.geometry.subject_distance_mm or ring.distance_mm for view in views]
    calibrations = []
    for view, distance_mm in zip(views, distances, strict=True):
        spacing = view.geometry.pixel_spacing_mm
        if spacing is None and stated:
            row_mm, column_mm = stated[0].geometry.pixel_spacing_mm or (1.0, 1.0)
            spacing = row_mm * stated[0].rows / view.rows, column_mm * stated[0].columns / view.columns
        if spacing is None:
            spacing = (_ASSUMED_FIELD_MM / max(view.rows, view.columns),) * 2
        calibrations.append(Calibration(spacing, distance_mm))
    if not stated:
        source = "none: no view states a pixel spacing, so lengths and heights are relative"
    else:
        has_distance = any(view.geometry.subject_distance_mm for view in views)
        distance = "Subject Distance" if has_distance else f"the rig's distance of {ring.distance_mm:g} mm from the settings"
        source = f"{stated[0].geometry.spacing_source or 'pixel spacing'} and {distance}"
    tilts = np.array([_tilt_deg(view, ring) for view in views])
    return Rig(tuple(calibrations), bool(stated), source, tilts, tuple(_remarks(views, len(stated), ring)))


def _remarks(views: Sequence[View], stated: int, ring: RingSettings) -> Iterator[str]:
    if 0 < stated < len(views):
        yield f"{len(views) - stated} of {len(views)} views state no pixel spacing: they are taken to show as wide a field as the others."
    slots = len(ring.azimuths_deg)
    if slots / 2 < len(views) < slots:
        missing = _missing_azimuths(views, ring)
        where = f": none from azimuth {', '.join(f'{azimuth:g}' for azimuth in missing)} degrees" if missing else ""
        yield f"Only {len(views)} of the rig's {slots} views came{where}."


def _missing_azimuths(views: Sequence[View], ring: RingSettings) -> list[float]:
    """Of the ring's azimuths those that no view states; none where the views stand elsewhere."""
    stated = {azimuth % 360 for view in views if (azimuth := view.geometry.azimuth_deg) is not None}
    places = [azimuth % 360 for azimuth in ring.azimuths_deg]
    return [azimuth for azimuth in places if azimuth not in stated] if stated <= set(places) and len(stated) == len(views) else []


def _tilt_deg(view: View, ring: RingSettings) -> float:
    """The elevation is against the horizon (PS3.3, Camera Elevation Angle; -90 is down): it says something about the skin only on a
    rig that lies on it, which states azimuths."""
    geometry = view.geometry
    if geometry.elevation_deg is None or geometry.azimuth_deg is None:
        return ring.tilt_deg
    tilt_deg = abs(90.0 + geometry.elevation_deg)
    return tilt_deg if 1.0 < tilt_deg < 80.0 else ring.tilt_deg


def arrangements(views: Sequence[View], ring: RingSettings) -> Iterator[Arrangement]:
    """The ways in which the views may stand, the likeliest first: as stated, else by their numbers, each also clockwise."""
    stated = [view.geometry.azimuth_deg for view in views]
    if all(azimuth is not None for azimuth in stated):
        yield from _both_ways(np.array(stated, dtype=np.float64), "the stated azimuths")
        return
    numbers = [view.acquisition_number if _tells_apart(views, "acquisition_number") else view.number for view in views]
    slots = len(ring.azimuths_deg)
    places = [number for number in numbers if number is not None]
    if len(places) == len(views) == len(set(places)) and min(places) >= 1 and max(places) <= slots:
        by_number = np.array([ring.azimuths_deg[place - 1] for place in places])
        yield from _both_ways(by_number, "the rig's azimuths by the views' numbers")
    if len(views) != slots or len(places) != len(views) or sorted(places) != list(range(1, slots + 1)):
        yield from _both_ways(360.0 * np.arange(len(views)) / len(views), "views spread evenly in their order")


def _tells_apart(views: Sequence[View], attribute: str) -> bool:
    values = [getattr(view, attribute) for view in views]
    return None not in values and len(set(values)) == len(values)


def _both_ways(azimuths_deg: Matrix, words: str) -> Iterator[Arrangement]:
    yield Arrangement(azimuths_deg, words)
    yield Arrangement(-azimuths_deg, f"{words}, clockwise")
