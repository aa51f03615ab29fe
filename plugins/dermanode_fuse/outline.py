"""The lesion's outline in the plane of the skin, finer than the cells of the height field."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from dermanode.domain import HeightField
from dermanode_fuse.shape import Shape, main_region, measure_shape

_SMOOTHING = 1.5
"""Standard deviation in cells."""
_FINER = 4
_MARGIN = 6


def skin_outline(field: HeightField) -> Shape | None:
    """The outline's sizes in the field's lateral unit; None where the field has no lesion that a few cells show.

    The cells are smoothed and read four times finer where they cross one half. Smoothing by s moves a curve inward by s^2 / 2 times its
    curvature, whose integral around any simple outline is 2 pi: the area lost is pi s^2, and lengths are scaled up by its root.
    """
    if not field.is_lesion.any():
        return None
    rows, columns = np.flatnonzero(field.is_lesion.any(axis=1)), np.flatnonzero(field.is_lesion.any(axis=0))
    cells = np.pad(field.is_lesion[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32), _MARGIN)
    smooth = cv2.GaussianBlur(cells, (0, 0), _SMOOTHING)
    inside = cv2.resize(smooth, None, fx=_FINER, fy=_FINER, interpolation=cv2.INTER_LINEAR) > 0.5
    if not inside.any():
        return None
    step = field.step / _FINER
    shape = measure_shape(main_region(inside), step, step)
    grown = 1 + np.pi * (_SMOOTHING * field.step) ** 2 / shape.area
    longer = float(np.sqrt(grown))
    return replace(
        shape,
        area=float(shape.area * grown),
        perimeter=shape.perimeter * longer,
        long_axis=shape.long_axis * longer,
        short_axis=shape.short_axis * longer,
        major_semi_axis=shape.major_semi_axis * longer,
        minor_semi_axis=shape.minor_semi_axis * longer,
    )


def reaches_edge(field: HeightField) -> bool:
    """The lesion goes on beyond the field."""
    lesion = field.is_lesion
    return bool(lesion[0].any() or lesion[-1].any() or lesion[:, 0].any() or lesion[:, -1].any())
