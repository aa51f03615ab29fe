"""What the report says in sentences: what was not done, what limits the numbers, and that it is research."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dermanode.dicom import concepts, stl, surface
from dermanode.domain import Case, Classification, Features, HeatMaps, Measurement, Outcome, Progression, Risk, StageStatus, Surface
from dermanode.domain.codes import Code
from dermanode.domain.sizes import is_repeated, keys_of

_STAGE_NOUNS = {
    "preprocess": "preprocessing",
    "segment": "segmentation",
    "reconstruct": "surface reconstruction",
    "fuse": "feature measurement",
    "classify": "classification",
    "progression": "comparison with earlier visits",
    "risk": "risk estimation",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence and the concept it comes under."""

    concept: Code
    text: str


def statements(case: Case, outcome: Outcome, kinds: tuple[str, ...] = ()) -> tuple[Statement, ...]:
    """Everything that must be said in words, research use first and each sentence once; `kinds` are the objects that were asked for."""
    return tuple(dict.fromkeys(_all(case, outcome, kinds)))


def _all(case: Case, outcome: Outcome, kinds: tuple[str, ...]) -> Iterator[Statement]:
    yield Statement(concepts.RESEARCH_USE, f"Research use. {outcome.research_use}")
    yield from _not_performed(outcome)
    for uid, reason in outcome.unreadable:
        yield Statement(concepts.NOT_PERFORMED, f"View {uid} could not be read and was left out: {reason}")
    if case.classification:
        yield from _classification(case.classification)
    for found in case.heat_maps:
        yield _explanation(found)
    if case.risk:
        yield from _risk(case.risk)
    if case.progression:
        yield from _progression(case.progression)
        for pair in case.comparisons:
            laid = f"View {pair.sop_instance_uid} was laid over view {pair.prior_view_uid} of the earlier visit {pair.prior_case_id}."
            yield Statement(concepts.REMARK, laid)
    yield from _masks(case)
    if case.surface:
        yield from _surface(case.surface, kinds)
    yield from _intervals(case)
    if case.features:
        for key, reason in case.features.absent:
            yield Statement(concepts.NOT_MEASURED, f"{key} not measured: {reason}")
    for key, value in _values(case):
        if not math.isfinite(value):
            yield Statement(concepts.NOT_MEASURED, f"{key} not measured: its value was {value}")
    if any(view.geometry.pixel_spacing_mm is None for view in case.series.views):
        yield Statement(
            concepts.REMARK,
            "Pixel spacing is unknown for at least one image: its segmentation carries a nominal spacing of 1 mm, "
            "and lengths in millimetres must not be measured on it.",
        )
    for finding in case.findings:
        for remark in finding.remarks:
            yield Statement(concepts.REMARK, remark)
    for report in outcome.reports:
        for remark in report.remarks:
            yield Statement(concepts.REMARK, remark)


def _not_performed(outcome: Outcome) -> Iterator[Statement]:
    for report in outcome.reports:
        if report.status is StageStatus.PERFORMED:
            continue
        noun = _STAGE_NOUNS.get(report.stage, report.stage)
        reason = report.reason or report.status.value
        by = f" ({report.plugin})" if report.plugin else ""
        yield Statement(concepts.NOT_PERFORMED, f"{noun} not performed: {reason}{by}")


def _classification(classification: Classification) -> Iterator[Statement]:
    if not classification.is_in_domain:
        yield Statement(concepts.ALERT, "The image is unlike those the classifier was trained on: its probabilities must not be relied on.")
    shares = ", ".join(
        f"{c.label} {100 * c.probability:.1f} %" + (f" (+/- {100 * c.spread:.1f} over the views)" if c.spread is not None else "")
        for c in (*classification.diagnosis, *classification.groups)
    )
    yield Statement(concepts.CLASS_PROBABILITIES, shares)


def _explanation(found: HeatMaps) -> Statement:
    shares = [100 * heat_map.share_inside for heat_map in found.maps if heat_map.share_inside is not None]
    inside = f" Of the heat {min(shares):.0f} to {max(shares):.0f} % lies inside the outline." if shares else ""
    return Statement(
        concepts.EXPLANATION,
        f"{found.method} of {found.explained.concept.meaning} in {len(found.maps)} view(s): where in the photograph the probability comes "
        f"from, which does not say that it is right.{inside}",
    )


