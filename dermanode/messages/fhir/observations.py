"""What was found as Observations: the assessment, the measurements, the stages; a component for each part."""

from __future__ import annotations

from collections.abc import Iterator

from dermanode.dicom import concepts
from dermanode.domain import Code, Measurement, StageStatus
from dermanode.domain.codes import NO_UNITS, private
from dermanode.messages import results
from dermanode.messages.fhir import terms
from dermanode.messages.fhir.lesion import outlines_name
from dermanode.messages.fhir.telling import Telling
from dermanode.messages.fhir.terms import Json, Named

MEASUREMENTS = private("MEASUREMENTS", "Measurements of the lesion")
ASSESSMENT = private("ASSESSMENT", "Assessment of the lesion by an algorithm")

PARTS = ("assessment", "measurements", "stages")


def observation_name(telling: Telling, part: str) -> Named:
    return telling.part("Observation", part)


def observations(telling: Telling) -> Iterator[tuple[Named, Json]]:
    """One for each of `PARTS`, in that order."""
    for part, told in zip(PARTS, (_assessment(telling), _measurements(telling), _stages(telling)), strict=True):
        named = observation_name(telling, part)
        yield named, {**told, "identifier": [named.identifier]}


def _observation(
    telling: Telling,
    code: Code,
    stage: str | None,
    *,
    value: Json | None = None,
    text: str | None = None,
    components: list[Json],
    notes: list[str],
) -> Json:
    outcome, selection = telling.outcome, outlines_name(telling)
    has_nothing = value is None and text is None and not components
    algorithm = next((found for name, found in results.algorithms(outcome) if name == stage), None)
    return terms.told(
        "Observation",
        status=telling.status,
        category=[terms.term("observation-category", "imaging")],
        code=terms.concept(code),
        subject=telling.subject,
        focus=[telling.lesion.reference],
        effectiveDateTime=telling.observed_at,
        issued=telling.made_at,
        performer=telling.performers,
        valueCodeableConcept=value,
        valueString=terms.words(text),
        dataAbsentReason=terms.term("data-absent-reason", "not-performed", results.headline(outcome)) if has_nothing else None,
        note=terms.notes(*notes, outcome.research_use),
        bodySite=telling.site,
        method=terms.concept(algorithm.family, text=f"{algorithm.name} {algorithm.version}") if algorithm else None,
        device=(telling.device(stage) if stage else telling.node).reference,
        derivedFrom=[telling.study, *([selection.reference] if selection else [])],
        component=components,
    )


def _assessment(telling: Telling) -> Json:
    found, risk = telling.outcome.classification, telling.outcome.risk
    components: list[Json] = []
    for share in (*found.diagnosis, *found.groups) if found else ():
        code = terms.concept(results.probability_concept(share))
        components.append({"code": code, "valueQuantity": terms.quantity(share.probability, NO_UNITS)})
    if risk:
        components.append({"code": terms.concept(concepts.RISK_SCORE), "valueQuantity": terms.quantity(risk.score, NO_UNITS)})
        components.append({"code": terms.concept(concepts.RISK_LEVEL), "valueString": terms.words(risk.level) or "unnamed"})
    notes = list(found.remarks) if found else ["The lesion was not classified. " + results.headline(telling.outcome)]
    if found and not found.is_in_domain:
        notes.insert(0, "The images are unlike those the model was trained on: do not rely on these probabilities.")
    value = terms.concept(found.top.concept) if found else None
    return _observation(telling, ASSESSMENT, "classify", value=value, components=components, notes=notes)


def _measurements(telling: Telling) -> Json:
    outcome = telling.outcome
    found = (*results.measurements(outcome), *results.changes(outcome))
    components = [component for measurement in found for component in _measured(measurement)]
    for key, reason in results.unmeasured(outcome):
        why = terms.term("data-absent-reason", "not-performed", reason)
        components.append({"code": terms.concept(private(key, key)), "dataAbsentReason": why})
    notes = [f"{m.key}: {interval}" for m in found if (interval := results.interval(m))]
    alerts = list(outcome.progression.alerts) if outcome.progression else []
    return _observation(telling, MEASUREMENTS, "fuse", components=components, notes=[*alerts, *notes])


def _measured(measurement: Measurement) -> Iterator[Json]:
    """The number, and its interval as a range beside it: a reference range would say what is normal, which nobody has established."""
    yield {"code": terms.measured_concept(measurement), "valueQuantity": terms.quantity(measurement.value, measurement.unit)}
    if ends := results.ends(measurement):
        low, high = (terms.quantity(end, measurement.unit) for end in ends)
        yield {"code": terms.concept(results.interval_concept(measurement)), "valueRange": {"low": low, "high": high}}


def _stages(telling: Telling) -> Json:
    outcome = telling.outcome
    unread = [f"{uid} could not be read: {reason}" for uid, reason in outcome.unreadable]
    headline = results.headline(outcome)
    return _observation(telling, results.ANALYSIS, None, text=headline, components=list(_stage_components(telling)), notes=unread)


def _stage_components(telling: Telling) -> Iterator[Json]:
    missing = {gap.stage: gap for gap in results.gaps(telling.outcome)}
    for report in telling.outcome.reports:
        code, gap = terms.concept(results.stage_concept(report.stage)), missing.get(report.stage)
        if report.status is StageStatus.PERFORMED or gap is None:
            who = f"performed by {report.plugin} {report.plugin_version or ''}".rstrip()
            yield {"code": code, "valueString": terms.words(who)}
        else:
            why = "error" if gap.is_failure else "not-performed"
            yield {"code": code, "dataAbsentReason": terms.term("data-absent-reason", why, gap.words)}
