"""The progression stage: what is compared, what is not, and what raises an alert."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from dermanode_progression import progression

from dermanode.domain import (
    Algorithm,
    Case,
    Classification,
    ClassProbability,
    Features,
    Measurement,
    Outcome,
    Prior,
    Progression,
    Risk,
)
from dermanode.domain.codes import MM2, NO_UNITS, PIXEL, Code, private

MEASURER = Algorithm("Measurer", "1")
CODE = private("X", "x")


def features(values: Mapping[str, float], *, unit: Code | None = None, spread: float = 0.0, version: str = "1") -> Features:
    def one(key: str, value: float) -> Measurement:
        interval = (value - spread, value + spread) if spread else (None, None)
        own = unit or (MM2 if key.endswith("_mm2") else PIXEL if key.endswith("_px") else NO_UNITS)
        return Measurement(key=key, concept=CODE, value=value, unit=own, lower=interval[0], upper=interval[1])

    return Features(algorithm=Algorithm("Measurer", version), measurements=tuple(one(k, v) for k, v in values.items()))


def classification(malignant: float, *, suspicious: float = 0.0, is_in_domain: bool = True, digest: str = "a") -> Classification:
    shares = {"BENIGN": 1 - malignant - suspicious, "SUSPICIOUS": suspicious, "MALIGNANT": malignant}
    groups = tuple(ClassProbability(label=label, concept=CODE, probability=p) for label, p in shares.items())
    return Classification(
        algorithm=Algorithm("Classifier", "1", weights_digest=digest), diagnosis=(groups[0],), groups=groups, is_in_domain=is_in_domain
    )


def prior(number: int, found: Features | None, *, classified: Classification | None = None, acquired_at: datetime | None = None) -> Prior:
    outcome = Outcome(case_id=f"visit-{number}", revision=1, is_failed=False, reports=(), features=found, classification=classified)
    return Prior(f"visit-{number}", acquired_at, outcome)


@pytest.fixture
def follow(make_view: Callable[..., Any], make_case: Callable[..., Case], make_context: Callable[..., Any]) -> Callable[..., Progression]:
    def follow(
        now: Features, *priors: Prior, classified: Classification | None = None, acquired_at: datetime | None = None, **settings: Any
    ) -> Progression:
        findings = [now] if classified is None else [now, classified]
        case = make_case(make_view(np.zeros((8, 8, 3), np.uint8)), findings=findings, priors=priors, acquired_at=acquired_at)
        context = make_context(**settings)
        found = progression(case, context)
        assert found is not None, context.reasons
        return found

    return follow


def changes(found: Progression) -> dict[str, float]:
    return {m.key: m.value for m in found.changes}


def test_without_priors_it_declines(make_view: Callable[..., Any], make_case: Callable[..., Case], context: Any) -> None:
    case = make_case(make_view(np.zeros((8, 8, 3), np.uint8)), findings=[features({"area_mm2": 10})])
    assert progression(case, context) is None
    assert context.reasons == ["no earlier visit of this lesion is known"]


def test_what_could_not_be_asked_for_is_said(make_view: Callable[..., Any], make_case: Callable[..., Case], context: Any) -> None:
    gap = "earlier visits could not be asked for at pacs: it does not answer"
    case = replace(make_case(make_view(np.zeros((8, 8, 3), np.uint8)), findings=[features({"area_mm2": 10})]), prior_gaps=(gap,))
    assert progression(case, context) is None
    assert context.reasons == [f"no earlier visit of this lesion is known; {gap}"]
    found = progression(replace(case, priors=(prior(1, features({"area_mm2": 10})),)), context)
    assert found is not None
    assert "Earlier visits could not be asked for at pacs: it does not answer." in found.remarks


def test_without_measurements_it_declines(make_view: Callable[..., Any], make_case: Callable[..., Case], context: Any) -> None:
    view = make_view(np.zeros((8, 8, 3), np.uint8))
    assert progression(make_case(view, priors=[prior(1, features({"area_mm2": 10}))]), context) is None
    assert progression(make_case(view, priors=[prior(1, None)], findings=[features({"area_mm2": 10})]), context) is None
    assert "this visit has no measurements" in context.reasons[0]
    assert "none of the earlier visits" in context.reasons[1]


def test_growth_is_a_percentage_of_the_earlier_value(follow: Callable[..., Progression]) -> None:
    found = follow(features({"area_mm2": 12.0}), prior(1, features({"area_mm2": 10.0})))
    assert changes(found)["area_mm2_change_percent"] == pytest.approx(20)
    assert changes(found)["area_mm2_change_since_first_percent"] == pytest.approx(20)


def test_the_last_and_the_first_visit_are_compared_with(follow: Callable[..., Progression]) -> None:
    values = (10.0, 11.0, 15.0)
    found = follow(features({"area_mm2": 16.5}), *(prior(n, features({"area_mm2": v})) for n, v in enumerate(values, 1)))
    assert changes(found)["area_mm2_change_percent"] == pytest.approx(10)
    assert changes(found)["area_mm2_change_since_first_percent"] == pytest.approx(65)
    assert found.priors == ("visit-1", "visit-3")


def test_scores_are_compared_by_their_difference(follow: Callable[..., Progression]) -> None:
    found = follow(features({"asymmetry": 0.30}), prior(1, features({"asymmetry": 0.0})))
    assert changes(found)["asymmetry_change"] == pytest.approx(0.30)


@pytest.mark.parametrize(("now", "alerts"), [(12.1, 1), (12.0, 0), (9.0, 0)])
def test_growth_above_the_threshold_raises_an_alert(follow: Callable[..., Progression], now: float, alerts: int) -> None:
    found = follow(features({"area_mm2": now}), prior(1, features({"area_mm2": 10.0})))
    assert len(found.alerts) == alerts


def test_an_alert_says_what_by_how_much_and_since_when(follow: Callable[..., Progression]) -> None:
    found = follow(
        features({"area_mm2": 15.0}),
        prior(1, features({"area_mm2": 10.0}), acquired_at=datetime(2026, 1, 1)),
        acquired_at=datetime(2026, 1, 31, 12),
    )
    assert found.alerts == ("Area rose by 50 % since the last visit (2026-01-01, 30 days before), more than 20 %.",)


def test_thresholds_are_settings(follow: Callable[..., Progression]) -> None:
    pair = features({"area_mm2": 12.0}), prior(1, features({"area_mm2": 10.0}))
    assert not follow(*pair).alerts
    assert follow(*pair, area_percent=5).alerts


def test_a_change_within_the_error_of_both_visits_is_said_but_raises_no_alert(follow: Callable[..., Progression]) -> None:
    found = follow(features({"area_mm2": 13.0}, spread=2.5), prior(1, features({"area_mm2": 10.0}, spread=2.5)))
    assert not found.alerts
    assert any("within error: 90 % interval -5 % to 82 %" in remark for remark in found.remarks)
    # Both intervals overlap, and yet so large a difference of both is no error.
    assert follow(features({"area_mm2": 13.0}, spread=2.0), prior(1, features({"area_mm2": 10.0}, spread=2.0))).alerts


def test_different_units_are_never_compared(follow: Callable[..., Progression]) -> None:
    found = follow(features({"area_mm2": 13.0}), prior(1, features({"area_mm2": 1000.0}, unit=PIXEL)))
    assert changes(found) == {}
    assert any("its unit was {pixels} and is mm2" in remark for remark in found.remarks)


def test_sizes_in_pixels_are_not_compared(follow: Callable[..., Progression]) -> None:
    found = follow(features({"area_px": 2000.0}), prior(1, features({"area_px": 1000.0})))
    assert changes(found) == {}
    assert not found.alerts
    assert any("Sizes in pixels" in remark for remark in found.remarks)


def test_what_was_measured_at_one_visit_only_is_said(follow: Callable[..., Progression]) -> None:
    found = follow(features({"area_mm2": 13.0}), prior(1, features({"asymmetry": 0.1})))
    assert any("Area is not compared with the last visit: measured only now." in remark for remark in found.remarks)
    assert any("Asymmetry of shape is not compared with the last visit: measured only then." in remark for remark in found.remarks)


def test_what_is_missing_for_one_reason_is_said_in_one_remark(follow: Callable[..., Progression]) -> None:
    found = follow(features({"area_mm2": 1, "long_axis_mm": 1, "asymmetry": 0.1}), prior(1, features({"asymmetry": 0.1})))
    assert "Area and long axis are not compared with the last visit: measured only now." in found.remarks


def test_nothing_is_a_percentage_of_zero(follow: Callable[..., Progression]) -> None:
    found = follow(features({"area_mm2": 13.0}), prior(1, features({"area_mm2": 0.0})))
    assert changes(found) == {}


def test_a_rise_of_the_probability_raises_an_alert(follow: Callable[..., Progression]) -> None:
    now, then = features({"area_mm2": 10}), features({"area_mm2": 10})
    found = follow(now, prior(1, then, classified=classification(0.1, suspicious=0.1)), classified=classification(0.5))
    assert changes(found)["malignant_or_suspicious_change_percent"] == pytest.approx(30)
    assert found.alerts == (
        "Probability of malignant or suspicious rose by 30 percentage points since the last visit, more than 20 percentage points.",
    )


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        (None, "was not classified then"),
        (classification(0.1, is_in_domain=False), "unlike those that the classifier knows then"),
        (classification(0.1, digest="b"), "another model"),
    ],
)
def test_probabilities_that_do_not_compare_are_not_compared(
    follow: Callable[..., Progression], then: Classification | None, reason: str
) -> None:
    pair = features({"area_mm2": 10}), prior(1, features({"area_mm2": 10}), classified=then)
    found = follow(*pair, classified=classification(0.9))
    assert not found.alerts
    assert any(reason in remark for remark in found.remarks)


def test_another_version_of_the_measuring_software_is_remarked(follow: Callable[..., Progression]) -> None:
    found = follow(features({"area_mm2": 10}), prior(1, features({"area_mm2": 10}, version="0")))
    assert any("Measurer 0 measured at the last visit, Measurer 1 now" in remark for remark in found.remarks)


def test_visits_without_measurements_are_passed_over_and_counted(follow: Callable[..., Progression]) -> None:
    found = follow(features({"area_mm2": 12}), prior(1, None), prior(2, features({"area_mm2": 10})), prior(3, None))
    assert found.priors == ("visit-2",)
    assert any("2 of 3 earlier visits" in remark for remark in found.remarks)


def test_each_change_has_a_key_and_a_code_of_its_own(follow: Callable[..., Progression]) -> None:
    values = {"area_mm2": 10.0, "long_axis_mm": 3.0, "asymmetry": 0.1, "abc_partial_score": 2.0}
    found = follow(features(values), prior(1, features(values)), prior(2, features(values)))
    assert len(found.changes) == 8
    assert len({m.key for m in found.changes}) == len({m.concept for m in found.changes}) == 8
    assert all(len(m.concept.value) <= 16 and m.definition for m in found.changes)


def test_volume_and_curvature_have_thresholds_of_their_own(follow: Callable[..., Progression]) -> None:
    then = features({"volume_mm3": 10.0, "max_curvature_per_mm": 1.0, "mean_curvature_per_mm": 1.0, "max_height_mm": 1.0})
    now = features({"volume_mm3": 12.1, "max_curvature_per_mm": 1.16, "mean_curvature_per_mm": 3.0, "max_height_mm": 3.0})
    found = follow(now, prior(1, then))
    assert [alert.split(" rose")[0] for alert in found.alerts] == ["Volume", "Maximum mean curvature"]
    assert changes(found)["mean_curvature_per_mm_change_percent"] == pytest.approx(200)
    assert not follow(features({"max_curvature_per_mm": 1.14}), prior(1, then)).alerts


def test_the_score_of_abc_alerts_only_where_the_whole_score_is_not_known(follow: Callable[..., Progression]) -> None:
    parts, whole = {"abc_partial_score": 1.0}, {"abc_partial_score": 1.0, "total_dermoscopy_score": 2.0}
    risen = {key: value + 2 for key, value in whole.items()}
    assert follow(features(risen), prior(1, features(whole))).alerts[0].startswith("Total dermoscopy score rose by 2.00")
    assert len(follow(features(risen), prior(1, features(whole))).alerts) == 1
    assert follow(features(risen), prior(1, features(parts))).alerts[0].startswith("Weighted sum of A, B and C rose by 2.00")


def test_an_unknown_error_is_said_where_it_matters(follow: Callable[..., Progression]) -> None:
    found = follow(features({"area_mm2": 13.0}), prior(1, features({"area_mm2": 10.0}, spread=1.0)))
    assert found.alerts
    assert "The error of area is not known at both visits: its alert goes by the threshold alone." in found.remarks


def test_the_error_that_a_change_must_exceed_is_a_setting(follow: Callable[..., Progression]) -> None:
    pair = features({"area_mm2": 13.0}, spread=1.5), prior(1, features({"area_mm2": 10.0}, spread=1.5))
    assert follow(*pair).alerts
    assert not follow(*pair, error_factor=1.5).alerts


def test_a_report_that_was_read_back_is_compared_by_its_units_codes(follow: Callable[..., Progression]) -> None:
    found = follow(features({"area_mm2": 12.0}), prior(1, features({"area_mm2": 10.0}, unit=Code("mm2", "UCUM", "mm2"))))
    assert changes(found)["area_mm2_change_percent"] == pytest.approx(20)


@pytest.mark.parametrize("digest", [None, "a"])
def test_a_classification_whose_weights_are_not_known_is_compared_by_its_version(
    follow: Callable[..., Progression], digest: str | None
) -> None:
    then = replace(classification(0.1), algorithm=Algorithm("Classifier", "1", weights_digest=digest))
    pair = features({"area_mm2": 10}), prior(1, features({"area_mm2": 10}), classified=then)
    assert "malignant_or_suspicious_change_percent" in changes(follow(*pair, classified=classification(0.9)))


def test_the_spread_over_the_views_is_the_error_of_a_probability(follow: Callable[..., Progression]) -> None:
    def spread(malignant: float) -> Classification:
        found = classification(malignant)
        return replace(found, groups=tuple(replace(group, spread=0.15) for group in found.groups))

    then, now = prior(1, features({"area_mm2": 10}), classified=spread(0.1)), features({"area_mm2": 10})
    assert not follow(now, then, classified=spread(0.4)).alerts
    assert follow(now, then, classified=spread(0.5)).alerts


def test_a_measurement_that_is_defined_otherwise_is_remarked(follow: Callable[..., Progression]) -> None:
    then, now = features({"area_mm2": 10.0}), features({"area_mm2": 10.0})
    then = replace(then, measurements=(replace(then.measurements[0], definition="In the image plane."),))
    now = replace(now, measurements=(replace(now.measurements[0], definition="In the skin plane."),))
    assert "Area is measured otherwise than at the last visit; see the definitions." in follow(now, prior(1, then)).remarks


def test_what_was_followed_at_earlier_visits_is_kept(follow: Callable[..., Progression]) -> None:
    risk = Risk(algorithm=MEASURER, score=0.3, level="moderate", terms=())
    measured = features({"volume_mm3": 4.0, "area_mm2": 10.0, "asymmetry": 0.2}, spread=0.5)
    first = prior(1, measured, classified=classification(0.2, suspicious=0.1), acquired_at=datetime(2026, 1, 1))
    first = replace(first, outcome=replace(first.outcome, risk=risk))
    second = prior(2, None, classified=classification(0.5, is_in_domain=False), acquired_at=datetime(2026, 2, 1))
    found = follow(features({"area_mm2": 10.0}), first, second, acquired_at=datetime(2026, 3, 1))
    assert [(visit.case_id, visit.acquired_at) for visit in found.history] == [("visit-1", datetime(2026, 1, 1))]
    values = {m.key: m.value for m in found.history[0].values}
    assert values == {"volume_mm3": 4.0, "area_mm2": 10.0, "malignant": 0.2, "suspicious": pytest.approx(0.1), "risk": 0.3}
    assert (found.history[0].values[0].lower, found.history[0].values[0].upper) == (3.5, 4.5)


def test_numbers_that_are_none_are_neither_compared_nor_kept(follow: Callable[..., Progression]) -> None:
    found = follow(features({"area_mm2": 10.0}), prior(1, features({"area_mm2": math.nan})))
    assert found.changes == found.history == ()
    assert any("it was no number then" in remark for remark in found.remarks)
