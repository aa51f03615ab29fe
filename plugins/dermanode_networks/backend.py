"""How a network is run: the one seam behind which other ways can stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

Answers = tuple[torch.Tensor, ...]


class Backend(Protocol):
    """A network made ready to run on one device."""

    def __call__(self, pictures: torch.Tensor) -> Answers:
        """N x 3 x rows x columns, float32, on the CPU, become the network's outputs: float32, on the CPU, N first.

        Raises `torch.OutOfMemoryError` where the device does not hold so many pictures at once.
        """
        ...


@dataclass(frozen=True, eq=False)
class Eager:
    """The network as PyTorch runs it, channels last.

    ONNX Runtime and OpenVINO run the networks themselves in about two thirds of the time (`benchmarks/backends.py`), but the network is the
    smaller part of a case: what they save did not pay for two packages and an export at every start.
    """

    network: torch.nn.Module
    """On `device`, in evaluation mode; gives a tensor or a tuple of tensors."""
    device: torch.device

    def __call__(self, pictures: torch.Tensor) -> Answers:
        with torch.inference_mode():
            found = self.network(pictures.to(self.device, memory_format=torch.channels_last))
            return tuple(one.float().cpu() for one in (found if isinstance(found, tuple) else (found,)))
