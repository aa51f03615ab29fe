"""How far a surface is to be trusted, as numbers that a report or a message can tell beside its measurements."""

from __future__ import annotations

from dermanode.dicom import concepts
from dermanode.domain import Measurement, Surface
from dermanode.domain.codes import DEGREE, NO_UNITS, PIXEL
from dermanode.domain.outcome import SurfaceSummary


def trust_in(surface: Surface | SurfaceSummary) -> tuple[Measurement, ...]:
    """Tilt, reprojection error and confidence, as far as the method knows them, and of how many views the surface was made."""
    facts = (
        ("tilt_deg", concepts.TILT, surface.tilt_deg, DEGREE),
        ("reprojection_error_px", concepts.REPROJECTION_ERROR, surface.reprojection_error_px, PIXEL),
        ("surface_confidence", concepts.SURFACE_CONFIDENCE, surface.confidence, NO_UNITS),
        ("surface_views", concepts.SURFACE_VIEWS, float(len(surface.used_views)), NO_UNITS),
    )
    return tuple(Measurement(key=key, concept=concept, value=value, unit=unit) for key, concept, value, unit in facts if value is not None)
