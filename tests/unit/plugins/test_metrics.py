"""The figures' formulas: against values by hand, against scikit-learn, and their intervals against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dermanode_training.measuring.picture import Layout, colour_of, confusion_picture
from dermanode_training.scoring import weighted
from dermanode_training.scoring.bootstrap import estimate, resamples
from dermanode_training.scoring.calibration import Calibration, best_temperature, choose, fitted, folds_of, log_loss, with_temperature
from dermanode_training.scoring.metrics import (
    area_under_curve,
    confusion,
    dice,
    expected_calibration_error,
    intersection_over_union,
)
from numpy.typing import NDArray

ONCE = np.ones((1, 6))
TRUTH, FOUND = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 0])


def test_overlaps_are_counted_by_hand() -> None:
    found, truth = np.array([1, 1, 1, 0, 0], np.bool_), np.array([0, 1, 1, 1, 0], np.bool_)
    assert dice(found, truth) == pytest.approx(4 / 6)
    assert intersection_over_union(found, truth) == pytest.approx(2 / 4)
    nothing = np.zeros(5, np.bool_)
    assert dice(nothing, nothing) == intersection_over_union(nothing, nothing) == 1
    assert dice(found, nothing) == intersection_over_union(found, nothing) == 0


def test_confusion_gives_accuracy_recall_precision_and_f1() -> None:
    tables = weighted.confusion(TRUTH, FOUND, 4, ONCE)
    assert confusion(TRUTH, FOUND, 4)[:3, :3].tolist() == [[2, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert weighted.accuracy(tables)[0] == pytest.approx(3 / 6)
    assert weighted.recall(tables)[0, :3] == pytest.approx([2 / 3, 1 / 2, 0])
    assert weighted.precision(tables)[0, :3] == pytest.approx([2 / 3, 1 / 2, 0])
    assert weighted.f1(tables)[0, :3] == pytest.approx([2 / 3, 1 / 2, 0])
    assert weighted.balanced_accuracy(tables)[0] == pytest.approx((2 / 3 + 1 / 2) / 3)


def test_class_that_does_not_occur_has_no_recall_and_no_precision() -> None:
    tables = weighted.confusion(TRUTH, FOUND, 4, ONCE)
    assert np.isnan(weighted.recall(tables)[0, 3])
    assert np.isnan(weighted.precision(tables)[0, 3])
    assert np.isnan(weighted.f1(tables)[0, 3])


def test_area_counts_ties_as_a_half() -> None:
    assert area_under_curve(np.array([True, True, False, False]), np.array([0.9, 0.4, 0.4, 0.1])) == pytest.approx(0.875)
    assert math.isnan(area_under_curve(np.array([True, True]), np.array([0.9, 0.4])))


def test_operating_points_are_the_best_that_keep_the_promise() -> None:
    is_positive = np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], np.bool_)  # in the order of falling scores
    curve = weighted.curve(is_positive, np.linspace(1, 0, 13), np.ones((1, 13)))
    assert curve.sensitivity_at(0.95)[0] == pytest.approx(2 / 3)  # one false alarm of ten would be 0.9
    assert curve.sensitivity_at(0.9)[0] == pytest.approx(1)
    assert curve.specificity_at(0.9)[0] == pytest.approx(0.9)
    assert curve.specificity_at(0.5)[0] == pytest.approx(1)


def test_calibration_error_is_the_gap_in_each_bin() -> None:
    chances = np.array([[0.9, 0.1]] * 10 + [[0.4, 0.6]] * 10)
    truth = np.array([0] * 5 + [1] * 5 + [1] * 6 + [0] * 4)
    assert expected_calibration_error(truth, chances) == pytest.approx(0.5 * 0.4 + 0.5 * 0.0)


def test_median_and_mean_follow_the_weights() -> None:
    values = np.array([5.0, 1.0, 3.0, 9.0])
    weights = np.array([[1, 1, 1, 1], [0, 1, 2, 0], [0, 0, 0, 3]])
    assert weighted.median(values, weights) == pytest.approx([4, 3, 9])
    assert weighted.mean(values, weights) == pytest.approx([4.5, 7 / 3, 9])


@pytest.fixture
def simulated() -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Truth, probabilities of three classes with ties, and weights: one row of ones, the others as a bootstrap draws."""
    random = np.random.default_rng(5)
    truth = random.choice(3, 200, p=[0.6, 0.3, 0.1])
    raised = np.exp(random.normal(0, 1, (200, 3)).round(1) + 1.2 * np.eye(3)[truth])
    weights = np.vstack([np.ones(200), random.integers(0, 4, (3, 200))]).astype(float)
    return truth, raised / raised.sum(1, keepdims=True), weights


