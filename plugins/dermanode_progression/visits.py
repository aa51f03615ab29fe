"""The earlier visits: which are there to compare with, in order, and what each found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from dermanode.domain import Case, Features, Measurement, Prior, Visit
from dermanode.domain.codes import MALIGNANT, NO_UNITS, SUSPICIOUS, private
from dermanode_progression.comparison import HALF_WIDTHS

SINCE_LAST = "change"
SINCE_FIRST = "change_since_first"
_A_DAY = timedelta(days=1)
_FOLLOWED = ("volume_mm3", "area_mm2", "max_height_mm", "max_curvature_per_mm")
_RISK = private("RISKSCORE", "Risk score")


@dataclass(frozen=True, eq=False)
class EarlierVisit:
    """An earlier visit that has measurements."""

    prior: Prior
    features: Features
    spans: tuple[str, ...] = ()
    """What a change since then is called: `change`, `change_since_first` or, for the only visit, both."""

    def since(self, now: datetime | None) -> str:
        """In words: `the first visit (2025-03-01, 120 days before)`."""
        words = "the last visit" if SINCE_LAST in self.spans else "the first visit"
        then = self.prior.acquired_at
        if then is None:
            return words
        days = f", {(now.date() - then.date()).days} days before" if now is not None else ""
        return f"{words} ({then.date().isoformat()}{days})"


@dataclass(frozen=True, eq=False)
class Record:
    """All that is known of a lesion's earlier visits."""

    visits: tuple[EarlierVisit, ...]
    """Those with measurements, oldest first."""
    compared: tuple[EarlierVisit, ...]
    """The last visit and the first one, which may be the same."""
    history: tuple[Visit, ...]
    """Every earlier visit of which a value is known, oldest first."""
    remarks: tuple[str, ...]


def record_of(case: Case) -> Record:
    """Puts the priors in order and leaves out what is no earlier visit, with a remark.

    A visit that is dated after this one is none. Visits without a date stand in the order in which they came, and only where no visit is
    dated: beside dated ones nobody knows where they belong. The last visit is the last one a day or more ago, where there is one: what
    was measured the same day tells how well it repeats, not what grew.
    """
    remarks = [f"{gap[0].upper()}{gap[1:]}." for gap in case.prior_gaps]
    priors, now = list(case.priors), case.series.acquired_at
    dated = [prior for prior in priors if prior.acquired_at is not None]
    if now is not None and dated:
        taken = moment(now)
        later = [prior for prior in dated if moment(prior.acquired_at) >= taken]
        if later:
            remarks.append(f"{_visits(len(later))} dated after this one: nothing is compared with what came later.")
        if len(dated) < len(priors):
            remarks.append(f"{_visits(len(priors) - len(dated))} without a date and left out: where among the others is not known.")
        priors = sorted((prior for prior in dated if prior not in later), key=lambda prior: moment(prior.acquired_at))
    elif priors and now is None:
        remarks.append("This visit has no date: the order of the visits is that in which they came, and there is no trend.")
    visits = tuple(EarlierVisit(prior, prior.outcome.features) for prior in priors if prior.outcome.features is not None)
    if len(visits) < len(priors):
        without = len(priors) - len(visits)
        remarks.append(f"{without} of {len(priors)} earlier visits have no measurements and were not compared.")
    compared = _compared(visits, now, remarks)
    return Record(visits, compared, tuple(visit for prior in priors if (visit := _known(prior)).values), tuple(remarks))


def _compared(visits: Sequence[EarlierVisit], now: datetime | None, remarks: list[str]) -> tuple[EarlierVisit, ...]:
    if not visits:
        return ()
    before = [visit for visit in visits if not is_same_day(visit.prior.acquired_at, now)]
    if not before:
        remarks.append("The earlier visit is of the same day: a change since then tells how well the measurement repeats.")
    elif len(before) < len(visits):
        remarks.append("Another series of the same day is not taken for an earlier visit.")
    first, last = visits[0], (before or visits)[-1]
    if first is last:
        return (replace(first, spans=(SINCE_LAST, SINCE_FIRST)),)
    return (replace(last, spans=(SINCE_LAST,)), replace(first, spans=(SINCE_FIRST,)))


def moment(taken: datetime | None) -> datetime:
    """The time with an offset. A device without one is taken to be at UTC: the order of visits needs no better than a day."""
    if taken is None:
        return datetime.min.replace(tzinfo=UTC)
    return taken if taken.tzinfo is not None else taken.replace(tzinfo=UTC)


def is_same_day(one: datetime | None, other: datetime | None) -> bool:
    """True for two known times less than 24 hours apart."""
    return one is not None and other is not None and abs(moment(one) - moment(other)) < _A_DAY


def _known(prior: Prior) -> Visit:
    return Visit(case_id=prior.case_id, acquired_at=prior.acquired_at, values=tuple(m for m in _values(prior) if math.isfinite(m.value)))


def _values(prior: Prior) -> Iterator[Measurement]:
    outcome = prior.outcome
    if outcome.features is not None:
        for key in _FOLLOWED:
            found = measurement(outcome.features, key)
            if found is not None:
                # Its definition stands with the visit itself, and its view is none of this case.
                yield replace(found, definition="", view_uid=None)
    if outcome.classification is not None and outcome.classification.is_in_domain:
        for key, concept, label in (("malignant", MALIGNANT, "MALIGNANT"), ("suspicious", SUSPICIOUS, "SUSPICIOUS")):
            group = next((group for group in outcome.classification.groups if group.label == label), None)
            if group is not None:
                reach = None if group.spread is None else HALF_WIDTHS * group.spread
                ends = (None, None) if reach is None else (max(0.0, group.probability - reach), min(1.0, group.probability + reach))
                yield Measurement(key=key, concept=concept, value=group.probability, unit=NO_UNITS, lower=ends[0], upper=ends[1])
    if outcome.risk is not None:
        yield Measurement(key="risk", concept=_RISK, value=outcome.risk.score, unit=NO_UNITS)


def measurement(features: Features, key: str) -> Measurement | None:
    return next((m for m in features.measurements if m.key == key), None)


def _visits(count: int) -> str:
    return "One earlier visit is" if count == 1 else f"{count} earlier visits are"
