"""An encoder that both networks can share: residual blocks from half the picture's size down to a thirty-second of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.ops import SqueezeExcitation, StochasticDepth

STEM = 32
WIDTHS = (64, 128, 256, 384)
DEPTHS = (2, 2, 3, 2)
DROPPED = 0.1
"""How often the last block is left out in training; earlier ones less often, in proportion (Huang et al., ECCV 2016)."""


class Encoder(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy here: it takes minutes
    """ResNet (He et al. 2016) with basic blocks, ResNet-D's shortcuts (He et al. 2019) and squeeze and excitation (Hu et al. 2018)."""

    channels: tuple[int, ...]
    """Of what it gives, from the largest map to the smallest."""

    def __init__(self, stem: int = STEM, widths: Sequence[int] = WIDTHS, depths: Sequence[int] = DEPTHS, dropped: float = DROPPED) -> None:
        super().__init__()
        self.channels = (stem, *widths)
        self.stem = nn.Sequential(*_convolved(3, stem, 2), nn.ReLU(inplace=True), *_convolved(stem, stem), nn.ReLU(inplace=True))
        levels: list[nn.Sequential] = []
        inner, before = stem, 0
        for outer, depth in zip(widths, depths, strict=True):
            shares = [dropped * (before + place + 1) / sum(depths) for place in range(depth)]
            blocks = [Block(inner if place == 0 else outer, outer, 2 if place == 0 else 1, share) for place, share in enumerate(shares)]
            levels.append(nn.Sequential(*blocks))
            inner, before = outer, before + depth
        self.levels = nn.ModuleList(levels)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """N x 3 x rows x columns, best multiples of 32, become maps of a half, a quarter ... of the rows and columns."""
        found = [self.stem(images)]
        for level in self.levels:
            found.append(level(found[-1]))
        return found


class Block(nn.Module):  # type: ignore[misc]  # as above
    """Two convolutions and a gate for each channel, added to what came in."""

    def __init__(self, inner: int, outer: int, stride: int = 1, dropped: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolved(inner, outer, stride),
            nn.ReLU(inplace=True),
            *_convolved(outer, outer),
            SqueezeExcitation(outer, max(8, outer // 16)),
        )
        nn.init.zeros_(self.body[-2].weight)  # begins as the identity (Goyal et al. 2017)
        self.drop = StochasticDepth(dropped, "row")
        self.shortcut = nn.Identity() if stride == 1 and inner == outer else _shortcut(inner, outer, stride)
        self.end = nn.ReLU(inplace=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N x inner x rows x columns becomes N x outer x rows / stride x columns / stride."""
        found: torch.Tensor = self.end(self.shortcut(images) + self.drop(self.body(images)))
        return found


def _convolved(inner: int, outer: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer)


def _shortcut(inner: int, outer: int, stride: int) -> nn.Sequential:
    # An odd row is halved upwards, as the convolution beside does.
    pooled = [nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)] if stride > 1 else []
    return nn.Sequential(*pooled, nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer))
