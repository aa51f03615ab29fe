"""Which view of this visit is to be laid over which of the earlier one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dermanode.domain import Case, Prior, View
from dermanode_progression.picture import Polygon

_AZIMUTH_TOLERANCE_DEG = 1.0


@dataclass(frozen=True, eq=False)
class Outlined:
    """A view with the lesion's outlines in its source pixels."""

    view: View
    outlines: tuple[Polygon, ...]


def outlined_now(case: Case) -> Iterator[Outlined]:
    """The views with a mask, the surest first and those last in which the lesion is cut off. Each is outlined when its turn comes."""
    masks = case.segmentation.masks if case.segmentation is not None else ()
    views = {view.sop_instance_uid: view for view in case.series.views}
    # sorted is stable: equals stay in the order of the series.
    for mask in sorted(masks, key=lambda mask: (mask.touches_border, -mask.confidence)):
        if not mask.mask.any():
            continue
        contours, _ = cv2.findContours(np.ascontiguousarray(mask.mask).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        largest = max(contours, key=lambda contour: (cv2.contourArea(contour), len(contour)))
        polygon = tuple((float(column), float(row)) for column, row in largest.reshape(-1, 2))
        yield Outlined(views[mask.sop_instance_uid], (polygon,))


def outlined_then(prior: Prior) -> list[Outlined]:
    """The earlier photographs that are still here and of which the outline is known."""
    summaries = {summary.sop_instance_uid: summary for summary in prior.outcome.views}
    found = []
    for view in prior.views:
        summary = summaries.get(view.sop_instance_uid)
        # The outlines are in the pixels of the picture that was outlined; one of another size is another picture.
        if summary is not None and summary.outlines and (summary.rows, summary.columns) == (view.rows, view.columns):
            found.append(Outlined(view, summary.outlines))
    return found


def partner(now: View, earlier: Sequence[Outlined]) -> Outlined | None:
    """The earlier view of the same nominal azimuth, else of the same view code, else of the same number; None where none is stated."""
    azimuth_deg = now.geometry.azimuth_deg
    if azimuth_deg is not None:
        for one in earlier:
            other_deg = one.view.geometry.azimuth_deg
            if other_deg is not None and abs((azimuth_deg - other_deg + 180) % 360 - 180) <= _AZIMUTH_TOLERANCE_DEG:
                return one
    if now.view_code is not None:
        coded = [one for one in earlier if one.view.view_code is not None and one.view.view_code.value == now.view_code.value]
        if len(coded) == 1:
            return coded[0]
    return next((one for one in earlier if now.number is not None and one.view.number == now.number), None)
