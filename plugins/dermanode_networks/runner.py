"""Pictures through a bundle's network, in as many parts as the device's memory asks for."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
import torch

from dermanode.errors import BundleError, DeviceOutOfMemory
from dermanode_networks.backend import Answers, Backend

log = structlog.get_logger(__name__)


@dataclass(frozen=True, eq=False)
class Ran:
    """What a network said of pictures."""

    answers: Answers
    """The network's outputs, pictures first, float32, on the CPU. No value is NaN or infinite."""
    remarks: tuple[str, ...] = ()
    """What the reader should know of how it was run."""


@dataclass(frozen=True, eq=False)
class Runner:
    """A bundle's network, ready."""

    bundle: str
    """Its name, for what is said of it."""
    backend: Backend
    device: torch.device

    def run(self, pictures: torch.Tensor) -> Ran:
        """All pictures as one batch; where the device's memory does not hold it, half as many at a time, and so on down to one.

        Raises `DeviceOutOfMemory` where not even one fits, and `BundleError` where the network answers with what is no number.
        """
        at_once = len(pictures)
        while True:
            answers = self._in_parts(pictures, at_once)
            if answers is not None:
                break
            if at_once == 1:
                raise DeviceOutOfMemory(str(self.device), f"one picture of {self.bundle} ({_size(pictures)})")
            at_once = -(-at_once // 2)
            log.warning("batch_halved", bundle=self.bundle, device=str(self.device), pictures=len(pictures), at_once=at_once)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        if not all(bool(torch.isfinite(one).all()) for one in answers):
            # NaN is above no threshold: unchecked, it would read as "no lesion" and "not malignant".
            raise BundleError(
                self.bundle, f"the network's answer on {self.device} is not a number. Restore the bundle; else check the device."
            )
        if at_once == len(pictures):
            return Ran(answers)
        return Ran(
            answers, (f"The memory of {self.device} did not hold {len(pictures)} pictures at once: they were run {at_once} at a time.",)
        )

    def _in_parts(self, pictures: torch.Tensor, at_once: int) -> Answers | None:
        """None where the memory does not hold so many at once. What the failed try had allocated is free when this returns."""
        try:
            parts = [self.backend(part) for part in pictures.split(at_once)]
        except torch.OutOfMemoryError:
            return None
        return tuple(torch.cat(one) for one in zip(*parts, strict=True))


def _size(pictures: torch.Tensor) -> str:
    return " x ".join(map(str, pictures.shape[1:]))
