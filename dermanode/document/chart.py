"""Small charts of a lesion's visits, laid out for SVG: one panel a quantity, the class probabilities in one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from statistics import median

from dermanode.document.visits import FOLLOWED, Quantity, Value, VisitRow, Visits
from dermanode.domain import Measurement, Progression

WIDTH, HEIGHT = 380, 200
LEFT, RIGHT, TOP, BOTTOM = 50, 16, 14, 28
"""Around the plot, in the same units as the width and height."""

_PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Volume", ("volume_mm3",)),
    ("Area", ("area_mm2",)),
    ("Height", ("max_height_mm",)),
    ("Curvature", ("max_curvature_per_mm",)),
    ("Class probabilities", ("malignant", "suspicious")),
    ("Risk", ("risk",)),
)
_SHARES = ("malignant", "suspicious", "risk")
"""From 0 to 1, and drawn so."""


@dataclass(frozen=True, slots=True)
class Lettering:
    """How a chart writes what stands at its axes and points."""

    number: Callable[[float | None], str]
    unit: Callable[[str], str]
    """A UCUM unit as people write it; empty for none."""
    date: Callable[[date], str] = date.isoformat


@dataclass(frozen=True, slots=True)
class Point:
    """One value at one visit; the places are in the chart's units, y downwards."""

    x: float
    y: float
    low_y: float | None
    """Of the interval's lower end."""
    high_y: float | None
    case_id: str
    is_this: bool
    words: str


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity over the visits."""

    key: str
    name: str
    points: tuple[Point, ...]

    @property
    def path(self) -> str:
        """The `points` of an SVG polyline."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One panel."""

    title: str
    unit: str
    """As people write it; empty for none."""
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    trend: tuple[float, float, float, float] | None = None
    """x1, y1, x2, y2."""
    growth: float | None = None
    """In 30 days, as a share of the first visit's value: the slope of the trend."""
    alerts: tuple[str, ...] = ()
    """Sentences of the progression about this quantity."""

    @property
    def trend_words(self) -> str:
        return f"Trend: {100 * self.growth:+.1f} % of the first visit's value in 30 days." if self.growth is not None else ""

    @property
    def words(self) -> str:
        """The chart for those who do not see it."""
        told = "; ".join(point.words for line in self.lines for point in line.points)
        return f"{self.title} over the visits. {told}. {self.trend_words}".strip()


def charts(visits: Visits, progression: Progression, lettering: Lettering) -> tuple[Chart, ...]:
    """A panel for everything of which two dated visits have a value."""
    dated = [row for row in visits.rows if row.acquired_at is not None]
    quantities = {quantity.key: quantity for quantity in FOLLOWED}
    made = []
    for title, keys in _PANELS:
        shown = [(quantities[key], rows) for key in keys if len(rows := [row for row in dated if key in row.values]) > 1]
        if shown:
            made.append(_with_progression(_chart(title, shown, lettering), shown, progression))
    return tuple(made)


@dataclass(frozen=True, slots=True)
class _Frame:
    """From dates and values to places."""

    start: datetime
    end: datetime
    low: float
    high: float

    def x(self, at: datetime) -> float:
        whole = (self.end - self.start) / timedelta(days=1)
        share = (at - self.start) / timedelta(days=1) / whole if whole > 0 else 0.5
        return LEFT + 8 + share * (WIDTH - LEFT - RIGHT - 16)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def _frame(shown: Sequence[tuple[Quantity, Sequence[VisitRow]]]) -> tuple[_Frame, float]:
    """The frame and the step between the ticks of its values."""
    dates = [row.acquired_at for _, rows in shown for row in rows if row.acquired_at is not None]
    values = [end for quantity, rows in shown for row in rows for end in _ends(row.values[quantity.key])]
    if shown[0][0].key in _SHARES:
        low, high, step = 0.0, 1.0, 0.25
    else:
        low, high, step = _round_range(min(values), max(values))
    return _Frame(min(dates), max(dates), low, high), step


def _value_ticks(frame: _Frame, step: float, lettering: Lettering) -> Iterator[Tick]:
    for value in (frame.low + n * step for n in range(round((frame.high - frame.low) / step) + 1)):
        yield Tick(frame.y(value), lettering.number(round(value, 10)))


