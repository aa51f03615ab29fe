"""The parts of the risk score: what each is worth in this case, or why it is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dermanode.domain import Case, Classification, Features, Progression, RiskTerm
from dermanode_risk.settings import RiskSettings


@dataclass(frozen=True, slots=True)
class Part:
    """One term before the weights are renormalised."""

    name: str
    weight: float
    value: float | None
    """0 to 1; None where it is missing."""
    reason: str = ""
    """Why it is missing, or how it was had where that is not the usual way."""


def probability(classification: Classification) -> float | None:
    """max(P_malignant, P_suspicious), or None where the classification does not give both as numbers from 0 to 1."""
    malignant, suspicious = classification.group("MALIGNANT"), classification.group("SUSPICIOUS")
    if malignant is None or suspicious is None:
        return None
    # Not a number is neither: it must not pass for 0.
    return max(malignant, suspicious) if 0 <= malignant <= 1 and 0 <= suspicious <= 1 else None


def parts(case: Case, chance: float, settings: RiskSettings) -> tuple[Part, ...]:
    """All five terms of R = 0.40 max(P_malignant, P_suspicious) + 0.25 growth + 0.20 k_max + 0.10 asymmetry + 0.05 delta ABCD."""
    return (
        Part("probability", settings.probability_weight, _unit(chance)),
        _growth(case.progression, settings),
        _curvature(case.features, settings),
        _asymmetry(case.features, settings),
        _abcd(case.progression, settings),
    )


def weighted(found: Sequence[Part]) -> tuple[RiskTerm, ...]:
    """The terms that are present, their weights scaled to sum to 1."""
    present = [(part, part.value) for part in found if part.value is not None]
    whole = sum(part.weight for part, _ in present)
    return tuple(RiskTerm(name=part.name, weight=part.weight / whole, value=value) for part, value in present)


def _growth(progression: Progression | None, settings: RiskSettings) -> Part:
    """V_t / V_1 - 1 (the paper's V_ratio - 1, read as growth); where volumes are not known, the same of the area."""
    if progression is None:
        return Part("growth", settings.growth_weight, None, "no earlier visit was compared with")
    for quantity, reason in (("volume_mm3", ""), ("area_mm2", "growth is that of the area, because no volume is known")):
        change_percent = _change(progression, f"{quantity}_change_since_first_percent")
        if change_percent is not None:
            return Part("growth", settings.growth_weight, _unit(change_percent / 100), reason)
    return Part("growth", settings.growth_weight, None, "neither volume nor area in millimetres is known at both visits")


def _curvature(features: Features | None, settings: RiskSettings) -> Part:
    value = _measured(features, "max_curvature_per_mm")
    if value is None:
        return Part("curvature", settings.curvature_weight, None, _absent(features, "max_curvature_per_mm"))
    return Part("curvature", settings.curvature_weight, _unit(value / settings.curvature_reference_per_mm))


def _asymmetry(features: Features | None, settings: RiskSettings) -> Part:
    value = _measured(features, "asymmetry")
    if value is None:
        return Part("asymmetry", settings.asymmetry_weight, None, _absent(features, "asymmetry"))
    return Part("asymmetry", settings.asymmetry_weight, _unit(value / settings.asymmetry_reference))


def _abcd(progression: Progression | None, settings: RiskSettings) -> Part:
    if progression is None:
        return Part("ABCD change", settings.abcd_weight, None, "no earlier visit was compared with")
    rise = _change(progression, "abc_partial_score_change_since_first")
    if rise is None:
        return Part("ABCD change", settings.abcd_weight, None, "the score was not measured at both visits")
    return Part("ABCD change", settings.abcd_weight, _unit(rise / settings.abcd_reference), "ABCD change is that of A, B and C without D")


def _change(progression: Progression, key: str) -> float | None:
    return next((m.value for m in progression.changes if m.key == key and math.isfinite(m.value)), None)


def _measured(features: Features | None, key: str) -> float | None:
    value = features.value(key) if features is not None else None
    return value if value is not None and math.isfinite(value) else None


def _absent(features: Features | None, key: str) -> str:
    if features is None:
        return "the lesion was not measured"
    return dict(features.absent).get(key, "it was not measured")


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))
