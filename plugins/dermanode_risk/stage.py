"""The score, its level and what is recommended."""

from __future__ import annotations

from dermanode.domain import Algorithm, Case, Risk
from dermanode.domain.codes import Code
from dermanode_risk.settings import RiskSettings
from dermanode_risk.terms import interval, parts, weighted

ALGORITHM = Algorithm("DermaNode risk score", "0.2.0", family=Code("123105", "DCM", "Histogram Analysis"))
_LEVELS = ("low", "moderate", "high")


def assess(case: Case, chance: float, settings: RiskSettings) -> Risk:
    """The risk of a lesion whose larger probability of malignant and suspicious is `chance`, 0 to 1.

    The level never lies below the one that the probability gives alone (a stable, symmetric lesion does not outvote its class), nor
    below moderate while the progression has an alert.
    """
    found = parts(case, chance, settings)
    terms = weighted(found)
    score = min(1.0, sum(term.contribution for term in terms))
    by_score, by_chance = _level(score, settings), _level(chance, settings)
    has_alert = settings.is_alert_moderate and case.progression is not None and bool(case.progression.alerts)
    level = max(by_score, by_chance, 1 if has_alert else 0)
    missing = tuple((part.name, part.reason) for part in found if part.value is None)
    remarks = [f"{part.reason[0].upper()}{part.reason[1:]}." for part in found if part.value is not None and part.reason]
    if by_chance > by_score:
        remarks.append(f"The score alone would be {_LEVELS[by_score]}; the class probability of {chance:.2f} makes it {_LEVELS[level]}.")
    if has_alert and max(by_score, by_chance) == 0:
        remarks.append("Score and class probability alone would be low; the change since an earlier visit makes it moderate.")
    ends = interval(found)
    if ends is not None:
        known = [part.name for part in found if part.value is not None and part.lower is not None]
        remarks.append(f"90 % interval of the score, from the errors of {', '.join(known)}: {ends[0]:.2f} to {ends[1]:.2f}.")
    if missing:
        remarks.append("Weights were scaled up over the terms that are present.")
    return Risk(
        algorithm=ALGORITHM,
        score=score,
        level=_LEVELS[level],
        terms=terms,
        missing=missing,
        recommendation=(settings.recommendation_low, settings.recommendation_moderate, settings.recommendation_high)[level],
        remarks=tuple(remarks),
    )


def _level(value: float, settings: RiskSettings) -> int:
    return (value >= settings.moderate_from) + (value >= settings.high_from)
