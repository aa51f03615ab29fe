"""What a case says to HL7 v2: one observation after the other, in the order in which they are read."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from dermanode.dicom import concepts
from dermanode.domain import Algorithm, Case, Code, Measurement, Outcome
from dermanode.domain.codes import NO_UNITS, private
from dermanode.messages import er7, results

STUDY_INSTANCE_UID = Code("110180", "DCM", "Study Instance UID")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
LATERALITY = Code("272741003", "SCT", "Laterality")
RECOMMENDATION = Code("121075", "DCM", "Recommendation")
REPORT = Code("18748-4", "LN", "Diagnostic imaging study")
"""The report for people (LOINC)."""
ATTACHMENT = "DERMANODE-ATTACHMENT"
UNREADABLE = private("UNREADABLE", "Image that could not be read")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One OBX segment with the notes below it; everything but `keys` and `notes` is ER7."""

    keys: tuple[str, ...]
    """The values of the codes under which a mapping finds it: standard and own ones."""
    question: str
    values: tuple[str, ...]
    """Repetitions of OBX-5: the lines of a text."""
    type: str = "TX"
    units: str = ""
    flag: str = ""
    probability: str = ""
    is_obtained: bool = True
    """False: it says what is missing, and why."""
    is_always_told: bool = False
    """No mapping leaves it out: without it, what is missing would read as negative."""
    method: str = ""
    equipment: str = ""
    notes: tuple[str, ...] = ()
    attachment: str = ""
    """What stands for `ATTACHMENT` in its value: hl7apy lets no text through that is longer than 199 characters."""


def observations(case: Case, outcome: Outcome, pdf: bytes | None = None) -> Iterator[Observation]:
    """Everything that the case has to say. `pdf` is the report for people, where the receiver wants it."""
    series = case.series
    yield _text(results.ANALYSIS, results.headline(outcome), flag="A" if outcome.is_failed else "", is_always_told=True)
    yield _string(STUDY_INSTANCE_UID, series.study_instance_uid)
    if series.tracking_id:
        yield _string(TRACKING_IDENTIFIER, series.tracking_id)
    if series.tracking_uid:
        yield _string(TRACKING_UID, series.tracking_uid)
    if series.body_site:
        yield _coded(FINDING_SITE, series.body_site)
    if series.laterality:
        yield _string(LATERALITY, series.laterality)
    yield from _classification(outcome)
    yield from _risk(outcome)
    for measurement in (*results.measurements(outcome), *results.changes(outcome)):
        yield from _measured(measurement, results.algorithm_of(measurement, outcome))
    for alert in outcome.progression.alerts if outcome.progression else ():
        yield _text(concepts.ALERT, alert, flag="A", is_always_told=True)
    for gap in results.gaps(outcome):
        yield _text(results.stage_concept(gap.stage), gap.words, is_obtained=False, is_always_told=True)
    for key, reason in results.unmeasured(outcome):
        yield _text(concepts.NOT_MEASURED, f"{key}: {reason}", is_obtained=False, is_always_told=True)
    for uid, reason in outcome.unreadable:
        yield _text(UNREADABLE, f"{uid}: {reason}", is_obtained=False, is_always_told=True)
    yield _text(concepts.RESEARCH_USE, outcome.research_use, is_always_told=True)
    if pdf is not None:
        yield _document(pdf)


def _text(concept: Code, words: str, *, flag: str = "", is_obtained: bool = True, is_always_told: bool = False) -> Observation:
    return Observation(
        keys=(concept.value,),
        question=er7.coded(concept),
        values=er7.lines(words),
        flag=flag,
        is_obtained=is_obtained,
        is_always_told=is_always_told,
    )


def _string(concept: Code, value: str, *, flag: str = "", equipment: str = "") -> Observation:
    return Observation(
        keys=(concept.value,), question=er7.coded(concept), type="ST", values=(er7.text(value),), flag=flag, equipment=equipment
    )


def _coded(concept: Code, value: Code, *, probability: str = "", equipment: str = "", notes: tuple[str, ...] = ()) -> Observation:
    return Observation(
        keys=(concept.value,),
        question=er7.coded(concept),
        type="CWE",
        values=(er7.coded(value),),
        probability=probability,
        equipment=equipment,
        notes=notes,
    )


