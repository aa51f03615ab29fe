"""The network of a segmentation bundle, ready to run on one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from safetensors.torch import load_file

from dermanode.domain import Algorithm
from dermanode.domain.series import RGB
from dermanode.errors import BundleError
from dermanode.hookspecs import Bundle
from dermanode_segment.outline import OutlineRules

PLUGIN_VERSION = "0.1.0"

VERSION = "0."
"""How the versions of bundles begin whose inference.json this module understands."""


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A network with its weights; the same views always give the same probabilities on the same device and threads."""

    algorithm: Algorithm
    network: torch.nn.Module
    preprocessing: Any
    """A MONAI transform: rows x columns x 3 in 0 to 255 becomes 3 x side x side."""
    is_mirrored: bool
    """Every view is also shown mirrored, and the two answers are averaged."""
    outline: OutlineRules
    device: torch.device

    def probabilities(self, views: Sequence[RGB]) -> list[NDArray[np.float32]]:
        """For every view the chance that a pixel is lesion: rows x columns of the view, 0 to 1. One batch for all views."""
        batch = torch.stack([self.preprocessing(np.array(view)) for view in views]).to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            chance = torch.sigmoid(self.network(batch))
            if self.is_mirrored:
                chance = (chance + torch.sigmoid(self.network(batch.flip(3))).flip(3)) / 2
            sizes = [view.shape[:2] for view in views]
            grown = [
                torch.nn.functional.interpolate(one[None], size, mode="bilinear", align_corners=False)
                for one, size in zip(chance, sizes, strict=True)
            ]
        return [one[0, 0].clamp(0, 1).cpu().numpy() for one in grown]

    def rehearse(self) -> None:
        """Runs once on nothing, so that the first case does not wait for memory and kernels."""
        self.probabilities([np.zeros((64, 64, 3), np.uint8)])


@lru_cache(maxsize=4)
def load(bundle: Bundle, device: str) -> Segmenter:
    """The bundle's network on that device, loaded and checked once a process. Raises `BundleError`."""
    if not bundle.version.startswith(VERSION):
        raise BundleError(
            bundle.name, f"its version is {bundle.version}, this plugin knows {VERSION}x. Install the plugin and the bundle of one release."
        )
    weights = load_file(bundle.weights_path)
    parser: ConfigParser = bundle.parser()
    network = parser.get_parsed_content("network_def")
    try:
        network.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in weights.items()})
    except RuntimeError as error:
        reason = f"the weights do not fit the network of configs/inference.json ({str(error).splitlines()[0]})."
        raise BundleError(bundle.name, reason) from error
    return Segmenter(
        algorithm=Algorithm(
            "DermaNode segment", PLUGIN_VERSION, bundle=f"{bundle.name} {bundle.version}", weights_digest=bundle.weights_digest
        ),
        network=network.eval().to(device, memory_format=torch.channels_last),
        preprocessing=parser.get_parsed_content("preprocessing"),
        is_mirrored=bool(parser["is_mirrored"]),
        outline=OutlineRules(**parser["outline"]),
        device=torch.device(device),
    )
