"""The skin as it would be without the lesion: what heights are counted from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode_reconstruct.grid import Grid, Matrix

Field = NDArray[np.float64]

_INNER_MM, _OUTER_MM = 0.4, 2.2
"""The ring of skin around the outline that is fitted, for pictures of 20 mm width."""
_FEWEST_CELLS = 400
_LEAST_COVER = 0.4
"""Share of the ring that must be seen."""
_ROUNDS = 8
_BELOW, _ABOVE = 0.5, 2.0
"""Robust standard deviations at which a point's weight is a half. Skin has furrows and no ridges: heights count from between them."""
_CORRELATED_MM = 0.35
"""Radius over which the surface's errors are alike: furrows, and the window of the solver."""


@dataclass(frozen=True, eq=False)
class Base:
    """A quadratic in x and y, fitted to the skin around."""

    field: Field
    """n x n, mm."""
    scatter_mm: float
    """Robust standard deviation of the skin around it."""
    covariance: Matrix
    """6 x 6: of the coefficients of (1, x, y, x^2, x y, y^2), x and y counted from the grid's middle."""
    grid: Grid

    def variance_of_sum(self, weight: Field) -> float:
        """Variance of the sum of weight * base over the grid."""
        share = np.array([(term * weight).sum() for term in _terms(self.grid)])
        return float(share @ self.covariance @ share)


def fit_base(
    height: Field, is_lesion: NDArray[np.bool_], is_seen: NDArray[np.bool_], grid: Grid, scale: float, avoid: NDArray[np.bool_]
) -> Base | None:
    """By iteratively reweighted least squares (Cauchy's weights): hairs and a second lesion are outliers. None with too little skin.

    `avoid` is what the views call lesion beside the one that is measured. The covariance counts independent patches of skin, not cells.
    """
    inner, outer = (max(1, round(reach * scale / grid.step_mm)) for reach in (_INNER_MM, _OUTER_MM))
    around = _dilated(is_lesion, outer) & ~_dilated(is_lesion, inner)
    ring = around & is_seen & ~_dilated(avoid, inner)
    if ring.sum() < _FEWEST_CELLS or ring.sum() < _LEAST_COVER * around.sum():
        return None
    terms = _terms(grid)
    columns, values = np.stack([term[ring] for term in terms], axis=1), height[ring]
    weight = np.ones(len(values))
    for _ in range(_ROUNDS):
        normal = columns.T @ (columns * weight[:, None])
        coefficients = np.linalg.solve(normal, columns.T @ (values * weight))
        off = values - columns @ coefficients
        scatter = 1.4826 * float(np.median(abs(off))) + 1e-6
        weight = 1 / (1 + (off / (np.where(off < 0, _BELOW, _ABOVE) * scatter)) ** 2)
    cells_alike = max(1.0, np.pi * (_CORRELATED_MM * scale / grid.step_mm) ** 2)
    covariance = np.asarray(np.linalg.inv(normal) * scatter**2 * cells_alike)
    field: Field = sum((c * term for c, term in zip(coefficients, terms, strict=True)), np.zeros_like(height))
    return Base(field, scatter, covariance, grid)


def _terms(grid: Grid) -> tuple[Field, ...]:
    middle_x, middle_y = grid.middle_mm
    x, y = np.meshgrid(grid.x - middle_x, grid.y - middle_y)
    return np.ones_like(x), x, y, x * x, x * y, y * y


def _dilated(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), element) > 0)
