"""Secondary Captures: each photograph with the lesion's outline drawn in, for a PACS that shows neither SEG nor report."""

from __future__ import annotations

from pydicom import Dataset

from dermanode.dicom import overlay
from dermanode.dicom.result import ResultContext
from dermanode.dicom.secondary import begin_capture, polygon_on, printable, shown
from dermanode.domain import UID, Segmentation, ViewMask

KIND = "OVERLAY"


def outlined_uid(context: ResultContext, view_uid: str) -> UID:
    """The SOP Instance UID of a view's picture."""
    return context.uid("instance", KIND, view_uid)


def encode_outlined(context: ResultContext, segmentation: Segmentation) -> list[Dataset]:
    """One Secondary Capture for each mask, also where no lesion was found: it says so.

    Raises `EncodingError` for a view that is not in the case or cannot be decoded.
    """
    return [_encode(context, segmentation, mask, number) for number, mask in enumerate(segmentation.masks, start=1)]


def _encode(context: ResultContext, segmentation: Segmentation, mask: ViewMask, number: int) -> Dataset:
    source = context.sources.image(mask.sop_instance_uid)
    by = f"{segmentation.algorithm.name} {segmentation.algorithm.version}"
    picture = shown(context, source, "outline")
    polygon = polygon_on(context, source, picture)
    says = f"no lesion found by {by}"
    if polygon is not None:
        picture = overlay.with_outline(picture, polygon, has_border=True)
        says = f"outline by {by}, mean probability inside {100 * mask.confidence:.0f} %"
    lines = ("AI - RESEARCH USE - OUTLINE DRAWN IN", printable(says))
    capture = begin_capture(
        context,
        source,
        overlay.with_legend(picture, lines, has_scale=False),
        uid=outlined_uid(context, mask.sop_instance_uid),
        instance=number,
        comment=f"AI - research use. Photograph with {says}",
        derivation=f"The photograph with {says}, drawn in white, and a legend below",
    )
    context.place(capture, KIND, "outlines")
    return capture
