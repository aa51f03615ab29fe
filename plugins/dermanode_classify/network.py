"""The network of the bundle `lesion_classifier`: a U-Net's encoder, pooled, and one layer on top."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import ResidualUnit
from torch import nn


class LesionClassifier(nn.Module):  # type: ignore[misc]
    """Residual units as in the down path of MONAI's `UNet`, so that a segmenter's encoder can be its start."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int], classes: int, *, units: int = 2, dropout: float = 0.3) -> None:
        super().__init__()
        inner = [3, *channels[:-1]]
        self.encoder = nn.Sequential(
            *(
                ResidualUnit(2, before, after, strides=stride, subunits=units, norm="BATCH", act="RELU")
                for before, after, stride in zip(inner, channels, strides, strict=True)
            )
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels[-1], classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """N x 3 x rows x columns, normalised, becomes N x channels."""
        pooled: torch.Tensor = self.encoder(images).mean((2, 3))
        return pooled

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, N x classes."""
        logits: torch.Tensor = self.head(self.dropout(self.features(images)))
        return logits
