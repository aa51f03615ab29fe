"""What was measured, one row a series and one a pair of visits: goes into JSON and comes back from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dermanode.domain import Measurement

OF_TRUTH = {"volume_mm3": "volume_mm3", "area_mm2": "area_mm2", "surface_mm2": "surface_mm2", "height_mm": "max_height_mm"}
"""What a truth says, and the key of the measurement that should say the same."""


@dataclass(frozen=True)
class Value:
    """A measurement with its 90 % interval."""

    value: float
    lower: float | None = None
    upper: float | None = None

    @classmethod
    def of(cls, measurement: Measurement) -> Value:
        lower, upper = (None if end is None else float(end) for end in (measurement.lower, measurement.upper))
        return cls(float(measurement.value), lower, upper)

    def covers(self, truth: float) -> bool | None:
        """Whether the interval holds the truth; None where there is no interval."""
        return None if self.lower is None or self.upper is None else self.lower <= truth <= self.upper


@dataclass(frozen=True)
class Row:
    """One series: what is true, what was found. Goes into JSON and comes back from it."""

    key: str
    lesion: str
    seed: int
    tags: tuple[tuple[str, str], ...]
    status: str
    reason: str
    truth: Mapping[str, float]
    found: Mapping[str, Value]
    deviation: Mapping[str, float | None] | None
    why_no_deviation: str
    dice: float | None
    """Mean over the views: the outline against the scene's."""
    used_views: int
    dropped_views: tuple[tuple[int, str], ...]
    """(number from 1, reason)."""
    remarks: tuple[str, ...]
    tilt_deg: float | None
    reprojection_error_px: float | None
    confidence: float | None
    took_s: Mapping[str, float]

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Row:
        found = {key: Value(**value) for key, value in told["found"].items()}
        tags, dropped = (tuple(tuple(pair) for pair in told[name]) for name in ("tags", "dropped_views"))
        return cls(**{**told, "found": found, "tags": tags, "dropped_views": dropped, "remarks": tuple(told["remarks"])})


@dataclass(frozen=True)
class PairRow:
    """Two visits of one lesion: what grew, what was measured, what was said."""

    key: str
    lesion: str
    seed: int
    growth_percent: float
    status: str
    """Of the worse visit."""
    reason: str
    change_percent: float | None
    """Of the volume, as the progression stage reports it."""
    lower_percent: float | None
    upper_percent: float | None
    alerts: tuple[str, ...]
    truth: Mapping[str, float]
    first: Mapping[str, Value]
    later: Mapping[str, Value]

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> PairRow:
        visits = {visit: {key: Value(**value) for key, value in told[visit].items()} for visit in ("first", "later")}
        return cls(**{**told, **visits, "alerts": tuple(told["alerts"])})
