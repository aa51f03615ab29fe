"""From a case to its DICOM objects: what its findings allow of what is ordered, and last the report, which names all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset

import dermanode
from dermanode.dicom import capture, concepts, encapsulated, equipment, outlined, parametric, rejection, report, seg, stl, surface
from dermanode.dicom.rejection import Rejection
from dermanode.dicom.report import Predecessor
from dermanode.dicom.result import ResultContext
from dermanode.dicom.sources import SourceImages
from dermanode.dicom.statements import Statement, statements
from dermanode.domain import Case, Outcome

ALL_KINDS = (seg.KIND, surface.KIND, stl.KIND, capture.KIND, report.KIND)
"""What is made where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class EncodingOrder:
    """How a case is to be encoded. The same order for the same case gives the same bytes."""

    made_at: datetime
    """The date and time that every object carries."""
    pipeline: str
    series_description: str = "DermaNode"
    """Begins the Series Description of every result."""
    kinds: tuple[str, ...] = ALL_KINDS
    """Of `SEG`, `SEG_FRACTIONAL`, `SEG_LABELMAP`, `SURFACE_SEG`, `STL`, `SC`, `OVERLAY`, `PMAP`, `PDF`, `SR`, `KOS`."""
    predecessor_report: Predecessor | None = None
    """The report of the revision that this one supersedes: (class, instance, series, study) UIDs."""
    rejections: tuple[Rejection, ...] = ()
    """What each destination got of that revision, where it is to be told; needs the kind `KOS`."""
    why_no_rejections: str = ""
    """Why a destination that wants to be told is not; empty where none is left out."""
    why_no_document: str = ""
    """Why the report for people could not be written."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """One object, not yet written."""

    kind: str
    dataset: Dataset
    description: str
    """For people: what it is and of what."""
    destination: str | None = None
    """The only one that it is for; None: for all."""


@dataclass(frozen=True, slots=True)
class Declined:
    """What was ordered and cannot be made of the findings."""

    what: str
    """`Parametric Map of heights`."""
    reason: str


Made = Iterator[Encoded | Declined]


def encode_case(case: Case, outcome: Outcome, order: EncodingOrder, pdf: bytes | None = None) -> list[Encoded]:
    """Every object of the case that the order asks for and the findings allow; the report also for a failed case.

    The report names what the others show, and says why what was ordered is not there. Rejection notes come after it, so that nothing is
    hidden before its successor is there. `pdf` is the report for people, to be encapsulated. The headers of the source images are read
    again from the files behind the views, so that patient and study are the source's own. Raises `EncodingError` for a finding that does
    not fit its images, and for sources of more than one patient or study.
    """
    context = _context(case, outcome, order)
    made: list[Encoded] = []
    declined: list[Declined] = []
    for kind, encode in _ENCODERS.items():
        if kind in order.kinds:
            for one in encode(context):
                made.append(one) if isinstance(one, Encoded) else declined.append(one)
    if encapsulated.KIND in order.kinds:
        one = _document(context, pdf, order.why_no_document)
        made.append(one) if isinstance(one, Encoded) else declined.append(one)
    if order.why_no_rejections:
        declined.append(Declined("Rejection note", order.why_no_rejections))
    if report.KIND in order.kinds:
        said = (*statements(case, outcome, order.kinds), *map(_not_made, declined))
        dataset = report.encode_report(context, said, [encoded.dataset for encoded in made], order.predecessor_report)
        made.append(Encoded(report.KIND, dataset, "Structured report" + (" of a failed case" if outcome.is_failed else "")))
    if rejection.KIND in order.kinds:
        made += _rejections(context, order.rejections)
    return made


def _segmentations(form: seg.Form) -> Callable[[ResultContext], Made]:
    names = {seg.KIND: "Segmentation", seg.FRACTIONAL: "Fractional segmentation", seg.LABELMAP: "Label map"}

    def encode(context: ResultContext) -> Made:
        found = context.case.segmentation
        if found is None:
            return
        if form == seg.FRACTIONAL and (reason := seg.why_not_fractional(found)):
            yield Declined("Fractional Segmentation object", reason)
            return
        for mask, dataset in seg.encode_segmentations(context, found, form):
            what = "lesion outline" if mask.mask.any() else "no lesion found"
            yield Encoded(form, dataset, f"{names[form]} of view {mask.sop_instance_uid}: {what}")

    return encode


def _surface(context: ResultContext) -> Made:
    found = context.case.surface
    if found and surface.why_not(found) is None:  # the report's own statements say why not
        scale = "mm" if found.is_metric else "relative heights"
        words = f"Surface of {len(found.vertices)} points and {len(found.faces)} triangles, {scale}"
        yield Encoded(surface.KIND, surface.encode_surface(context, found), words)


def _stl(context: ResultContext) -> Made:
    found = context.case.surface
    if found and stl.why_not(found) is None:
        yield Encoded(stl.KIND, stl.encode_stl(context, found), "Closed surface as STL, mm")


def _captures(context: ResultContext) -> Made:
    for (_, found, heat_map), dataset in zip(capture.named_maps(context.case), capture.encode_captures(context), strict=True):
        yield Encoded(capture.KIND, dataset, f"Heat map of view {heat_map.sop_instance_uid}, {capture.explains(found)}")


def _outlined(context: ResultContext) -> Made:
    if found := context.case.segmentation:
        for mask, dataset in zip(found.masks, outlined.encode_outlined(context, found), strict=True):
            yield Encoded(outlined.KIND, dataset, f"View {mask.sop_instance_uid} with its outline")


def _parametric(context: ResultContext) -> Made:
    if found := context.case.surface:
        if reason := parametric.why_no_heights(found):
            yield Declined("Parametric Map of heights", reason)
        else:
            yield Encoded(parametric.KIND, parametric.encode_heights(context, found), "Heights as a parametric map, mm")
    for explained, heat_map, dataset in parametric.encode_saliency(context):
        words = f"Heat of view {heat_map.sop_instance_uid} as a parametric map, {capture.explains(explained)}"
        yield Encoded(parametric.KIND, dataset, words)


def _document(context: ResultContext, pdf: bytes | None, why_none: str) -> Encoded | Declined:
    if pdf is None:
        return Declined("Encapsulated PDF object", why_none or "the report for people was not written")
    return Encoded(encapsulated.KIND, encapsulated.encode_pdf(context, pdf), "Report for people")


def _rejections(context: ResultContext, wanted: tuple[Rejection, ...]) -> Iterator[Encoded]:
    for number, one in enumerate(wanted, start=1):
        words = f"Rejection note on {len(one.replaced)} object(s) of the earlier revision, for {one.destination}"
        yield Encoded(rejection.KIND, rejection.encode_rejection(context, one, number), words, one.destination)


def _not_made(declined: Declined) -> Statement:
    return Statement(concepts.NOT_PERFORMED, f"{declined.what} not made: {declined.reason}")


_ENCODERS: Mapping[str, Callable[[ResultContext], Made]] = {
    **{form: _segmentations(form) for form in seg.FORMS},
    surface.KIND: _surface,
    stl.KIND: _stl,
    capture.KIND: _captures,
    outlined.KIND: _outlined,
    parametric.KIND: _parametric,
}
"""Those that need a case and nothing else, in the order in which their objects are made."""


def _context(case: Case, outcome: Outcome, order: EncodingOrder) -> ResultContext:
    used = equipment.algorithms(case, outcome)
    names = (
        dermanode.__version__,
        order.pipeline,
        *(f"{a.name} {a.version} {a.weights_digest or ''}" for a in used),
        *(f"{r.stage} {r.status}" for r in outcome.reports),
    )
    return ResultContext(case, SourceImages.of(case), used, order.made_at, order.series_description, "\n".join(names))
