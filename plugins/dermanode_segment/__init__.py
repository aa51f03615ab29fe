"""The segment stage: the lesion in every view, by the network of the bundle `lesion_segmentation`."""

from __future__ import annotations

from dermanode.domain import Case, Segmentation
from dermanode.hookspecs import StageContext, hookimpl

BUNDLE = "lesion_segmentation"


@hookimpl
def segment(case: Case, context: StageContext) -> Segmentation | None:
    """Finds the lesion in every cleaned view, all views in one batch."""
    # torch is loaded when there is work, not when plugins are listed.
    from dermanode_segment.segmenter import load
    from dermanode_segment.stage import segment_views

    if case.clean_views is None or not case.clean_views.views:
        context.decline("there is no cleaned view: the pipeline needs a preprocess stage that was performed")
        return None
    return segment_views(case, load(context.bundle(BUNDLE), context.device), context)


@hookimpl
def warm_up(context: StageContext) -> None:
    """Loads and checks the weights, and runs the network once."""
    from dermanode_segment.segmenter import load

    load(context.bundle(BUNDLE), context.device).rehearse()
