"""The progression stage: what changed since the lesion's earlier visits."""

from __future__ import annotations

from dermanode.domain import Case, Progression
from dermanode.hookspecs import StageContext, hookimpl


@hookimpl
def progression(case: Case, context: StageContext) -> Progression | None:
    """Compares with the last and the first earlier visit; declines where there is none or nothing to compare."""
    from dermanode_progression.settings import ProgressionSettings
    from dermanode_progression.stage import earlier_visits, follow

    settings = ProgressionSettings.of("dermanode-progression", context.settings)
    if not case.priors:
        context.decline("no earlier visit of this lesion is known")
        return None
    if case.features is None:
        context.decline("this visit has no measurements to compare with the earlier ones")
        return None
    visits = earlier_visits(case.priors)
    if not visits:
        context.decline(f"none of the earlier visits of this lesion ({len(case.priors)}) has measurements to compare with")
        return None
    return follow(case, case.features, visits, settings)
