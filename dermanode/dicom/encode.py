"""From a case to its DICOM objects: SEG for each mask, Surface Segmentation and STL for the mesh, heat maps as pictures, one report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset

import dermanode
from dermanode.dicom import capture, equipment, report, seg, stl, surface
from dermanode.dicom.report import Predecessor
from dermanode.dicom.result import ResultContext
from dermanode.dicom.sources import SourceImages
from dermanode.dicom.statements import statements
from dermanode.domain import Case, Outcome

ALL_KINDS = (seg.KIND, surface.KIND, stl.KIND, capture.KIND, report.KIND)


@dataclass(frozen=True, kw_only=True)
class EncodingOrder:
    """How a case is to be encoded. The same order for the same case gives the same bytes."""

    made_at: datetime
    """The date and time that every object carries."""
    pipeline: str
    series_description: str = "DermaNode"
    """Begins the Series Description of every result."""
    kinds: tuple[str, ...] = ALL_KINDS
    """Of `SEG`, `SURFACE_SEG`, `STL`, `SC`, `SR`."""
    predecessor_report: Predecessor | None = None
    """The report of the revision that this one supersedes: (class, instance, series, study) UIDs."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """One object, not yet written."""

    kind: str
    dataset: Dataset
    description: str
    """For people: what it is and of what."""


def encode_case(case: Case, outcome: Outcome, order: EncodingOrder) -> list[Encoded]:
    """Every object of the case that the order asks for and the findings allow; the report last, and also for a failed case.

    The headers of the source images are read again from the files behind the views, so that patient and study are the source's own.
    Raises `EncodingError` for a finding that does not fit its images, and for sources of more than one patient or study.
    """
    context = _context(case, outcome, order)
    made: list[Encoded] = []
    if seg.KIND in order.kinds and case.segmentation:
        objects = seg.encode_segmentations(context, case.segmentation)
        for mask, dataset in zip(case.segmentation.masks, objects, strict=True):
            found = "lesion outline" if mask.mask.any() else "no lesion found"
            made.append(Encoded(seg.KIND, dataset, f"Segmentation of view {mask.sop_instance_uid}: {found}"))
    if surface.KIND in order.kinds and case.surface and surface.why_not(case.surface) is None:
        scale = "mm" if case.surface.is_metric else "relative heights"
        words = f"Surface of {len(case.surface.vertices)} points and {len(case.surface.faces)} triangles, {scale}"
        made.append(Encoded(surface.KIND, surface.encode_surface(context, case.surface), words))
    if stl.KIND in order.kinds and case.surface and stl.why_not(case.surface) is None:
        made.append(Encoded(stl.KIND, stl.encode_stl(context, case.surface), "Closed surface as STL, mm"))
    if capture.KIND in order.kinds:
        for (_, explanation, heat_map), dataset in zip(capture.named_maps(case), capture.encode_captures(context), strict=True):
            shown = f"Heat map of view {heat_map.sop_instance_uid}, {capture.explains(explanation)}"
            made.append(Encoded(capture.KIND, dataset, shown))
    if report.KIND in order.kinds:
        results = [encoded.dataset for encoded in made]
        dataset = report.encode_report(context, statements(case, outcome, order.kinds), results, order.predecessor_report)
        made.append(Encoded(report.KIND, dataset, "Structured report" + (" of a failed case" if outcome.is_failed else "")))
    return made


def _context(case: Case, outcome: Outcome, order: EncodingOrder) -> ResultContext:
    used = equipment.algorithms(case, outcome)
    names = (
        dermanode.__version__,
        order.pipeline,
        *(f"{a.name} {a.version} {a.weights_digest or ''}" for a in used),
        *(f"{r.stage} {r.status}" for r in outcome.reports),
    )
    return ResultContext(case, SourceImages.of(case), used, order.made_at, order.series_description, "\n".join(names))
