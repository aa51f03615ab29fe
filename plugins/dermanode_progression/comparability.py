"""What stands between two visits: other methods, scales or ways to photograph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dermanode.domain import Algorithm, Case, Features, View
from dermanode_progression.tracked import Tracked
from dermanode_progression.visits import EarlierVisit

_SCALE_TOLERANCE = 0.05


def incomparable(one: Tracked, case: Case, visit: EarlierVisit) -> str | None:
    """Why a measurement of this visit must not be held against the earlier one's; None where nothing speaks against it.

    What a report alone tells of a visit (no surface, no photographs) speaks against nothing: its units do.
    """
    surface, before = case.surface, visit.prior.outcome.surface
    if one.is_height:
        if surface is not None and not surface.is_metric:
            return "heights are relative now"
        if before is not None and not before.is_metric:
            return "heights were relative then"
        touched = _is_contact(case.series.views), _is_contact(visit.prior.views)
        if None not in touched and touched[0] != touched[1]:
            return f"the dermatoscope touched the skin only {'now' if touched[0] else 'then'}, which presses a lesion flat"
    if one.is_curvature and surface is not None and before is not None:
        now_mm, then_mm = surface.curvature_scale_mm, before.curvature_scale_mm
        if now_mm and then_mm and abs(now_mm / then_mm - 1) > _SCALE_TOLERANCE:
            return f"the curvature's scale was {then_mm:.2g} mm and is {now_mm:.2g} mm"
    return None


def notes(case: Case, now: Features, visit: EarlierVisit, since: str) -> Iterator[str]:
    """What a reader of the comparison must know: another method or version may change a number that the lesion did not."""
    if _differ(visit.features.algorithm, now.algorithm):
        yield f"{_named(visit.features.algorithm)} measured at {since}, {_named(now.algorithm)} now."
    surface, before = case.surface, visit.prior.outcome.surface
    if surface is not None and before is not None and surface.method != before.method:
        yield f"The surface was made by {before.method} at {since}, by {surface.method} now: errors of the two need not be alike."
    for finding, what in ((case.surface, "made the surface"), (case.segmentation, "outlined the lesion")):
        report = visit.prior.outcome.report(finding.stage) if finding is not None else None
        then = report.algorithm if report is not None else None
        if finding is not None and then is not None and _differ(then, finding.algorithm):
            yield f"{_named(then)} {what} at {since}, {_named(finding.algorithm)} now."


def _differ(one: Algorithm, other: Algorithm) -> bool:
    return (one.name, one.version) != (other.name, other.version) or bool(
        one.weights_digest and other.weights_digest and one.weights_digest != other.weights_digest
    )


def _named(algorithm: Algorithm) -> str:
    return f"{algorithm.name} {algorithm.version}"


def _is_contact(views: Sequence[View]) -> bool | None:
    stated = {view.geometry.is_contact for view in views} - {None}
    return stated.pop() if len(stated) == 1 else None
