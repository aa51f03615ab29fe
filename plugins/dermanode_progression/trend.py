"""How fast a measurement grows over all visits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import numpy as np

from dermanode_progression.comparison import Value

SPAN_DAYS = 30.0
_LEAST_DAYS_APART = 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """One visit's value."""

    day: float
    value: float
    known: Value | None = None
    """The same with its error, where that is known."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Growth per 30 days as a share of the first visit's value."""

    slope: float
    visits: int
    days: float
    lower: float | None = None
    upper: float | None = None
    errors: float | None = None
    """The slope in units of the distance to the lower end; None where no interval is known."""
    interval_from: str = ""
    """What the interval is made of, in words."""

    def is_within_error(self, factor: float) -> bool:
        return self.errors is not None and self.errors <= factor


def trend(points: Sequence[Point], least_days: float) -> Trend | str:
    """Theil and Sen's slope (Sen 1968): the median of the slopes between all pairs of visits that are a day or more apart.

    With two visits it is their difference over the time between them. The interval, 90 %, is carried from the errors of the visits where
    all of them are known; else it is Sen's own, from the ranks of the slopes, which takes four visits. Or why there is none.
    """
    first = points[0] if points else None
    if first is None or len(points) < 2:
        return "it is known at one visit only"
    if first.value <= 0:
        return f"it was {first.value:g} at the first visit, of which nothing is a share"
    days = points[-1].day - first.day
    if days < least_days:
        return f"the visits span {days:.0f} days, fewer than {least_days:g}"
    pairs = [(one, other) for one, other in combinations(points, 2) if other.day - one.day >= _LEAST_DAYS_APART]
    slopes = sorted(SPAN_DAYS * (other.value - one.value) / (other.day - one.day) / first.value for one, other in pairs)
    slope = median(slopes)
    known = [point.known for point in points if point.known is not None]
    if len(known) == len(points):
        below, above = _carried([point.day for point in points], known)
        below, above = SPAN_DAYS * below / first.value, SPAN_DAYS * above / first.value
        lower, upper, source = slope - below, slope + above, "the errors of the visits"
    elif len(pairs) == len(points) * (len(points) - 1) // 2 and (rank := _rank(len(points))):
        lower, upper, source = slopes[rank - 1], slopes[-rank], "the ranks of the slopes between visits (Sen 1968)"
    else:
        return Trend(slope, len(points), days)
    below = slope - lower
    errors = slope / below if below > 0 else math.inf if slope > 0 else 0.0
    return Trend(slope, len(points), days, lower, upper, errors, source)


def _carried(days: Sequence[float], known: Sequence[Value]) -> tuple[float, float]:
    """How far the interval of a slope per day reaches below and above, from independent errors of the visits.

    They are carried through the weights of the least-squares slope, which Theil and Sen's is for two and for three evenly spaced
    visits; for more its standard error is larger by 2 % or less where errors are normal (asymptotic efficiency 0.955).
    """
    weights = np.asarray(days) - np.mean(days)
    weights = weights / (weights**2).sum()
    below = [w * (one.below if w > 0 else one.above) for w, one in zip(weights, known, strict=True)]
    above = [w * (one.above if w > 0 else one.below) for w, one in zip(weights, known, strict=True)]
    return math.hypot(*below), math.hypot(*above)


def _rank(visits: int) -> int:
    """Which slope from either end bounds a 90 % interval, counted from 1; 0 where the visits are too few for one.

    The true slope lies below the r-th smallest with the chance that a random order has fewer than r inversions (Kendall).
    """
    orders = np.ones(1)
    for n in range(2, visits + 1):
        orders = np.convolve(orders, np.ones(n))
    chance = np.cumsum(orders) / orders.sum()
    return int(np.count_nonzero(2 * chance <= 0.10))
