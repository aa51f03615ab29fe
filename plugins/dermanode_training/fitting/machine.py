"""The machine that a run is on: what computes, and how many processes prepare pictures for it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from dermanode.errors import DermaNodeError

MOST_WORKERS = 12


class DeviceMissing(DermaNodeError):
    """A device that this machine does not have."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What may differ when a run goes on elsewhere; nothing here changes what is computed, only how fast."""

    device: str = "auto"
    """As torch names it (`cpu`, `cuda`, `cuda:1`); `auto` is the GPU where there is one."""
    threads: int = 2
    """Of the loop on a CPU."""
    workers: int = 0
    """Processes that draw and augment pictures. 0 chooses: one beside a CPU, which the loop needs itself, and most cores beside a GPU."""

    def chosen(self) -> torch.device:
        """Raises `DeviceMissing`."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        device = torch.device(self.device)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise DeviceMissing(f"The device {self.device} was asked for, but torch sees no GPU here: say --device cpu, or auto.")
        return device

    def loader_workers(self) -> int:
        """At least one: pictures are never prepared in the loop's own process."""
        if self.workers:
            return self.workers
        return 1 if self.chosen().type == "cpu" else max(1, min(MOST_WORKERS, (os.cpu_count() or 2) - 2))