def _risk(risk: Risk) -> Iterator[Statement]:
    parts = "; ".join(f"{t.name}: weight {t.weight:.2f} x value {t.value:.2f} = {t.contribution:.3f}" for t in risk.terms)
    yield Statement(concepts.RISK_EXPLANATION, f"Risk {risk.level}, score {risk.score:.2f} of 1. {parts}".strip())
    for term, reason in risk.missing:
        yield Statement(concepts.REMARK, f"Risk score without {term}: {reason}")
    if risk.recommendation:
        yield Statement(concepts.RECOMMENDATION, risk.recommendation)


def _progression(progression: Progression) -> Iterator[Statement]:
    yield Statement(concepts.REMARK, f"Compared with {len(progression.priors)} earlier visit(s) of this lesion.")
    for visit in progression.history:
        values = "; ".join(_written(measurement) for measurement in visit.values if math.isfinite(measurement.value))
        when = f"{visit.acquired_at:%Y-%m-%d}" if visit.acquired_at else "unknown date"
        yield Statement(concepts.VISIT, f"{when}: {values or 'no measurement is known'}")
    for alert in progression.alerts:
        yield Statement(concepts.ALERT, alert)


def _written(measurement: Measurement) -> str:
    """`Height, Maximum 0.82 mm (0.8 to 0.84 mm)`."""
    interval = _interval(measurement)
    return f"{_name(measurement)} {measurement.value:.4g}{_unit(measurement)}" + (f" ({interval})" if interval else "")


def _name(measurement: Measurement) -> str:
    meaning = measurement.concept.meaning
    return f"{meaning}, {measurement.derivation.meaning}" if measurement.derivation else meaning


def _interval(measurement: Measurement) -> str:
    """`20.1 to 22.9 mm2`; empty where no interval is known."""
    lower, upper = measurement.lower, measurement.upper
    return f"{lower:.4g} to {upper:.4g}{_unit(measurement)}" if lower is not None and upper is not None else ""


def _unit(measurement: Measurement) -> str:
    return "" if measurement.unit.value == "1" else f" {measurement.unit.value}"


def _values(case: Case) -> Iterator[tuple[str, float]]:
    for finding in (case.features, case.surface, case.progression):
        yield from ((measurement.key, measurement.value) for measurement in _measured(finding))
    if case.classification:
        yield from ((f"probability of {c.label}", c.probability) for c in (*case.classification.diagnosis, *case.classification.groups))
    if case.risk:
        yield "risk score", case.risk.score
        yield from ((f"risk term {term.name}", term.contribution) for term in case.risk.terms)


def _measured(finding: Features | Surface | Progression | None) -> tuple[Measurement, ...]:
    if finding is None:
        return ()
    return (*finding.changes, *finding.trends) if isinstance(finding, Progression) else finding.measurements


def _intervals(case: Case) -> Iterator[Statement]:
    # They stand below each value too, but few viewers show what a number holds.
    findings = (case.features, case.surface, case.progression)
    measured = {(m.key, m.view_uid): m for finding in reversed(findings) for m in reversed(_measured(finding))}
    keys = keys_of(measured.values())
    told = [m for m in reversed(measured.values()) if not is_repeated(m, keys)]
    ends = [f"{_name(m)} {interval}" for m in told if (interval := _interval(m))]
    if ends:
        yield Statement(concepts.INTERVALS, f"90 % intervals: {'; '.join(ends)}")


def _masks(case: Case) -> Iterator[Statement]:
    if case.segmentation is None:
        return
    for view in case.series.views:
        mask = case.segmentation.mask(view.sop_instance_uid)
        if mask is None:
            yield Statement(concepts.REMARK, f"View {view.sop_instance_uid} was not segmented.")
        elif not mask.mask.any():
            yield Statement(concepts.REMARK, f"No lesion was found in view {view.sop_instance_uid}: its segmentation is empty.")
        elif mask.touches_border:
            yield Statement(
                concepts.REMARK, f"The lesion reaches the border of view {view.sop_instance_uid}: what lies beyond is not measured."
            )


def _surface(found: Surface, kinds: tuple[str, ...]) -> Iterator[Statement]:
    yield Statement(concepts.REMARK, f"Surface: {found.method}; scale from {found.scale_source}.")
    if not found.is_metric:
        yield Statement(concepts.REMARK, "The surface's heights are relative, not millimetres: no volume or height may be read from it.")
    if reason := surface.why_not(found):
        yield Statement(concepts.NOT_PERFORMED, f"Surface Segmentation object not made: {reason}")
    if stl.KIND in kinds and (reason := stl.why_not(found)):
        yield Statement(concepts.NOT_PERFORMED, f"Encapsulated STL object not made: {reason}")
    for uid, reason in found.dropped_views:
        yield Statement(concepts.REMARK, f"View {uid} was not used for the surface: {reason}")