def test_formulas_agree_with_scikit_learn(simulated: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]) -> None:
    judge = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    truth, chances, weights = simulated
    found = chances.argmax(1)
    tables = weighted.confusion(truth, found, 3, weights)
    curves = [weighted.curve(truth == k, chances[:, k], weights).area for k in range(3)]
    for draw, counts in enumerate(weights):
        assert tables[draw] == pytest.approx(judge.confusion_matrix(truth, found, sample_weight=counts))
        assert weighted.accuracy(tables)[draw] == pytest.approx(judge.accuracy_score(truth, found, sample_weight=counts))
        assert weighted.balanced_accuracy(tables)[draw] == pytest.approx(judge.balanced_accuracy_score(truth, found, sample_weight=counts))
        precision, recall, f1, _ = judge.precision_recall_fscore_support(truth, found, sample_weight=counts, zero_division=np.nan)
        assert weighted.precision(tables)[draw] == pytest.approx(precision)
        assert weighted.recall(tables)[draw] == pytest.approx(recall)
        assert weighted.f1(tables)[draw] == pytest.approx(f1)
        assert weighted.log_loss(truth, chances, weights)[draw] == pytest.approx(judge.log_loss(truth, chances, sample_weight=counts))
        for k in range(3):
            assert curves[k][draw] == pytest.approx(judge.roc_auc_score(truth == k, chances[:, k], sample_weight=counts))


def test_first_row_is_the_sample_and_each_other_draws_whole_groups() -> None:
    weights = resamples(["a", "a", "b", "c", "c", "c"], draws=50)
    assert weights.shape == (51, 6)
    assert weights[0].tolist() == [1] * 6
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    assert (weights[1:][:, [0, 2, 3]].sum(1) == 3).all()
    assert np.array_equal(weights, resamples(["a", "a", "b", "c", "c", "c"], draws=50))


