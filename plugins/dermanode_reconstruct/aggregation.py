"""Semi-global matching: costs of heights, summed along paths on which the height hardly changes (Hirschmueller 2008)."""

from __future__ import annotations

import torch
from torch import Tensor

SLIGHT = 0.04
"""What a change of one plane costs; two planes cost 2.5 times that."""
LARGE = 0.35
"""What any larger change costs."""
_TWO_PLANES = 2.5
_NEVER = 1e3


def aggregate(cost: Tensor, slight: float = SLIGHT, large: float = LARGE) -> Tensor:
    """The sum over the four directions along rows and columns; `cost` and the result are D x n x n, smaller is better.

    The four directions go through one loop, side by side: n steps over 4 x n x D numbers.
    """
    volume = cost.permute(1, 2, 0)
    turned = torch.stack([volume, volume.flip(0), volume.transpose(0, 1), volume.transpose(0, 1).flip(0)])
    count, planes = turned.shape[1], turned.shape[3]
    summed = torch.empty_like(turned)
    path = turned[:, 0]
    summed[:, 0] = path
    padded = torch.full((4, count, planes + 4), _NEVER, dtype=cost.dtype, device=cost.device)
    for step in range(1, count):
        least = path.amin(dim=2, keepdim=True)
        padded[:, :, 2:-2] = path
        one_off = torch.minimum(padded[:, :, 1:-3], padded[:, :, 3:-1]) + slight
        two_off = torch.minimum(padded[:, :, :-4], padded[:, :, 4:]) + _TWO_PLANES * slight
        best = torch.minimum(torch.minimum(path, one_off), torch.minimum(two_off, least + large))
        path = turned[:, step] + best - least
        summed[:, step] = path
    down, up, right, left = summed
    total = down + up.flip(0) + (right + left.flip(0)).transpose(0, 1)
    return total.permute(2, 0, 1)
