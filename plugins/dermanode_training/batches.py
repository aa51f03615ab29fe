"""Batches for the loops: pictures drawn, augmented and normalised in a process of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from dermanode_classify.crop import Square, square_around
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset

from dermanode_training.augmentation import Strength, augment
from dermanode_training.pack import Pack

MEAN = (200.0, 140.0, 140.0)
"""About that of the training photographs, raw and cleaned: R G B, 0 to 255. The bundles' inference.json say the same."""
DEVIATION = (45.0, 45.0, 45.0)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How pictures are drawn. A seed gives the same pictures in the same order, as long as the same rows are cleaned."""

    numbers: tuple[int, ...]
    """Rows of the table that may be drawn."""
    weights: tuple[float, ...] | None
    """How often each is drawn; None draws all alike, each once an epoch."""
    side_px: int
    batch: int
    seed: int
    cleaned_share: float = 0.6
    """How many pictures are what the preprocess plugin makes of the photograph, where the pack has it."""
    strength: Strength = Strength()  # noqa: RUF009 - frozen, so it can be shared
    crop: tuple[float, float] | None = None
    """(margin, least) of the square around the mask that is shown; None shows the whole picture."""


class Pictures(IterableDataset):  # type: ignore[misc]
    """An endless stream of (images N x 3 x side x side, masks N x 1 x side x side, row numbers N)."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        super().__init__()
        self._folder, self._recipe = folder, recipe

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        cv2.setNumThreads(0)
        pack, recipe = Pack(self._folder), self._recipe
        random = np.random.default_rng(recipe.seed)
        order = self._order(random)
        while True:
            drawn = [next(order) for _ in range(recipe.batch)]
            pairs = [self._pair(pack, number, random) for number in drawn]
            images = np.stack([image for image, _ in pairs])
            masks = np.stack([mask for _, mask in pairs if mask is not None])
            yield normalised(images), torch.from_numpy(masks[:, None].astype(np.float32) / 255), torch.tensor(drawn)

    def _order(self, random: np.random.Generator) -> Iterator[int]:
        numbers = np.asarray(self._recipe.numbers)
        share = None if self._recipe.weights is None else np.asarray(self._recipe.weights) / sum(self._recipe.weights)
        while True:
            if share is None:
                yield from (int(n) for n in random.permutation(numbers))
            else:
                yield from (int(n) for n in random.choice(numbers, len(numbers), p=share))

    def _pair(self, pack: Pack, number: int, random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        picture, mask, recipe = self._picture(pack, number, random), pack.masks[number], self._recipe
        square = square_around(mask > 127, *recipe.crop) if recipe.crop else Square(0, 0, len(picture))
        return augment(picture, mask, square, recipe.side_px, recipe.strength, random)

    def _picture(self, pack: Pack, number: int, random: np.random.Generator) -> NDArray[np.uint8]:
        cleaned = pack.cleaned(number) if random.random() < self._recipe.cleaned_share else None
        return pack.images[number] if cleaned is None else cleaned


def normalised(images: NDArray[np.uint8]) -> torch.Tensor:
    """N x rows x columns x 3 in 0 to 255 becomes N x 3 x rows x columns about 0."""
    tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    mean, deviation = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(DEVIATION).view(1, 3, 1, 1)
    return ((tensor - mean) / deviation).contiguous(memory_format=torch.channels_last)


def loader(folder: Path, recipe: Recipe) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """The stream, made one process ahead of the loop that eats it."""
    return iter(DataLoader(Pictures(folder, recipe), batch_size=None, num_workers=1, prefetch_factor=4))