def test_intervals_hold_the_truth_about_as_often_as_they_promise() -> None:
    random = np.random.default_rng(1)
    held = 0
    for trial in range(200):
        chance_of_lesion = random.beta(4, 2, 120)  # three photographs of each lesion are right alike
        right = random.random((120, 3)) < chance_of_lesion[:, None]
        weights = resamples([str(k // 3) for k in range(360)], draws=300, seed=trial)
        found = estimate(weighted.mean(right.ravel(), weights))
        held += found.low <= 4 / 6 <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_photographs_of_one_lesion_widen_the_interval() -> None:
    right = np.repeat(np.random.default_rng(2).random(50) < 0.7, 4)
    together = estimate(weighted.mean(right, resamples([str(k // 4) for k in range(200)])))
    apart = estimate(weighted.mean(right, resamples([str(k) for k in range(200)])))
    assert together.high - together.low > 1.6 * (apart.high - apart.low)


def test_figure_that_does_not_exist_has_no_interval() -> None:
    found = estimate(np.full(11, np.nan))
    assert math.isnan(found.value)
    assert math.isnan(found.low)


def _logits(count: int, sharpness: float, shares: NDArray[np.float64], seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits that are `sharpness` times those of the true posterior, and the truth."""
    random = np.random.default_rng(seed)
    truth = random.choice(len(shares), count, p=shares)
    posterior = random.normal(0, 1, (count, len(shares))) + 2 * np.eye(len(shares))[truth]
    return sharpness * (2 * posterior + np.log(shares)), truth


def test_temperature_is_found_again() -> None:
    logits, truth = _logits(4000, 2.0, np.full(4, 0.25))
    chances = Calibration().chances(logits)
    temperature = best_temperature(chances, truth)
    assert temperature == pytest.approx(2, rel=0.1)
    around = [log_loss(with_temperature(chances, temperature * factor), truth) for factor in (0.97, 1, 1.03)]
    assert min(around) == around[1]


def test_calibration_can_be_undone_with_and_without_bias() -> None:
    logits, _ = _logits(50, 1.5, np.full(3, 1 / 3))
    for one in (Calibration(1.7), Calibration(0.6, (0.5, -0.2, -0.3))):
        chances = one.chances(logits)
        again = one.logits(chances)
        assert again - again.mean(1, keepdims=True) == pytest.approx(logits - logits.mean(1, keepdims=True))


def test_bias_keeps_which_class_wins_whatever_the_temperature() -> None:
    logits, truth = _logits(2000, 3.0, np.array([0.7, 0.2, 0.1]))
    one = fitted(logits, truth, 0.5)
    bare = np.asarray(one.logit_bias) * one.temperature
    assert (one.chances(logits).argmax(1) == (logits + bare).argmax(1)).mean() > 0.999


def test_bias_is_taken_where_rare_classes_were_held_back_and_not_where_they_were_not() -> None:
    shares = np.array([0.8, 0.15, 0.05])
    logits, truth = _logits(3000, 1.0, shares)
    folds = folds_of([str(k) for k in range(3000)])
    held_back = choose(logits + 2 * np.log(shares), truth, np.eye(3), folds)
    assert held_back.gain > 0.005
    assert held_back.calibration.logit_bias[2] > held_back.calibration.logit_bias[0]
    even = np.full(3, 1 / 3)
    logits, truth = _logits(3000, 1.0, even)
    fair = choose(logits, truth, np.eye(3), folds)
    assert fair.calibration.logit_bias == ()
    assert len(fair.temperatures) == 5


def test_held_out_probabilities_come_from_other_folds() -> None:
    logits, truth = _logits(500, 2.0, np.full(3, 1 / 3))
    folds = folds_of([str(k) for k in range(500)])
    found = choose(logits, truth, np.eye(3), folds)
    out = folds == 0
    other = fitted(logits[~out], truth[~out], 0.0)
    assert found.held_out[out] == pytest.approx(other.chances(logits[out]))


def test_folds_keep_a_lesion_together() -> None:
    groups = [str(k // 3) for k in range(90)]
    folds = folds_of(groups)
    assert set(folds) == {0, 1, 2, 3, 4}
    assert all(len(set(folds[k : k + 3])) == 1 for k in range(0, 90, 3))


def test_confusion_picture_has_a_cell_for_each_pair_in_the_colour_of_its_share() -> None:
    counts = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 3]])
    labels = ("NV", "SUSPICIOUS", "MEL")
    picture, layout = confusion_picture(labels, counts, "Three groups: val, 14 photographs", "accuracy 0.786"), Layout(labels)
    assert picture.shape == (layout.size[1], layout.size[0], 3)
    for row, column, share in ((0, 0, 0.8), (0, 1, 0.2), (0, 2, 0.0), (1, 1, 0.0), (2, 2, 0.75)):
        rows, columns = layout.cell_at(row, column)
        corner = picture[rows, columns][6, 6]
        assert tuple(corner) == colour_of(share)
        inked = (picture[rows, columns][10:-10, 10:-10] != corner).any(2).mean()
        assert 0.005 < inked < 0.3  # the count and its share are written there
    darkness = [sum(colour_of(share)) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert darkness == sorted(darkness, reverse=True)
