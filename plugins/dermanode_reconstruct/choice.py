"""Which view a single-view method works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dermanode.domain import UID, CleanViews, Segmentation, View, ViewMask


@dataclass(frozen=True, eq=False)
class Choice:
    """The view that serves, its mask, and why the others do not."""

    view: View
    mask: ViewMask
    dropped: tuple[tuple[UID, str], ...]


def choose_view(views: Sequence[View], segmentation: Segmentation, clean: CleanViews | None, least_lesion_px: int) -> Choice | None:
    """The view with the best product of sharpness, confidence and size of the lesion; one that shows the whole lesion goes first.

    None where no view has a lesion of `least_lesion_px` pixels and some skin beside it. Equal views: the first of the series.
    """
    candidates: list[tuple[bool, float, int]] = []
    reasons: dict[UID, str] = {}
    for index, view in enumerate(views):
        mask = segmentation.mask(view.sop_instance_uid)
        area_px = int(mask.mask.sum()) if mask is not None else 0
        if mask is None or area_px == 0:
            reasons[view.sop_instance_uid] = "no lesion was found in it"
        elif area_px < least_lesion_px:
            reasons[view.sop_instance_uid] = f"the lesion is only {area_px} pixels large"
        elif area_px == mask.mask.size:
            reasons[view.sop_instance_uid] = "the lesion fills the picture: no skin is left to measure from"
        else:
            share = area_px / mask.mask.size
            candidates.append((not mask.touches_border, _sharpness(view, clean) * mask.confidence * share**0.5, -index))
    if not candidates:
        return None
    best = views[-max(candidates)[2]]
    mask = segmentation.mask(best.sop_instance_uid)
    assert mask is not None
    name = f"view {best.number}" if best.number is not None else f"view {best.sop_instance_uid}"
    dropped = tuple(
        (view.sop_instance_uid, reasons.get(view.sop_instance_uid, f"single-view method; {name} was used"))
        for view in views
        if view is not best
    )
    return Choice(best, mask, dropped)


def _sharpness(view: View, clean: CleanViews | None) -> float:
    cleaned = clean.view(view.sop_instance_uid) if clean is not None else None
    return cleaned.quality.blur if cleaned is not None else 1.0
