"""The ABCD rule of dermatoscopy as numbers: A, B, C, D, their total, and its change since the first visit (Stolz et al. 1994)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median_low

from dermanode.domain import Measurement, Prior
from dermanode.domain.codes import Quantity
from dermanode_fuse import catalogue as known
from dermanode_fuse.appearance import Appearance
from dermanode_fuse.over_views import MEDIAN, middle
from dermanode_fuse.settings import FuseSettings

Absent = list[tuple[str, str]]
Parts = Mapping[Quantity, int | None]

_WEIGHTS: Mapping[Quantity, float] = {known.ABCD_A: 1.3, known.ABCD_B: 0.1, known.ABCD_C: 0.5, known.ABCD_D: 0.5}
_TOTALS: Mapping[Quantity, tuple[Quantity, ...]] = {
    known.ABC_PARTIAL: (known.ABCD_A, known.ABCD_B, known.ABCD_C),
    known.DERMOSCOPY_SCORE: (known.ABCD_A, known.ABCD_B, known.ABCD_C, known.ABCD_D),
}


def parts_of(one: Appearance, settings: FuseSettings) -> Parts:
    """The four scores of one view; None where the picture does not allow it."""
    return {
        known.ABCD_A: one.symmetry.score(settings),
        known.ABCD_B: one.abrupt_sectors,
        # A lesion has a colour, also where it is that of the skin, and one without any structure is structureless.
        known.ABCD_C: None if one.colours is None else max(1, len(one.colours)),
        known.ABCD_D: max(1, len(one.structures.names(settings))),
    }


def total(parts: Mapping[Quantity, float | None], of: Quantity = known.DERMOSCOPY_SCORE) -> float | None:
    """The weighted sum, or None where a part is missing."""
    terms = [(_WEIGHTS[part], parts.get(part)) for part in _TOTALS[of]]
    return sum(weight * value for weight, value in terms if value is not None) if all(v is not None for _, v in terms) else None


def scores(seen: Sequence[Appearance], settings: FuseSettings, absent: Absent) -> list[Measurement]:
    """The scores that could be made, each the lower median over the views, and their sums."""
    views = [parts_of(one, settings) for one in seen]
    found: dict[Quantity, float | None] = {}
    reported: list[Measurement] = []
    for quantity in (*_WEIGHTS, *_TOTALS):
        if quantity in _TOTALS:
            told = [value for parts in views if (value := total(parts, quantity)) is not None]
            # Of the medians, so that the reader can add them up.
            value, why = total(found, quantity), "a part of it is missing"
        else:
            told = [float(score) for parts in views if (score := parts[quantity]) is not None]
            value = found[quantity] = median_low(told) if told else None
            why = "the picture has too little skin around the lesion to compare with"
        if value is None:
            absent.append((quantity.key, why))
            continue
        uid = seen[0].view.sop_instance_uid if len(seen) == 1 else None
        reported.append(known.reported(quantity, value, middle(told, value), derivation=MEDIAN if len(seen) > 1 else None, view_uid=uid))
    return reported


def change(now: Measurement | None, priors: Sequence[Prior]) -> tuple[Measurement | None, str]:
    """Delta ABCD, and why there is none or what the reader is to know of it; `priors` are oldest first."""
    if not priors:
        return None, "there is no earlier visit"
    if now is None:
        return None, "the total dermoscopy score could not be made at this visit"
    key = known.DERMOSCOPY_SCORE.key
    for prior in priors:
        features = prior.outcome.features
        first = next((m for m in features.measurements if m.key == key and math.isfinite(m.value)), None) if features else None
        if first is not None:
            value = now.value - first.value
            said = (
                ""
                if prior is priors[0]
                else "The first visit has no total dermoscopy score: its change is since the earliest that has one."
            )
            return known.reported(known.ABCD_CHANGE, value, _ends(value, now, first)), said
    return None, "no earlier visit has a total dermoscopy score"


def _ends(value: float, now: Measurement, first: Measurement) -> tuple[float, float] | None:
    if now.lower is None or now.upper is None or first.lower is None or first.upper is None:
        return None
    below = math.hypot(now.value - now.lower, first.upper - first.value)
    above = math.hypot(now.upper - now.value, first.value - first.lower)
    return value - below, value + above
