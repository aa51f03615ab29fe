"""Plane sweep: the height, out of many, at which all pictures agree best (Collins 1996)."""

from __future__ import annotations

import torch
from torch import Tensor

from dermanode_reconstruct.aggregation import aggregate
from dermanode_reconstruct.smoothing import box
from dermanode_reconstruct.stack import Stack

_WORST = 1.5
"""A squared difference of evened channels beyond this is an outlier: a highlight, a hair."""
_REACH = 2


def sweep(stack: Stack, height: Tensor, offsets_mm: Tensor) -> Tensor:
    """n x n: the height plus the best of the evenly spaced offsets, interpolated by a parabola through its neighbours."""
    cost = box(torch.stack([_disagreement(stack.sample(height + offset)) for offset in offsets_mm]), _REACH)
    total = aggregate(cost)
    best = total.argmin(0).clamp(1, len(offsets_mm) - 2)
    below, at, above = (total.gather(0, (best + k)[None])[0] for k in (-1, 0, 1))
    between = ((below - above) / (2 * (below - 2 * at + above)).clamp(min=1e-6)).clamp(-0.5, 0.5)
    return height + offsets_mm[best] + between * (offsets_mm[1] - offsets_mm[0])


def _disagreement(seen: Tensor) -> Tensor:
    """n x n: variance over the pictures, mean over the channels. What was seen is overwritten."""
    trust = seen[:, -1:]
    share = trust / trust.sum(0).clamp(min=1e-6)
    values = seen[:, :-1]
    apart = values.sub_((share * values).sum(0)).square_()
    return apart.clamp_(max=_WORST).mul_(share).sum(0).mean(0)