def _document(pdf: bytes) -> Observation:
    """An ED (2.5.1, 2A.24): source application, type of data, subtype, encoding, data."""
    return Observation(
        keys=(REPORT.value,),
        question=er7.coded(REPORT),
        type="ED",
        values=(f"DERMANODE^application^pdf^Base64^{ATTACHMENT}",),
        attachment=base64.b64encode(pdf).decode("ascii"),
        is_always_told=True,  # the destination asks for it by a setting of its own
    )


def _classification(outcome: Outcome) -> Iterator[Observation]:
    found = outcome.classification
    if not found:
        return
    equipment = _equipment(found.algorithm)
    doubt = () if found.is_in_domain else ("The images are unlike those the model was trained on: do not rely on these probabilities.",)
    yield _coded(
        concepts.MOST_PROBABLE_CLASS,
        found.top.concept,
        probability=results.digits(found.top.probability),
        equipment=equipment,
        notes=(*doubt, *found.remarks),
    )
    for share in (*found.diagnosis, *found.groups):
        spread = () if share.spread is None else (f"Standard deviation over the views: {results.digits(share.spread)}",)
        yield _number((results.probability_concept(share),), share.probability, NO_UNITS, equipment=equipment, notes=spread)


def _risk(outcome: Outcome) -> Iterator[Observation]:
    risk = outcome.risk
    if not risk:
        return
    equipment = _equipment(risk.algorithm)
    parts = [results.part_in_words(term) for term in results.risk_parts(outcome)]
    left_out = [f"Left out: {name} ({reason})" for name, reason in risk.missing]
    notes = (*parts, *left_out, *risk.remarks)
    yield _number((concepts.RISK_SCORE,), risk.score, NO_UNITS, equipment=equipment, notes=notes)
    # Only what is high is flagged: a flag N would say 'normal', which nobody has established
    yield _string(concepts.RISK_LEVEL, risk.level, flag="A" if risk.level == "high" else "", equipment=equipment)
    for term in results.risk_parts(outcome):
        made_of = (f"Value {term.value:.3f} x weight {term.weight:.3f}",)
        yield _number((concepts.risk_part(term.name),), term.contribution, NO_UNITS, equipment=equipment, notes=made_of)
    if risk.recommendation:
        yield _text(RECOMMENDATION, risk.recommendation)


def _measured(measurement: Measurement, algorithm: Algorithm | None) -> Iterator[Observation]:
    """The number, and below it its interval where it has one."""
    interval = results.interval(measurement)
    origin = f"Measured in image {measurement.view_uid}" if measurement.view_uid else ""
    key = private(measurement.key, measurement.concept.meaning)
    equipment = _equipment(algorithm) if algorithm else ""
    yield _number(
        (measurement.concept,) if measurement.concept == key else (measurement.concept, key),
        measurement.value,
        measurement.unit,
        method=er7.coded(measurement.derivation) if measurement.derivation else "",
        equipment=equipment,
        notes=tuple(filter(None, (interval, origin, measurement.definition))),
    )
    if ends := results.ends(measurement):
        yield _range(results.interval_concept(measurement), ends, measurement.unit, equipment)


def _range(concept: Code, ends: tuple[float, float], unit: Code, equipment: str) -> Observation:
    """A structured number (2.5.1, 2A.71): `^20.1^-^22.9`."""
    lower, upper = map(results.digits, ends)
    has_room = max(len(lower), len(upper)) <= er7.LONGEST_NM
    return Observation(
        keys=(concept.value,),
        question=er7.coded(concept),
        type="SN" if has_room else "ST",
        values=(f"^{lower}^-^{upper}" if has_room else f"{lower} to {upper}",),
        units=er7.coded(unit),
        equipment=equipment,
    )


def _number(
    names: tuple[Code, ...], value: float, unit: Code, *, method: str = "", equipment: str = "", notes: tuple[str, ...] = ()
) -> Observation:
    digits = results.digits(value)
    return Observation(
        keys=tuple(code.value for code in names),
        question=er7.coded(*names),
        type="NM" if len(digits) <= er7.LONGEST_NM else "ST",  # what NM has no room for is still told
        values=(digits,),
        units=er7.coded(unit),
        method=method,
        equipment=equipment,
        notes=notes,
    )


def _equipment(algorithm: Algorithm) -> str:
    name = er7.text(f"{algorithm.name} {algorithm.version}".strip())
    return f"{name}^{er7.authority(algorithm.manufacturer)}".rstrip("^")
