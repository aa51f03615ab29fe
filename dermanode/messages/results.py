"""What a finished case has to say, in the order in which every message says it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from dermanode.dicom.trust import trust_in
from dermanode.domain import Algorithm, Case, ClassProbability, Code, Measurement, Outcome, RiskTerm, StageReport, StageStatus
from dermanode.domain.codes import private
from dermanode.domain.sizes import is_repeated, keys_of

STAGE_WORDS = {
    "preprocess": "Image preparation",
    "segment": "Segmentation",
    "reconstruct": "Surface reconstruction",
    "fuse": "Measurement",
    "classify": "Classification",
    "progression": "Comparison with earlier visits",
    "risk": "Risk assessment",
}
"""The stages as people call them; a vendor's own stage goes by its name."""

ANALYSIS = private("ANALYSIS", "State of the analysis")


@dataclass(frozen=True, slots=True)
class Gap:
    """A stage that was not performed, and why."""

    stage: str
    is_failure: bool
    words: str
    """`Segmentation not performed (declined): no view has a lesion`."""


def stage_concept(stage: str) -> Code:
    """The private concept under which a stage is reported."""
    return private(f"STAGE-{stage.upper()}", STAGE_WORDS.get(stage, stage))


def probability_concept(share: ClassProbability) -> Code:
    """The private concept of a class's probability: never the class itself, which would read as a finding."""
    return private(f"PROB-{share.label.upper()}", f"Probability: {share.concept.meaning}")


def gaps(outcome: Outcome) -> tuple[Gap, ...]:
    """Every stage that was not performed, each with its reason."""
    return tuple(
        Gap(
            report.stage,
            report.status is StageStatus.FAILED,
            f"{stage_concept(report.stage).meaning} not performed ({report.status.value}): {report.reason or 'no reason was given'}",
        )
        for report in outcome.reports
        if report.status is not StageStatus.PERFORMED
    )


def headline(outcome: Outcome) -> str:
    """The state of the analysis in one paragraph, written so that a missing result cannot be taken for a negative one."""
    missing = [gap.words for gap in gaps(outcome)]
    if outcome.is_failed:
        why = outcome.reason or ("no image could be read" if outcome.unreadable else "no reason was recorded")
        return f"ANALYSIS FAILED: {why}. What is missing here was not assessed and must not be read as negative."
    if missing:
        return f"Analysis incomplete: {'; '.join(missing)}. What is missing here was not assessed and must not be read as negative."
    return "Analysis complete."


def measurements(outcome: Outcome) -> tuple[Measurement, ...]:
    """The features' finite measurements, those of the surface that the features do not repeat, and how far it is to be trusted.

    One area: not a surface's footprint beside the area inside the outline.
    """
    first: dict[tuple[str, str | None], Measurement] = {}
    for measurement in _all_measurements(outcome):
        first.setdefault((measurement.key, measurement.view_uid), measurement)
    finite = [m for m in first.values() if math.isfinite(m.value)]
    keys = keys_of(finite)
    return tuple(m for m in finite if not is_repeated(m, keys))


def algorithm_of(measurement: Measurement, outcome: Outcome) -> Algorithm | None:
    """Which algorithm made one of these measurements or changes, where it is recorded."""
    if outcome.features and measurement in outcome.features.measurements:
        return outcome.features.algorithm
    if outcome.progression and measurement.key in {compared.key for compared in _compared(outcome)}:
        return outcome.progression.algorithm
    report = outcome.report("reconstruct")
    return report.algorithm if report else None


def changes(outcome: Outcome) -> tuple[Measurement, ...]:
    """As finite numbers: what changed since earlier visits, the trends over all of them, and what views laid over earlier ones show."""
    first: dict[tuple[str, str | None], Measurement] = {}
    for measurement in _compared(outcome):
        first.setdefault((measurement.key, measurement.view_uid), measurement)
    return tuple(m for m in first.values() if math.isfinite(m.value))


def ends(measurement: Measurement) -> tuple[float, float] | None:
    """The measurement's 90 % interval, where one is known: finite, and its lower end not above its upper."""
    lower, upper = measurement.lower, measurement.upper
    if lower is None or upper is None or not (math.isfinite(lower) and math.isfinite(upper) and lower <= upper):
        return None
    return lower, upper


def interval(measurement: Measurement) -> str | None:
    """The 90 % interval in words."""
    known = ends(measurement)
    return f"90 % interval {digits(known[0])} to {digits(known[1])} {measurement.unit.value}" if known else None


def interval_concept(measurement: Measurement) -> Code:
    """The private concept of a measurement's 90 % interval, made of its key."""
    meaning = measurement.concept.meaning
    what = f"{meaning}, {measurement.derivation.meaning}" if measurement.derivation else meaning
    return private(f"{measurement.key}.interval90", f"{what}: 90 % interval")


