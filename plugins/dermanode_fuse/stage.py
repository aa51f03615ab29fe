"""From masks and a surface to the lesion's numbers: each view is measured, and the median over the views is reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dermanode.domain import Algorithm, Case, Features, View
from dermanode.domain.codes import Code
from dermanode_fuse import catalogue as known
from dermanode_fuse.appearance import Appearance, Outlined, look_at
from dermanode_fuse.outline import skin_outline
from dermanode_fuse.over_views import VIEWS_FOR_INTERVAL, combined
from dermanode_fuse.score import change, scores
from dermanode_fuse.settings import FuseSettings
from dermanode_fuse.shape import main_region
from dermanode_fuse.sizes import measure_sizes
from dermanode_fuse.solid import measure_solid

ALGORITHM = Algorithm("DermaNode lesion features", "0.2.0", family=Code("123105", "DCM", "Histogram Analysis"))


def measure(case: Case, outlined: Sequence[Outlined], remarks: Sequence[str], settings: FuseSettings, *, threads: int = 1) -> Features:
    """The features of the lesion, the most important first (viewers show five). Raises `UnreadableObject`."""
    with ThreadPoolExecutor(max(1, min(threads, len(outlined))), thread_name_prefix="fuse") as pool:
        seen = list(pool.map(lambda one: look_at(one, settings), outlined))
    views = [one.view for one in seen]
    absent: list[tuple[str, str]] = []
    field = case.surface.height_field if case.surface is not None and case.surface.is_metric else None
    outline = skin_outline(field) if field is not None else None
    solid = measure_solid(case.surface, outline)
    sizes = measure_sizes(seen, field, outline, solid.measurement(known.FOOTPRINT.key), absent)
    abcd = scores(seen, settings, absent)
    rise, why = change(next((one for one in abcd if one.key == known.DERMOSCOPY_SCORE.key), None), case.priors)
    if rise is None:
        absent.append((known.ABCD_CHANGE.key, why))
    first = [one for one in solid.measurements if one.key in (known.VOLUME.key, known.MAX_HEIGHT.key)]
    found = [
        *first,
        *sizes.axes[:3],
        combined(known.ASYMMETRY, [one.symmetry.asymmetry for one in seen], views),
        combined(known.BORDER_IRREGULARITY, [one.shape.border_irregularity for one in seen], views),
        *sizes.axes[3:],
        combined(known.COLOUR_VARIANCE, [one.colour_variance for one in seen], views),
        *sizes.forms,
        *abcd,
        *([rise] if rise else []),
    ]
    taken = {one.key for one in found}
    found += [one for one in solid.measurements if one.key not in taken]
    said = (*remarks, *sizes.remarks, *solid.remarks, *([why] if rise and why else []), *_remarks(case, seen, settings))
    return Features(algorithm=ALGORITHM, measurements=tuple(found), absent=(*absent, *solid.absent), remarks=said)


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
        yield f"What is measured view by view is the median over {len(seen)} views."
    if len(seen) < VIEWS_FOR_INTERVAL:
        yield f"What is measured view by view has no interval: that takes {VIEWS_FOR_INTERVAL} views."
    if names := seen[0].colours:
        yield f"Colours seen (ABCD rule): {', '.join(names)}."
    if found := seen[0].structures.names(settings):
        yield f"Differential structures seen (ABCD rule): {', '.join(found)}."
    yield "A, B, C and D of the ABCD rule are measured by fixed thresholds that have not been checked against dermatologists."
    clean = case.clean_views
    if clean is not None and any(
        (cleaned := clean.view(one.view.sop_instance_uid)) is not None and cleaned.quality.hair_fraction > settings.hairy_above
        for one in seen
    ):
        yield "There is hair in the picture: it may count as colour or as asymmetry."


def _name(view: View) -> str:
    return f"View {view.number}" if view.number is not None else f"View {view.sop_instance_uid}"
