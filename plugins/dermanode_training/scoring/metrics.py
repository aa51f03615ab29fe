"""The figures that models are judged by. Arrays in, numbers out; the formulas are those of `weighted`, each picture counted once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dermanode_training.scoring import weighted

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


def confusion(truth: Labels, found: Labels, classes: int) -> NDArray[np.int64]:
    """Rows are the truth, columns what was found."""
    return np.asarray(weighted.confusion(truth, found, classes, _once(truth))[0], np.int64)


def balanced_accuracy(truth: Labels, found: Labels, classes: int) -> float:
    """The mean over the classes that occur of the share that was recognised."""
    return float(weighted.balanced_accuracy(weighted.confusion(truth, found, classes, _once(truth)))[0])


def area_under_curve(is_positive: NDArray[np.bool_], score: Chances) -> float:
    """Of the ROC (Mann-Whitney); ties count a half. NaN where there is one kind only."""
    return float(weighted.curve(is_positive, score, _once(score)).area[0])


def expected_calibration_error(truth: Labels, chances: Chances, bins: int = 15) -> float:
    """Of the most probable class: |accuracy - confidence| over equal bins of confidence, weighted by their pictures (Guo et al. 2017)."""
    return float(weighted.calibration_error(truth, chances, _once(truth), bins)[0])


def _once(of: NDArray[np.generic]) -> weighted.Weights:
    return np.ones((1, len(of)))
