"""Gauss-Newton on a height field: all pictures at once, to a fraction of a plane."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dermanode_reconstruct.smoothing import gauss, membrane
from dermanode_reconstruct.stack import Stack

_OUTLIER = 0.6
"""Residual, in standard deviations of the local contrast, at which Cauchy's weight is a half."""
_CONVERGED_MM = 5e-4
_NOWHERE = 1e-6
_SOLVER_ROUNDS = 15


@dataclass(frozen=True, eq=False)
class Refined:
    """A height field and how well the pictures hold it."""

    height: Tensor
    """n x n, mm."""
    information: Tensor
    """n x n: the solver's curvature: the second derivative by mm of half the squared differences, summed over pictures and channels and
    averaged over the window."""


def refine(stack: Stack, height: Tensor, rounds: int, window: float, stiffness: float) -> Refined:
    """Minimises, over h, the weighted squared differences of each picture from the mean of all, plus stiffness * |grad h|^2.

    `window` is the sigma in cells over which the data term is pooled, `stiffness` counts in mean curvatures of the data term.
    """
    step = stack.grid.step_mm
    for _ in range(rounds):
        above, below = stack.sample(height + step / 2), stack.sample(height - step / 2)
        # In place where it can be: fresh memory for arrays of this size costs as much as the sums.
        both = above + below
        slope = above.sub_(below)[:, :-1].div_(step)
        trust = both[:, -1:]
        trust = trust / trust.mean(0).clamp(min=1e-6)
        seen = both[:, :-1].div_(2)
        # The mean is pulled by an outlier; the mean with the weights that it gives hardly is.
        weight = _weight(trust, seen - (trust * seen).mean(0))
        weight = _weight(trust, seen - (weight * seen).sum(0) / weight.sum(0).clamp(min=_NOWHERE))
        total = weight.sum(0).clamp(min=_NOWHERE)  # no picture shows the corners of a wide grid
        apart = seen.sub_((weight * seen).sum(0) / total)
        slope = slope.sub_((weight * slope).sum(0) / total)
        weighted = weight.mul_(slope)
        information, gradient = gauss(torch.stack([(weighted * slope).sum((0, 1)), weighted.mul_(apart).sum((0, 1))]), window)
        hold = stiffness * information.mean()
        keep = information + 1e-3 * hold
        moved = membrane(keep, keep * height - gradient, hold, _SOLVER_ROUNDS, height) - height
        height = height + moved.clamp(-1.5 * step, 1.5 * step)
        if float(moved.abs().mean()) < _CONVERGED_MM:
            break
    return Refined(height, information)


def _weight(trust: Tensor, apart: Tensor) -> Tensor:
    """Cauchy's, times the trust; in the place of `apart`."""
    return torch.div(trust, apart.div_(_OUTLIER).square_().add_(1), out=apart)
