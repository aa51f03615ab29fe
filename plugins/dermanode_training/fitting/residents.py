"""A pack's pictures on the device itself, which draws and augments them: no processor keeps up with a GPU that waits for small pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from dermanode_classify.crop import Square, square_around

from dermanode_training.data.pack import SIDE_PX, Pack
from dermanode_training.data.tensors import Augmentation, Drawings
from dermanode_training.fitting.batches import DEVIATION, MEAN, Batch, Recipe

BYTES_EACH = 7 * SIDE_PX * SIDE_PX
"""Of a picture: as it is, cleaned, and its mask."""
AT_ONCE = 512
"""Rows that are moved to the device together."""


class Residents:
    """The rows of a pack that are drawn from, in the device's memory: pictures as they are, cleaned ones behind them, masks."""

    def __init__(self, folder: Path, numbers: Sequence[int], device: torch.device) -> None:
        self._pack, self._device = Pack(folder), device
        self._numbers = np.asarray(numbers)
        self._place = {int(number): place for place, number in enumerate(self._numbers)}
        is_cleaned = [self._pack.is_cleaned(int(number)) for number in self._numbers]
        cleaned = np.flatnonzero(is_cleaned)
        self._cleaned_place = np.full(len(numbers), -1)
        self._cleaned_place[cleaned] = len(numbers) + np.arange(len(cleaned))
        size = self._pack.images.shape[1:3]
        self._pictures = torch.empty((len(numbers) + len(cleaned), 3, *size), dtype=torch.uint8, device=device)
        self._masks = torch.empty((len(numbers), 1, *size), dtype=torch.uint8, device=device)
        for start in range(0, len(numbers), AT_ONCE):
            rows = self._numbers[start : start + AT_ONCE]
            places = slice(start, start + len(rows))
            self._pictures[places] = torch.from_numpy(self._pack.images[rows]).to(device).permute(0, 3, 1, 2)
            self._masks[places] = torch.from_numpy(self._pack.masks[rows]).to(device)[:, None]
        for start in range(0, len(cleaned), AT_ONCE):
            rows = self._numbers[cleaned[start : start + AT_ONCE]]
            first = len(numbers) + start
            self._pictures[first : first + len(rows)] = torch.from_numpy(self._pack.cleaned_rows(rows)).to(device).permute(0, 3, 1, 2)

    def batches(self, recipe: Recipe) -> Iterator[Batch]:
        """The recipe's stream without end; its rows must be among those that are here."""
        random = np.random.default_rng(recipe.seed)
        on_device = torch.Generator(self._device).manual_seed(recipe.seed)
        drawings = Drawings.drawn(recipe.side_px, self._device, recipe.seed)
        augment = Augmentation(recipe.side_px, recipe.strength, drawings, random, on_device)
        squares = self._squares(recipe)
        mean, deviation = (torch.tensor(one, device=self._device).view(1, 3, 1, 1) for one in (MEAN, DEVIATION))
        order = recipe.order(random)
        while True:
            drawn = [next(order) for _ in range(recipe.batch)]
            rows = np.array([self._place[number] for number in drawn])
            is_cleaned = (random.random(len(rows)) < recipe.cleaned_share) & (self._cleaned_place[rows] >= 0)
            shown = torch.from_numpy(np.where(is_cleaned, self._cleaned_place[rows], rows)).to(self._device, non_blocking=True)
            places = torch.from_numpy(rows).to(self._device, non_blocking=True)
            with torch.no_grad():
                images, masks = augment(self._pictures[shown].float(), self._masks[places].float(), squares[places])
                images = ((images - mean) / deviation).contiguous(memory_format=torch.channels_last)
            yield Batch(images, masks / 255, torch.tensor(drawn))

    def _squares(self, recipe: Recipe) -> torch.Tensor:
        """What is shown of each row before it is moved: left, top, side."""
        size = self._pack.images.shape[1]
        whole = Square(0, 0, size)
        found = [square_around(self._pack.masks[n] > 127, *recipe.crop) if recipe.crop else whole for n in self._numbers]
        return torch.tensor([(one.left, one.top, one.side) for one in found], dtype=torch.float32, device=self._device)
