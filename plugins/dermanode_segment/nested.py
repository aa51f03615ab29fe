"""U-Net++ (Zhou et al., DLMIA 2018) as a bundle's `network_def` names it: MONAI's, with its last answer alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import BasicUNetPlusPlus
from torch import nn


class NestedUNet(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy here: it takes minutes
    """MONAI gives a list, one map for each depth that is supervised; what serves and trains here wants the map itself."""

    def __init__(self, features: Sequence[int], *, in_channels: int = 3, out_channels: int = 1) -> None:
        """`features` are the channels of the five levels from the top down, then those of the last layer."""
        super().__init__()
        self.network = BasicUNetPlusPlus(
            spatial_dims=2, in_channels=in_channels, out_channels=out_channels, features=tuple(features), norm="BATCH", act="RELU"
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N x channels x rows x columns becomes N x 1 x rows x columns, logits; the sides are multiples of 16."""
        answers: list[torch.Tensor] = self.network(images)
        return answers[-1]
