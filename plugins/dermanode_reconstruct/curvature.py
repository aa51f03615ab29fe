"""How strongly a height field bends, at a stated scale."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]

SCALE_MM = 0.27
"""The default scale: finer than most lesions' relief, coarser than the noise of a surface from eight views."""
_REACH = 4.0
"""Scales; beyond, the Gaussian weighs less than 0.0004."""
_BLIND = 2.5
"""Scales around an unknown height within which the curvature is unknown: it weighs less than 1.3 % beyond."""


def mean_curvature(z: NDArray[np.floating], step: float, *, scale_mm: float = SCALE_MM, is_known: NDArray[np.bool_] | None = None) -> Field:
    """Mean curvature per mm of z(x, y), rows x columns `step` mm apart, positive where it bulges towards +z: 1/r on a ball of radius r.

    H = -((1 + zy^2) zxx - 2 zx zy zxy + (1 + zx^2) zyy) / (2 (1 + zx^2 + zy^2)^(3/2)), M. P. do Carmo, Differential Geometry of Curves and
    Surfaces, 1976, 3-3, example 5, with the sign turned. The derivatives are those of z smoothed by a Gaussian of standard deviation
    `scale_mm`. Where the field ends they come from a fit of a quadratic with the Gaussian's weights to what is left (inside that is the
    same), so that nothing is taken from beyond the edge; noise counts three times as much there, nine times in a corner.

    What smoothing changes: planes and, at their middle, quadratics not at all. On a ball of radius r, at the top, H is raised to
    (1 + 2 s^2 / r^2) / r and on a cylinder to (1 + 1.5 s^2 / r^2) / 2r, to second order in the scale s; a wave of length l is lowered by
    exp(-2 pi^2 s^2 / l^2), and where the surface has an edge nothing sharper than about 0.2 / s is seen.

    NaN within 2.5 scales of heights that are not known (`is_known`, default all). Raises `ValueError` where the scale is below 0.7 steps
    or the field has fewer than 5 rows or columns.
    """
    sigma = scale_mm / step
    if sigma < 0.7:
        raise ValueError(f"a scale of {scale_mm} mm cannot be told on a grid of {step} mm")
    if min(z.shape) < 5:
        raise ValueError(f"a field of {z.shape[0]} x {z.shape[1]} is too small for second derivatives")
    heights = z.astype(np.float64)
    unseen = None if is_known is None or is_known.all() else ~is_known
    if unseen is not None:
        heights = _filled(heights, unseen)
    down, across = _derivatives(z.shape[0], sigma), _derivatives(z.shape[1], sigma)
    smooth, first, second = (heights @ matrix.T for matrix in across)
    zx, zy = down[0] @ first / step, down[1] @ smooth / step
    zxx, zxy, zyy = down[0] @ second / step**2, down[1] @ first / step**2, down[2] @ smooth / step**2
    curvature: Field = -((1 + zy**2) * zxx - 2 * zx * zy * zxy + (1 + zx**2) * zyy) / (2 * (1 + zx**2 + zy**2) ** 1.5)
    if unseen is not None:
        curvature[cv2.distanceTransform((~unseen).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= _BLIND * sigma] = np.nan
    return curvature


@lru_cache(maxsize=8)
def _derivatives(n: int, sigma: float) -> tuple[Field, Field, Field]:
    """Three n x n matrices: from the values along a line to the smoothed value and the first and second derivative at each, per cell.

    A line through the values with Gaussian weights gives the first, a parabola the others. Exact for lines and parabolas.
    """
    offset = np.arange(n)[None, :] - np.arange(n)[:, None]
    weight = np.where(abs(offset) <= max(2.0, _REACH * sigma), np.exp(-0.5 * (offset / sigma) ** 2), 0.0)
    moments = np.stack([(weight * offset**k).sum(axis=1) for k in range(5)])
    line = _fit(moments, 1)[:, 0]
    parabola = _fit(moments, 2)
    powers = np.stack([weight * offset**k for k in range(3)])
    value = np.einsum("ik,kij->ij", line, powers[:2])
    slope, bend = (np.einsum("ik,kij->ij", parabola[:, order], powers) for order in (1, 2))
    matrices = value, slope, 2 * bend
    for matrix in matrices:
        matrix.setflags(write=False)
    return matrices


def _fit(moments: Field, degree: int) -> Field:
    """n x degree + 1 x degree + 1: from the weighted sums of value * offset^k to the coefficients of the polynomial."""
    order = np.arange(degree + 1)
    normal = moments[order[:, None] + order[None, :]].transpose(2, 0, 1)
    inverse: Field = np.linalg.inv(normal)
    return inverse


def _filled(heights: Field, unseen: NDArray[np.bool_]) -> Field:
    """Unknown heights replaced by the nearest known one, so that they do not carry further than they weigh; 0 where none is known."""
    if unseen.all():
        return np.zeros_like(heights)
    _, labels = cv2.distanceTransformWithLabels(unseen.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    known = np.zeros(int(labels.max()) + 1)
    known[labels[~unseen]] = heights[~unseen]
    return np.where(unseen, known[labels], heights)
