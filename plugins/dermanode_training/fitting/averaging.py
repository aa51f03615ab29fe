"""An exponential average of a network's weights, which forgets the start quickly however short the run is."""

from __future__ import annotations

import torch
from torch.optim.swa_utils import AveragedModel


def averaged(network: torch.nn.Module, decay: float) -> AveragedModel:
    """The average after n updates keeps min(decay, (1 + n) / (10 + n)) of itself at the next; buffers are averaged too."""

    def mix(average: torch.Tensor, now: torch.Tensor, updates: torch.Tensor | int) -> torch.Tensor:
        kept = min(decay, (1 + int(updates)) / (10 + int(updates)))
        return average.lerp(now, 1 - kept) if average.is_floating_point() else now

    return AveragedModel(network, avg_fn=mix, use_buffers=True)
