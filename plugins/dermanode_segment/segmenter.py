"""The network of a segmentation bundle, ready to run on one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from dermanode_networks.backend import Eager
from dermanode_networks.merging import merged
from dermanode_networks.opening import open_network
from dermanode_networks.runner import Runner
from dermanode_networks.symmetry import shown, taken_back
from numpy.typing import NDArray

from dermanode.domain import Algorithm
from dermanode.domain.series import RGB
from dermanode.errors import BundleError
from dermanode.hookspecs import Bundle
from dermanode_segment.outline import OutlineRules

PLUGIN_VERSION = "0.1.0"


@dataclass(frozen=True, eq=False)
class Answer:
    """What the network says of each view."""

    chances: tuple[NDArray[np.float32], ...]
    """For every view the chance that a pixel is lesion: rows x columns of the view, 0 to 1."""
    remarks: tuple[str, ...] = ()
    """What the reader should know of how the network was run."""


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A network with its weights; the same views always give the same probabilities on the same device and threads."""

    algorithm: Algorithm
    network: torch.nn.Module
    runner: Runner
    preprocessing: Any
    """A MONAI transform: rows x columns x 3 in 0 to 255 becomes 3 x side x side."""
    is_mirrored: bool
    """Every view is also shown mirrored, and the two answers are averaged."""
    outline: OutlineRules
    device: torch.device

    def answer(self, views: Sequence[RGB]) -> Answer:
        """One batch for all views, with their mirror images. Raises `BundleError` and `DeviceOutOfMemory`."""
        ways = 2 if self.is_mirrored else 1
        pictures = torch.stack([self.preprocessing(np.array(view)) for view in views])
        ran = self.runner.run(shown(pictures, ways))
        small = taken_back(torch.sigmoid(ran.answers[0]), ways)
        grown = [
            torch.nn.functional.interpolate(one[None], view.shape[:2], mode="bilinear", align_corners=False)
            for one, view in zip(small, views, strict=True)
        ]
        return Answer(tuple(one[0, 0].clamp(0, 1).numpy() for one in grown), ran.remarks)

    def rehearse(self) -> None:
        """Runs once on nothing, so that the first case does not wait for memory and kernels."""
        self.answer([np.zeros((64, 64, 3), np.uint8)])


@lru_cache(maxsize=4)
def load(bundle: Bundle, device: str) -> Segmenter:
    """The bundle's network on that device, loaded and checked once a process. Raises `BundleError`."""
    opened = open_network(bundle)
    try:
        outline = OutlineRules(**opened.told("outline"))
    except TypeError as error:
        raise BundleError(bundle.name, f"configs/inference.json: outline is not understood ({error}). Restore the bundle.") from error
    network = merged(opened.network).to(device, memory_format=torch.channels_last)
    on = torch.device(device)
    return Segmenter(
        algorithm=Algorithm(
            "DermaNode segment", PLUGIN_VERSION, bundle=f"{bundle.name} {bundle.version}", weights_digest=bundle.weights_digest
        ),
        network=network,
        runner=Runner(bundle.name, Eager(network, on), on),
        preprocessing=opened.content("preprocessing"),
        is_mirrored=bool(opened.told("is_mirrored")),
        outline=outline,
        device=on,
    )
