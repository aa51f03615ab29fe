"""The network of the bundle `lesion_classifier`: a U-Net's encoder, pooled, and one layer on top."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import ResidualUnit
from torch import nn

SEEN_LEVELS = 2


class LesionClassifier(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy here: it takes minutes
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

    def features_and_look(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The features, and beside them what the pictures look like: mean and deviation of the first two levels' channels.

        The look goes before the features in the second tensor; by it the bundle's check of strangeness sees colours and textures that
        the features no longer tell.
        """
        look = []
        for level, unit in enumerate(self.encoder):
            images = unit(images)
            if level < SEEN_LEVELS:
                look += [images.mean((2, 3)), images.std((2, 3))]
        pooled = images.mean((2, 3))
        return pooled, torch.cat([*look, pooled], 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, N x classes."""
        logits: torch.Tensor = self.head(self.dropout(self.features(images)))
        return logits
