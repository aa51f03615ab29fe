"""All pictures seen from above: what the dense matching compares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dermanode_reconstruct.grid import Grid, Matrix
from dermanode_reconstruct.photograph import Photograph
from dermanode_reconstruct.poses import Poses, plane_homographies
from dermanode_reconstruct.smoothing import gauss, halved

_MARGIN = 1.2
"""How much wider than the grid the rectified pictures are: raised points are seen outside their place."""
_FINE = 256
"""Pictures are averaged as 16-bit numbers, so many to a byte: rounding to bytes would be noise."""
_SRGB = (np.arange(65536) / _FINE + 0.25) / 255.25
_LINEAR = np.where(_SRGB <= 0.04045, _SRGB / 12.92, ((_SRGB + 0.055) / 1.055) ** 2.4).astype(np.float32)
"""Linear light for each sRGB value (IEC 61966-2-1). A power of 2.2 is not near enough: chroma would follow the shade."""
_LOG_LIGHT = np.log(np.maximum(_LINEAR, 2e-3))
_NOISE = (0.015, 0.012)
"""What sensor and codec do to log B - log R and to log G - log R: contrast below it counts for little."""
_WORTH_SHRINKING = 1.3
_SATURATED = 250
"""Bytes from here on are clipped: a highlight has no colour of its own."""
_BAND_LIMIT = 0.7
"""Sigma, in cells, of the blur before pictures are compared. Between the cells, interpolation averages noise away; without the blur
pictures would agree best where they are sampled half a cell off, which at small tilts passes for a height of 0.3 mm."""


@dataclass(frozen=True, eq=False)
class Stack:
    """V pictures x C channels over a grid that is `_MARGIN` times as wide as `grid`."""

    grid: Grid
    channels: Tensor
    """V x C x n x n; the last channel is how far the others are to be trusted there, 0 outside the picture."""
    centres: Tensor
    """V x 3: of the cameras, in mm."""
    wide: Grid

    @property
    def x(self) -> Tensor:
        """1 x n: of the columns."""
        return torch.as_tensor(self.grid.x, dtype=torch.float32, device=self.centres.device)[None]

    @property
    def y(self) -> Tensor:
        """n x 1: of the rows."""
        return torch.as_tensor(self.grid.y, dtype=torch.float32, device=self.centres.device)[:, None]

    @cached_property
    def _lines(self) -> tuple[Tensor, Tensor]:
        """2 x 1 x n x n and 2 x V x n x n, in the coordinates of `grid_sample`: the grid's points, and how a lever moves them."""
        centres = self.centres.view(-1, 1, 1, 3)
        x, y = self.x[None], self.y[None]
        middle_x, middle_y = self.wide.middle_mm
        points = torch.stack(torch.broadcast_tensors(x - middle_x, middle_y - y)) / self.wide.half_mm
        moves = torch.stack(torch.broadcast_tensors(x - centres[..., 0], centres[..., 1] - y)) / self.wide.half_mm
        return points, moves

    def sample(self, height: Tensor) -> Tensor:
        """V x C x n x n: the channels where each picture shows the surface of that height (n x n, mm) over the grid's points.

        A point at height h is seen where the line from the camera's centre C through it meets the plane: P + (P - C) h / (C_z - h).
        """
        points, moves = self._lines
        lever = height / (self.centres[:, 2].view(-1, 1, 1) - height)
        # Across and down one by one: torch is slow where an innermost axis is of two.
        at = torch.empty(*lever.shape, 2, device=lever.device)
        for axis, (point, move) in enumerate(zip(points, moves, strict=True)):
            torch.addcmul(point, move, lever, out=at[..., axis])
        return functional.grid_sample(self.channels, at, mode="bilinear", padding_mode="border", align_corners=True)

    def coarser(self) -> Stack:
        """At half the resolution."""
        return Stack(self.grid.coarser(2), halved(self.channels), self.centres, self.wide.coarser(2))

    def evened(self, sigma_mm: float) -> Stack:
        """Each channel less its mean around, over its standard deviation around: as good where there is little contrast."""
        sigma = sigma_mm / self.grid.step_mm
        noise = torch.tensor(_NOISE, device=self.channels.device).view(1, -1, 1, 1)
        chroma = gauss(self.channels[:, :-1], _BAND_LIMIT)
        apart = chroma - gauss(chroma, sigma)
        spread = torch.sqrt(gauss(apart * apart, sigma) + noise**2)
        return Stack(self.grid, torch.cat([apart / spread, self.channels[:, -1:]], 1), self.centres, self.wide)


def stacks(photographs: Sequence[Photograph], poses: Poses, grid: Grid, device: str, threads: int) -> tuple[Stack, Stack]:
    """Chroma and light of every picture, rectified to the skin plane, each with its trust.

    Chroma is log B - log R and log G - log R. The light moves with the camera, so brightness changes with the slope and would pass for
    depth; these ratios do not (the light cancels): pigment alone is left. Light is the linear green, of which photometric stereo reads
    slopes. Trust is as far as a pixel is bright, and none where it is clipped or outside the picture.
    """
    reach = grid.half_mm * _MARGIN
    half = 2 * math.ceil(reach / grid.step_mm / 2)
    middle_x, middle_y = grid.middle_mm
    wide = Grid(middle_x - half * grid.step_mm, middle_y + half * grid.step_mm, grid.step_mm, 2 * half + 1)

    def rectify(one: Photograph, rotation: Matrix, translation: Matrix) -> NDArray[np.float32]:
        picture, to_smaller = _averaged(one, grid.step_mm / one.spacing_mm)
        [homography] = plane_homographies(Poses(rotation[None], translation[None]), (to_smaller @ one.intrinsics)[None], wide)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (wide.count, wide.count)
        seen = [
            cv2.warpPerspective(part, homography, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
            for part in np.split(_channels(picture), [3], axis=-1)
        ]
        return np.concatenate([part.transpose(2, 0, 1) for part in seen])

    with ThreadPoolExecutor(max(1, min(threads, len(photographs))), thread_name_prefix="rectify") as pool:
        made = list(pool.map(rectify, photographs, poses.rotations, poses.translations))
    centres = torch.as_tensor(poses.centres, dtype=torch.float32, device=device)
    channels = torch.from_numpy(np.stack(made)).to(device)
    return Stack(grid, channels[:, :3], centres, wide), Stack(grid, channels[:, 3:], centres, wide)


def _averaged(one: Photograph, shrink: float) -> tuple[NDArray[np.uint16], Matrix]:
    """The picture with pixels about as large as the grid's cells, in 256ths of a byte, and the map from its pixels to those."""
    picture = one.pixels.astype(np.uint16) * np.uint16(_FINE)
    if shrink <= _WORTH_SHRINKING:
        return picture, np.eye(3)
    rows, columns = picture.shape[:2]
    size = (round(columns / shrink), round(rows / shrink))
    scale_x, scale_y = size[0] / columns, size[1] / rows
    to_smaller = np.array([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2], [0, 0, 1]])
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint16), to_smaller


def _channels(picture: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Rows x columns x 5: log B - log R, log G - log R, trust, linear green, trust again."""
    red, green, blue = np.moveaxis(_LOG_LIGHT[picture], -1, 0)
    # The variance of the logarithm of a channel is about that of its shot noise: one over its light.
    trust = _LINEAR[picture.min(axis=2)]
    trust[picture.max(axis=2) >= _SATURATED * _FINE] = 0
    trust[[0, -1]] = 0
    trust[:, [0, -1]] = 0
    return np.stack([blue - red, green - red, trust, _LINEAR[picture[..., 1]], trust], axis=-1)
