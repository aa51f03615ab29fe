"""This visit held against the last one before it and against the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from dermanode.domain import Algorithm, Case, Features, Measurement, Prior, Progression
from dermanode.domain.codes import NO_UNITS, PERCENT, Code, private
from dermanode_progression.comparison import Comparison, compare, compare_probabilities
from dermanode_progression.settings import ProgressionSettings
from dermanode_progression.tracked import Change, Tracked, tracked, tracked_probability

ALGORITHM = Algorithm("DermaNode progression", "0.1.0", family=Code("123105", "DCM", "Histogram Analysis"))
SINCE_LAST = "change"
SINCE_FIRST = "change_since_first"


@dataclass(frozen=True, eq=False)
class Visit:
    """An earlier visit that has measurements."""

    prior: Prior
    features: Features
    spans: tuple[str, ...]
    """What a change since then is called: `change`, `change_since_first` or, for the only visit, both."""

    def since(self, now: datetime | None) -> str:
        """In words: `the first visit (2025-03-01, 120 days ago)`."""
        words = "the last visit" if SINCE_LAST in self.spans else "the first visit"
        then = self.prior.acquired_at
        if then is None:
            return words
        days = f", {(now.date() - then.date()).days} days before" if now is not None else ""
        return f"{words} ({then.date().isoformat()}{days})"


def earlier_visits(priors: Sequence[Prior]) -> tuple[Visit, ...]:
    """The last earlier visit with measurements and the first one, which may be the same; `priors` are the oldest first."""
    usable = [(prior, prior.outcome.features) for prior in priors if prior.outcome.features is not None]
    if not usable:
        return ()
    if len(usable) == 1:
        return (Visit(*usable[0], (SINCE_LAST, SINCE_FIRST)),)
    return (Visit(*usable[-1], (SINCE_LAST,)), Visit(*usable[0], (SINCE_FIRST,)))


def follow(case: Case, now: Features, visits: Sequence[Visit], settings: ProgressionSettings) -> Progression:
    """The changes since each of `visits`, and the alerts that they raise."""
    changes: list[Measurement] = []
    alerts: list[str] = []
    remarks: list[str] = []
    for visit in visits:
        since = visit.since(case.series.acquired_at)
        for one, found in _comparisons(case, now, visit, settings):
            if isinstance(found, Comparison):
                changes.extend(_as_measurement(one, found.value, span) for span in visit.spans)
            alert, remark = _judge(one, found, since)
            alerts += [alert] if alert else []
            remarks += [remark] if remark else []
        if visit.features.algorithm != now.algorithm:
            was = visit.features.algorithm
            remarks.append(f"{was.name} {was.version} measured at {since}, {now.algorithm.name} {now.algorithm.version} now.")
    if any(m.key.endswith("_px") for m in now.measurements):
        remarks.append("Sizes in pixels were not compared: another camera or distance would pass for growth.")
    without = sum(prior.outcome.features is None for prior in case.priors)
    if without:
        remarks.append(f"{without} of {len(case.priors)} earlier visits have no measurements and were not compared.")
    compared = {id(visit.prior) for visit in visits}
    return Progression(
        algorithm=ALGORITHM,
        priors=tuple(prior.case_id for prior in case.priors if id(prior) in compared),
        changes=tuple(changes),
        alerts=tuple(alerts),
        remarks=tuple(remarks),
    )


def _comparisons(case: Case, now: Features, visit: Visit, settings: ProgressionSettings) -> Iterator[tuple[Tracked, Comparison | str]]:
    """What is followed, with its change since the visit or the reason why there is none; what was never measured is passed over."""
    for one in tracked(settings):
        before, current = _measurement(visit.features, one.key), _measurement(now, one.key)
        if before is not None and current is not None:
            yield one, compare(one, before, current)
        elif before is not None or current is not None:
            yield one, f"it was measured only {'now' if before is None else 'then'}"
    yield tracked_probability(settings), compare_probabilities(visit.prior.outcome.classification, case.classification)


def _judge(one: Tracked, found: Comparison | str, since: str) -> tuple[str | None, str | None]:
    """The alert and the remark that go with a comparison."""
    if isinstance(found, str):
        return None, f"{one.name} is not compared with {since}: {found}."
    if found.value <= one.alert_above:
        return None, None
    sentence = f"{one.name} rose by {one.change.written(found.value)} since {since}, more than {one.change.written(one.alert_above)}"
    if found.is_within_error:
        return None, f"{sentence}, but within error: the intervals of both visits overlap."
    return f"{sentence}.", None


def _as_measurement(one: Tracked, value: float, span: str) -> Measurement:
    which, suffix = ("last", "") if span == SINCE_LAST else ("first", "1")
    is_percent = one.change is not Change.DIFFERENCE
    return Measurement(
        key=f"{one.key}_{span}" + ("_percent" if is_percent else ""),
        concept=private(one.code + suffix, f"Change of {one.name.lower()} since the {which} visit"),
        value=value,
        # Only what has no unit is compared by its difference.
        unit=PERCENT if is_percent else NO_UNITS,
        definition=f"{one.change.value} Then: the {which} earlier visit of this lesion that has measurements.",
    )


def _measurement(features: Features, key: str) -> Measurement | None:
    return next((m for m in features.measurements if m.key == key), None)
