"""Two pictures in one, with both answers: mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Mixed:
    """A batch after mixing: each picture is `share` of its own and the rest of its partner."""

    images: torch.Tensor
    partner: torch.Tensor
    share: float


def mix(images: torch.Tensor, random: np.random.Generator, *, mixup: float, cutmix: float, alpha: float = 0.4) -> Mixed:
    """N x 3 x rows x columns; `mixup` and `cutmix` are the shares of batches that are treated so, the rest stays as it is."""
    drawn = random.random()
    own = torch.arange(len(images), device=images.device)
    if drawn >= mixup + cutmix:
        return Mixed(images, own, 1.0)
    partner = torch.from_numpy(random.permutation(len(images))).to(images.device)
    if drawn < mixup:
        share = float(random.beta(alpha, alpha))
        return Mixed(share * images + (1 - share) * images[partner], partner, share)
    rows, columns = images.shape[2:]
    height, width = (round(side * np.sqrt(1 - random.beta(1, 1))) for side in (rows, columns))
    top, left = int(random.integers(0, rows - height + 1)), int(random.integers(0, columns - width + 1))
    mixed = images.clone()
    mixed[:, :, top : top + height, left : left + width] = images[partner][:, :, top : top + height, left : left + width]
    return Mixed(mixed, partner, 1 - height * width / (rows * columns))
