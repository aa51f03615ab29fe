"""The segmenter's task: the lesion's mask, by 0.3 BCE + 0.7 Dice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from dermanode_training.data.lesions import Collection
from dermanode_training.data.pack import Pack
from dermanode_training.fitting.batches import Batch, Recipe, normalised
from dermanode_training.fitting.budget import Budget
from dermanode_training.fitting.networks import StartUnusable

BUDGET = Budget(epochs=40, sides_px=(128, 160), batch=32, peak_rate=1.5e-3, weight_decay=0.02, averaging=0.998)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the segmenter's task is told beside the budget."""

    bce: float = 0.3
    dice: float = 0.7


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The lesion's outline in the whole picture."""

    collection: Collection
    pack: Path
    plan: Plan = Plan()
    name: str = "segmentation"
    most_validated: int = 400
    """About so many pictures of the validation side, evenly over it, are looked at each time."""

    def recipe(self, budget: Budget, side_px: int) -> Recipe:
        return Recipe(
            numbers=tuple(lesion.number for lesion in self.collection.split("train") if lesion.mask),
            weights=None,
            side_px=side_px,
            batch=budget.batch,
            seed=budget.seed,
            cleaned_share=budget.cleaned_share,
        )

    def loss(self, network: Callable[[torch.Tensor], torch.Tensor], batch: Batch) -> torch.Tensor:
        images, target, _ = batch
        logits = network(images).float()
        chance = torch.sigmoid(logits)
        both = (chance * target).sum((1, 2, 3))
        # Dice for each picture by itself: a small lesion counts as much as a large one.
        dice = 1 - (2 * both + 1) / (chance.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 1)
        return self.plan.bce * binary_cross_entropy_with_logits(logits, target) + self.plan.dice * dice.mean()

    def validate(self, network: torch.nn.Module, side_px: int, device: torch.device) -> Mapping[str, float]:
        """Mean Dice at the pack's size: the training loop's own figure, not the one that is reported."""
        network.eval()
        pack = Pack(self.pack)
        numbers = [lesion.number for lesion in self.collection.split("val") if lesion.mask]
        numbers = numbers[:: max(1, len(numbers) // self.most_validated)]
        scores: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(numbers), 32):
                rows = numbers[start : start + 32]
                pictures = [pack.cleaned(n) if pack.cleaned(n) is not None else pack.images[n] for n in rows]
                small = np.stack([cv2.resize(np.asarray(p), (side_px, side_px), interpolation=cv2.INTER_AREA) for p in pictures])
                logits = interpolate(network(normalised(small).to(device)), pack.masks.shape[1:], mode="bilinear", align_corners=False)
                found = logits[:, 0].cpu() > 0
                truth = torch.from_numpy(np.stack([pack.masks[n] > 127 for n in rows]))
                scores += (2 * (found & truth).sum((1, 2)) / (found.sum((1, 2)) + truth.sum((1, 2))).clamp(min=1)).tolist()
        return {"dice": float(np.mean(scores)), "score": float(np.mean(scores))}


def start_from(network: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Takes all weights of an earlier run of the same network. Raises `StartUnusable`."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise StartUnusable("The weights are of another network: give those of the one that the configuration names.") from error
