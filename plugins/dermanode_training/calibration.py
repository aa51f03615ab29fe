"""One temperature, chosen on the validation side so that probabilities mean what they say (Guo et al., ICML 2017)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def with_temperature(chances: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities as they would be if the logits behind them were divided by the temperature; rows sum to 1."""
    logits = np.log(np.clip(chances, 1e-12, 1)) / temperature
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True))


def log_loss(chances: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Mean negative log likelihood of the truth."""
    return float(-np.log(np.clip(chances[np.arange(len(truth)), truth], 1e-12, 1)).mean())


def best_temperature(chances: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """The temperature with the least log loss, from 0.2 to 5 in steps of one percent."""
    candidates = np.exp(np.arange(np.log(0.2), np.log(5), 0.01))
    losses = [log_loss(with_temperature(chances, float(one)), truth) for one in candidates]
    return float(candidates[int(np.argmin(losses))])
