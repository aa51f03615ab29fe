"""The network of a classification bundle, ready to run on one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from dermanode_networks.backend import Eager
from dermanode_networks.merging import merged
from dermanode_networks.opening import Opened, open_network
from dermanode_networks.runner import Runner
from dermanode_networks.symmetry import COUNTS, shown
from numpy.typing import NDArray

from dermanode.domain import Algorithm
from dermanode.domain.series import RGB
from dermanode.errors import BundleError
from dermanode.hookspecs import Bundle
from dermanode_classify.classes import Classes, read_classes
from dermanode_classify.network import LesionClassifier, Observed

PLUGIN_VERSION = "0.1.0"


@dataclass(frozen=True, eq=False)
class Answer:
    """What the network says of each crop."""

    chances: NDArray[np.float64]
    """Crops x outputs (`Classes.outputs`), calibrated; rows sum to 1."""
    strangeness: NDArray[np.float64]
    """For each crop how far its look is from that of the training pictures: Mahalanobis distance, squared, a dimension."""
    features: NDArray[np.float32]
    """Crops x features: what the paper calls F2D; the mean over the test-time views."""
    remarks: tuple[str, ...] = ()
    """What the reader should know of how the network was run."""


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network with its weights, its calibration and what its outputs mean."""

    algorithm: Algorithm
    network: LesionClassifier
    runner: Runner
    preprocessing: Any
    """A MONAI transform: rows x columns x 3 in 0 to 255 becomes 3 x side x side."""
    classes: Classes
    temperature: float
    """The logits are divided by it (Guo et al. 2017)."""
    logit_bias: NDArray[np.float64]
    """Added to the divided logits, one for each output: what rare classes are given back (Menon et al. 2021)."""
    test_time_views: int
    """In how many of the square's symmetries every crop is shown; the logits are averaged. 1: as it is."""
    margin: float
    least: float
    """Of the square around the lesion; see `square_around`."""
    look_mean: torch.Tensor
    look_precision: torch.Tensor
    """float64, on the CPU."""
    strangeness_limit: float
    """Above it a crop is unlike those that the network was trained on (Lee et al. 2018, one covariance for all classes)."""
    decline_limit: float
    """Above it a picture is so unlike them that nothing is said of it."""
    device: torch.device
    caution: str = ""
    """What the reader must know of malignant classes that are missed, as a sentence; empty where the bundle states no recall."""

    def answer(self, crops: Sequence[RGB]) -> Answer:
        """One batch for all crops, with all their test-time views. Raises `BundleError` and `DeviceOutOfMemory`."""
        pictures = torch.stack([self.preprocessing(np.array(crop)) for crop in crops])
        ran = self.runner.run(shown(pictures, self.test_time_views))
        logits, features, looks = ran.answers
        by_view = (self.test_time_views, len(crops), -1)
        mean_logits = logits.double().reshape(by_view).mean(0)
        # The training pictures' look was taken of crops as they are, and those come first.
        away = looks[: len(crops)].double() - self.look_mean
        return Answer(
            chances=self.calibrated(mean_logits.numpy()),
            strangeness=((away @ self.look_precision) * away).mean(1).numpy(),
            features=features.reshape(by_view).mean(0).numpy(),
            remarks=ran.remarks,
        )

    def calibrated(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """... x outputs: logits become probabilities."""
        moved = logits / self.temperature + self.logit_bias
        raised = np.exp(moved - moved.max(-1, keepdims=True))
        return np.asarray(raised / raised.sum(-1, keepdims=True))

    def rehearse(self) -> None:
        """Runs once on nothing, so that the first case does not wait for memory and kernels."""
        self.answer([np.zeros((64, 64, 3), np.uint8)])


@lru_cache(maxsize=4)
def load(bundle: Bundle, device: str) -> Classifier:
    """The bundle's network on that device, loaded and checked once a process. Raises `BundleError`."""
    opened = open_network(bundle, beside=("familiarity.mean", "familiarity.precision"))
    network = opened.network
    if not isinstance(network, LesionClassifier):
        raise BundleError(bundle.name, f"configs/inference.json builds a {type(network).__name__}, this plugin runs LesionClassifier.")
    classes = read_classes(bundle.name, bundle.root / "configs" / "classes.json")
    count = len(classes.outputs)
    if network.head.out_features != count:
        raise BundleError(bundle.name, f"the network has {network.head.out_features} outputs, configs/classes.json names {count}.")
    preprocessing = opened.content("preprocessing")
    mean, precision = opened.beside["familiarity.mean"].double(), opened.beside["familiarity.precision"].double()
    _check_look(bundle.name, network.eval(), preprocessing(np.zeros((64, 64, 3), np.uint8)), mean, precision)
    merged(network).to(device, memory_format=torch.channels_last)
    on = torch.device(device)
    return Classifier(
        algorithm=Algorithm(
            "DermaNode classify", PLUGIN_VERSION, bundle=f"{bundle.name} {bundle.version}", weights_digest=bundle.weights_digest
        ),
        network=network,
        runner=Runner(bundle.name, Eager(Observed(network).eval(), on), on),
        preprocessing=preprocessing,
        classes=classes,
        temperature=_positive(opened, "temperature", 1.0),
        logit_bias=np.array(opened.numbers("logit_bias", (0.0,) * count, count)),
        test_time_views=_views(opened),
        margin=opened.number("margin"),
        least=opened.number("least"),
        look_mean=mean,
        look_precision=precision,
        strangeness_limit=opened.number("strangeness_limit"),
        decline_limit=opened.number("decline_limit") if "decline_limit" in opened else float("inf"),
        device=on,
        caution=_caution(bundle.metadata, classes.labels_in("MALIGNANT", 7)),
    )


def _check_look(bundle: str, network: LesionClassifier, picture: torch.Tensor, mean: torch.Tensor, precision: torch.Tensor) -> None:
    """Raises `BundleError` where the check of strangeness was made for a network that is looked at elsewhere."""
    with torch.inference_mode():
        _, look = network.features_and_look(picture[None])
    size = look.shape[1]
    if mean.shape != (size,) or precision.shape != (size, size):
        reason = f"its check of strangeness has {len(mean)} numbers, the network of configs/inference.json gives {size}. Publish it again."
        raise BundleError(bundle, reason)


def _positive(opened: Opened, key: str, default: float) -> float:
    value = opened.number(key, default)
    if value <= 0:
        raise BundleError(opened.bundle.name, f"configs/inference.json must give a number above 0 as {key!r}, it says {value:g}.")
    return value


def _views(opened: Opened) -> int:
    count = opened.number("test_time_views", 1)
    if count not in COUNTS:
        raise BundleError(opened.bundle.name, f"configs/inference.json must say one of {COUNTS} as 'test_time_views', it says {count:g}.")
    return int(count)


def _caution(metadata: Mapping[str, Any], malignant: Sequence[str]) -> str:
    recall = metadata.get("eval_metrics", {}).get("val", {}).get("all", {}).get("recall", {})
    found = [f"{label} for {recall[label]:.0%} of its pictures" for label in malignant if recall.get(label) is not None]
    if not found:
        return ""
    return f"On validation pictures the most probable class was {', '.join(found)}: a low probability excludes nothing."
