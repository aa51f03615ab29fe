"""The progression stage: what changed since the lesion's earlier visits."""

from __future__ import annotations

from dermanode.domain import Case, Progression
from dermanode.hookspecs import StageContext, hookimpl


@hookimpl
def warm_up(context: StageContext) -> None:
    """Loads OpenCV, and lets it set itself up, before the first case has to wait for it."""
    from dermanode_progression.rehearsal import lay_one_over_another

    lay_one_over_another()


@hookimpl
def progression(case: Case, context: StageContext) -> Progression | None:
    """Compares with the last and the first earlier visit; declines where there is none or nothing to compare."""
    from dermanode_progression.settings import ProgressionSettings
    from dermanode_progression.stage import follow
    from dermanode_progression.visits import record_of

    settings = ProgressionSettings.of("dermanode-progression", context.settings)
    if not case.priors:
        context.decline("; ".join(["no earlier visit of this lesion is known", *case.prior_gaps]))
        return None
    if case.features is None:
        context.decline("this visit has no measurements to compare with the earlier ones")
        return None
    record = record_of(case)
    if not record.compared:
        reason = f"none of the earlier visits of this lesion ({len(case.priors)}) has measurements to compare with"
        context.decline(" ".join([reason if not record.remarks else f"{reason}.", *record.remarks]).removesuffix("."))
        return None
    return follow(case, case.features, record, settings, threads=context.threads)
