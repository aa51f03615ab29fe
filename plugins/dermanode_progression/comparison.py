"""Two values of one measurement at two visits: how far apart, and is that more than their error?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dermanode.domain import Classification, Measurement
from dermanode_progression.tracked import Change, Tracked

HALF_WIDTHS = 1.6449
"""Of a 90 % interval, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Value:
    """A number and how far its 90 % interval reaches below and above it."""

    value: float
    below: float
    above: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The change from an earlier visit to this one."""

    value: float
    """Percent, or the difference in the measurement's own unit."""
    lower: float | None = None
    """Lower end of the change's own 90 % interval; None where the error of a visit is not known."""
    upper: float | None = None
    errors: float | None = None
    """The difference in units of its own error, the half-widths of both visits in quadrature; above 1 it is a rise at 90 %."""

    def is_within_error(self, factor: float) -> bool:
        """The error is known, and the rise is not above `factor` times it."""
        return self.errors is not None and self.errors <= factor


def compare(tracked: Tracked, before: Measurement, now: Measurement) -> Comparison | str:
    """The change, or why the two cannot be compared.

    The errors of the visits are taken to be independent. What a rig does wrong at every visit cancels out of a ratio, so that the
    interval is, if anything, too wide. A difference has the half-widths in quadrature; a ratio has Fieller's interval (1954), whose
    lower end lies above 1 exactly where the difference is above its error.
    """
    if (before.unit.value, before.unit.scheme) != (now.unit.value, now.unit.scheme):
        return f"its unit was {before.unit.value} and is {now.unit.value}"
    if not (math.isfinite(before.value) and math.isfinite(now.value)):
        return f"it was no number {'now' if math.isfinite(before.value) else 'then'}"
    then_known, now_known = with_error(before), with_error(now)
    if tracked.change is Change.PERCENT:
        if before.value <= 0:
            return f"it was {before.value:g}, of which nothing is a percentage"
        change = 100 * (now.value / before.value - 1)
    else:
        change = now.value - before.value
    if then_known is None or now_known is None:
        return Comparison(change)
    fall, rise = math.hypot(now_known.below, then_known.above), math.hypot(now_known.above, then_known.below)
    errors = _in_units(now.value - before.value, fall)
    if tracked.change is not Change.PERCENT:
        return Comparison(change, change - fall, change + rise, errors)
    ratios = _fieller(then_known, now_known)
    if ratios is None:
        return Comparison(change, errors=errors)
    return Comparison(change, 100 * (ratios[0] - 1), 100 * (ratios[1] - 1), errors)


def compare_probabilities(before: Classification | None, now: Classification | None) -> Comparison | str:
    """The change of P(malignant or suspicious) in percentage points, or why there is none.

    Its error is that of P(benign), which is what is left: the spread over the views of each visit, where it is known.
    """
    if before is None or now is None:
        return f"the lesion was not classified {'then' if before is None else 'now'}"
    if not (before.is_in_domain and now.is_in_domain):
        return f"the picture was unlike those that the classifier knows {'now' if before.is_in_domain else 'then'}"
    if before.algorithm.name != now.algorithm.name or _weights_differ(before, now):
        return "another model classified then"
    chance_before, chance_now = _chance(before), _chance(now)
    if chance_before is None or chance_now is None:
        return "the classification does not give the probabilities of malignant and suspicious"
    change = 100 * (chance_now - chance_before)
    spreads = [next((g.spread for g in one.groups if g.label == "BENIGN"), None) for one in (before, now)]
    known = [spread for spread in spreads if spread is not None]
    if len(known) < len(spreads):
        return Comparison(change)
    error = 100 * HALF_WIDTHS * math.hypot(*known)
    return Comparison(change, max(-100.0, change - error), min(100.0, change + error), _in_units(change, error))


def _weights_differ(before: Classification, now: Classification) -> bool:
    """Weights by their digest; a report that was read back may not tell it, and then the version speaks."""
    if before.algorithm.weights_digest and now.algorithm.weights_digest:
        return before.algorithm.weights_digest != now.algorithm.weights_digest
    return before.algorithm.version != now.algorithm.version


def _chance(classification: Classification) -> float | None:
    malignant, suspicious = classification.group("MALIGNANT"), classification.group("SUSPICIOUS")
    return None if malignant is None or suspicious is None else malignant + suspicious


def with_error(measurement: Measurement) -> Value | None:
    """The value with the reach of its interval; None where it has none, or one that does not hold it."""
    lower, upper = measurement.lower, measurement.upper
    if lower is None or upper is None or not (math.isfinite(lower) and math.isfinite(upper)):
        return None
    if not lower <= measurement.value <= upper:
        return None
    return Value(measurement.value, measurement.value - lower, upper - measurement.value)


def _in_units(difference: float, error: float) -> float:
    if error > 0:
        return difference / error
    return math.inf if difference > 0 else 0.0 if difference == 0 else -math.inf


def _fieller(then: Value, now: Value) -> tuple[float, float] | None:
    """The ends of the 90 % interval of now / then; None where then could be 0, so that the ratio has no bound.

    Each end is a root of (now - q then)^2 = e_now^2 + q^2 e_then^2.
    """

    def root(error_now: float, error_then: float, sign: int) -> float | None:
        a = then.value**2 - error_then**2
        if a <= 0:
            return None
        b = now.value * then.value
        inside = b * b - a * (now.value**2 - error_now**2)
        return (b + sign * math.sqrt(max(0.0, inside))) / a

    lower, upper = root(now.below, then.above, -1), root(now.above, then.below, 1)
    return None if lower is None or upper is None else (lower, upper)
