"""The machine that a run is on: what computes, and how many processes prepare pictures for it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from dermanode.errors import DermaNodeError

MOST_WORKERS = 12
PLACES = ("auto", "resident", "streamed")
ROOM = 0.5
"""The pictures may take so much of a GPU's free memory; the network needs the rest."""


class DeviceMissing(DermaNodeError):
    """A device that this machine does not have."""


class PlacementUnknown(DermaNodeError):
    """A place for the pictures that there is not."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What may differ when a run goes on elsewhere: not what is computed, only how fast, and which random numbers are drawn."""

    device: str = "auto"
    """As torch names it (`cpu`, `cuda`, `cuda:1`); `auto` is the GPU where there is one."""
    threads: int = 2
    """Of the loop on a CPU."""
    workers: int = 0
    """Processes that draw and augment pictures. 0 chooses: one beside a CPU, which the loop needs itself, and most cores beside a GPU."""
    pictures: str = "auto"
    """`resident`: they lie on the device, which draws and augments them itself; `streamed`: processes do it; `auto` is a GPU with room."""
    compiled: int = 0
    """1: torch compiles the network first. It takes a minute, and pays for a run of many minutes on a GPU."""

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

    def is_resident(self, pictures: int, bytes_each: int) -> bool:
        """So many pictures, of so many bytes, are to lie on the device. Raises `PlacementUnknown`."""
        if self.pictures not in PLACES:
            raise PlacementUnknown(f"pictures={self.pictures} is not understood: it is one of {', '.join(PLACES)}.")
        if self.pictures != "auto":
            return self.pictures == "resident"
        device = self.chosen()
        return device.type == "cuda" and bool(pictures * bytes_each < ROOM * torch.cuda.mem_get_info(device)[0])
