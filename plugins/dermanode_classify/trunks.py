"""What comes before a classifier's last layer: pictures become features. Each is a builder that a bundle's `network_def` names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from dermanode_networks.encoder import DEPTHS, DROPPED, STEM, WIDTHS, Encoder
from monai.networks.blocks import ResidualUnit
from torch import nn


class Trunk(nn.Sequential):  # type: ignore[misc]  # torch is not followed by mypy here: it takes minutes
    """Named levels in a row. N x 3 x rows x columns, normalised, becomes N x `features`."""

    features: int

    def __init__(self, levels: OrderedDict[str, nn.Module], features: int) -> None:
        super().__init__(levels)
        self.features = features


class Pool(nn.Module):  # type: ignore[misc]  # as above
    """N x channels x rows x columns becomes N x channels: the mean."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = images.mean((2, 3))
        return pooled


def residual(channels: Sequence[int], strides: Sequence[int], features: int = 1280, units: int = 2) -> Trunk:
    """Residual units as in the down path of MONAI's `UNet`, then MobileNetV3's own ending: a wide layer and hard swish."""
    before = [3, *channels[:-1]]
    levels: OrderedDict[str, nn.Module] = OrderedDict()
    for level, (inner, outer, stride) in enumerate(zip(before, channels, strides, strict=True)):
        levels[f"level{level}"] = ResidualUnit(2, inner, outer, strides=stride, subunits=units, norm="BATCH", act="RELU")
    return _ended(levels, channels[-1], features)


def encoded(
    stem: int = STEM,
    widths: Sequence[int] = WIDTHS,
    depths: Sequence[int] = DEPTHS,
    dropped: float = DROPPED,
    features: int = 1280,
) -> Trunk:
    """The encoder that a segmenter can share, then the same ending as `residual`. Sides are multiples of 32."""
    encoder = Encoder(stem, widths, depths, dropped)
    levels: OrderedDict[str, nn.Module] = OrderedDict(stem=encoder.stem)
    for place, level in enumerate(encoder.levels, 1):
        levels[f"level{place}"] = level
    return _ended(levels, encoder.channels[-1], features)


def _ended(levels: OrderedDict[str, nn.Module], channels: int, features: int) -> Trunk:
    levels["pool"] = Pool()
    levels["wide"] = nn.Linear(channels, features)
    levels["swish"] = nn.Hardswish()
    return Trunk(levels, features)


def torchvision_trunk(name: str, *, pretrained: bool = False) -> Trunk:
    """A torchvision network up to its last linear layer: `mobilenet_v3_large`, `resnet50`, `inception_v3`, `efficientnet_b0` and so on.

    `pretrained` takes ImageNet weights from torchvision's own host: only where the machine that trains can reach it. The shipped bundles
    never do.
    """
    from torchvision.models import get_model

    told: dict[str, str | bool | None] = {"weights": "DEFAULT" if pretrained else None}
    if name == "inception_v3":
        told |= {"aux_logits": pretrained, "init_weights": not pretrained}
    network = get_model(name, **told)
    if name == "inception_v3":
        network.aux_logits, network.AuxLogits = False, None
    last = "fc" if hasattr(network, "fc") else "classifier"
    top = getattr(network, last)
    linear = top if isinstance(top, nn.Linear) else top[-1]
    # Dropout belongs to the classifier on top; MobileNetV3 keeps its wide layer, which is where its 1280 features come from.
    rest = [] if isinstance(top, nn.Linear) else [part for part in top[:-1] if not isinstance(part, nn.Dropout)]
    setattr(network, last, nn.Sequential(*rest))
    return Trunk(OrderedDict(network=network), linear.in_features)
