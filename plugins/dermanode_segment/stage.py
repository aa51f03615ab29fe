"""From the cleaned views of a case to the lesion's masks at source resolution."""

from __future__ import annotations

import numpy as np
import torch

from dermanode.domain import Case, CleanView, LesionProbability, Segmentation, View, ViewMask
from dermanode.hookspecs import StageContext
from dermanode_segment.outline import OutlineRules, Probability, lesion_probability, to_source, touches_border
from dermanode_segment.segmenter import Segmenter

FULL_FRAME = 0.97
"""Share of the picture above which the lesion's edge is not in it."""
TINY = 0.002
"""Share of the picture below which a lesion is hardly to be told from a speck."""
UNSURE = 0.7
"""Mean probability inside the mask below which the outline is doubtful."""


def segment_views(case: Case, segmenter: Segmenter, context: StageContext) -> Segmentation | None:
    """A mask for every cleaned view, an empty one where nothing was found; declines where nothing was found in any."""
    clean = case.clean_views
    assert clean is not None, "the caller asks only for cases with cleaned views"
    torch.set_num_threads(max(1, context.threads))
    answer = segmenter.answer([view.pixels for view in clean.views])
    context.progress(0.5)
    masks: list[ViewMask] = []
    remarks = list(answer.remarks)
    for cleaned, probability in zip(clean.views, answer.chances, strict=True):
        view = case.series.view(cleaned.sop_instance_uid)
        mask = view_mask(cleaned, probability, view, segmenter.outline)
        masks.append(mask)
        remarks += _remarks(mask, view)
        context.progress(0.5 + 0.5 * len(masks) / len(clean.views))
    if not any(mask.confidence for mask in masks):
        context.decline(f"no lesion was found in any of {len(masks)} view(s)")
        return None
    return Segmentation(algorithm=segmenter.algorithm, masks=tuple(masks), remarks=tuple(remarks))


def view_mask(cleaned: CleanView, probability: Probability, view: View, rules: OutlineRules) -> ViewMask:
    """The one lesion of a view at source resolution; `probability` is the network's, on the cleaned view's pixels."""
    lesion = lesion_probability(probability, cleaned.pixels, rules)
    inside = lesion > 0.5
    mask = to_source(lesion, cleaned.to_source, view.rows, view.columns)
    found = bool(mask.any()) and bool(inside.any())
    return ViewMask(
        sop_instance_uid=cleaned.sop_instance_uid,
        mask=mask if found else np.zeros_like(mask),
        confidence=float(probability[inside].mean()) if found else 0.0,
        touches_border=found and touches_border(mask),
        probability=LesionProbability(values=lesion, to_source=cleaned.to_source) if found else None,
    )


def _remarks(mask: ViewMask, view: View) -> list[str]:
    name = f"View {view.number}" if view.number is not None else f"View {view.sop_instance_uid}"
    share = float(mask.mask.mean())
    if not mask.confidence:
        return [f"{name}: no lesion was found; its mask is empty."]
    remarks = []
    if share > FULL_FRAME:
        remarks.append(f"{name}: the lesion fills the picture; its edge is not seen, so its size and border are not known.")
    elif mask.touches_border:
        remarks.append(f"{name}: the lesion reaches the edge of the picture; a part of it may be missing.")
    if share < TINY:
        remarks.append(f"{name}: the lesion covers only {share:.2%} of the picture.")
    if mask.confidence < UNSURE:
        remarks.append(f"{name}: the outline is doubtful (mean probability {mask.confidence:.2f}).")
    return remarks