def _ends(value: Value) -> Iterator[float]:
    yield from (end for end in (value.value, value.lower, value.upper) if end is not None)


def _round_range(low: float, high: float) -> tuple[float, float, float]:
    """Lower end, upper end and step of an axis with three to seven round ticks; it starts at 0 unless that would hide the change."""
    if 0 <= low < 0.4 * high:
        low = 0.0
    span = (high - low) or abs(high) or 1.0
    raw = span / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= raw)
    return math.floor(low / step) * step, math.ceil(high / step + 1e-9) * step, step


def _chart(title: str, shown: Sequence[tuple[Quantity, Sequence[VisitRow]]], lettering: Lettering) -> Chart:
    frame, step = _frame(shown)
    lines = tuple(Line(quantity.key, quantity.name, tuple(_points(quantity, rows, frame, lettering))) for quantity, rows in shown)
    dates = sorted({row.acquired_at for _, rows in shown for row in rows if row.acquired_at is not None})
    x_ticks, y_ticks = _date_ticks(dates, frame, lettering), _value_ticks(frame, step, lettering)
    return Chart(title, lettering.unit(shown[0][0].unit), lines, tuple(x_ticks), tuple(y_ticks))


def _points(quantity: Quantity, rows: Sequence[VisitRow], frame: _Frame, lettering: Lettering) -> Iterator[Point]:
    for row in rows:
        if row.acquired_at is None:
            continue
        found = row.values[quantity.key]
        has_interval = found.lower is not None and found.upper is not None
        interval = f" ({lettering.number(found.lower)} to {lettering.number(found.upper)})" if has_interval else ""
        told = f"{quantity.name} {lettering.number(found.value)} {lettering.unit(quantity.unit)}".rstrip()
        yield Point(
            x=frame.x(row.acquired_at),
            y=frame.y(found.value),
            low_y=frame.y(found.lower) if found.lower is not None and has_interval else None,
            high_y=frame.y(found.upper) if found.upper is not None and has_interval else None,
            case_id=row.case_id,
            is_this=row.is_this,
            words=f"{lettering.date(row.acquired_at.date())}: {told}{interval}",
        )


def _date_ticks(dates: Sequence[datetime], frame: _Frame, lettering: Lettering) -> Iterator[Tick]:
    """The visits' dates, as many as do not run into each other; the first and the last always."""
    room = 74.0
    last = frame.x(dates[-1])
    taken = -math.inf
    for moment in dates:
        at = frame.x(moment)
        if moment == dates[-1] or (at - taken >= room and last - at >= room):
            yield Tick(at, lettering.date(moment.date()))
            taken = at


def _with_progression(chart: Chart, shown: Sequence[tuple[Quantity, Sequence[VisitRow]]], progression: Progression) -> Chart:
    """The chart with the trend of its quantity and the alerts that speak of it."""
    word = {"Class probabilities": "probability", "Risk": "risk"}.get(chart.title, chart.title.lower())
    chart = replace(chart, alerts=tuple(alert for alert in progression.alerts if word in alert.lower()))
    quantity, rows = shown[0]
    slope = next((one for one in progression.trends if one.key.startswith(quantity.key)), None)
    if slope is None or quantity.key in _SHARES:
        return chart
    known = [(row.acquired_at, row.values[quantity.key].value) for row in rows if row.acquired_at is not None]
    share = _share_per_30_days(slope, known[0][1])
    if share is None:
        return chart
    per_day = share * known[0][1] / 30
    days = [(at - known[0][0]) / timedelta(days=1) for at, _ in known]
    # Of a Theil-Sen line the slope is given; the intercept is the median of what it leaves (Sen 1968).
    start = median(value - per_day * day for day, (_, value) in zip(days, known, strict=True))
    frame, _ = _frame(shown)
    ends = [(frame.x(at), frame.y(start + per_day * day)) for (at, _), day in ((known[0], days[0]), (known[-1], days[-1]))]
    return replace(chart, trend=(*ends[0], *ends[1]), growth=share)


def _share_per_30_days(slope: Measurement, first: float) -> float | None:
    """Growth in 30 days as a share of the first visit's value; None where that says nothing."""
    if slope.unit.value in ("/(30.d)", "1"):
        return slope.value
    if slope.unit.value == "%":
        return slope.value / 100
    return slope.value / first if first > 0 else None
