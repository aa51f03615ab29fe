"""The risk stage: one score, and what it is made of."""

from __future__ import annotations

from dermanode.domain import Case, Risk
from dermanode.hookspecs import StageContext, hookimpl


@hookimpl
def risk(case: Case, context: StageContext) -> Risk | None:
    """The risk score; declines without a class probability to rely on, because the rest alone would read as low."""
    from dermanode_risk.settings import RiskSettings
    from dermanode_risk.stage import assess
    from dermanode_risk.terms import probability

    settings = RiskSettings.of("dermanode-risk", context.settings)
    classification = case.classification
    if classification is None:
        context.decline("the lesion was not classified; a risk without its class probability would read as low")
        return None
    if not classification.is_in_domain:
        context.decline("the picture is unlike those that the classifier knows, so its probabilities must not be relied on")
        return None
    chance = probability(classification)
    if chance is None:
        context.decline("the classification does not give the probabilities of malignant and suspicious")
        return None
    return assess(case, chance, settings)
