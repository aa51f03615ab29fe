"""The reconstruct stage: a surface of the lesion, in millimetres from several views, else in relative heights from one."""

from __future__ import annotations

from dermanode.domain import Case, Surface
from dermanode.hookspecs import StageContext, hookimpl


@hookimpl
def warm_up(context: StageContext) -> None:
    """Loads OpenCV and torch before the first case has to wait for them."""
    import dermanode_reconstruct.stage  # noqa: F401


@hookimpl
def reconstruct(case: Case, context: StageContext) -> Surface | None:
    """A triangle mesh of the lesion; declines without a usable mask."""
    from dermanode_reconstruct.settings import ReconstructSettings
    from dermanode_reconstruct.stage import surface_from

    settings = ReconstructSettings.of("dermanode-reconstruct", context.settings)
    if case.segmentation is None:
        context.decline("the lesion was not segmented, so there is nothing to tell it from the skin around it")
        return None
    return surface_from(case, case.segmentation, context, settings)