def risk_parts(outcome: Outcome) -> tuple[RiskTerm, ...]:
    """The parts of the risk score that are numbers."""
    return tuple(term for term in outcome.risk.terms if math.isfinite(term.contribution)) if outcome.risk else ()


def part_in_words(term: RiskTerm) -> str:
    """`growth: 0.630 x weight 0.300 = 0.189`."""
    return f"{term.name}: {term.value:.3f} x weight {term.weight:.3f} = {term.contribution:.3f}"


def unmeasured(outcome: Outcome) -> tuple[tuple[str, str], ...]:
    """(key, reason) of every measurement that could not be made."""
    stated = outcome.features.absent if outcome.features else ()
    broken = [m.key for m in (*_all_measurements(outcome), *_compared(outcome)) if not math.isfinite(m.value)]
    if outcome.risk:
        broken += [f"part of the risk score: {term.name}" for term in outcome.risk.terms if not math.isfinite(term.contribution)]
    return (*stated, *((key, "the computation gave no finite number") for key in broken))


def algorithms(outcome: Outcome) -> tuple[tuple[str, Algorithm], ...]:
    """(stage, algorithm) of every stage that was performed."""
    return tuple((r.stage, r.algorithm) for r in outcome.reports if r.algorithm is not None and r.status is StageStatus.PERFORMED)


def decimal(value: float) -> Decimal:
    """A finite number to six significant digits."""
    return Decimal(digits(value))


def digits(value: float) -> str:
    """A finite number to six significant digits, without an exponent: HL7's NM knows none."""
    return format(Decimal(f"{value:.6g}"), "f")


def trustworthy(outcome: Outcome) -> Outcome:
    """The outcome without a classification or a risk whose numbers are none between 0 and 1; what is taken out is reported as failed.

    A plugin that computes such numbers is at fault, but the rest of the case must still be told.
    """
    classes, risk = outcome.classification, outcome.risk
    if classes and not (classes.diagnosis and all(_is_share(c.probability) and math.isfinite(c.spread or 0.0) for c in _classes(outcome))):
        outcome = replace(_faulty(outcome, "classify"), classification=None)
    if risk and not _is_share(risk.score):
        outcome = replace(_faulty(outcome, "risk"), risk=None)
    return outcome


def fingerprint(case: Case, outcome: Outcome) -> str:
    """SHA-256, hexadecimal, of what this case says: equal for every repetition, other when a new run of the case says something else."""
    patient = case.series.patient
    said = {
        "case": [case.id, case.revision],
        # The hospital may have merged or renamed the patient since the case was told.
        "patient": [patient.patient_id, patient.issuer, patient.name, str(patient.birth_date), patient.sex],
        "failed": outcome.is_failed,
        "stages": [[r.stage, r.status.value, r.plugin, r.plugin_version, r.reason] for r in outcome.reports],
        "measured": [[m.key, str(m.view_uid), digits(m.value), interval(m)] for m in (*measurements(outcome), *changes(outcome))],
        "unmeasured": unmeasured(outcome),
        "classes": [[c.label, digits(c.probability), c.spread] for c in _classes(outcome)],
        # A warning is news, also where the numbers stay the same
        "doubts": [outcome.classification.is_in_domain, *outcome.classification.remarks] if outcome.classification else None,
        "risk": [digits(outcome.risk.score), outcome.risk.level, outcome.risk.missing, outcome.risk.recommendation, outcome.risk.remarks]
        if outcome.risk
        else None,
        "risk parts": [part_in_words(term) for term in risk_parts(outcome)],
        "alerts": outcome.progression.alerts if outcome.progression else None,
        "unreadable": outcome.unreadable,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _all_measurements(outcome: Outcome) -> Iterator[Measurement]:
    if outcome.features:
        yield from outcome.features.measurements
    if outcome.surface:
        yield from (*outcome.surface.measurements, *trust_in(outcome.surface))


def _compared(outcome: Outcome) -> tuple[Measurement, ...]:
    laid_over = (replace(m, view_uid=pair.sop_instance_uid) for pair in outcome.comparisons for m in pair.measurements)
    return (*outcome.progression.changes, *outcome.progression.trends, *laid_over) if outcome.progression else ()


def _classes(outcome: Outcome) -> tuple[ClassProbability, ...]:
    return (*outcome.classification.diagnosis, *outcome.classification.groups) if outcome.classification else ()


def _is_share(value: float) -> bool:
    return -1e-6 <= value <= 1 + 1e-6  # false for what is no number


def _faulty(outcome: Outcome, stage: str) -> Outcome:
    fault = StageReport(stage=stage, status=StageStatus.FAILED, reason="the plugin gave numbers that are not between 0 and 1")
    others = tuple(report for report in outcome.reports if report.stage != stage)
    return replace(outcome, is_failed=True, reports=(*others, fault))
