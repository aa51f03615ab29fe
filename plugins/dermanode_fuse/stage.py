"""From masks and a surface to the lesion's numbers: each view is measured, and the median over the views is reported."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median, median_low

import numpy as np

from dermanode.domain import Algorithm, Case, Features, Measurement, View
from dermanode.domain.codes import Code, Quantity
from dermanode_fuse import catalogue as known
from dermanode_fuse.appearance import Appearance, Outlined, look_at
from dermanode_fuse.settings import FuseSettings
from dermanode_fuse.shape import main_region
from dermanode_fuse.solid import measure_solid

ALGORITHM = Algorithm("DermaNode lesion features", "0.1.0", family=Code("123105", "DCM", "Histogram Analysis"))
_MEDIAN = Code("373099004", "SCT", "Median")
_VIEWS_FOR_INTERVAL = 5
_TILTED_ABOVE_DEG = 5.0


Absent = list[tuple[str, str]]


def measure(case: Case, outlined: Sequence[Outlined], remarks: Sequence[str], settings: FuseSettings, *, threads: int = 1) -> Features:
    """The features of the lesion, the most important first (viewers show five). Raises `UnreadableObject`."""
    with ThreadPoolExecutor(max(1, min(threads, len(outlined))), thread_name_prefix="fuse") as pool:
        seen = list(pool.map(lambda one: look_at(one, settings), outlined))
    views = [one.view for one in seen]
    absent: Absent = []
    sizes = _sizes(seen, absent)
    found = [
        *sizes[:3],
        _combined(known.ASYMMETRY, [one.symmetry.asymmetry for one in seen], views),
        _combined(known.BORDER_IRREGULARITY, [one.shape.border_irregularity for one in seen], views),
        *sizes[3:],
        _combined(known.COLOUR_VARIANCE, [one.colour_variance for one in seen], views),
        _combined(known.ECCENTRICITY, [one.shape.eccentricity for one in seen], views),
        _combined(known.COMPACTNESS, [one.shape.compactness for one in seen], views),
        *_abcd(seen, settings, absent),
    ]
    solid, without = measure_solid(case.surface)
    return Features(
        algorithm=ALGORITHM,
        measurements=(*found, *solid),
        absent=(*absent, *without),
        remarks=(*remarks, *_remarks(case, seen, settings)),
    )


def _sizes(seen: Sequence[Appearance], absent: Absent) -> list[Measurement]:
    """The sizes in millimetres over the views with a scale; where there is none, in pixels of the first view."""
    scaled = [one for one in seen if one.has_scale]
    if not scaled:
        absent += [(in_mm.key, "no view states a pixel spacing") for in_mm, _, _ in known.SIZES]
    # Pixels of different cameras are not to be mixed: without spacing one view speaks.
    sized = scaled or seen[:1]
    views = [one.view for one in sized]
    return [_combined(in_mm if scaled else in_px, [getattr(one.shape, name) for one in sized], views) for in_mm, in_px, name in known.SIZES]


def _abcd(seen: Sequence[Appearance], settings: FuseSettings, absent: Absent) -> list[Measurement]:
    """The scores A, B and C that could be made and, with all three, their weighted sum."""
    parts: Mapping[Quantity, Sequence[int | None]] = {
        known.ABCD_A: [one.symmetry.score(settings) for one in seen],
        known.ABCD_B: [one.abrupt_sectors for one in seen],
        # A lesion has a colour, also where it is that of the skin.
        known.ABCD_C: [None if one.colours is None else max(1, len(one.colours)) for one in seen],
    }
    views = [one.view for one in seen]
    scores: list[Measurement] = []
    for quantity, values in parts.items():
        present = [value for value in values if value is not None]
        if present:
            scores.append(_measurement(quantity, median_low(present), views))
        else:
            absent.append((quantity.key, "the picture has too little skin around the lesion to compare with"))
    if len(scores) == len(parts):
        a, b, c = (score.value for score in scores)
        scores.append(_measurement(known.ABC_PARTIAL, 1.3 * a + 0.1 * b + 0.5 * c, views))
    else:
        absent.append((known.ABC_PARTIAL.key, "a part of it is missing"))
    absent.append(("abcd_d", "differential structures are not detected yet"))
    absent.append(("total_dermoscopy_score", "its D term, differential structures, is not detected yet"))
    return scores


def outlined_views(case: Case, settings: FuseSettings) -> tuple[list[Outlined], list[str]]:
    """The views to measure, the surest mask first, and what the reader is to know of the choice.

    A view that cuts the lesion off is left out while another shows it whole.
    """
    segmentation = case.segmentation
    whole: list[tuple[float, Outlined]] = []
    cut: list[tuple[float, Outlined]] = []
    remarks: list[str] = []
    for view in case.series.views:
        mask = segmentation.mask(view.sop_instance_uid) if segmentation is not None else None
        area_px = int(np.count_nonzero(mask.mask)) if mask is not None else 0
        if mask is None or area_px < settings.least_lesion_px:
            continue
        region = main_region(mask.mask)
        # Filled holes may make the region larger than its share of the mask.
        left_out = 1 - region.area_px / area_px
        if left_out > 0.05:
            remarks.append(f"{_name(view)}: {left_out:.0%} of the mask lies apart from its largest region and was not measured.")
        (cut if mask.touches_border else whole).append((mask.confidence, Outlined(view, region)))
    if whole and cut:
        count = "One view cuts" if len(cut) == 1 else f"{len(cut)} views cut"
        remarks.append(f"{count} the lesion off and did not count.")
    elif cut:
        remarks.append("The lesion reaches the edge of every picture: sizes are those of the part that was photographed.")
    # sorted is stable: equals stay in the order of the series.
    chosen = sorted(whole or cut, key=lambda pair: -pair[0])
    return [outlined for _, outlined in chosen], remarks


def _remarks(case: Case, seen: Sequence[Appearance], settings: FuseSettings) -> Iterator[str]:
    if len(seen) > 1:
        yield f"Values are medians over {len(seen)} views."
    tilt_deg = median(one.tilt_deg for one in seen)
    if tilt_deg > _TILTED_ABOVE_DEG:
        short = 1 - math.cos(math.radians(tilt_deg))
        yield (
            f"Sizes are those in the image plane: the cameras were tilted by {tilt_deg:.0f} degrees, "
            f"so lengths are up to {short:.0%} too short and areas {short:.0%} too small."
        )
    if names := seen[0].colours:
        yield f"Colours seen (ABCD rule): {', '.join(names)}."
    yield "A, B and C of the ABCD rule are measured by fixed thresholds that have not been checked against dermatologists."
    clean = case.clean_views
    if clean is not None and any(
        (cleaned := clean.view(one.view.sop_instance_uid)) is not None and cleaned.quality.hair_fraction > settings.hairy_above
        for one in seen
    ):
        yield "There is hair in the picture: it may count as colour or as asymmetry."


def _combined(quantity: Quantity, values: Sequence[float], views: Sequence[View]) -> Measurement:
    """The median over the views; with enough of them, the middle 90 % of the views as its interval."""
    interval = tuple(float(v) for v in np.percentile(values, (5, 95))) if len(values) >= _VIEWS_FOR_INTERVAL else (None, None)
    return _measurement(quantity, median(values), views, *interval)


def _measurement(
    quantity: Quantity, value: float, views: Sequence[View], lower: float | None = None, upper: float | None = None
) -> Measurement:
    return Measurement(
        key=quantity.key,
        concept=quantity.concept,
        value=float(value),
        unit=quantity.unit,
        lower=lower,
        upper=upper,
        derivation=_MEDIAN if len(views) > 1 else None,
        definition=quantity.definition,
        view_uid=views[0].sop_instance_uid if len(views) == 1 else None,
    )


def _name(view: View) -> str:
    return f"View {view.number}" if view.number is not None else f"View {view.sop_instance_uid}"
