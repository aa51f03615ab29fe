"""How far a training run is, by steps or by the clock, whichever ends first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Schedule:
    """A run of `steps`, cut to `minutes` where the machine is slow: the learning rate follows the share that is done."""

    steps: int
    minutes: float
    clock: Callable[[], float] = time.monotonic
    step: int = 0
    started_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.started_s = self.clock()

    def go_on(self, step: int, elapsed_s: float) -> None:
        """Continues a run of which that much is done."""
        self.step, self.started_s = step, self.clock() - elapsed_s

    @property
    def elapsed_s(self) -> float:
        return self.clock() - self.started_s

    @property
    def done(self) -> float:
        """0 to 1."""
        return min(1.0, max(self.step / self.steps, self.elapsed_s / (60 * self.minutes)))

    def rate(self, peak: float) -> float:
        """The learning rate now: a short rise, then a cosine to a hundredth of the peak."""
        rise = 0.04
        if self.done < rise:
            return peak * max(0.05, self.done / rise)
        return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (self.done - rise) / (1 - rise))))
