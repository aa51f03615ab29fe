"""What the stages find. Each is frozen, arrays included; each says which algorithm made it.

Pixel coordinates are (column, row) with the centre of the first pixel at (0, 0), unless a field says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dermanode.domain.codes import Code
from dermanode.domain.identifiers import UID
from dermanode.domain.provenance import Algorithm
from dermanode.domain.series import RGB


def _freeze(*arrays: NDArray[np.generic] | None) -> None:
    for array in arrays:
        if array is not None:
            array.setflags(write=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class Finding:
    """What one stage found about one case."""

    stage: ClassVar[str]
    """The stage whose promise this is; a vendor's own stage names its own."""
    algorithm: Algorithm
    remarks: tuple[str, ...] = ()
    """Sentences for the reader: limits, flags, what was left out."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ViewQuality:
    """How good a photograph is, and what was done to it."""

    hair_fraction: float
    """Share of pixels that were hair and were painted over, 0 to 1."""
    delta_e_before: float
    """CIE76 distance of the healthy skin's mean colour from the reference, before normalisation."""
    delta_e_after: float
    blur: float
    """Variance of the Laplacian of the grey image at the working size: low is blurred."""
    glare_fraction: float
    """Share of pixels that are saturated highlights, 0 to 1."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CleanView:
    """One view made ready for networks."""

    sop_instance_uid: UID
    pixels: RGB
    """Working size, rows x columns x 3, sRGB."""
    to_source: NDArray[np.float64]
    """3 x 3: maps (column, row, 1) of the working pixels to source pixels."""
    quality: ViewQuality

    def __post_init__(self) -> None:
        _freeze(self.pixels, self.to_source)


@dataclass(frozen=True, eq=False, kw_only=True)
class CleanViews(Finding):
    """Every readable view, cleaned (stage preprocess)."""

    stage: ClassVar[str] = "preprocess"
    views: tuple[CleanView, ...]

    def view(self, sop_instance_uid: str) -> CleanView | None:
        return next((v for v in self.views if v.sop_instance_uid == sop_instance_uid), None)


@dataclass(frozen=True, eq=False, kw_only=True)
class LesionProbability:
    """How probable a method holds each part of one view to be lesion."""

    values: NDArray[np.float32]
    """Rows x columns of the method's own grid, 0 to 1. Beyond the grid nothing is held to be lesion."""
    to_source: NDArray[np.float64]
    """3 x 3: maps (column, row, 1) of the grid to source pixels."""

    def __post_init__(self) -> None:
        _freeze(self.values, self.to_source)


@dataclass(frozen=True, eq=False, kw_only=True)
class ViewMask:
    """Where the lesion is in one view."""

    sop_instance_uid: UID
    mask: NDArray[np.bool_]
    """Rows x columns of the source image; True is lesion."""
    confidence: float
    """Mean probability inside the mask, 0 to 1; 0 for an empty mask."""
    touches_border: bool
    probability: LesionProbability | None = None
    """What the mask was cut from, where the method has it: fractional segmentations are made of it."""

    def __post_init__(self) -> None:
        _freeze(self.mask)


