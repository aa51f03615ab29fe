"""What the report for people says, in the order of its pages and in the words of its language."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dermanode.dicom import concepts
from dermanode.dicom.numbers import in_order, interval
from dermanode.document import vocabulary
from dermanode.document.wording import Phrase, Wording
from dermanode.domain import (
    Algorithm,
    Case,
    Classification,
    ClassProbability,
    Measurement,
    Outcome,
    Risk,
    StageStatus,
)
from dermanode.domain.codes import NO_UNITS


@dataclass(frozen=True, slots=True)
class Gap:
    """A stage that was not performed."""

    stage: Phrase
    status: Phrase
    is_failure: bool
    plugin: str
    reason: str
    """English."""


@dataclass(frozen=True, slots=True)
class Line:
    """One number."""

    key: str
    name: Phrase
    detail: Phrase
    """`Maximum`, ...; empty for none."""
    value: str
    unit: str
    interval: str
    """90 %, in the same unit; empty where none is known."""
    view: int | None
    """The view that it was measured in, counted from 1."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The probability of one class."""

    name: Phrase
    label: str
    share: float
    """0 to 1."""
    words: str
    spread: str
    """Standard deviation over the views; empty where there is one view."""
    low: float
    """share - spread, not below 0."""
    high: float
    group: str = ""
    """The label of a group of classes; empty for a diagnosis."""
    is_top: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the risk score."""

    name: Phrase
    value: str
    weight: str
    contribution: str
    share: float
    """Of the whole score's range, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Software:
    """Who computed what."""

    stage: Phrase
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class RiskWords:
    """The risk score."""

    level: Phrase
    level_name: str
    """`low`, `moderate`, `high`, or what a plugin calls it."""
    score: str
    share: float
    parts: tuple[Part, ...]
    missing: tuple[tuple[Phrase, str], ...]
    """(part, reason)."""
    recommendation: Phrase


@dataclass(frozen=True, slots=True)
class Content:
    """Everything but pictures, and what the template takes from the case as it stands."""

    gaps: tuple[Gap, ...]
    is_failed: bool
    is_in_domain: bool
    alerts: tuple[str, ...]
    diagnosis: tuple[Bar, ...]
    groups: tuple[Bar, ...]
    risk: RiskWords | None
    size: tuple[Line, ...]
    """What the first page tells of the lesion's size: the numbers that stand first in the DICOM report."""
    measurements: tuple[Line, ...]
    changes: tuple[Line, ...]
    unmeasured: tuple[tuple[Phrase, str], ...]
    unscaled: bool
    """A view states no pixel spacing."""
    remarks: tuple[str, ...]
    software: tuple[Software, ...]


def content_of(case: Case, outcome: Outcome, wording: Wording) -> Content:
    """The numbers stand in the order of the DICOM report, and only finite ones; what is none is named among what was not measured."""
    classification, risk, faults = _trusted(case, wording)
    first, others = in_order(case)
    compared = _compared_keys(case)
    measured = [*first, *(one for one in others if one[0].key not in compared)]
    lines = [_line(case, measurement, wording) for measurement, _ in measured]
    if risk is not None:
        score = Measurement(key="risk", concept=concepts.RISK_SCORE, value=risk.score, unit=NO_UNITS)
        lines.insert(len(first), _line(case, score, wording))
    return Content(
        gaps=(*_gaps(outcome, wording), *faults),
        is_failed=outcome.is_failed or bool(faults),
        is_in_domain=classification is None or classification.is_in_domain,
        alerts=case.progression.alerts if case.progression else (),
        diagnosis=tuple(_bar(one, wording, is_top=place == 0) for place, one in enumerate(classification.diagnosis))
        if classification
        else (),
        groups=tuple(_bar(one, wording, one.label) for one in classification.groups) if classification else (),
        risk=_risk(risk, wording) if risk else None,
        size=tuple(_line(case, measurement, wording) for measurement, _ in first),
        measurements=tuple(lines),
        changes=tuple(_line(case, measurement, wording) for measurement, _ in others if measurement.key in compared),
        unmeasured=tuple(_unmeasured(case, wording)),
        unscaled=any(view.geometry.pixel_spacing_mm is None for view in case.series.views),
        remarks=tuple(dict.fromkeys(_remarks(case, outcome))),
        software=tuple(
            Software(_stage(report.stage, wording), report.algorithm)
            for report in outcome.reports
            if report.algorithm is not None and report.status is StageStatus.PERFORMED
        ),
    )


def _trusted(case: Case, wording: Wording) -> tuple[Classification | None, Risk | None, list[Gap]]:
    """Classification and risk, as far as their numbers lie between 0 and 1; what does not is a failed stage."""
    faults = []
    classification, risk = case.classification, case.risk
    if classification and not (classification.diagnosis and all(map(_is_share, (*classification.diagnosis, *classification.groups)))):
        faults.append(_fault("classify", classification.algorithm, wording))
        classification = None
    if risk and not -1e-6 <= risk.score <= 1 + 1e-6:  # false for what is no number, too
        faults.append(_fault("risk", risk.algorithm, wording))
        risk = None
    return classification, risk, faults


