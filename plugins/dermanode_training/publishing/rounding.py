"""Whether half precision loses anything: what a network says with its weights as they are, and rounded."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

MOST_CHANGE = 0.01
"""Weights are rounded where no probability changes by more."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """The same pictures twice."""

    pictures: int
    largest_change: float
    """Of any probability: of a class, or of lesion at a pixel."""
    decisions_changed: float
    """Share of the pictures whose most probable class, or of the pixels whose side of one half, is another."""

    @property
    def is_harmless(self) -> bool:
        return self.largest_change <= MOST_CHANGE  # not so for NaN, which a weight beyond 65504 becomes


def rounded(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What is a number with a fraction as float16, the rest as it is."""
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


def rounding(network: torch.nn.Module, batches: Iterable[torch.Tensor]) -> Rounding:
    """`network` holds the weights as they are, and keeps them."""
    other = copy.deepcopy(network)
    other.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in rounded(network.state_dict()).items()}
    )
    pictures, largest, changed = 0, 0.0, []
    with torch.inference_mode():
        for batch in batches:
            before, after = _chances(network.eval()(batch)), _chances(other.eval()(batch))
            pictures += len(batch)
            difference = float((before - after).abs().max())
            largest = difference if difference != difference else max(largest, difference)
            changed.append(float((_decided(before) != _decided(after)).float().mean()))
    return Rounding(pictures, largest, sum(changed) / max(1, len(changed)))


def _chances(logits: torch.Tensor) -> torch.Tensor:
    """Rows over classes of a classifier, maps of a segmenter."""
    return torch.softmax(logits.double(), 1) if logits.ndim == 2 else torch.sigmoid(logits.double())


def _decided(chances: torch.Tensor) -> torch.Tensor:
    return chances.argmax(1) if chances.ndim == 2 else chances > 0.5
