"""What is measured view by view, as one number: the median over the views, and the middle 90 % of them as its interval."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from dermanode.domain import Measurement, View
from dermanode.domain.codes import Code, Quantity
from dermanode_fuse import catalogue as known
from dermanode_fuse.error import Error

MEDIAN = Code("373099004", "SCT", "Median")
VIEWS_FOR_INTERVAL = 5


def middle(values: Sequence[float], value: float) -> tuple[float, float] | None:
    """The middle 90 % of the views, `value` in it; None of fewer than five views, which have no middle 90 %."""
    if len(values) < VIEWS_FOR_INTERVAL:
        return None
    lower, upper = (float(end) for end in np.percentile(values, (5, 95)))
    return min(lower, value), max(upper, value)


def spread(values: Sequence[float]) -> Error | None:
    """How far the views lie apart, as shares of their median."""
    value = median(values)
    ends = middle(values, value)
    return None if ends is None or value <= 0 else Error(1 - ends[0] / value, ends[1] / value - 1)


def combined(quantity: Quantity, values: Sequence[float], views: Sequence[View]) -> Measurement:
    """The median of one value a view."""
    value = median(values)
    one_view = views[0].sop_instance_uid if len(views) == 1 else None
    return known.reported(quantity, value, middle(values, value), derivation=MEDIAN if len(views) > 1 else None, view_uid=one_view)