def _is_share(share: ClassProbability) -> bool:
    return -1e-6 <= share.probability <= 1 + 1e-6 and math.isfinite(share.spread or 0.0)


def _fault(stage: str, algorithm: Algorithm, wording: Wording) -> Gap:
    status = Phrase(wording.gettext(vocabulary.STATUSES["failed"]))
    return Gap(_stage(stage, wording), status, True, algorithm.name, "it gave numbers that are not between 0 and 1")


def _stage(stage: str, wording: Wording) -> Phrase:
    known = vocabulary.STAGES.get(stage)
    return Phrase(wording.gettext(known)) if known else wording.phrase(stage)


def _gaps(outcome: Outcome, wording: Wording) -> Iterator[Gap]:
    for report in outcome.reports:
        if report.status is not StageStatus.PERFORMED:
            status = Phrase(wording.gettext(vocabulary.STATUSES[report.status.value]))
            is_failure = report.status is StageStatus.FAILED
            yield Gap(_stage(report.stage, wording), status, is_failure, report.plugin or "", report.reason)


def _line(case: Case, measurement: Measurement, wording: Wording) -> Line:
    ends = interval(measurement)
    is_count = measurement.unit.value == NO_UNITS.value and measurement.value == round(measurement.value) and ends is None
    return Line(
        key=measurement.key,
        name=wording.phrase(measurement.concept.meaning),
        detail=wording.phrase(measurement.derivation.meaning if measurement.derivation else ""),
        value=wording.count(measurement.value) if is_count else wording.number(measurement.value),
        unit=wording.unit(measurement.unit.value),
        interval=wording.span(*ends) if ends else "",
        view=next((n for n, view in enumerate(case.series.views, 1) if view.sop_instance_uid == measurement.view_uid), None),
    )


def _bar(share: ClassProbability, wording: Wording, group: str = "", *, is_top: bool = False) -> Bar:
    spread = share.spread or 0.0
    places = 1 if share.probability < 0.095 else 0
    return Bar(
        name=wording.phrase(share.concept.meaning),
        label=share.label,
        share=min(1.0, max(0.0, share.probability)),
        words=wording.share(share.probability, places),
        spread=wording.short(round(100 * spread, 1)) if share.spread is not None else "",
        low=max(0.0, share.probability - spread),
        high=min(1.0, share.probability + spread),
        group=group,
        is_top=is_top,
    )


def _risk(risk: Risk, wording: Wording) -> RiskWords:
    known = vocabulary.LEVELS.get(risk.level)
    return RiskWords(
        level=Phrase(wording.gettext(known)) if known else wording.phrase(risk.level),
        level_name=risk.level,
        score=wording.short(round(risk.score, 2)),
        share=min(1.0, max(0.0, risk.score)),
        parts=tuple(
            Part(
                wording.phrase(term.name),
                wording.short(round(term.value, 2)),
                wording.short(round(term.weight, 2)),
                wording.short(round(term.contribution, 3)),
                min(1.0, max(0.0, term.contribution)),
            )
            for term in risk.terms
            if math.isfinite(term.contribution)
        ),
        missing=(
            *((wording.phrase(name), reason) for name, reason in risk.missing),
            *((wording.phrase(term.name), _NO_NUMBER) for term in risk.terms if not math.isfinite(term.contribution)),
        ),
        recommendation=wording.phrase(risk.recommendation),
    )


_NO_NUMBER = "the computation gave no finite number"


def _compared_keys(case: Case) -> frozenset[str]:
    changes = (*case.progression.changes, *case.progression.trends) if case.progression else ()
    return frozenset(m.key for m in (*changes, *(m for pair in case.comparisons for m in pair.measurements)))


def _unmeasured(case: Case, wording: Wording) -> Iterator[tuple[Phrase, str]]:
    for key, reason in case.features.absent if case.features else ():
        yield _named(key, wording), reason
    for finding in (case.features, case.surface):
        for measurement in finding.measurements if finding else ():
            if not math.isfinite(measurement.value):
                yield wording.phrase(measurement.concept.meaning), _NO_NUMBER
    for measurement in (*case.progression.changes, *case.progression.trends) if case.progression else ():
        if not math.isfinite(measurement.value):
            yield wording.phrase(measurement.concept.meaning), _NO_NUMBER


def _named(key: str, wording: Wording) -> Phrase:
    known = vocabulary.KEYS.get(key)
    if known is None:
        return wording.phrase(key)
    name, detail = wording.gettext(known), vocabulary.KEY_DERIVATIONS.get(key)
    return Phrase(wording.gettext("{name}, {detail}").format(name=name, detail=wording.gettext(detail)) if detail else name)


def _remarks(case: Case, outcome: Outcome) -> Iterator[str]:
    for finding in case.findings:
        yield from finding.remarks
    for report in outcome.reports:
        yield from report.remarks
