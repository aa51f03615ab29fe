"""How sure a figure is: the bootstrap over groups of pictures that are not independent (Efron; Davison and Hinkley 1997, 3.8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermanode_training.scoring.weighted import Draws

DRAWS = 1000
SEED = 20261121
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; NaN where it does not exist, as the recall of a class that does not occur."""

    value: float
    low: float
    high: float


def resamples(groups: Sequence[str], *, draws: int = DRAWS, seed: int = SEED) -> NDArray[np.float32]:
    """(1 + draws) x pictures: how often each picture counts. Row 0 is the sample itself; the others draw whole groups, with replacement.

    Photographs of one lesion are alike: drawn one by one they would make every interval too narrow.
    """
    names, group_of = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    count = len(names)
    drawn = np.random.default_rng(seed).integers(count, size=(draws, count)) + count * np.arange(draws)[:, None]
    times = np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count)
    return np.vstack([np.ones((1, len(groups))), times[:, group_of]]).astype(np.float32)


def estimate(values: Draws, level: float = LEVEL) -> Estimate:
    """From a figure over the rows of `resamples`: its value, and the percentile interval over the draws in which it exists."""
    drawn = values[1:][~np.isnan(values[1:])]
    if np.isnan(values[0]) or not len(drawn):
        return Estimate(float(values[0]), float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(values[0]), float(low), float(high))
