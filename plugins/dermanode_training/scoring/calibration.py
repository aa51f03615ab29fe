"""Temperature and bias, chosen on the validation side so that probabilities mean what they say (Guo et al., ICML 2017).

The classify stage serves softmax(logits / temperature + logit_bias): it reads `temperature` from the bundle's inference.json, and
optionally `logit_bias`, a list of 8 numbers that is added to logits/temperature before the softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from dermanode_training.scoring.metrics import balanced_accuracy

Chances = NDArray[np.float64]
"""Pictures x outputs; also logits."""
Labels = NDArray[np.int64]

LEAST, MOST = 0.2, 5.0
"""Temperatures that are looked at."""
STRENGTHS = tuple(round(0.05 * k, 2) for k in range(21))
"""How much of the logarithm of a class's share is taken off its calibrated logit (Menon et al., ICLR 2021); 0 leaves it as it is."""
MARGIN = 0.005
"""By so much the mean of accuracy and balanced accuracy must rise on pictures that did not choose: a bias costs what probabilities mean."""
MOST_LOSS = 0.02
"""By so much at most a bias may raise the log loss, in nats: beyond that the probabilities would say something else than how often."""
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Calibration:
    """How logits become probabilities."""

    temperature: float = 1.0
    logit_bias: tuple[float, ...] = ()
    """One number for each output; empty is no bias."""
    strength: float = 0.0
    """What the bias was made with, of `STRENGTHS`."""

    def chances(self, logits: Chances) -> Chances:
        """Rows sum to 1."""
        moved = logits / self.temperature + (np.asarray(self.logit_bias) if self.logit_bias else 0.0)
        raised = np.exp(moved - moved.max(1, keepdims=True))
        return np.asarray(raised / raised.sum(1, keepdims=True))

    def logits(self, chances: Chances) -> Chances:
        """What `chances` were made of, up to a constant a row."""
        bias = np.asarray(self.logit_bias) if self.logit_bias else 0.0
        return np.asarray((np.log(np.clip(chances, 1e-300, 1)) - bias) * self.temperature)


@dataclass(frozen=True, eq=False)
class Chosen:
    """What was chosen on a set of pictures, and how good that choice is on pictures that had no part in it."""

    calibration: Calibration
    held_out: Chances
    """Each picture's probabilities by a calibration chosen without its fold."""
    gain: float
    """Of the mean of accuracy and balanced accuracy by the bias, over held-out pictures; what was weighed against `MARGIN`."""
    temperatures: tuple[float, ...]
    """One a fold."""


def with_temperature(chances: Chances, temperature: float) -> Chances:
    """Probabilities as they would be if the logits behind them were divided by the temperature; rows sum to 1."""
    return Calibration(temperature).chances(np.log(np.clip(chances, 1e-12, 1)))


def log_loss(chances: Chances, truth: Labels) -> float:
    """Mean negative log likelihood of the truth."""
    return float(-np.log(np.clip(chances[np.arange(len(truth)), truth], 1e-12, 1)).mean())


def best_temperature(chances: Chances, truth: Labels) -> float:
    """The temperature with the least log loss, between `LEAST` and `MOST`, to a thousandth."""
    logits = np.log(np.clip(chances, 1e-300, 1))
    # The loss is convex in 1/temperature, so there is one minimum.
    found = minimize_scalar(
        lambda inverse: log_loss(Calibration(1 / inverse).chances(logits), truth),
        bounds=(1 / MOST, 1 / LEAST),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(1 / found.x)


def fitted(logits: Chances, truth: Labels, strength: float) -> Calibration:
    """The best temperature for logits from which that much of the classes' log shares was taken, in units of the best plain temperature."""
    plain = best_temperature(Calibration().chances(logits), truth)
    if not strength:
        return Calibration(round(plain, 4))
    shares = np.bincount(truth, minlength=logits.shape[1]) + 1.0  # a class that is not there counts as one picture
    bias = -strength * plain * np.log(shares / shares.sum())
    bias -= bias.mean()
    temperature = best_temperature(Calibration().chances(logits + bias), truth)
    # Chosen as (logits + bias) / temperature: which class wins depends on the strength alone, the temperature only says how surely.
    return Calibration(round(temperature, 4), tuple(float(one) for one in np.round(bias / temperature, 4)), strength)


def choose(logits: Chances, truth: Labels, listed: NDArray[np.float64], folds: NDArray[np.int64]) -> Chosen:
    """Temperature by log loss over the outputs; a bias only where it pays on held-out pictures.

    `listed` (outputs x labels) sums outputs to the labels that accuracy is counted over; `folds` numbers each picture's fold, photographs
    of one lesion alike.
    """
    plain, biased = np.zeros_like(logits), np.zeros_like(logits)
    fold_plain, fold_biased = [], []
    for fold in np.unique(folds):
        out = folds == fold
        fold_plain.append(fitted(logits[~out], truth[~out], 0.0))
        fold_biased.append(best_bias(logits[~out], truth[~out], listed))
        plain[out], biased[out] = fold_plain[-1].chances(logits[out]), fold_biased[-1].chances(logits[out])
    gain = score(biased, truth, listed) - score(plain, truth, listed)
    is_biased = gain >= MARGIN
    calibration = best_bias(logits, truth, listed) if is_biased else fitted(logits, truth, 0.0)
    temperatures = tuple(one.temperature for one in (fold_biased if is_biased else fold_plain))
    return Chosen(calibration, biased if is_biased else plain, gain, temperatures)


def best_bias(logits: Chances, truth: Labels, listed: NDArray[np.float64]) -> Calibration:
    """The strength with the best mean of accuracy and balanced accuracy, of those that cost no more than `MOST_LOSS`."""
    candidates = [fitted(logits, truth, strength) for strength in STRENGTHS]
    told = [one.chances(logits) for one in candidates]
    losses = [log_loss(chances, truth) for chances in told]
    scores = [score(chances, truth, listed) if loss <= losses[0] + MOST_LOSS else -1.0 for chances, loss in zip(told, losses, strict=True)]
    return candidates[int(np.argmax(scores))]


def score(chances: Chances, truth: Labels, listed: NDArray[np.float64]) -> float:
    """The mean of accuracy and balanced accuracy over the labels that outputs are summed to."""
    label_of = listed.argmax(1)
    found, wanted = (chances @ listed).argmax(1), label_of[truth]
    return float(((found == wanted).mean() + balanced_accuracy(wanted, found, listed.shape[1])) / 2)


def folds_of(groups: Sequence[str], *, folds: int = FOLDS, seed: int = 20261121) -> NDArray[np.int64]:
    """The number of each picture's fold: those of one group are in one, and which is random but always the same."""
    names, group_of = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return np.asarray(np.random.default_rng(seed).permutation(len(names))[group_of] % folds, np.int64)
