"""The paper's adaptive fusion of what the picture shows (F2D) and what outline and surface measure (F3D)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from dermanode_networks.opening import Opened, open_network
from numpy.typing import NDArray
from torch import nn

from dermanode.errors import BundleError
from dermanode.hookspecs import Bundle
from dermanode_classify.geometry import FEATURES, Geometry

BUNDLE = "lesion_fusion"
FARTHEST = 4.0
"""No geometric feature counts as farther than so many deviations from the middle of the training pictures."""


class AdaptiveFusion(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy here: it takes minutes
    """alpha = sigmoid(W [conf2D, conf3D, |conf2D - conf3D|] + b), F = alpha F2D + (1 - alpha) P(F3D), then 1280-512-128-3.

    F2D is standardised by the mean and deviation of the training pictures, F3D by median and median absolute deviation. A geometric
    feature that is absent is given to P as 0, and a flag beside each says whether it is there (12 values and 12 flags). One that no
    training picture had counts as absent, and conf3D as at most the highest that was trained: the network has learnt nothing of more.
    """

    flat_mean: torch.Tensor
    flat_deviation: torch.Tensor
    solid_middle: torch.Tensor
    solid_deviation: torch.Tensor
    solid_known: torch.Tensor
    most_confidence: torch.Tensor

    def __init__(
        self, features: int = 1280, geometric: int = 12, hidden: Sequence[int] = (512, 128), groups: int = 3, dropout: float = 0.5
    ):
        super().__init__()
        self.gate = nn.Linear(3, 1)
        self.projection = nn.Linear(2 * geometric, features)
        widths = [features, *hidden]
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        for inner, outer in pairwise(widths):
            layers += [nn.Linear(inner, outer), nn.ReLU(), nn.Dropout(dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(widths[-1], groups))
        self.register_buffer("flat_mean", torch.zeros(features))
        self.register_buffer("flat_deviation", torch.ones(features))
        self.register_buffer("solid_middle", torch.zeros(geometric))
        self.register_buffer("solid_deviation", torch.ones(geometric))
        self.register_buffer("solid_known", torch.ones(geometric))
        self.register_buffer("most_confidence", torch.ones(()))

    def alpha(self, conf2d: torch.Tensor, conf3d: torch.Tensor) -> torch.Tensor:
        """The picture's share, 0 to 1: N values each become N x 1."""
        trusted = torch.minimum(conf3d, self.most_confidence)
        told: torch.Tensor = torch.sigmoid(self.gate(torch.stack([conf2d, trusted, (conf2d - trusted).abs()], 1)))
        return told

    def project(self, solid: torch.Tensor) -> torch.Tensor:
        """P(F3D): N x 12, NaN where absent, becomes N x features."""
        is_there = solid.isfinite() & (self.solid_known > 0)
        away = ((solid.nan_to_num() - self.solid_middle) / self.solid_deviation).clamp(-FARTHEST, FARTHEST)
        projected: torch.Tensor = self.projection(torch.cat([torch.where(is_there, away, 0.0), is_there.to(away.dtype)], 1))
        return projected

    def forward(
        self, flat: torch.Tensor, solid: torch.Tensor, conf2d: torch.Tensor, conf3d: torch.Tensor, alpha: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits of the groups, N x groups. `alpha`, N x 1, takes the place of the gate's: 1 leaves geometry out, 0 the picture."""
        share = self.alpha(conf2d, conf3d) if alpha is None else alpha
        picture = (flat - self.flat_mean) / self.flat_deviation
        logits: torch.Tensor = self.head(share * picture + (1 - share) * self.project(solid))
        return logits


@dataclass(frozen=True, eq=False)
class Fused:
    """What the fusion says of one lesion."""

    groups: NDArray[np.float64]
    """Calibrated probabilities, in the order of `Fusion.labels`; they sum to 1."""
    spreads: NDArray[np.float64] | None
    """Their standard deviation over the views; None where there is one."""
    alpha: float
    """The picture's share of what was looked at."""
    conf2d: float
    conf3d: float


@dataclass(frozen=True, eq=False)
class Fusion:
    """The fusion with its weights and its calibration, ready on one device."""

    network: AdaptiveFusion
    labels: tuple[str, ...]
    temperature: float
    classifier_digest: str
    """Of the classifier's weights whose features it was fitted to."""
    is_default: bool
    """On validation it did better than sums over the diagnoses."""
    device: torch.device

    def groups(self, features: NDArray[np.float32], chances: NDArray[np.float64], geometry: Geometry) -> Fused:
        """One lesion from its views: F2D, views x features, of which the mean counts, and the diagnoses' probabilities, views x outputs."""
        together = np.concatenate([features.mean(0, keepdims=True), features])
        conf2d = np.concatenate([certainty(chances.mean(0, keepdims=True)), certainty(chances)])
        solid = np.broadcast_to(geometry.values, (len(together), len(geometry.values)))
        conf3d = np.full(len(together), geometry.confidence)
        told, alpha = self.run(together, solid, conf2d, conf3d)
        spreads = told[1:].std(0) if len(features) > 1 else None
        return Fused(told[0], spreads, float(alpha[0]), float(conf2d[0]), geometry.confidence)

    def run(
        self, flat: NDArray[np.float32], solid: NDArray[np.float64], conf2d: NDArray[np.float64], conf3d: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Calibrated probabilities, N x groups, and alpha, N values."""
        inputs = [torch.from_numpy(np.array(one, np.float32)).to(self.device) for one in (flat, solid, conf2d, conf3d)]
        with torch.inference_mode():
            logits, alpha = self.network(*inputs), self.network.alpha(*inputs[2:])
        chances = torch.softmax(logits.double() / self.temperature, 1)
        return chances.cpu().numpy(), alpha[:, 0].double().cpu().numpy()


def certainty(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """conf2D: 1 less the normalised entropy of the calibrated probabilities, N x outputs; 0 where all are alike, 1 where one is certain."""
    entropy = -(chances * np.log(np.clip(chances, 1e-12, 1))).sum(1)
    return np.asarray(np.clip(1 - entropy / np.log(chances.shape[1]), 0, 1))


@lru_cache(maxsize=4)
def load_fusion(bundle: Bundle, device: str) -> Fusion:
    """The bundle's fusion on that device, loaded and checked once a process. Raises `BundleError`."""
    opened = open_network(bundle)
    network = opened.network
    if not isinstance(network, AdaptiveFusion):
        raise BundleError(bundle.name, f"configs/inference.json builds a {type(network).__name__}, this plugin runs AdaptiveFusion.")
    if tuple(opened.told("geometry")) != tuple(FEATURES):
        raise BundleError(bundle.name, "it was fitted to other geometric features than this plugin computes. Use both of one release.")
    temperature = opened.number("temperature")
    if temperature <= 0:
        raise BundleError(bundle.name, f"configs/inference.json must give a temperature above 0, it says {temperature:g}.")
    return Fusion(
        network=network.to(device),
        labels=_labels(opened, network),
        temperature=temperature,
        classifier_digest=classifier_of(bundle),
        is_default=is_default(bundle),
        device=torch.device(device),
    )


def is_default(bundle: Bundle) -> bool:
    """The bundle's metadata say that validation chose the fusion over sums."""
    return bool(bundle.metadata.get("choice", {}).get("fusion_serves", False))


def classifier_of(bundle: Bundle) -> str:
    """The digest of the classifier's weights that the metadata name; empty where they name none."""
    return str(bundle.metadata.get("classifier", {}).get("sha256", ""))


def _labels(opened: Opened, network: AdaptiveFusion) -> tuple[str, ...]:
    labels = tuple(opened.told("groups"))
    count = network.head[-1].out_features
    if len(labels) != count:
        raise BundleError(opened.bundle.name, f"the network has {count} outputs, configs/inference.json names {len(labels)} groups.")
    return labels
