"""Secondary Captures: a heat map over its photograph, one object a view, for viewers that show nothing else of it."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset

from dermanode.dicom import overlay
from dermanode.dicom.result import ResultContext
from dermanode.dicom.secondary import LONGEST_PX as LONGEST_PX
from dermanode.dicom.secondary import SHORTEST_PX as SHORTEST_PX
from dermanode.dicom.secondary import begin_capture, polygon_on, printable, shown
from dermanode.dicom.sources import SourceImage
from dermanode.domain import UID, Case, HeatMap, HeatMaps
from dermanode.domain.series import RGB

KIND = "SC"


def capture_uid(context: ResultContext, finding: int, view_uid: str) -> UID:
    """The SOP Instance UID of a view's picture; `finding` counts the case's heat maps from 0."""
    return context.uid("instance", KIND, str(finding), view_uid)


def named_maps(case: Case) -> Iterator[tuple[int, HeatMaps, HeatMap]]:
    """Every map of the case with its finding, and that one's number among the case's heat maps."""
    for number, found in enumerate(case.heat_maps):
        for heat_map in found.maps:
            yield number, found, heat_map


def encode_captures(context: ResultContext) -> list[Dataset]:
    """One Secondary Capture for each map of the case. Raises `EncodingError` for a view that is not in the case or cannot be decoded."""
    return [
        _encode(context, capture_uid(context, number, heat_map.sop_instance_uid), found, heat_map, instance)
        for instance, (number, found, heat_map) in enumerate(named_maps(context.case), start=1)
    ]


def explains(found: HeatMaps) -> str:
    """`Grad-CAM: Melanocytic nevus, 93 %`."""
    return f"{found.method}: {found.explained.concept.meaning}, {100 * found.explained.probability:.0f} %"


def _encode(context: ResultContext, uid: UID, found: HeatMaps, heat_map: HeatMap, instance: int) -> Dataset:
    source = context.sources.image(heat_map.sop_instance_uid)
    by = f"{found.algorithm.name} {found.algorithm.version}"
    capture = begin_capture(
        context,
        source,
        _picture(context, source, found, heat_map),
        uid=uid,
        instance=instance,
        comment=f"AI - research use, not a photograph. {explains(found)}",
        derivation=f"{found.method} heat map of {found.explained.concept.meaning} by {by}, over the photograph in grey, with the lesion's "
        "outline and a legend below",
    )
    context.place(capture, KIND, "heat map")
    return capture


def _picture(context: ResultContext, source: SourceImage, found: HeatMaps, heat_map: HeatMap) -> RGB:
    view = source.view
    photograph = shown(context, source, "heat map")
    size = photograph.shape[0], photograph.shape[1]
    picture = overlay.laid_over(photograph, overlay.heat_on(heat_map, size, (view.rows, view.columns)))
    polygon = polygon_on(context, source, photograph)
    if polygon is not None:
        picture = overlay.with_outline(picture, polygon)
    return overlay.with_legend(picture, ("AI - RESEARCH USE - NOT A PHOTOGRAPH", printable(explains(found))))
