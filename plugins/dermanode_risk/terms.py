"""The parts of the risk score: what each is worth in this case, or why it is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dermanode.domain import Case, Classification, Features, Measurement, Progression, RiskTerm
from dermanode_risk.settings import RiskSettings

_HALF_WIDTHS = 1.6449
"""Of a 90 % interval, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Part:
    """One term before the weights are renormalised."""

    name: str
    weight: float
    value: float | None
    """0 to 1; None where it is missing."""
    reason: str = ""
    """Why it is missing, or how it was had where that is not the usual way."""
    lower: float | None = None
    """Lower end of its 90 % interval, 0 to 1, where one is known."""
    upper: float | None = None


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
        _probability(case.classification, chance, settings),
        _growth(case.progression, settings),
        _measured(case.features, "max_curvature_per_mm", "curvature", settings.curvature_weight, settings.curvature_reference_per_mm),
        _measured(case.features, "asymmetry", "asymmetry", settings.asymmetry_weight, settings.asymmetry_reference),
        _abcd(case.features, case.progression, settings),
    )


def weighted(found: Sequence[Part]) -> tuple[RiskTerm, ...]:
    """The terms that are present, their weights scaled to sum to 1."""
    present = [(part, part.value) for part in found if part.value is not None]
    whole = sum(part.weight for part, _ in present)
    return tuple(RiskTerm(name=part.name, weight=part.weight / whole, value=value) for part, value in present)


def interval(found: Sequence[Part]) -> tuple[float, float] | None:
    """The 90 % interval of the score from the parts whose own is known, taken as independent; None where none is."""
    whole = sum(part.weight for part in found if part.value is not None)
    reach: list[tuple[float, float]] = []
    score = 0.0
    for part in found:
        if part.value is None:
            continue
        share = part.weight / whole
        score += share * part.value
        if part.lower is not None and part.upper is not None:
            reach.append((share * max(0.0, part.value - part.lower), share * max(0.0, part.upper - part.value)))
    if not reach:
        return None
    below, above = (math.hypot(*side) for side in zip(*reach, strict=True))
    return max(0.0, score - below), min(1.0, score + above)


def _probability(classification: Classification | None, chance: float, settings: RiskSettings) -> Part:
    """Its interval is that of the spread over the views, where there are several."""
    groups = classification.groups if classification is not None else ()
    spread = next((g.spread for g in groups if g.label in ("MALIGNANT", "SUSPICIOUS") and g.probability == chance), None)
    part = Part("probability", settings.probability_weight, _unit(chance))
    if spread is None or not math.isfinite(spread):
        return part
    return replace(part, lower=_unit(chance - _HALF_WIDTHS * spread), upper=_unit(chance + _HALF_WIDTHS * spread))


def _growth(progression: Progression | None, settings: RiskSettings) -> Part:
    """V_t / V_1 - 1 (the paper's V_ratio - 1, read as growth); where volumes are not known, the same of the area."""
    if progression is None:
        return Part("growth", settings.growth_weight, None, "no earlier visit was compared with")
    for quantity, reason in (("volume_mm3", ""), ("area_mm2", "growth is that of the area, because no volume is known")):
        change = _found(progression.changes, f"{quantity}_change_since_first_percent")
        if change is not None:
            return _rise(Part("growth", settings.growth_weight, None, reason), change, 100.0)
    return Part("growth", settings.growth_weight, None, "neither volume nor area in millimetres is known at both visits")


def _abcd(features: Features | None, progression: Progression | None, settings: RiskSettings) -> Part:
    """The change of the total dermoscopy score since the first visit; of A, B and C alone where D was not scored."""
    part = Part("ABCD change", settings.abcd_weight, None)
    whole = _found(features.measurements, "abcd_change") if features is not None else None
    if whole is None and progression is None:
        return replace(part, reason="no earlier visit was compared with")
    changes = progression.changes if progression is not None else ()
    whole = whole or _found(changes, "total_dermoscopy_score_change_since_first")
    if whole is not None:
        return _rise(part, whole, settings.abcd_reference)
    some = _found(changes, "abc_partial_score_change_since_first")
    if some is None:
        return replace(part, reason="the score was not measured at both visits")
    return _rise(replace(part, reason="ABCD change is that of A, B and C without D"), some, settings.abcd_reference)


def _measured(features: Features | None, key: str, name: str, weight: float, reference: float) -> Part:
    found = _found(features.measurements, key) if features is not None else None
    if found is None:
        return Part(name, weight, None, _absent(features, key))
    return _with_ends(Part(name, weight, _unit(found.value / reference)), found, reference)


def _rise(part: Part, change: Measurement, reference: float) -> Part:
    """A change as a share of the reference, 0 to 1. A rise whose own interval reaches down to 0 counts as none: it may be error alone, and
    the same error would raise the score of every second stable lesion."""
    if change.value > 0 and change.lower is not None and change.lower <= 0:
        within = f"the {part.name} measured, {100 * change.value / reference:.0f} % of what counts as 1, is within error and counts as 0"
        reason = f"{part.reason}; {within}" if part.reason else within
        return _with_ends(replace(part, value=0.0, reason=reason), change, reference)
    return _with_ends(replace(part, value=_unit(change.value / reference)), change, reference)


def _with_ends(part: Part, found: Measurement, reference: float) -> Part:
    if found.lower is None or found.upper is None or not (math.isfinite(found.lower) and math.isfinite(found.upper)):
        return part
    return replace(part, lower=_unit(found.lower / reference), upper=_unit(found.upper / reference))


def _found(measurements: Sequence[Measurement], key: str) -> Measurement | None:
    """The measurement, where it is a number."""
    return next((m for m in measurements if m.key == key and math.isfinite(m.value)), None)


def _absent(features: Features | None, key: str) -> str:
    if features is None:
        return "the lesion was not measured"
    return dict(features.absent).get(key, "it was not measured")


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))
