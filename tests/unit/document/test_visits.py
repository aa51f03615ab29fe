"""A lesion's visits in a row, and the charts of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest

from dermanode.document.chart import HEIGHT, LEFT, RIGHT, WIDTH, Chart, charts
from dermanode.document.visits import Visits, visits_of
from dermanode.domain import (
    Algorithm,
    Classification,
    ClassProbability,
    Code,
    Features,
    Measurement,
    Outcome,
    Progression,
    Risk,
    Visit,
)
from dermanode.domain.codes import MALIGNANT, MM2, MM3, NO_UNITS, SUSPICIOUS, private
from dermanode.domain.outcome import SurfaceSummary
from dermanode.web.words import LETTERING

ALGORITHM = Algorithm("recorded", "1")
DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHARE = Code("/(30.d)", "UCUM", "per 30 days")


def volume(value: float, lower: float | None = None, upper: float | None = None) -> Measurement:
    return Measurement(key="volume_mm3", concept=private("V", "Volume"), value=value, unit=MM3, lower=lower, upper=upper)


def area(value: float) -> Measurement:
    return Measurement(key="area_mm2", concept=private("A", "Area"), value=value, unit=MM2)


def visit(number: int, *values: Measurement, at: datetime | None = DAY) -> Visit:
    taken = at + timedelta(days=30 * number) if at else None
    return Visit(case_id=f"case-{number}", acquired_at=taken, values=values)


def outcome(
    *history: Visit, measured: tuple[Measurement, ...] = (), alerts: tuple[str, ...] = (), trend: Measurement | None = None
) -> Outcome:
    progression = Progression(algorithm=ALGORITHM, priors=(), changes=(), trends=(trend,) if trend else (), history=history, alerts=alerts)
    features = Features(algorithm=ALGORITHM, measurements=measured)
    return Outcome(case_id="now", revision=1, is_failed=False, reports=(), features=features, progression=progression)


def visits(ended: Outcome, days: int = 90) -> Visits:
    found = visits_of(ended, DAY + timedelta(days=days))
    assert found is not None
    return found


def drawn(ended: Outcome) -> tuple[Chart, ...]:
    assert ended.progression is not None
    return charts(visits(ended), ended.progression, LETTERING)


def test_without_an_earlier_visit_there_is_nothing_to_lay_side_by_side() -> None:
    assert visits_of(outcome(), DAY) is None
    assert visits_of(replace(outcome(), progression=None), DAY) is None


def test_this_visit_stands_last_with_what_its_own_stages_found() -> None:
    chances = (
        ClassProbability(label="BENIGN", concept=private("B", "Benign"), probability=0.7),
        ClassProbability(label="SUSPICIOUS", concept=SUSPICIOUS, probability=0.1),
        ClassProbability(label="MALIGNANT", concept=MALIGNANT, probability=0.2, spread=0.1),
    )
    ended = replace(
        outcome(visit(0, volume(10)), measured=(volume(12, 11, 13),)),
        classification=Classification(algorithm=ALGORITHM, diagnosis=(), groups=chances),
        risk=Risk(algorithm=ALGORITHM, score=0.4, level="moderate", terms=()),
    )
    found = visits(ended)
    assert [quantity.key for quantity in found.quantities] == ["volume_mm3", "malignant", "suspicious", "risk"]
    assert [row.is_this for row in found.rows] == [False, True]
    now = found.rows[-1].values
    assert (now["volume_mm3"].lower, now["suspicious"].value, now["suspicious"].lower, now["risk"].value) == (11, 0.1, None, 0.4)
    assert (now["malignant"].lower, now["malignant"].upper) == pytest.approx((0.0355, 0.3645))


def test_probabilities_that_must_not_be_relied_on_are_not_followed() -> None:
    chances = (ClassProbability(label="MALIGNANT", concept=MALIGNANT, probability=0.2),)
    doubtful = Classification(algorithm=ALGORITHM, diagnosis=(), groups=chances, is_in_domain=False)
    found = visits(replace(outcome(visit(0, volume(10)), measured=(volume(12),)), classification=doubtful))
    assert "malignant" not in found.rows[-1].values


def test_what_the_surface_measured_serves_where_the_features_are_silent() -> None:
    summary = SurfaceSummary(
        method="m", is_metric=True, scale_source="s", vertices=3, faces=1, used_views=(), dropped_views=(), measurements=(volume(9),)
    )
    ended = replace(outcome(visit(0, volume(10))), surface=summary)
    assert visits(ended).rows[-1].values["volume_mm3"].value == 9


def test_another_quantity_of_the_history_is_shown_under_its_own_name() -> None:
    odd = Measurement(key="glow", concept=private("GLOW", "Glow"), value=3, unit=NO_UNITS)
    found = visits(outcome(visit(0, odd), measured=(odd,)))
    assert [(quantity.key, quantity.name) for quantity in found.quantities] == [("glow", "Glow")]
    assert found.rows[-1].values["glow"].value == 3


def test_a_chart_has_a_point_a_visit_at_its_date_with_its_interval() -> None:
    (chart,) = drawn(outcome(visit(0, volume(10, 9, 11)), visit(1, volume(12)), measured=(volume(20, 18, 22),)))
    first, second, last = chart.lines[0].points
    assert (chart.title, chart.unit) == ("Volume", "mm³")
    assert (second.x - first.x) == pytest.approx((last.x - first.x) / 3)
    assert first.low_y is not None
    assert first.high_y is not None
    assert first.low_y > first.y > first.high_y
    assert second.low_y is None
    assert first.y > second.y > last.y
    assert [point.is_this for point in (first, second, last)] == [False, False, True]
    assert last.words == "2026-05-30: Volume 20 mm³ (18 to 22)"
    assert LEFT <= first.x <= last.x <= WIDTH - RIGHT
    assert all(0 <= tick.at <= HEIGHT for tick in chart.y_ticks)


def test_a_quantity_known_once_has_no_chart() -> None:
    assert [chart.title for chart in drawn(outcome(visit(0, area(30)), measured=(volume(20), area(31))))] == ["Area"]


def test_a_visit_without_a_date_is_in_the_table_alone() -> None:
    ended = outcome(visit(0, volume(10), at=None), visit(1, volume(12)), measured=(volume(20),))
    assert len(visits(ended).rows) == 3
    assert len(drawn(ended)[0].lines[0].points) == 2


def test_visits_with_and_without_an_offset_stand_on_one_axis() -> None:
    east = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=9)))
    ended = outcome(visit(0, area(30), at=east), visit(1, area(31), at=datetime(2026, 3, 1)), measured=(area(32),))
    assert [row.acquired_at.hour for row in visits(ended).rows if row.acquired_at] == [3, 0, 12]
    assert len(drawn(ended)[0].lines[0].points) == 3


def test_visits_of_one_moment_and_values_that_are_all_zero_can_be_drawn() -> None:
    ended = outcome(visit(0, volume(0)), visit(0, volume(0)), measured=(volume(0),))
    found = visits_of(ended, DAY)
    assert found is not None
    assert ended.progression is not None
    (chart,) = charts(found, ended.progression, LETTERING)
    assert len({point.x for point in chart.lines[0].points}) == 1


def test_a_trend_is_a_line_through_the_visits() -> None:
    slope = Measurement(key="volume_mm3_trend", concept=private("T", "Trend"), value=0.5, unit=SHARE)
    ended = outcome(visit(0, volume(10)), visit(1, volume(15)), visit(2, volume(20)), measured=(volume(25),), trend=slope)
    (chart,) = drawn(ended)
    first, last = chart.lines[0].points[0], chart.lines[0].points[-1]
    assert chart.trend == pytest.approx((first.x, first.y, last.x, last.y))
    assert "+50.0 % of the first visit's value in 30 days" in chart.words


def test_a_trend_of_one_quantity_is_not_drawn_into_another() -> None:
    slope = Measurement(key="area_mm2_trend", concept=private("T", "Trend"), value=0.5, unit=SHARE)
    (chart,) = drawn(outcome(visit(0, volume(10)), measured=(volume(25),), trend=slope))
    assert chart.trend is None


def test_an_alert_marks_the_chart_that_it_speaks_of() -> None:
    ended = outcome(visit(0, volume(10), area(30)), measured=(volume(25), area(31)), alerts=("Volume rose by 150 %.",))
    assert [bool(chart.alerts) for chart in drawn(ended)] == [True, False]


def test_dates_do_not_run_into_each_other() -> None:
    ended = outcome(*(visit(number, volume(10 + number)) for number in range(12)), measured=(volume(25),))
    found = visits(ended, days=365)
    assert ended.progression is not None
    at = [tick.at for tick in charts(found, ended.progression, LETTERING)[0].x_ticks]
    assert len(at) > 2
    assert min(after - before for before, after in pairwise(at)) > 70
