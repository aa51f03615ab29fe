"""The fuse stage: the lesion in numbers, each with its unit and its definition, or absent with the reason."""

from __future__ import annotations

from dermanode.domain import Case, Features
from dermanode.hookspecs import StageContext, hookimpl


@hookimpl
def warm_up(context: StageContext) -> None:
    """Loads OpenCV and SciPy before the first case has to wait for it."""
    import dermanode_fuse.stage  # noqa: F401


@hookimpl
def fuse(case: Case, context: StageContext) -> Features | None:
    """Measures the lesion; declines where no view has a mask."""
    from dermanode_fuse.settings import FuseSettings
    from dermanode_fuse.stage import measure, outlined_views

    settings = FuseSettings.of("dermanode-fuse", context.settings)
    if case.segmentation is None:
        context.decline("the lesion was not segmented, so there is nothing to measure")
        return None
    outlined, remarks = outlined_views(case, settings)
    if not outlined:
        context.decline(f"no view has a mask of at least {settings.least_lesion_px} pixels")
        return None
    return measure(case, outlined, remarks, settings, threads=context.threads)
