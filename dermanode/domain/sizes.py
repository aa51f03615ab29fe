"""Sizes that two stages measure: each is told once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from dermanode.domain.findings import Measurement

_THE_SAME: Mapping[str, str] = {"footprint_mm2": "area_mm2"}
"""The footprint of a surface is the lesion's area in the plane of the skin. Where the area inside the outline was measured, it is told:
axes and perimeter are those of the same outline, and it is what is followed from visit to visit, with and without a surface."""


def keys_of(measurements: Iterable[Measurement]) -> frozenset[str]:
    """The keys of those that are of the lesion as a whole."""
    return frozenset(measurement.key for measurement in measurements if measurement.view_uid is None)


def is_repeated(measurement: Measurement, keys: Collection[str]) -> bool:
    """Whether another measurement, one of `keys`, tells the same size."""
    return _THE_SAME.get(measurement.key) in keys
