"""Whether the pictures tell a height from its neighbours at all: where there is nothing to see, any height fits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dermanode_reconstruct.smoothing import gauss
from dermanode_reconstruct.stack import Stack

_OFF_MM = 0.3
"""A surface so much too high or too low must fit worse, for cameras tilted by 25 degrees and pictures of 20 mm width."""
_WORSE = 1.2
"""So many times the disagreement. On rendered scenes of low texture it is at least 2.4 on nine tenths of the lesion, and 1.1 where
heights are wrong by half."""
_CONTRAST_MM, _AROUND_CELLS = 0.4, 2.0


def indistinct_share(stack: Stack, height: Tensor, is_lesion: NDArray[np.bool_], tilt_deg: float, scale: float) -> float:
    """The share of the lesion (n x n) whose height the pictures do not tell, 0 to 1; `height` is n x n, mm."""
    off_mm = _OFF_MM * scale * np.tan(np.deg2rad(25.0)) / np.tan(np.deg2rad(tilt_deg))
    with torch.no_grad():
        coarse = stack.coarser().evened(_CONTRAST_MM * scale)
        found, above, below = (_disagreement(coarse.sample(height[::2, ::2] + by)) for by in (0.0, off_mm, -off_mm))
        is_told = torch.minimum(above, below) > _WORSE * found
    inside = is_lesion[::2, ::2]
    return 1.0 - float(is_told.cpu().numpy()[inside].mean()) if inside.any() else 1.0


def _disagreement(seen: Tensor) -> Tensor:
    """n x n: variance over the pictures, weighted by trust, mean over the channels and around."""
    values, trust = seen[:, :-1], seen[:, -1:]
    share = trust / trust.sum(0).clamp(min=1e-6)
    return gauss((share * (values - (share * values).sum(0)) ** 2).sum(0).mean(0), _AROUND_CELLS)
