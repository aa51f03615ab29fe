"""A lesion's visits side by side: what earlier visits found, and this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from dermanode.domain import ClassProbability, Measurement, Outcome
from dermanode.domain.codes import MM, MM2, MM3, NO_UNITS, PER_MM


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is followed from visit to visit."""

    key: str
    name: str
    unit: str
    """UCUM."""


FOLLOWED = (
    Quantity("volume_mm3", "Volume", MM3.value),
    Quantity("area_mm2", "Area", MM2.value),
    Quantity("max_height_mm", "Height", MM.value),
    Quantity("max_curvature_per_mm", "Largest mean curvature", PER_MM.value),
    Quantity("malignant", "Probability of malignant", NO_UNITS.value),
    Quantity("suspicious", "Probability of suspicious", NO_UNITS.value),
    Quantity("risk", "Risk", NO_UNITS.value),
)
"""In the order of the page. What else a visit's values hold follows in its own order."""
_HALF_WIDTHS = 1.645
"""Of a normal distribution's 90 % interval, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Value:
    """One quantity at one visit, with its 90 % interval where that is known."""

    value: float
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True)
class VisitRow:
    """One visit."""

    case_id: str
    acquired_at: datetime | None
    """UTC."""
    values: Mapping[str, Value]
    is_this: bool = False


@dataclass(frozen=True, slots=True)
class Visits:
    """All visits of a lesion up to this one, oldest first."""

    quantities: tuple[Quantity, ...]
    """Those that any visit has."""
    rows: tuple[VisitRow, ...]


def visits_of(outcome: Outcome, acquired_at: datetime | None) -> Visits | None:
    """The visits that the progression knows, and this one, taken at `acquired_at`; None where there is no earlier one."""
    if outcome.progression is None or not outcome.progression.history:
        return None
    earlier = [
        VisitRow(visit.case_id, _moment(visit.acquired_at), {one.key: _value(one) for one in visit.values})
        for visit in outcome.progression.history
    ]
    known = {one.key: one for visit in outcome.progression.history for one in visit.values}
    this = VisitRow(outcome.case_id, _moment(acquired_at), dict(_values_now(outcome, known)), is_this=True)
    rows = (*earlier, this)
    others = tuple(
        Quantity(key, one.concept.meaning, one.unit.value)
        for key, one in known.items()
        if key not in {quantity.key for quantity in FOLLOWED}
    )
    quantities = tuple(one for one in (*FOLLOWED, *others) if any(one.key in row.values for row in rows))
    return Visits(quantities, rows)


def _values_now(outcome: Outcome, known: Mapping[str, Measurement]) -> Iterator[tuple[str, Value]]:
    """What this visit found of the quantities that are followed or that earlier visits have."""
    measured: dict[str, Measurement] = {}
    for source in (outcome.surface, outcome.features):  # the features' own come last: they are what is reported
        measured |= {one.key: one for one in (source.measurements if source else ())}
    wanted = {quantity.key for quantity in FOLLOWED} | set(known)
    yield from ((key, _value(one)) for key, one in measured.items() if key in wanted)
    found = outcome.classification
    if found is not None and found.is_in_domain:
        yield from ((group.label.lower(), _chance(group)) for group in found.groups if group.label in ("MALIGNANT", "SUSPICIOUS"))
    if outcome.risk is not None:
        yield "risk", Value(outcome.risk.score)


def _chance(group: ClassProbability) -> Value:
    if group.spread is None:
        return Value(group.probability)
    reach = _HALF_WIDTHS * group.spread
    return Value(group.probability, max(0.0, group.probability - reach), min(1.0, group.probability + reach))


def _value(measurement: Measurement) -> Value:
    return Value(measurement.value, measurement.lower, measurement.upper)


def _moment(taken: datetime | None) -> datetime | None:
    # A device without an offset is taken to be at UTC, as the ledger does.
    return taken if taken is None else taken.replace(tzinfo=UTC) if taken.tzinfo is None else taken.astimezone(UTC)
