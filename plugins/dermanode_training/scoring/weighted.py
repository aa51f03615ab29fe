"""The formulas of the figures over weighted pictures, for many weightings at once: a bootstrap is one call.

`weights` are draws x pictures throughout: how often each picture counts in each draw. Every result has the draws first. NaN says that a
figure does not exist in that draw, as the recall of a class that was not drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.floating]
Draws = NDArray[np.float64]
"""One number a draw."""
Labels = NDArray[np.integer]

_ROUNDING = 1e-9
"""A share of exactly nine tenths is to reach nine tenths."""


def mean(values: NDArray[np.floating] | NDArray[np.bool_], weights: Weights) -> Draws:
    return _ratio(np.asarray(weights @ values.astype(np.float64), np.float64), weights.sum(1, dtype=np.float64))


def median(values: NDArray[np.floating], weights: Weights) -> Draws:
    """The lower and upper weighted median, halved: numpy's where all weights are 1."""
    order = np.argsort(values, kind="stable")
    ordered, reached = values[order].astype(np.float64), np.cumsum(weights[:, order], axis=1, dtype=np.float64)
    half = reached[:, -1:] / 2
    lower, upper = (reached >= half).argmax(1), (reached > half).argmax(1)
    return np.asarray(np.where(half[:, 0] > 0, (ordered[lower] + ordered[upper]) / 2, np.nan))


def confusion(truth: Labels, found: Labels, classes: int, weights: Weights) -> Draws:
    """Draws x classes x classes: rows are the truth, columns what was found."""
    cell = np.asarray(truth) * classes + np.asarray(found)
    order = np.argsort(cell, kind="stable")
    present, starts = np.unique(cell[order], return_index=True)
    tables = np.zeros((len(weights), classes * classes))
    if len(cell):
        tables[:, present] = np.add.reduceat(weights[:, order], starts, axis=1, dtype=np.float64)
    return tables.reshape(-1, classes, classes)


def accuracy(tables: Draws) -> Draws:
    return _ratio(_diagonal(tables).sum(1), tables.sum((1, 2)))


def recall(tables: Draws) -> Draws:
    """Draws x classes."""
    return _ratio(_diagonal(tables), tables.sum(2))


def precision(tables: Draws) -> Draws:
    """Draws x classes."""
    return _ratio(_diagonal(tables), tables.sum(1))


def f1(tables: Draws) -> Draws:
    """Draws x classes: 2 TP / (2 TP + FP + FN)."""
    return _ratio(2 * _diagonal(tables), tables.sum(1) + tables.sum(2))


def balanced_accuracy(tables: Draws) -> Draws:
    """The mean over the classes that occur in a draw of the share that was recognised."""
    return mean_of_known(recall(tables))


def mean_of_known(values: Draws) -> Draws:
    """Draws x classes becomes draws: the mean over what is not NaN."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(1), known.sum(1).astype(np.float64))


def log_loss(truth: Labels, chances: NDArray[np.floating], weights: Weights) -> Draws:
    """Mean negative log likelihood of the truth; a chance below 1e-12 counts as that."""
    return mean(-np.log(np.clip(chances[np.arange(len(truth)), truth], 1e-12, 1)), weights)


def calibration_error(truth: Labels, chances: NDArray[np.floating], weights: Weights, bins: int = 15) -> Draws:
    """ECE of the most probable class: |accuracy - confidence| over equal bins of confidence, weighted by pictures (Guo et al. 2017)."""
    confidence, correct = chances.max(1), chances.argmax(1) == truth
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    inside = np.equal.outer(bin_of, np.arange(bins))
    # In a bin its pictures cancel: |sum of correct - sum of confidence| / all is what is added up.
    gap = weights @ (inside * (correct - confidence.astype(np.float64))[:, None])
    return _ratio(np.abs(gap).sum(1), weights.sum(1, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Curve:
    """Receiver operating characteristics, one a draw, over the thresholds `scores`: positive is at or above."""

    scores: NDArray[np.float64]
    """Falling; no two alike."""
    sensitivity: NDArray[np.float64]
    """Draws x thresholds."""
    false_alarms: NDArray[np.float64]
    """Draws x thresholds: one minus specificity."""
    area: Draws

    def sensitivity_at(self, specificity: float) -> Draws:
        """The best that is to be had with at least that specificity."""
        allowed = self.false_alarms <= 1 - specificity + _ROUNDING
        return _unknown(np.where(allowed, self.sensitivity, 0).max(1), self.area)

    def specificity_at(self, sensitivity: float) -> Draws:
        """The best that is to be had with at least that sensitivity."""
        reached = self.sensitivity >= sensitivity - _ROUNDING
        return _unknown(np.where(reached, 1 - self.false_alarms, 0).max(1), self.area)


def curve(is_positive: NDArray[np.bool_], score: NDArray[np.floating], weights: Weights) -> Curve:
    """Ties count a half in the area (Mann-Whitney); NaN in a draw with one kind only."""
    order = np.argsort(-score, kind="stable")
    ordered, positive = score[order], is_positive[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counted = weights[:, order]
    positives = np.add.reduceat(counted * positive, starts, axis=1, dtype=np.float64)
    negatives = np.add.reduceat(counted * ~positive, starts, axis=1, dtype=np.float64)
    above, wrongly = np.cumsum(positives, 1), np.cumsum(negatives, 1)
    of, none = above[:, -1:], wrongly[:, -1:]
    area = _ratio((negatives * (above - positives / 2)).sum(1), (of * none)[:, 0])
    return Curve(ordered[starts].astype(np.float64), _ratio(above, of), _ratio(wrongly, none), area)


def _diagonal(tables: Draws) -> Draws:
    return np.asarray(np.diagonal(tables, axis1=1, axis2=2))


def _ratio(over: Draws, under: Draws) -> Draws:
    """NaN where nothing is counted."""
    over, under = np.broadcast_arrays(np.asarray(over, np.float64), np.asarray(under, np.float64))
    return np.asarray(np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0))


def _unknown(values: Draws, area: Draws) -> Draws:
    return np.asarray(np.where(np.isnan(area), np.nan, values))
