"""The network of a classification bundle, ready to run on one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from dermanode_classify.classes import Classes, read_classes
from dermanode_classify.network import LesionClassifier

PLUGIN_VERSION = "0.1.0"

VERSION = "0."
"""How the versions of bundles begin whose inference.json this module understands."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the network says of each crop."""

    chances: NDArray[np.float64]
    """Crops x classes, calibrated; rows sum to 1."""
    strangeness: NDArray[np.float64]
    """For each crop how far its look and features are from those of the training pictures: Mahalanobis distance, squared, a dimension."""


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network with its weights, its calibration and what its outputs mean."""

    algorithm: Algorithm
    network: LesionClassifier
    preprocessing: Any
    """A MONAI transform: rows x columns x 3 in 0 to 255 becomes 3 x side x side."""
    classes: Classes
    temperature: float
    """The logits are divided by it (Guo et al. 2017)."""
    margin: float
    least: float
    """Of the square around the lesion; see `square_around`."""
    look_mean: torch.Tensor
    look_precision: torch.Tensor
    strangeness_limit: float
    """Above it a crop is unlike those that the network was trained on (Lee et al. 2018, one covariance for all classes)."""
    device: torch.device
    caution: str = ""
    """What the reader must know of malignant classes that are missed, as a sentence; empty where the bundle states no recall."""

    def answer(self, crops: Sequence[RGB]) -> Answer:
        """One batch for all crops."""
        batch = torch.stack([self.preprocessing(np.array(crop)) for crop in crops]).to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            features, look = self.network.features_and_look(batch)
            chances = torch.softmax(self.network.head(features).double() / self.temperature, 1)
            away = (look - self.look_mean).double()
            strangeness = ((away @ self.look_precision.double()) * away).mean(1)
        return Answer(chances.cpu().numpy(), strangeness.cpu().numpy())

    def rehearse(self) -> None:
        """Runs once on nothing, so that the first case does not wait for memory and kernels."""
        self.answer([np.zeros((64, 64, 3), np.uint8)])


@lru_cache(maxsize=4)
def load(bundle: Bundle, device: str) -> Classifier:
    """The bundle's network on that device, loaded and checked once a process. Raises `BundleError`."""
    if not bundle.version.startswith(VERSION):
        raise BundleError(
            bundle.name, f"its version is {bundle.version}, this plugin knows {VERSION}x. Install the plugin and the bundle of one release."
        )
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in load_file(bundle.weights_path).items()}
    parser: ConfigParser = bundle.parser()
    network: LesionClassifier = parser.get_parsed_content("network_def")
    try:
        mean, precision = tensors.pop("familiarity.mean"), tensors.pop("familiarity.precision")
        network.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        reason = f"the weights do not fit the network of configs/inference.json ({str(error).splitlines()[0]})."
        raise BundleError(bundle.name, reason) from error
    classes = read_classes(bundle.name, bundle.root / "configs" / "classes.json")
    return Classifier(
        algorithm=Algorithm(
            "DermaNode classify", PLUGIN_VERSION, bundle=f"{bundle.name} {bundle.version}", weights_digest=bundle.weights_digest
        ),
        network=network.eval().to(device, memory_format=torch.channels_last),
        preprocessing=parser.get_parsed_content("preprocessing"),
        classes=classes,
        temperature=float(parser["temperature"]),
        margin=float(parser["margin"]),
        least=float(parser["least"]),
        look_mean=mean.to(device),
        look_precision=precision.to(device),
        strangeness_limit=float(parser["strangeness_limit"]),
        device=torch.device(device),
        caution=_caution(bundle.metadata, classes.labels_in("MALIGNANT")),
    )


def _caution(metadata: Mapping[str, Any], malignant: Sequence[str]) -> str:
    recall = metadata.get("eval_metrics", {}).get("val", {}).get("all", {}).get("recall", {})
    found = [f"{label} for {recall[label]:.0%} of its pictures" for label in malignant if label in recall]
    if not found:
        return ""
    return f"On validation pictures the most probable class was {', '.join(found)}: a low probability excludes nothing."