@dataclass(frozen=True, eq=False, kw_only=True)
class Segmentation(Finding):
    """The lesion's outline in every view it was found in (stage segment)."""

    stage: ClassVar[str] = "segment"
    masks: tuple[ViewMask, ...]

    def mask(self, sop_instance_uid: str) -> ViewMask | None:
        return next((m for m in self.masks if m.sop_instance_uid == sop_instance_uid), None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Measurement:
    """One number with its unit, its interval and what it means."""

    key: str
    """Known by this name to plugins, JSON and messages: `area_mm2`."""
    concept: Code
    value: float
    unit: Code
    lower: float | None = None
    """Lower end of the 90 % interval, where one is known."""
    upper: float | None = None
    derivation: Code | None = None
    """`Maximum`, `Mean`, ..."""
    definition: str = ""
    """The formula in words, and its source."""
    view_uid: UID | None = None
    """The view it was measured in; None for the lesion as a whole."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CameraPose:
    """Where the camera of one view stood, in the surface's frame, as the reconstruction found it."""

    sop_instance_uid: UID
    rotation: NDArray[np.float64]
    """3 x 3, surface to camera; the camera's x leads right, y down and z away from it, into the picture."""
    centre: NDArray[np.float64]
    """Three coordinates, in the surface's units."""
    focal_px: float
    """In pixels of the source image."""

    def __post_init__(self) -> None:
        _freeze(self.rotation, self.centre)


@dataclass(frozen=True, eq=False, kw_only=True)
class HeightField:
    """The skin and the lesion on it as a picture of heights. Arrays are rows x columns; row 0 has the largest y."""

    heights: NDArray[np.float32]
    """Above the base: the skin as it would be without the lesion. mm where the surface is metric."""
    base: NDArray[np.float32]
    """z of the base; base + heights is z in the surface's frame."""
    colours: NDArray[np.uint8]
    """x 3, sRGB."""
    is_lesion: NDArray[np.bool_]
    left: float
    """x of column 0, in the surface's lateral unit."""
    top: float
    """y of row 0; y falls by `step` a row."""
    step: float
    """Between neighbours along both axes."""

    def __post_init__(self) -> None:
        _freeze(self.heights, self.base, self.colours, self.is_lesion)


@dataclass(frozen=True, eq=False, kw_only=True)
class Surface(Finding):
    """The lesion's surface as a triangle mesh (stage reconstruct).

    Its frame is right-handed: x leads right and y up in the reference view, z towards the camera.
    """

    stage: ClassVar[str] = "reconstruct"
    vertices: NDArray[np.float32]
    """N x 3. x and y in `lateral_unit`; z in mm if `is_metric`, else in relative units of the same magnitude."""
    faces: NDArray[np.int32]
    """M x 3, counter-clockwise seen from outside, 0-based."""
    normals: NDArray[np.float32]
    """N x 3, unit length."""
    colours: NDArray[np.uint8]
    """N x 3, sRGB."""
    mean_curvature: NDArray[np.float32] | None = None
    """N values, per mm (per lateral unit where not metric), at `curvature_scale_mm`; positive where the skin bulges towards the camera."""
    curvature_scale_mm: float | None = None
    is_lesion: NDArray[np.bool_] | None = None
    """N flags: the vertex lies on the lesion's skin, not beside it nor on the floor that closes the mesh."""
    is_metric: bool
    """True when heights are millimetres. When False no volume or height in mm may be reported."""
    lateral_unit: str
    """`mm` or `px`."""
    method: str
    """In words: `shape from shading, one view`."""
    scale_source: str
    """In words, where the scale comes from: `pixel spacing (0028,0030)`."""
    used_views: tuple[UID, ...]
    dropped_views: tuple[tuple[UID, str], ...] = ()
    """Views that were not used, each with the reason."""
    is_closed: bool = False
    """The mesh bounds a finite volume."""
    is_manifold: bool = True
    height_field: HeightField | None = None
    """The lesion with the skin around it, undecimated: what is measured, and what the page shows around a closed mesh."""
    cameras: tuple[CameraPose, ...] = ()
    """Of the used views, where more than one view was used."""
    tilt_deg: float | None = None
    """Median angle between the cameras' axes and the skin's normal."""
    reprojection_error_px: float | None = None
    """Median distance between tracked points and where the poses put them, in source pixels."""
    confidence: float | None = None
    """conf3D, 0 to 1: how far the surface is to be trusted, as the method that made it judges."""
    measurements: tuple[Measurement, ...] = ()
    """What the method measured itself, with its own error: `volume_mm3`, `max_height_mm`, `mean_height_mm`, ..."""

    def __post_init__(self) -> None:
        _freeze(self.vertices, self.faces, self.normals, self.colours, self.mean_curvature, self.is_lesion)


@dataclass(frozen=True, eq=False, kw_only=True)
class Features(Finding):
    """The lesion in numbers (stage fuse)."""

    stage: ClassVar[str] = "fuse"
    measurements: tuple[Measurement, ...]
    absent: tuple[tuple[str, str], ...] = ()
    """(key, reason) of each measurement that could not be made."""

    def value(self, key: str) -> float | None:
        return next((m.value for m in self.measurements if m.key == key), None)


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassProbability:
    """The calibrated probability of one class."""

    label: str
    """Short label: `MEL`."""
    concept: Code
    probability: float
    spread: float | None = None
    """Standard deviation over views, where there is more than one."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Classification(Finding):
    """What the lesion may be, as calibrated probabilities (stage classify)."""

    stage: ClassVar[str] = "classify"
    diagnosis: tuple[ClassProbability, ...]
    """Over the diagnoses, most probable first; they sum to 1."""
    groups: tuple[ClassProbability, ...]
    """Over BENIGN, SUSPICIOUS, MALIGNANT in this order; they sum to 1."""
    is_in_domain: bool = True
    """False: the image is unlike those the model was trained on; the probabilities must not be relied on."""
    views: tuple[UID, ...] = ()

    @property
    def top(self) -> ClassProbability:
        return self.diagnosis[0]

    def group(self, label: str) -> float | None:
        return next((g.probability for g in self.groups if g.label == label), None)


@dataclass(frozen=True, eq=False, kw_only=True)
class HeatMap:
    """How much each part of one view speaks for an answer."""

    sop_instance_uid: UID
    heat: NDArray[np.float32]
    """Rows x columns of the map's own grid, 0 to 1. Beyond the grid there is no heat."""
    to_source: NDArray[np.float64]
    """3 x 3: maps (column, row, 1) of the grid to source pixels; the identity for a map at source resolution."""
    share_inside: float | None = None
    """Share of all heat that lies in the lesion's mask, 0 to 1; None where the view has no mask or the map no heat."""

    def __post_init__(self) -> None:
        _freeze(self.heat, self.to_source)


@dataclass(frozen=True, eq=False, kw_only=True)
class HeatMaps(Finding):
    """Where in the views an answer comes from.

    No stage of the node's own: a vendor's stage returns a class of its own that descends from it and names the stage, and the encoder,
    the report and the page show it as they show any other.
    """

    method: str
    """For people: `Grad-CAM`."""
    concept: Code
    """What the values are (PS3.16 CID 218): class activation, saliency."""
    explained: ClassProbability
    """The class whose probability the maps explain."""
    maps: tuple[HeatMap, ...]
    """At most one a view."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Visit:
    """What one earlier visit of the lesion found, as far as it is followed."""

    case_id: str
    acquired_at: datetime | None
    values: tuple[Measurement, ...]
    """`volume_mm3`, `area_mm2`, `max_height_mm`, `max_curvature_per_mm`, `malignant`, `suspicious`, `risk`, ...: those that are known."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ViewComparison:
    """One view laid over a view of an earlier visit."""

    sop_instance_uid: UID
    """The view of this visit."""
    prior_case_id: str
    prior_view_uid: UID
    to_prior: NDArray[np.float64]
    """3 x 3: maps (column, row, 1) of this view's source pixels to the prior view's."""
    now: RGB
    """This view, at a working size."""
    then: RGB
    """The prior view brought onto `now`, of the same size; black where it shows nothing."""
    difference: RGB
    """What changed, as a picture of the same size."""
    measurements: tuple[Measurement, ...] = ()

    def __post_init__(self) -> None:
        _freeze(self.to_prior, self.now, self.then, self.difference)


@dataclass(frozen=True, eq=False, kw_only=True)
class Progression(Finding):
    """What changed since earlier visits (stage progression)."""

    stage: ClassVar[str] = "progression"
    priors: tuple[str, ...]
    """The case ids compared with, oldest first."""
    changes: tuple[Measurement, ...]
    trends: tuple[Measurement, ...] = ()
    """Slopes over all visits, per 30 days."""
    history: tuple[Visit, ...] = ()
    """The earlier visits, oldest first."""
    alerts: tuple[str, ...] = ()
    """Sentences; empty when nothing crossed its threshold."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PicturedProgression(Progression):
    """A progression with pictures. They go into files; an outcome keeps the progression without them."""

    comparisons: tuple[ViewComparison, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class RiskTerm:
    """One part of the risk score."""

    name: str
    weight: float
    """After renormalisation over the terms that are present."""
    value: float
    """0 to 1."""

    @property
    def contribution(self) -> float:
        return self.weight * self.value


@dataclass(frozen=True, eq=False, kw_only=True)
class Risk(Finding):
    """The risk score and what it is made of (stage risk)."""

    stage: ClassVar[str] = "risk"
    score: float
    """0 to 1."""
    level: str
    """`low`, `moderate` or `high`."""
    terms: tuple[RiskTerm, ...]
    missing: tuple[tuple[str, str], ...] = field(default=())
    """(term, reason) of each part that was left out."""
    recommendation: str = ""
