"""Which visits a lesion is held against: order, dates, surfaces, and the trend over all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from dermanode_progression import progression
from dermanode_progression.comparison import Comparison, Value, compare
from dermanode_progression.settings import ProgressionSettings
from dermanode_progression.tracked import tracked
from dermanode_progression.trend import Point, Trend, trend

from dermanode.domain import (
    UID,
    Algorithm,
    CameraGeometry,
    Case,
    Features,
    Measurement,
    Outcome,
    Prior,
    Progression,
    StageReport,
    StageStatus,
    Surface,
    View,
)
from dermanode.domain.codes import MM3, private
from dermanode.domain.outcome import SurfaceSummary

NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)
MEASURER = Algorithm("Measurer", "1")


def volume(value: float, spread: float = 0.0) -> Features:
    ends = (value - spread, value + spread) if spread else (None, None)
    found = Measurement(key="volume_mm3", concept=private("X", "x"), value=value, unit=MM3, lower=ends[0], upper=ends[1])
    return Features(algorithm=MEASURER, measurements=(found,))


def visit(days_ago: float | None, found: Features, **outcome: Any) -> Prior:
    name = f"{days_ago} days ago"
    taken = None if days_ago is None else NOW - timedelta(days=days_ago)
    return Prior(name, taken, Outcome(case_id=name, revision=1, is_failed=False, reports=(), features=found, **outcome))


def surface(*, is_metric: bool = True, scale_mm: float = 0.3, method: str = "sweep") -> Surface:
    empty = np.zeros((0, 3))
    return Surface(
        algorithm=Algorithm("Reconstruction", "2"),
        vertices=empty.astype(np.float32),
        faces=empty.astype(np.int32),
        normals=empty.astype(np.float32),
        colours=empty.astype(np.uint8),
        method=method,
        scale_source="",
        is_metric=is_metric,
        lateral_unit="mm",
        curvature_scale_mm=scale_mm,
        used_views=(),
    )


def summary(*, is_metric: bool = True, scale_mm: float | None = 0.3, method: str = "sweep") -> SurfaceSummary:
    return SurfaceSummary(
        method=method,
        is_metric=is_metric,
        scale_source="",
        vertices=0,
        faces=0,
        used_views=(),
        dropped_views=(),
        curvature_scale_mm=scale_mm,
    )


@pytest.fixture
def follow(make_view: Callable[..., View], make_case: Callable[..., Case], make_context: Callable[..., Any]) -> Callable[..., Progression]:
    def follow(
        now: Features,
        *priors: Prior,
        acquired_at: datetime | None = NOW,
        of: Surface | None = None,
        contact: bool | None = None,
        **settings: Any,
    ) -> Progression:
        findings = [now] if of is None else [of, now]
        view = make_view(np.zeros((8, 8, 3), np.uint8), is_contact=contact)
        context = make_context(**settings)
        found = progression(make_case(view, findings=findings, priors=priors, acquired_at=acquired_at), context)
        assert found is not None, context.reasons
        return found

    return follow


def slope(found: Progression) -> Measurement:
    return next(m for m in found.trends if m.key == "volume_mm3_trend")


# --- the change's own interval


def _compare(then: Value, now: Value) -> Comparison:
    def measured(one: Value) -> Measurement:
        ends = one.value - one.below, one.value + one.above
        return Measurement(key="volume_mm3", concept=private("X", "x"), value=one.value, unit=MM3, lower=ends[0], upper=ends[1])

    found = compare(tracked(ProgressionSettings())[0], measured(then), measured(now))
    assert isinstance(found, Comparison)
    return found


def test_the_interval_of_a_change_holds_the_truth_in_nine_of_ten_cases() -> None:
    random = np.random.default_rng(1)
    deviation, held = 0.6, 0
    for _ in range(2000):
        then, now = (Value(v, 1.6449 * deviation, 1.6449 * deviation) for v in random.normal((10.0, 12.5), deviation))
        found = _compare(then, now)
        assert found.lower is not None
        assert found.upper is not None
        held += found.lower <= 25.0 <= found.upper
    assert 0.88 < held / 2000 < 0.92


@pytest.mark.parametrize("value", [10.5, 11.4, 11.42, 14.0])
def test_the_lower_end_is_above_zero_exactly_where_the_rise_exceeds_its_error(value: float) -> None:
    found = _compare(Value(10.0, 1.0, 1.0), Value(value, 1.0, 1.0))
    assert found.lower is not None
    assert (found.lower > 0) is (not found.is_within_error(1.0)) is (value > 10 + math.sqrt(2))


def test_each_end_takes_the_halves_of_the_intervals_that_face_it() -> None:
    assert _compare(Value(10, 9, 0.1), Value(11, 0.1, 9)).errors == pytest.approx(1 / math.hypot(0.1, 0.1))


def test_a_volume_that_could_have_been_nothing_has_no_interval_of_its_ratio() -> None:
    found = _compare(Value(1.0, 1.5, 1.5), Value(4.0, 1.0, 1.0))
    assert (found.value, found.lower, found.upper) == (300.0, None, None)
    assert not found.is_within_error(1.0)


# --- the trend


def test_the_slope_is_the_growth_in_30_days_as_a_share_of_the_first_visit(follow: Callable[..., Progression]) -> None:
    found = follow(volume(13.0), visit(90, volume(10.0)), visit(60, volume(11.0)), visit(30, volume(12.0)))
    assert slope(found).value == pytest.approx(0.1)
    assert (slope(found).unit.value, len(slope(found).concept.value) <= 16) == ("/(30.d)", True)


def test_one_strange_visit_does_not_bend_the_slope(follow: Callable[..., Progression]) -> None:
    strange = [visit(120, volume(10.0)), visit(90, volume(10.1)), visit(60, volume(30.0)), visit(30, volume(10.3))]
    assert slope(follow(volume(10.4), *strange)).value == pytest.approx(0.01, abs=0.005)


def test_two_visits_have_the_slope_of_their_difference(follow: Callable[..., Progression]) -> None:
    found = follow(volume(11.0, 0.3), visit(60, volume(10.0, 0.4)))
    assert slope(found).value == pytest.approx(0.05)
    assert (slope(found).lower, slope(found).upper) == (pytest.approx(0.025), pytest.approx(0.075))
    assert slope(follow(volume(11.0), visit(60, volume(10.0)))).lower is None


def test_a_steep_slope_raises_an_alert_where_no_single_change_does(follow: Callable[..., Progression]) -> None:
    visits = [visit(45, volume(10.0, 0.2)), visit(30, volume(10.6, 0.2)), visit(15, volume(11.2, 0.2))]
    found = follow(volume(11.8, 0.2), *visits)
    assert found.alerts == ("Volume grows by 12 % of the first visit's value in 30 days, over 4 visits in 45 days, more than 10 %.",)
    assert not follow(volume(11.8, 0.2), *visits, slope_per_30_days=0.2).alerts


def test_a_steep_slope_within_the_error_of_its_visits_is_only_said(follow: Callable[..., Progression]) -> None:
    found = follow(volume(10.8, 1.0), visit(20, volume(10.0, 1.0)))
    assert not found.alerts
    assert any("grows by 12 %" in remark and remark.endswith("but within error.") for remark in found.remarks)


def test_the_slope_of_two_visits_repeats_no_alert(follow: Callable[..., Progression]) -> None:
    assert len(follow(volume(15.0), visit(30, volume(10.0))).alerts) == 1


def test_visits_within_too_few_days_have_no_trend(follow: Callable[..., Progression]) -> None:
    found = follow(volume(10.5), visit(7, volume(10.0)))
    assert found.trends == ()
    assert "No trend of volume: the visits span 7 days, fewer than 14." in found.remarks


def _points(days: Sequence[float], values: Sequence[float]) -> list[Point]:
    return [Point(day, value) for day, value in zip(days, values, strict=True)]


def test_without_known_errors_the_ranks_give_an_interval_from_four_visits_on() -> None:
    three, four = trend(_points((0, 30, 60), (10, 11, 12.5)), 14), trend(_points((0, 30, 60, 90), (10, 11, 12.5, 13)), 14)
    assert isinstance(three, Trend)
    assert isinstance(four, Trend)
    assert three.lower is None
    assert (four.lower, four.upper) == (pytest.approx(0.05), pytest.approx(0.15))


def test_the_interval_of_the_ranks_holds_the_truth_in_at_least_nine_of_ten_cases() -> None:
    random = np.random.default_rng(2)
    held = 0
    for _ in range(1000):
        days = np.cumsum(random.uniform(20, 60, 8))
        points = _points(days, 10 + (days - days[0]) / 30 + random.normal(0, 0.5, 8))
        found = trend(points, 14)
        assert isinstance(found, Trend)
        assert found.lower is not None
        assert found.upper is not None
        held += found.lower * points[0].value <= 1.0 <= found.upper * points[0].value
    assert held >= 900


def test_a_first_visit_of_nothing_has_no_share() -> None:
    assert trend(_points((0, 30), (0, 1)), 14) == "it was 0 at the first visit, of which nothing is a share"


# --- order and dates


def test_a_visit_after_this_one_is_not_compared(follow: Callable[..., Progression]) -> None:
    found = follow(volume(12.0), visit(30, volume(10.0)), visit(-30, volume(1.0)))
    assert found.priors == ("30 days ago",)
    assert any("dated after this one" in remark for remark in found.remarks)
    assert [one.case_id for one in found.history] == ["30 days ago"]


def test_visits_in_the_wrong_order_are_put_right(follow: Callable[..., Progression]) -> None:
    found = follow(volume(12.0), visit(30, volume(11.0)), visit(60, volume(10.0)))
    values = {m.key: m.value for m in found.changes}
    assert values["volume_mm3_change_since_first_percent"] == pytest.approx(20)
    assert [one.case_id for one in found.history] == ["60 days ago", "30 days ago"]


def test_a_series_of_the_same_day_is_no_earlier_visit_where_there_is_another(follow: Callable[..., Progression]) -> None:
    found = follow(volume(13.0), visit(60, volume(10.0)), visit(0.1, volume(13.0)))
    assert {m.key: m.value for m in found.changes}["volume_mm3_change_percent"] == pytest.approx(30)
    assert "Another series of the same day is not taken for an earlier visit." in found.remarks


def test_a_series_of_the_same_day_alone_is_compared_without_a_trend(follow: Callable[..., Progression]) -> None:
    found = follow(volume(13.0), visit(0.1, volume(10.0)))
    assert found.alerts
    assert found.trends == ()
    assert any("how well the measurement repeats" in remark for remark in found.remarks)


def test_a_visit_without_a_date_is_left_out_beside_dated_ones(follow: Callable[..., Progression]) -> None:
    found = follow(volume(12.0), visit(None, volume(1.0)), visit(30, volume(10.0)))
    assert found.priors == ("30 days ago",)
    assert any("without a date" in remark for remark in found.remarks)


def test_without_any_dates_the_order_is_that_in_which_they_came(follow: Callable[..., Progression]) -> None:
    found = follow(volume(12.0), visit(None, volume(10.0)), acquired_at=None)
    assert {m.key: m.value for m in found.changes}["volume_mm3_change_percent"] == pytest.approx(20)
    assert found.trends == ()
    assert any("This visit has no date" in remark for remark in found.remarks)


def test_only_later_visits_decline_with_the_reason(make_view: Callable[..., View], make_case: Callable[..., Case], context: Any) -> None:
    view = make_view(np.zeros((8, 8, 3), np.uint8))
    assert progression(make_case(view, findings=[volume(1)], priors=[visit(-30, volume(1.0))], acquired_at=NOW), context) is None
    assert "dated after this one" in context.reasons[0]


def test_times_with_and_without_an_offset_go_together(follow: Callable[..., Progression]) -> None:
    naive = replace(visit(30, volume(10.0)), acquired_at=datetime(2026, 5, 2, 9))
    assert slope(follow(volume(11.0), naive)).value == pytest.approx(0.1)


# --- what stands between two visits


@pytest.mark.parametrize(
    ("now", "then", "reason"), [(True, False, "heights were relative then"), (False, True, "heights are relative now")]
)
def test_heights_of_a_relative_surface_are_never_compared(follow: Callable[..., Progression], now: bool, then: bool, reason: str) -> None:
    before = visit(30, volume(10.0), surface=summary(is_metric=then))
    found = follow(volume(20.0), before, of=surface(is_metric=now))
    assert found.changes == found.trends == ()
    assert f"Volume is not compared with the last visit (2026-05-02, 30 days before): {reason}." in found.remarks


def test_skin_pressed_flat_is_not_held_against_skin_that_was_not(
    follow: Callable[..., Progression], make_view: Callable[..., View]
) -> None:
    view = make_view(np.zeros((8, 8, 3), np.uint8))
    before = replace(visit(30, volume(10.0)), views=(replace(view, geometry=CameraGeometry(is_contact=True)),))
    found = follow(volume(20.0), before, contact=False)
    assert found.changes == ()
    assert any("touched the skin only then" in remark for remark in found.remarks)


@pytest.mark.parametrize(("scale_mm", "is_compared"), [(0.3, True), (0.31, True), (0.5, False), (None, True)])
def test_curvatures_are_compared_at_one_scale_only(follow: Callable[..., Progression], scale_mm: float | None, is_compared: bool) -> None:
    def curvature(value: float) -> Features:
        return Features(algorithm=MEASURER, measurements=(replace(volume(value).measurements[0], key="max_curvature_per_mm"),))

    found = follow(curvature(1.0), visit(30, curvature(1.0), surface=summary(scale_mm=scale_mm)), of=surface())
    assert bool(found.changes) is is_compared
    assert any("the curvature's scale was 0.5 mm and is 0.3 mm" in remark for remark in found.remarks) is not is_compared


def test_another_method_or_version_is_compared_and_remarked(follow: Callable[..., Progression]) -> None:
    report = StageReport(stage="reconstruct", status=StageStatus.PERFORMED, algorithm=Algorithm("Reconstruction", "1"))
    before = visit(30, volume(10.0), surface=summary(method="global mapping"))
    found = follow(volume(10.0), replace(before, outcome=replace(before.outcome, reports=(report,))), of=surface())
    assert found.changes
    assert any("The surface was made by global mapping at the last visit" in remark for remark in found.remarks)
    assert any("Reconstruction 1 made the surface at the last visit" in remark for remark in found.remarks)


def test_a_visit_that_only_a_report_tells_of_is_compared_in_numbers(follow: Callable[..., Progression]) -> None:
    found = follow(volume(13.0), replace(visit(30, volume(10.0)), case_id=UID("1.2.3.99")), of=surface())
    assert found.priors == ("1.2.3.99",)
    assert found.alerts
