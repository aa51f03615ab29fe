"""The preprocess stage: every view cleaned for networks, with the way back to its source pixels."""

from __future__ import annotations

from dermanode.domain import Case, CleanViews
from dermanode.hookspecs import StageContext, hookimpl


@hookimpl
def warm_up(context: StageContext) -> None:
    """Loads OpenCV before the first case has to wait for it."""
    import dermanode_preprocess.stage  # noqa: F401


@hookimpl
def preprocess(case: Case, context: StageContext) -> CleanViews | None:
    """Cleans every view of the case."""
    # OpenCV is loaded when there is work, not when plugins are listed.
    from dermanode_preprocess.settings import CleaningSettings
    from dermanode_preprocess.stage import clean_views

    if not case.series.views:
        context.decline("the series has no view")
        return None
    return clean_views(case.series.views, CleaningSettings.of("dermanode-preprocess", context.settings), context)
