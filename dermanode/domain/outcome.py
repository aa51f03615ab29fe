"""How a case ended: small, without arrays, so that the ledger, the page and the messages can keep it as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dermanode.domain.findings import Classification, ClassProbability, Features, Measurement, Progression, Risk
from dermanode.domain.identifiers import UID, Digest
from dermanode.domain.provenance import Algorithm


class StageStatus(StrEnum):
    """What became of a stage. Everything but PERFORMED must be said in the report: absence never reads as negative."""

    PERFORMED = "performed"
    DECLINED = "declined"
    """Every plugin asked said that it cannot do this case, and why."""
    FAILED = "failed"
    """A plugin raised, crashed, hung or broke its promise."""
    NOT_SERVED = "not served"
    """The pipeline names no plugin that could be asked."""


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What became of one stage, in words."""

    stage: str
    status: StageStatus
    plugin: str | None = None
    """The plugin that performed it, or the last one asked."""
    plugin_version: str | None = None
    reason: str = ""
    """Why it was not performed; empty when it was."""
    took_s: float = 0.0
    algorithm: Algorithm | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProducedObject:
    """One file made for a case."""

    kind: str
    """`SEG`, `SURFACE_SEG`, `STL`, `SC`, `SR`, `HL7`, `FHIR`, `PREVIEW`, `MESH`."""
    path: str
    """Relative to the results folder."""
    digest: Digest
    size_bytes: int
    sop_class_uid: UID | None = None
    sop_instance_uid: UID | None = None
    """None for what is no DICOM object."""
    passed_gate: bool = True
    reasons: tuple[str, ...] = ()
    """Why the gate refused it."""
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class SurfaceSummary:
    """A surface without its arrays."""

    method: str
    is_metric: bool
    scale_source: str
    lateral_unit: str = "mm"
    """`mm` or `px`. A surface without a scale makes no Surface Segmentation: its coordinates are millimetres by definition."""
    vertices: int
    faces: int
    used_views: tuple[UID, ...]
    dropped_views: tuple[tuple[UID, str], ...]
    is_closed: bool = False
    is_manifold: bool = True
    tilt_deg: float | None = None
    reprojection_error_px: float | None = None
    confidence: float | None = None
    """conf3D, 0 to 1."""
    curvature_scale_mm: float | None = None
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ViewSummary:
    """A view as the page shows it."""

    sop_instance_uid: UID
    rows: int
    columns: int
    outlines: tuple[tuple[tuple[float, float], ...], ...] = ()
    """Closed polygons of (column, row) in source pixels, pixel centres at whole numbers."""
    mask_confidence: float | None = None
    lesion_fraction: float | None = None
    hair_fraction: float | None = None
    delta_e_before: float | None = None
    delta_e_after: float | None = None
    blur: float | None = None
    glare_fraction: float | None = None


@dataclass(frozen=True, kw_only=True)
class HeatMapSummary:
    """A heat map as the page shows it."""

    sop_instance_uid: UID
    """The view that it lies over."""
    method: str
    explained: ClassProbability
    share_inside: float | None = None
    """Share of all heat that lies inside the outline."""
    picture: str
    """The heat as a transparent picture of the whole view: a path in the case's results folder."""


@dataclass(frozen=True, kw_only=True)
class ComparisonSummary:
    """One view beside a view of an earlier visit, as the page shows them; the pictures are paths in the case's results folder."""

    sop_instance_uid: UID
    prior_case_id: str
    prior_view_uid: UID
    now: str
    then: str
    """The prior view, brought onto `now`."""
    difference: str
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a case ended."""

    case_id: str
    revision: int
    is_failed: bool
    """True when a stage failed, or when no view could be read."""
    reports: tuple[StageReport, ...]
    views: tuple[ViewSummary, ...] = ()
    unreadable: tuple[tuple[UID, str], ...] = ()
    """Views whose pixel data could not be decoded, each with the reason: they go to quarantine."""
    surface: SurfaceSummary | None = None
    features: Features | None = None
    classification: Classification | None = None
    heat_maps: tuple[HeatMapSummary, ...] = ()
    progression: Progression | None = None
    comparisons: tuple[ComparisonSummary, ...] = ()
    risk: Risk | None = None
    objects: tuple[ProducedObject, ...] = ()
    took_s: float = 0.0
    research_use: str = "Research software, not a cleared medical device: not for diagnosis without a physician's review."

    def report(self, stage: str) -> StageReport | None:
        return next((r for r in self.reports if r.stage == stage), None)

    @property
    def reason(self) -> str:
        """Why it failed, in one sentence; empty when it did not."""
        return "; ".join(f"{r.stage}: {r.reason}" for r in self.reports if r.status is StageStatus.FAILED)
