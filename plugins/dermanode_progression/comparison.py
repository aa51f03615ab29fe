"""Two values of one measurement at two visits: how far apart, and is that more than their error?"""

from __future__ import annotations

from dataclasses import dataclass

from dermanode.domain import Classification, Measurement
from dermanode_progression.tracked import Change, Tracked


@dataclass(frozen=True, slots=True)
class Comparison:
    """The change from an earlier visit to this one."""

    value: float
    """Percent, or the difference in the measurement's own unit."""
    is_within_error: bool = False
    """The 90 % intervals of both visits are known and overlap."""


def compare(tracked: Tracked, before: Measurement, now: Measurement) -> Comparison | str:
    """The change, or why the two cannot be compared."""
    if before.unit != now.unit:
        return f"its unit was {before.unit.value} and is {now.unit.value}"
    if tracked.change is Change.DIFFERENCE:
        return Comparison(now.value - before.value, _overlap(before, now))
    if before.value <= 0:
        return f"it was {before.value:g}, of which nothing is a percentage"
    return Comparison(100 * (now.value / before.value - 1), _overlap(before, now))


def compare_probabilities(before: Classification | None, now: Classification | None) -> Comparison | str:
    """The change of P(malignant or suspicious) in percentage points, or why there is none."""
    if before is None or now is None:
        return f"the lesion was not classified {'then' if before is None else 'now'}"
    if not (before.is_in_domain and now.is_in_domain):
        return f"the picture was unlike those that the classifier knows {'now' if before.is_in_domain else 'then'}"
    if (before.algorithm.name, before.algorithm.weights_digest) != (now.algorithm.name, now.algorithm.weights_digest):
        return "another model classified then"
    chance_before, chance_now = _chance(before), _chance(now)
    if chance_before is None or chance_now is None:
        return "the classification does not give the probabilities of malignant and suspicious"
    return Comparison(100 * (chance_now - chance_before))


def _chance(classification: Classification) -> float | None:
    malignant, suspicious = classification.group("MALIGNANT"), classification.group("SUSPICIOUS")
    return None if malignant is None or suspicious is None else malignant + suspicious


def _overlap(before: Measurement, now: Measurement) -> bool:
    if before.lower is None or before.upper is None or now.lower is None or now.upper is None:
        return False
    return before.lower <= now.upper and now.lower <= before.upper
