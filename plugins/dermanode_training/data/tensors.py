"""`augmentation` for pictures that lie on a device as tensors: the same kinds of change, with the same `Strength`, a batch at a time.

Only what is drawn once a batch comes from numpy's generator; what is drawn a picture comes from torch's, on the device, so that nothing
waits for it. A seed gives the same pictures again on the same device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d, conv2d, grid_sample, interpolate, pad

from dermanode_training.data.augmentation import Strength

BANK = 512
"""So many drawings of hair and of glare are made beforehand; one at random lies over a picture."""
REACH = 7
"""How far blurs look, in pixels: three deviations of the widest at 192 pixels."""
LUMINANCE = (0.299, 0.587, 0.114)

# ITU-T T.81, tables K.1 and K.2: how coarsely JPEG's quality 50 rounds the frequencies of a block.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


@dataclass(frozen=True, eq=False)
class Drawings:
    """Hair and glare on nothing, drawn beforehand: how much of a pixel they cover."""

    hair: torch.Tensor
    """Drawings x 1 x side x side, uint8, on the device."""
    glare: torch.Tensor

    @staticmethod
    def drawn(side_px: int, device: torch.device, seed: int, count: int = BANK) -> Drawings:
        random = np.random.default_rng(seed)
        hair = np.stack([_hair(side_px, random) for _ in range(count)])
        glare = np.stack([_glare(side_px, random) for _ in range(count)])
        return Drawings(*(torch.from_numpy(one[:, None]).to(device) for one in (hair, glare)))


@dataclass(frozen=True, eq=False)
class Augmentation:
    """How a batch is moved and altered. Pictures are float, 0 to 255, N x 3 x rows x columns."""

    side_px: int
    strength: Strength
    drawings: Drawings
    random: np.random.Generator
    on_device: torch.Generator

    def __call__(self, pictures: torch.Tensor, masks: torch.Tensor, squares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The squares of pictures and masks (N x 1 x rows x columns), moved alike; N x 3 squares are left, top and side in pixels."""
        grid = self._grid(squares, pictures.shape[2])
        border = "reflection" if self.random.random() < 0.8 else "border"
        moved = grid_sample(pictures, grid, padding_mode=border, align_corners=False)
        moved_masks = grid_sample(masks, grid, padding_mode=border, align_corners=False)
        return self._altered(moved), moved_masks

    def _grid(self, squares: torch.Tensor, rows: int) -> torch.Tensor:
        """Where each target pixel comes from: `augmentation._affine`, the other way round."""
        count, told = len(squares), self.strength
        angle = self._uniform(0, 2 * math.pi, count)
        scale = self.side_px / squares[:, 2] * self._uniform(*told.scale, count)
        stretch = 1 + self._uniform(-told.stretch, told.stretch, count)
        mirrored = torch.where(self._uniform(0, 1, count) < 0.5, -1.0, 1.0)
        shift = self._uniform(-told.shift, told.shift, count, 2) * self.side_px
        across, down = 1 / (scale * stretch), stretch / scale
        cosine, sine = torch.cos(angle), torch.sin(angle)
        place = torch.arange(self.side_px, device=squares.device, dtype=torch.float32) - (self.side_px - 1) / 2
        x = (place[None, None, :] - shift[:, 0, None, None]) * across[:, None, None]
        y = (place[None, :, None] - shift[:, 1, None, None]) * down[:, None, None]
        cosine, sine, mirrored = (one[:, None, None] for one in (cosine, sine, mirrored))
        middle = squares[:, :2] + (squares[:, 2:] - 1) / 2
        columns = mirrored * (cosine * x + sine * y) + middle[:, 0, None, None]
        lines = cosine * y - sine * x + middle[:, 1, None, None]
        return (2 * torch.stack([columns, lines], -1) + 1) / rows - 1

    def _altered(self, pictures: torch.Tensor) -> torch.Tensor:
        told, count = self.strength, len(pictures)
        shade = torch.stack([self._uniform(low, high, count) for low, high in ((10, 90), (5, 70), (0, 55))], 1)
        pictures = self._covered(pictures, self.drawings.hair, told.hair, shade[..., None, None], 0.85)
        pictures = self._covered(pictures, self.drawings.glare, told.glare, 250.0, 1.0)
        for share, change in ((told.grain, self._grained), (told.vignette, self._vignetted)):
            pictures = self._for_some(pictures, share, change)
        pictures = self._lit(pictures).clamp_(0, 255)
        for share, change in ((told.blur, self._blurred), (told.noise, self._noisy), (told.jpeg, self._compressed)):
            pictures = self._for_some(pictures, share, change)
        return pictures.clamp_(0, 255).round_()

    def _for_some(self, pictures: torch.Tensor, share: float, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Alters that share of the batch; which pictures, the device draws. The number is always the same: new shapes cost a GPU time."""
        count = round(len(pictures) * share)
        if not count:
            return pictures
        chosen = torch.randperm(len(pictures), generator=self.on_device, device=pictures.device)[:count]
        return pictures.index_copy(0, chosen, change(pictures[chosen]))

    def _covered(
        self, pictures: torch.Tensor, bank: torch.Tensor, share: float, shade: torch.Tensor | float, opacity: float
    ) -> torch.Tensor:
        count = len(pictures)
        drawn = torch.randint(len(bank), (count,), generator=self.on_device, device=pictures.device)
        is_covered = (self._uniform(0, 1, count) < share).float() * (opacity / 255)
        cover = bank[drawn].float() * is_covered[:, None, None, None]
        return pictures + (shade - pictures) * cover

    def _lit(self, pictures: torch.Tensor) -> torch.Tensor:
        """Gamma, colour cast, brightness, contrast, and for a fifth of them other saturation."""
        told, count = self.strength, len(pictures)

        def drawn(low: float, high: float, channels: int = 1) -> torch.Tensor:
            return self._uniform(low, high, count, channels)[..., None, None]

        gain = drawn(1 - told.cast, 1 + told.cast, 3) * drawn(1 - told.brightness, 1 + told.brightness)
        level = (pictures / 255).clamp_min(0) ** drawn(0.8, 1.25) * gain
        level = ((level - 0.55) * drawn(1 - told.contrast, 1 + told.contrast) + 0.55) * 255
        level = level.clamp(0, 255)
        weights = torch.tensor(LUMINANCE, device=pictures.device)[None, :, None, None]
        grey = (level * weights).sum(1, keepdim=True)
        amount = torch.where(drawn(0, 1) < 0.2, drawn(-0.25, 0.5), 0.0)
        return level + (grey - level) * amount

    def _grained(self, pictures: torch.Tensor) -> torch.Tensor:
        count, side = len(pictures), self.side_px
        coarse = self._normal(count, 1, side // 2, side // 2)
        field = _smooth(coarse, self._uniform(0.6, 1.6, count))
        field = interpolate(field / (field.std((2, 3), keepdim=True) + 1e-6), (side, side), mode="bilinear", align_corners=False)
        return (pictures * (1 + self._uniform(0.02, 0.08, count)[:, None, None, None] * field)).clamp(0, 255)

    def _vignetted(self, pictures: torch.Tensor) -> torch.Tensor:
        count, side = len(pictures), self.side_px
        place = torch.arange(side, device=pictures.device, dtype=torch.float32)
        middle = (side - 1) / 2 + self._uniform(-0.06, 0.06, count, 2) * side
        rows, columns = place[None, :, None] - middle[:, 0, None, None], place[None, None, :] - middle[:, 1, None, None]
        edge, softness, floor = (self._uniform(*limits, count)[:, None, None] for limits in ((0.95, 1.3), (0.01, 0.35), (0.0, 0.4)))
        light = torch.sigmoid((edge - torch.hypot(rows, columns) / (side / 2)) / softness * 3)
        return pictures * (floor + (1 - floor) * light)[:, None]

    def _blurred(self, pictures: torch.Tensor) -> torch.Tensor:
        return _smooth(pictures, self._uniform(0.4, 1.6, len(pictures)) * max(1.0, self.side_px / 128))

    def _noisy(self, pictures: torch.Tensor) -> torch.Tensor:
        amount = self._uniform(2, 10, len(pictures))[:, None, None, None]
        return (pictures + amount * self._normal(*pictures.shape)).clamp(0, 255)

    def _compressed(self, pictures: torch.Tensor) -> torch.Tensor:
        return compressed(pictures, self._uniform(25, 95, len(pictures)))

    def _uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.on_device, device=self.on_device.device)

    def _normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.on_device, device=self.on_device.device)


def compressed(pictures: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """What JPEG makes of them at these qualities (one each, 1 to 100), by the IJG's rule and with halved colours (4:2:0)."""
    rows, columns = pictures.shape[2:]
    padded = pad(pictures, (0, -columns % 16, 0, -rows % 16), mode="replicate")
    red, green, blue = padded.clamp(0, 255).round().unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.stack([(blue - luma) * 0.564334, (red - luma) * 0.713267], 1)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    small = avg_pool2d(chroma, 2)
    luma = _quantised((luma - 128)[:, None], _LUMA, scale)[:, 0] + 128
    blue_less, red_less = interpolate(_quantised(small, _CHROMA, scale), scale_factor=2.0, mode="bilinear", align_corners=False).unbind(1)
    red, blue = luma + 1.402 * red_less, luma + 1.772 * blue_less
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    return torch.stack([red, green, blue], 1)[:, :, :rows, :columns].clamp(0, 255)


def _quantised(channels: torch.Tensor, table: tuple[tuple[int, ...], ...], scale: torch.Tensor) -> torch.Tensor:
    """Channels of sides that are multiples of 8, their blocks' frequencies rounded."""
    count, kinds, rows, columns = channels.shape
    steps = torch.tensor(table, device=channels.device, dtype=torch.float32)
    steps = ((steps * scale[:, None, None] + 50) / 100).floor().clamp(1, 255)[:, None, None, :, None, :]
    cosines = _cosines(channels.device)
    blocks = channels.reshape(count, kinds, rows // 8, 8, columns // 8, 8)
    found = torch.einsum("ua,nkiajb,vb->nkiujv", cosines, blocks, cosines)
    found = (found / steps).round() * steps
    return torch.einsum("ua,nkiujv,vb->nkiajb", cosines, found, cosines).reshape(channels.shape)


def _cosines(device: torch.device) -> torch.Tensor:
    """The discrete cosine transform of eight values, orthonormal: frequencies x places."""
    place, frequency = torch.arange(8, device=device)[None], torch.arange(8, device=device)[:, None]
    found = torch.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    return torch.cat([found[:1] / math.sqrt(2), found[1:]])


def _smooth(pictures: torch.Tensor, deviation_px: torch.Tensor) -> torch.Tensor:
    """A Gaussian of its own for each picture."""
    count, channels, rows, columns = pictures.shape
    place = torch.arange(-REACH, REACH + 1, device=pictures.device, dtype=torch.float32)
    kernel = torch.exp(-((place / deviation_px[:, None]) ** 2) / 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
    flat = pad(pictures, (REACH,) * 4, mode="reflect").reshape(1, count * channels, rows + 2 * REACH, columns + 2 * REACH)
    flat = conv2d(flat, kernel[:, :, None, :], groups=count * channels)
    return conv2d(flat, kernel[:, :, :, None], groups=count * channels).reshape(pictures.shape)


def _hair(side_px: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Arcs, as `augmentation` draws them."""
    drawn = np.zeros((side_px, side_px), np.uint8)
    step = np.linspace(0, 1, 24)[:, None]
    for _ in range(int(random.integers(1, 12))):
        start, middle, end = random.uniform(-0.2, 1.2, (3, 2)) * side_px
        middle = (start + end) / 2 + (middle - (start + end) / 2) * 0.35
        arc = (1 - step) ** 2 * start + 2 * step * (1 - step) * middle + step**2 * end
        cv2.polylines(drawn, [np.round(arc * 8).astype(np.int32)], False, 255, int(random.integers(1, 3)), cv2.LINE_AA, 3)
    return drawn


def _glare(side_px: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Spots, as `augmentation` draws them."""
    light = np.zeros((side_px, side_px), np.float32)
    for column, row in random.uniform(0, side_px, (int(random.integers(1, 8)), 2)):
        cv2.circle(light, (int(column), int(row)), int(random.integers(1, max(2, side_px // 24))), 1.0, -1)
    return np.asarray(cv2.GaussianBlur(light, (0, 0), 1.2) * 255, np.uint8)
