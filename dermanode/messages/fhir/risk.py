"""The risk as a RiskAssessment."""

from __future__ import annotations

from dermanode.dicom import concepts
from dermanode.domain import Risk
from dermanode.domain.codes import MALIGNANT
from dermanode.messages import results
from dermanode.messages.fhir import terms
from dermanode.messages.fhir.observations import observation_name
from dermanode.messages.fhir.telling import Telling
from dermanode.messages.fhir.terms import Json, Named


def risk_name(telling: Telling) -> Named:
    return telling.part("RiskAssessment", "risk")


def assessed(telling: Telling, risk: Risk) -> Json:
    """The level beside the probability of malignancy. The score is no probability: it stands in the rationale and the assessment."""
    outcome = telling.outcome
    rationale = _rationale(telling, risk)
    malignant = outcome.classification.group("MALIGNANT") if outcome.classification else None
    # Servers read the invariant ras-2 so that a prediction without a probability breaks it: without one, the risk is told in words
    prediction = malignant is not None and terms.filled(
        outcome=terms.concept(MALIGNANT),
        probabilityDecimal=results.decimal(malignant),
        qualitativeRisk=_level(risk.level),
        rationale=terms.words(rationale),
    )
    return terms.told(
        "RiskAssessment",
        extension=list(terms.risk_extensions(risk.score, results.risk_parts(outcome), risk.missing)),
        identifier=[risk_name(telling).identifier],
        status=telling.status,
        subject=telling.subject,
        occurrenceDateTime=telling.observed_at,
        performer=telling.device("risk").reference,
        basis=[observation_name(telling, "assessment").reference, observation_name(telling, "measurements").reference, telling.study],
        prediction=[prediction] if prediction else None,
        mitigation=terms.words(risk.recommendation),
        note=terms.notes(rationale, *risk.remarks, outcome.research_use),
    )


def withdrawn(telling: Telling) -> Json:
    """What stands where an earlier telling of the case had a risk, and this one has none."""
    why = f"The risk was not assessed; what an earlier result said of it no longer holds. {results.headline(telling.outcome)}"
    return terms.told(
        "RiskAssessment",
        identifier=[risk_name(telling).identifier],
        status="cancelled",
        subject=telling.subject,
        occurrenceDateTime=telling.observed_at,
        performer=telling.node.reference,
        basis=[telling.study],
        note=terms.notes(why, telling.outcome.research_use),
    )


def _rationale(telling: Telling, risk: Risk) -> str:
    parts = "; ".join(map(results.part_in_words, results.risk_parts(telling.outcome)))
    left_out = "".join(f"; left out: {name} ({reason})" for name, reason in risk.missing)
    return f"Risk {risk.level}, score {risk.score:.3f}: {parts}{left_out}"


def _level(level: str) -> Json:
    """The level in HL7's words where it has them, else in the plugin's."""
    is_known = level in ("low", "moderate", "high")
    return terms.term("risk-probability", level, level) if is_known else terms.concept(concepts.RISK_LEVEL, text=level)
