"""This visit's numbers held against the last visit before it, against the first, and against all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dermanode.domain import Case, Features, Measurement
from dermanode.domain.codes import NO_UNITS, PERCENT, Code, private
from dermanode_progression.comparability import incomparable, notes
from dermanode_progression.comparison import Comparison, compare, compare_probabilities, with_error
from dermanode_progression.settings import ProgressionSettings
from dermanode_progression.tracked import Change, Tracked, tracked, tracked_probability
from dermanode_progression.trend import Point, Trend, trend
from dermanode_progression.visits import SINCE_LAST, EarlierVisit, measurement, moment

PER_30_DAYS = Code("/(30.d)", "UCUM", "per 30 days")


@dataclass
class Numbers:
    """What came of the comparisons."""

    changes: list[Measurement] = field(default_factory=list)
    trends: list[Measurement] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    risen: set[str] = field(default_factory=set)
    """The keys of which a change raised an alert."""


def compared(case: Case, now: Features, visits: Sequence[EarlierVisit], settings: ProgressionSettings) -> Numbers:
    """The changes since each of `visits`, and the alerts that they raise."""
    numbers = Numbers()
    for visit in visits:
        since = visit.since(case.series.acquired_at)
        missing: dict[str, list[str]] = {}
        found = {one.key: (one, result) for one, result in _comparisons(case, now, visit, settings)}
        for one, result in found.values():
            if isinstance(result, str):
                missing.setdefault(result, []).append(one.name)
                continue
            numbers.changes.extend(_as_measurement(one, result, span) for span in visit.spans)
            is_repeated = one.in_place_of is not None and isinstance(found.get(one.in_place_of, (one, ""))[1], Comparison)
            if not is_repeated:
                _judge(one, result, since, settings, numbers)
        for reason, names in missing.items():
            verb = "is" if len(names) == 1 else "are"
            numbers.remarks.append(f"{_listed(names)} {verb} not compared with {since}: {reason}.")
        otherwise = [one.name for one, result in found.values() if isinstance(result, Comparison) and _is_redefined(one, now, visit)]
        if otherwise:
            verb = "is" if len(otherwise) == 1 else "are"
            numbers.remarks.append(f"{_listed(otherwise)} {verb} measured otherwise than at {since}; see the definitions.")
        numbers.remarks.extend(notes(case, now, visit, since))
    if any(m.key.endswith("_px") for m in now.measurements):
        numbers.remarks.append("Sizes in pixels were not compared: another camera or distance would pass for growth.")
    return numbers


def followed(case: Case, now: Features, visits: Sequence[EarlierVisit], settings: ProgressionSettings, numbers: Numbers) -> None:
    """Adds the trends over all visits, this one included, and the alert of the first that there is, the volume's before the area's."""
    taken = case.series.acquired_at
    if taken is None or not visits:
        return
    alerted = False
    missing: dict[str, list[str]] = {}
    for one in tracked(settings):
        current = measurement(now, one.key)
        if not one.has_trend or current is None:
            continue
        found = trend(_points(case, one, current, taken, visits), settings.trend_days)
        if isinstance(found, str):
            missing.setdefault(found, []).append(one.name)
            continue
        numbers.trends.append(_trend_as_measurement(one, found))
        if one.alert_above is not None and not alerted:
            alerted = True
            _judge_trend(one, found, settings, numbers)
    for reason, names in missing.items():
        numbers.remarks.append(f"No trend of {_listed(names)[0].lower()}{_listed(names)[1:]}: {reason}.")


def _comparisons(
    case: Case, now: Features, visit: EarlierVisit, settings: ProgressionSettings
) -> Iterator[tuple[Tracked, Comparison | str]]:
    """What is followed, with its change since the visit or the reason why there is none; what was never measured is passed over."""
    for one in tracked(settings):
        before, current = measurement(visit.features, one.key), measurement(now, one.key)
        if before is not None and current is not None:
            yield one, incomparable(one, case, visit) or compare(one, before, current)
        elif before is not None or current is not None:
            yield one, f"measured only {'now' if before is None else 'then'}"
    yield tracked_probability(settings), compare_probabilities(visit.prior.outcome.classification, case.classification)


def _is_redefined(one: Tracked, now: Features, visit: EarlierVisit) -> bool:
    """A report that was read back has no definitions, and speaks against nothing."""
    before, current = measurement(visit.features, one.key), measurement(now, one.key)
    return before is not None and current is not None and bool(before.definition) and before.definition != current.definition


def _judge(one: Tracked, found: Comparison, since: str, settings: ProgressionSettings, numbers: Numbers) -> None:
    """Adds the alert of a change, or the remark that it is within error."""
    if one.alert_above is None or found.value <= one.alert_above:
        return
    sentence = f"{one.name} rose by {one.change.written(found.value)} since {since}, more than {one.change.written(one.alert_above)}"
    if found.is_within_error(settings.error_factor):
        numbers.remarks.append(f"{sentence}, but within error{_interval(one, found)}.")
        return
    numbers.alerts.append(f"{sentence}.")
    numbers.risen.add(one.key)
    if found.errors is None:
        numbers.remarks.append(f"The error of {one.name.lower()} is not known at both visits: its alert goes by the threshold alone.")


def _interval(one: Tracked, found: Comparison) -> str:
    if found.lower is None or found.upper is None:
        return ""
    return f": 90 % interval {one.change.written(found.lower)} to {one.change.written(found.upper)}"


def _judge_trend(one: Tracked, found: Trend, settings: ProgressionSettings, numbers: Numbers) -> None:
    if found.slope <= settings.slope_per_30_days:
        return
    if found.visits == 2 and one.key in numbers.risen:
        return  # of two visits the slope is their difference again
    over = f"over {found.visits} visits in {found.days:.0f} days"
    share = f"{100 * found.slope:.0f} % of the first visit's value in 30 days"
    sentence = f"{one.name} grows by {share}, {over}, more than {100 * settings.slope_per_30_days:.0f} %"
    if found.is_within_error(settings.error_factor):
        numbers.remarks.append(f"{sentence}, but within error.")
    else:
        numbers.alerts.append(f"{sentence}.")


def _points(case: Case, one: Tracked, current: Measurement, taken: datetime, visits: Sequence[EarlierVisit]) -> list[Point]:
    points: list[Point] = []
    end = moment(taken)
    for visit in visits:
        before = measurement(visit.features, one.key)
        if before is None or visit.prior.acquired_at is None or incomparable(one, case, visit):
            continue
        if (before.unit.value, before.unit.scheme) == (current.unit.value, current.unit.scheme) and math.isfinite(before.value):
            days = (moment(visit.prior.acquired_at) - end).total_seconds() / 86400
            points.append(Point(days, before.value, with_error(before)))
    return [*points, Point(0.0, current.value, with_error(current))] if math.isfinite(current.value) else points


def _as_measurement(one: Tracked, found: Comparison, span: str) -> Measurement:
    which, suffix = ("last", "") if span == SINCE_LAST else ("first", "1")
    is_percent = one.change is not Change.DIFFERENCE
    return Measurement(
        key=f"{one.key}_{span}" + ("_percent" if is_percent else ""),
        concept=private(f"CHG{one.code}{suffix}", f"Change of {one.name.lower()} since the {which} visit"),
        value=found.value,
        # Only what has no unit is compared by its difference.
        unit=PERCENT if is_percent else NO_UNITS,
        lower=found.lower,
        upper=found.upper,
        definition=f"{one.change.value} Then: the {which} earlier visit of this lesion that has measurements.",
    )


def _trend_as_measurement(one: Tracked, found: Trend) -> Measurement:
    source = f" 90 % interval from {found.interval_from}." if found.interval_from else ""
    return Measurement(
        key=f"{one.key}_trend",
        concept=private(f"TREND{one.code}", f"Growth of {one.name.lower()} in 30 days, as a share of the first visit's"),
        value=found.slope,
        unit=PER_30_DAYS,
        lower=found.lower,
        upper=found.upper,
        definition=f"Median of the slopes between all pairs of {found.visits} visits in {found.days:.0f} days (Theil-Sen).{source}",
    )


def _listed(names: Sequence[str]) -> str:
    """`Volume`, `Volume and area`, `Volume, area and maximum height`."""
    words = [names[0], *(name[0].lower() + name[1:] for name in names[1:])]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
