"""The reconstruct stage: a surface of the lesion. Today from the shading of one view, in relative heights."""

from __future__ import annotations

from dermanode.domain import Case, Surface
from dermanode.hookspecs import StageContext, hookimpl


@hookimpl
def warm_up(context: StageContext) -> None:
    """Loads OpenCV before the first case has to wait for it."""
    import dermanode_reconstruct.stage  # noqa: F401


@hookimpl
def reconstruct(case: Case, context: StageContext) -> Surface | None:
    """A triangle mesh of the lesion and a rim of skin; declines without a usable mask."""
    from dermanode_reconstruct.choice import choose_view
    from dermanode_reconstruct.settings import ReconstructSettings
    from dermanode_reconstruct.stage import reconstruct_view

    settings = ReconstructSettings.of("dermanode-reconstruct", context.settings)
    if case.segmentation is None:
        context.decline("the lesion was not segmented, so there is nothing to tell it from the skin around it")
        return None
    choice = choose_view(case.series.views, case.segmentation, case.clean_views, settings.least_lesion_px)
    if choice is None:
        context.decline(f"no view shows a lesion of at least {settings.least_lesion_px} pixels with skin around it")
        return None
    return reconstruct_view(choice, settings)
