"""The figures that models are judged by. Arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]
Chances = NDArray[np.floating]


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """2 |A and B| / (|A| + |B|); 1 where both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def intersection_over_union(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """|A and B| / |A or B|; 1 where both are empty."""
    union = int((found | truth).sum())
    return int((found & truth).sum()) / union if union else 1.0


def balanced_accuracy(truth: Labels, found: Labels, classes: int) -> float:
    """The mean over the classes that occur of the share that was recognised."""
    return float(np.mean([(found[truth == k] == k).mean() for k in range(classes) if (truth == k).any()]))


def confusion(truth: Labels, found: Labels, classes: int) -> NDArray[np.int64]:
    """Rows are the truth, columns what was found."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (truth, found), 1)
    return table


def area_under_curve(is_positive: NDArray[np.bool_], score: Chances) -> float:
    """Of the ROC, by ranks (Mann-Whitney); ties count a half."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int(is_positive.sum())
    negatives = len(score) - positives
    if not positives or not negatives:
        return float("nan")
    return float((ranks[is_positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def expected_calibration_error(truth: Labels, chances: Chances, bins: int = 15) -> float:
    """Of the most probable class: |accuracy - confidence| over equal bins of confidence, weighted by their pictures (Guo et al. 2017)."""
    confidence, correct = chances.max(1), chances.argmax(1) == truth
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for number in range(bins):
        inside = bin_of == number
        if inside.any():
            error += inside.mean() * abs(float(correct[inside].mean()) - float(confidence[inside].mean()))
    return float(error)
