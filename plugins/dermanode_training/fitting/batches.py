"""Batches for the loop: pictures drawn, augmented and normalised in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from dermanode_classify.crop import Square, square_around
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dermanode_training.data.augmentation import Strength, augment
from dermanode_training.data.pack import Pack
from dermanode_training.fitting.interruption import leave_to_the_parent

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

    def reseeded(self, seed: int) -> Recipe:
        """The same recipe with another stream of pictures."""
        return replace(self, seed=seed)

    def part(self, worker: int, of: int) -> Recipe:
        """What one of several processes draws: rows of its own, in an order of its own. Of one process it is all."""
        weights = None if self.weights is None else self.weights[worker::of]
        return replace(self, numbers=self.numbers[worker::of], weights=weights, seed=self.seed + 1_000_003 * worker)

    def order(self, random: np.random.Generator) -> Iterator[int]:
        """The rows, one after the other, without end."""
        numbers = np.asarray(self.numbers)
        share = None if self.weights is None else np.asarray(self.weights) / sum(self.weights)
        while True:
            if share is None:
                yield from (int(n) for n in random.permutation(numbers))
            else:
                yield from (int(n) for n in random.choice(numbers, len(numbers), p=share))


class Batch(NamedTuple):
    """Pictures with their masks and the rows of the table that they are."""

    images: torch.Tensor
    """N x 3 x side x side, normalised."""
    masks: torch.Tensor
    """N x 1 x side x side, 0 to 1; zeros where the set has no masks."""
    numbers: torch.Tensor
    """N, always on the CPU, where the table is."""

    def to(self, device: torch.device) -> Batch:
        """The pictures on that device, without waiting for the copy."""
        return Batch(self.images.to(device, non_blocking=True), self.masks.to(device, non_blocking=True), self.numbers)


class Pictures(IterableDataset):  # type: ignore[misc]
    """An endless stream of batches."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        super().__init__()
        self._folder, self._recipe = folder, recipe

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(0)
        worker = get_worker_info()
        if worker is not None:
            leave_to_the_parent()
            self._recipe = self._recipe.part(worker.id, worker.num_workers)
        pack, recipe = Pack(self._folder), self._recipe
        random = np.random.default_rng(recipe.seed)
        order = recipe.order(random)
        while True:
            drawn = [next(order) for _ in range(recipe.batch)]
            pairs = [self._pair(pack, number, random) for number in drawn]
            images = np.stack([image for image, _ in pairs])
            masks = np.stack([mask for _, mask in pairs if mask is not None])
            yield Batch(normalised(images), torch.from_numpy(masks[:, None].astype(np.float32) / 255), torch.tensor(drawn))

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


def loader(folder: Path, recipe: Recipe, *, workers: int = 1, is_pinned: bool = False) -> Iterator[Batch]:
    """The stream, made ahead of the loop that eats it; `is_pinned` puts it where a GPU can fetch it while the loop goes on."""
    workers = min(workers, len(recipe.numbers))
    return iter(DataLoader(Pictures(folder, recipe), batch_size=None, num_workers=workers, prefetch_factor=4, pin_memory=is_pinned))
