"""The relative error of a measurement, and how it goes on into what is computed of it, to first order."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dermanode.domain import Measurement


@dataclass(frozen=True, slots=True)
class Error:
    """How far the 90 % interval reaches below and above a value, as shares of it."""

    below: float = 0.0
    above: float = 0.0

    @classmethod
    def of(cls, measurement: Measurement | None) -> Error | None:
        """None where no interval is stated, or where the value is nothing, of which there are no shares."""
        if measurement is None or measurement.lower is None or measurement.upper is None or not measurement.value:
            return None
        size = abs(measurement.value)
        reach = cls((measurement.value - measurement.lower) / size, (measurement.upper - measurement.value) / size)
        return reach if math.isfinite(reach.below) and math.isfinite(reach.above) else None

    def power(self, exponent: float) -> Error:
        """Of the value to a positive power."""
        return Error(exponent * self.below, exponent * self.above)

    def beside(self, other: Error) -> Error:
        """Of a product, or of a quotient, of two values whose errors are independent."""
        return Error(math.hypot(self.below, other.below), math.hypot(self.above, other.above))

    def ends(self, value: float, least: float = 0.0, most: float = math.inf) -> tuple[float, float]:
        """Of the interval around a value that is not negative; none reaches beyond what is possible."""
        return max(least, value * (1 - self.below)), min(most, value * (1 + self.above))
