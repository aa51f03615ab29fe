"""An exponential average of a network's weights, which forgets the start quickly however short the run is."""

from __future__ import annotations

import torch
from torch.optim.swa_utils import AveragedModel


def averaged(network: torch.nn.Module) -> AveragedModel:
    """An average that `update` lets follow the network; buffers are averaged too."""
    return AveragedModel(network, use_buffers=True)


def update(average: AveragedModel, network: torch.nn.Module, decay: float) -> None:
    """The average after n updates keeps min(decay, (1 + n) / (10 + n)) of itself; the first takes all from the network.

    All tensors at once, and without a look at what is on the device: torch's own way takes one kernel a tensor and waits for each step.
    """
    done = int(average.n_averaged)
    kept = min(decay, (1 + done) / (10 + done)) if done else 0.0
    with torch.no_grad():
        _mix(average, network, 1 - kept)
    average.n_averaged += 1


def _mix(average: AveragedModel, network: torch.nn.Module, taken: float) -> None:
    pairs = list(zip(_tensors(average.module), _tensors(network), strict=True))
    floats = [(own, now) for own, now in pairs if own.is_floating_point()]
    torch._foreach_lerp_([own for own, _ in floats], [now for _, now in floats], taken)
    for own, now in pairs:
        if not own.is_floating_point():
            own.copy_(now)


def _tensors(network: torch.nn.Module) -> list[torch.Tensor]:
    return [*network.parameters(), *network.buffers()]
