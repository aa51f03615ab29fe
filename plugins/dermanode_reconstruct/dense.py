"""The height of every point of the grid, from coarse to fine."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dermanode_reconstruct.refinement import refine
from dermanode_reconstruct.smoothing import gauss, median
from dermanode_reconstruct.stack import Stack
from dermanode_reconstruct.sweep import sweep

_CONTRAST_MM = 0.4
"""Sigma of the neighbourhood in which contrast is evened, for a step of the fine grid of 0.055 mm."""
_COARSE_PLANE, _FINE_PLANE, _FINE_REACH = 0.15, 0.06, 0.42
_STIFFNESS = 0.02
_WINDOW = 2.0
"""Cells over which the fine grid's data are pooled (sigma)."""
_FRESH = 0.25
"""Share of the window's cells that are independent."""


@dataclass(frozen=True, eq=False)
class Solved:
    """A height field and how far it is to be trusted."""

    height: Tensor
    """n x n, mm."""
    deviation_mm: Tensor
    """n x n: standard deviation by the solver's own curvature and what the pictures disagree by."""
    agreement: float
    """Share of the pictures' variance that they have in common on the surface, 0 to 1."""


def solve(stack: Stack, lowest_mm: float, highest_mm: float, scale: float = 1.0) -> Solved:
    """The height field over the stack's grid (whose count less one is even), heights from `lowest_mm` to `highest_mm`.

    Every length of the method is multiplied by `scale`: 1 fits pictures of 20 mm width.
    """
    with torch.no_grad():
        return _solved(stack, lowest_mm, highest_mm, scale)


def _solved(stack: Stack, lowest_mm: float, highest_mm: float, scale: float) -> Solved:
    device = stack.channels.device
    coarse = stack.coarser().evened(_CONTRAST_MM * scale)
    height = torch.zeros((coarse.grid.count,) * 2, device=device)
    # On a coarser grid yet, the little that a lesion of low texture has to show is gone.
    planes = torch.arange(lowest_mm, highest_mm + 1e-6, _COARSE_PLANE * scale, device=device)
    height = gauss(median(sweep(coarse, height, planes), reach=4), 2.0)
    reach = _FINE_REACH * scale
    height = gauss(median(sweep(coarse, height, torch.arange(-reach, reach + 1e-6, _FINE_PLANE * scale, device=device))), 1.0)
    refined = refine(coarse, height, rounds=4, window=1.6, stiffness=_STIFFNESS)
    fine = stack.evened(_CONTRAST_MM * scale)
    refined = refine(fine, _finer(refined.height, stack.grid.count), rounds=5, window=_WINDOW, stiffness=_STIFFNESS)
    within, whole = _variances(fine.sample(refined.height))
    # The window's cells are independent but for the pictures' own blur.
    independent = max(1.0, 4 * math.pi * _WINDOW**2 * _FRESH)
    deviation = torch.sqrt(within.mean() / (refined.information.clamp(min=1e-6) * independent))
    return Solved(refined.height, deviation, float(1 - within.mean() / whole.mean().clamp(min=1e-6)))


def _variances(seen: Tensor) -> tuple[Tensor, Tensor]:
    """C x n x n: the variance between the pictures and that around zero, each weighted by trust."""
    values, trust = seen[:, :-1], seen[:, -1:]
    share = trust / trust.sum(0).clamp(min=1e-6)
    return (share * (values - (share * values).sum(0)) ** 2).sum(0), (share * values**2).sum(0)


def _finer(height: Tensor, count: int) -> Tensor:
    return functional.interpolate(height[None, None], size=(count, count), mode="bicubic", align_corners=True)[0, 0]
