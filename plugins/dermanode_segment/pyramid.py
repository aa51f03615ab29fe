"""A U-Net (Ronneberger et al. 2015) on the shared encoder: its maps are grown step by step, and each larger one is added on the way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from dermanode_networks.encoder import DEPTHS, DROPPED, STEM, WIDTHS, Encoder
from torch import nn
from torch.nn.functional import interpolate

GROWN = (128, 96, 64, 32)


class EncodedUNet(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy here: it takes minutes
    """Logits of lesion, found at half the picture's size and grown to the whole: an outline is smoother than that."""

    def __init__(
        self,
        stem: int = STEM,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = DEPTHS,
        dropped: float = DROPPED,
        grown: Sequence[int] = GROWN,
    ) -> None:
        """`grown` are the channels on the way back, from the smallest map but one to the largest."""
        super().__init__()
        self.encoder = Encoder(stem, widths, depths, dropped)
        *larger, deepest = self.encoder.channels
        steps = zip(pairwise((deepest, *grown)), reversed(larger), strict=True)
        self.steps = nn.ModuleList(_step(inner + beside, outer) for (inner, outer), beside in steps)
        self.last = nn.Conv2d(grown[-1], 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N x 3 x rows x columns becomes N x 1 x rows x columns; the sides are multiples of 32."""
        *larger, now = self.encoder(images)
        for step, beside in zip(self.steps, reversed(larger), strict=True):
            now = step(torch.cat([interpolate(now, beside.shape[2:], mode="bilinear", align_corners=False), beside], 1))
        return interpolate(self.last(now), images.shape[2:], mode="bilinear", align_corners=False)


def _step(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inner, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(inplace=True))
