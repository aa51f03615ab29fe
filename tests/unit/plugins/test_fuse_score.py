"""The ABCD rule as numbers, and its change since the first visit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dermanode_fuse import fuse
from dermanode_fuse.catalogue import ABC_PARTIAL, ABCD_A, ABCD_B, ABCD_C, ABCD_D, DERMOSCOPY_SCORE, reported
from dermanode_fuse.over_views import middle
from dermanode_fuse.score import change, total

from dermanode.domain import Algorithm, Features, Measurement, Outcome, Prior

ROWS, COLUMNS = 400, 500
Y, X = np.mgrid[:ROWS, :COLUMNS].astype(float)
DISC = np.hypot(X - 250, Y - 200) < 100


@pytest.fixture
def features_of(make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any) -> Callable[..., Features]:
    def features_of(mask: Any = DISC, views: int = 1, priors: tuple[Prior, ...] = ()) -> Features:
        picture = np.where(mask[..., None], (110, 70, 50), (200, 165, 155)).astype(np.uint8)
        made = [make_view(picture, number=n + 1) for n in range(views)]
        found = fuse(make_case(*made, masks=[mask] * views, priors=priors), context)
        assert found is not None
        return found

    return features_of


def visit(score: float | None, half: float | None = None, number: int = 1) -> Prior:
    ends = (score - half, score + half) if score is not None and half is not None else None
    measurements = () if score is None else (reported(DERMOSCOPY_SCORE, score, ends),)
    features = Features(algorithm=Algorithm("Test", "1"), measurements=measurements)
    return Prior(f"case {number}", None, Outcome(case_id=f"case {number}", revision=1, is_failed=False, reports=(), features=features))


def test_total_is_the_weighted_sum_of_the_rule() -> None:
    parts = {ABCD_A: 2, ABCD_B: 8, ABCD_C: 6, ABCD_D: 5}
    assert total(parts) == pytest.approx(8.9)
    assert total(parts, ABC_PARTIAL) == pytest.approx(6.4)
    assert total({ABCD_A: 0, ABCD_B: 0, ABCD_C: 1, ABCD_D: 1}) == pytest.approx(1.0)


def test_total_of_a_lesion_is_that_of_its_parts(features_of: Callable[..., Features]) -> None:
    features = features_of()
    a, b, c, d = (features.value(f"abcd_{part}") or 0.0 for part in "abcd")
    assert d >= 1
    assert features.value("abc_partial_score") == pytest.approx(1.3 * a + 0.1 * b + 0.5 * c)
    assert features.value("total_dermoscopy_score") == pytest.approx(1.3 * a + 0.1 * b + 0.5 * c + 0.5 * d)
    assert any(remark.startswith("Differential structures seen") for remark in features.remarks)


def test_without_skin_around_there_is_d_but_no_total(features_of: Callable[..., Features]) -> None:
    features = features_of(np.ones((ROWS, COLUMNS), bool))
    assert features.value("abcd_d") is not None
    assert features.value("total_dermoscopy_score") is None
    assert dict(features.absent)["total_dermoscopy_score"] == "a part of it is missing"
    assert "could not be made" in dict(features_of(np.ones((ROWS, COLUMNS), bool), priors=(visit(2.0),)).absent)["abcd_change"]


def test_scores_of_five_views_have_an_interval(features_of: Callable[..., Features]) -> None:
    found = {one.key: one for one in features_of(views=5).measurements}
    for key in ("abcd_a", "abcd_d", "total_dermoscopy_score"):
        one = found[key]
        assert one.lower is not None
        assert one.upper is not None
        assert one.lower <= one.value <= one.upper


def test_interval_holds_its_value_and_the_middle_of_the_views() -> None:
    assert middle([1, 2, 3, 4], 2.5) is None
    assert middle([1.0, 2.0, 3.0, 4.0, 5.0], 3.0) == pytest.approx((1.2, 4.8))
    assert middle([1.0, 1.0, 1.0, 1.0, 1.0], 2.0) == (1.0, 2.0)


def score(value: float, half: float | None = None) -> Measurement:
    return reported(DERMOSCOPY_SCORE, value, None if half is None else (value - half, value + half))


def test_change_is_that_since_the_first_visit() -> None:
    found, said = change(score(4.0, 0.4), (visit(2.5, 0.3), visit(3.5, 0.1, 2)))
    assert found is not None
    assert found.value == pytest.approx(1.5)
    assert (found.lower, found.upper) == pytest.approx((1.0, 2.0))
    assert found.key == "abcd_change"
    assert not said


def test_change_without_an_interval_at_both_visits_has_none() -> None:
    found, _ = change(score(4.0, 0.4), (visit(2.5),))
    assert found is not None
    assert found.lower is None


def test_first_visit_without_a_score_is_passed_over_and_that_is_said() -> None:
    found, said = change(score(4.0), (visit(None), visit(math.nan, number=2), visit(3.5, number=3)))
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert "earliest that has one" in said


@pytest.mark.parametrize(
    ("priors", "reason"),
    [
        ((), "there is no earlier visit"),
        ((visit(None),), "no earlier visit has a total dermoscopy score"),
        ((replace(visit(None), outcome=replace(visit(None).outcome, features=None)),), "no earlier visit has a total dermoscopy score"),
    ],
)
def test_change_that_cannot_be_made_has_its_reason(priors: tuple[Prior, ...], reason: str) -> None:
    assert change(score(4.0), priors) == (None, reason)


def test_change_is_among_the_features(features_of: Callable[..., Features]) -> None:
    now = features_of().value("total_dermoscopy_score")
    assert now is not None
    assert features_of(priors=(visit(1.0),)).value("abcd_change") == pytest.approx(now - 1)
    assert dict(features_of().absent)["abcd_change"] == "there is no earlier visit"
