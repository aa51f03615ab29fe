"""All pictures seen from above: what the dense matching compares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
_SRGB = (np.arange(256) + 0.25) / 255.25
_LINEAR = np.where(_SRGB <= 0.04045, _SRGB / 12.92, ((_SRGB + 0.055) / 1.055) ** 2.4).astype(np.float32)
"""Linear light for each sRGB byte (IEC 61966-2-1). A power of 2.2 is not near enough: chroma would follow the shade."""
_LOG_LIGHT = np.log(np.maximum(_LINEAR, 2e-3))
_NOISE = (0.015, 0.012)
"""What sensor and codec do to log B - log R and to log G - log R: contrast below it counts for little."""
_SATURATED = 252
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

    def sample(self, height: Tensor) -> Tensor:
        """V x C x n x n: the channels where each picture shows the surface of that height (n x n, mm) over the grid's points.

        A point at height h is seen where the line from the camera's centre C through it meets the plane: P + (P - C) h / (C_z - h).
        """
        lever = height / (self.centres[:, 2].view(-1, 1, 1) - height)
        x = self.x + (self.x - self.centres[:, 0].view(-1, 1, 1)) * lever
        y = self.y + (self.y - self.centres[:, 1].view(-1, 1, 1)) * lever
        middle_x, middle_y = self.wide.middle_mm
        at = torch.stack([x - middle_x, middle_y - y], -1) / self.wide.half_mm
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


def chroma_stack(photographs: Sequence[Photograph], poses: Poses, grid: Grid, device: str, threads: int) -> Stack:
    """log B - log R and log G - log R of every picture, rectified to the skin plane.

    The light moves with the camera, so brightness changes with the slope and would pass for depth; these ratios do not
    (the light cancels): pigment alone is left. A third channel says how far each pixel is to be trusted: as far as it is bright, not at
    all where it is clipped or outside the picture.
    """

    def channels(one: Photograph) -> NDArray[np.float32]:
        red, green, blue = cv2.split(cv2.LUT(one.pixels, _LOG_LIGHT))
        # The variance of the logarithm of a channel is about that of its shot noise: one over its light.
        trust = cv2.min(cv2.min(*cv2.split(one.pixels)[:2]), one.pixels[..., 2])
        trust = cv2.LUT(trust, _LINEAR)
        trust[one.pixels.max(axis=2) >= _SATURATED] = 0
        trust[[0, -1]] = trust[:, [0, -1]] = 0
        return np.asarray(cv2.merge([blue - red, green - red, trust]))

    return _stack(photographs, poses, grid, device, threads, channels)


def light_stack(photographs: Sequence[Photograph], poses: Poses, grid: Grid, device: str, threads: int) -> Stack:
    """Linear luminance of every picture, rectified to the skin plane: what photometric stereo reads slopes from."""
    return _stack(photographs, poses, grid, device, threads, lambda one: np.asarray(cv2.LUT(one.grey, _LINEAR)))


def _stack(
    photographs: Sequence[Photograph],
    poses: Poses,
    grid: Grid,
    device: str,
    threads: int,
    channels: Callable[[Photograph], NDArray[np.float32]],
) -> Stack:
    reach = grid.half_mm * _MARGIN
    half = 2 * math.ceil(reach / grid.step_mm / 2)
    middle_x, middle_y = grid.middle_mm
    wide = Grid(middle_x - half * grid.step_mm, middle_y + half * grid.step_mm, grid.step_mm, 2 * half + 1)

    def rectify(one: Photograph, rotation: Matrix, translation: Matrix) -> NDArray[np.float32]:
        picture = channels(one)
        intrinsics = one.intrinsics
        shrink = grid.step_mm / one.spacing_mm
        if shrink > 1.3:
            rows, columns = picture.shape[:2]
            size = (round(columns / shrink), round(rows / shrink))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            scale_x, scale_y = size[0] / columns, size[1] / rows
            intrinsics = np.array([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2], [0, 0, 1]]) @ intrinsics
        [homography] = plane_homographies(Poses(rotation[None], translation[None]), intrinsics[None], wide)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpPerspective(picture, homography, (wide.count, wide.count), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.ascontiguousarray(seen.reshape(wide.count, wide.count, -1).transpose(2, 0, 1))

    with ThreadPoolExecutor(max(1, min(threads, len(photographs))), thread_name_prefix="rectify") as pool:
        made = list(pool.map(rectify, photographs, poses.rotations, poses.translations))
    centres = torch.as_tensor(poses.centres, dtype=torch.float32, device=device)
    return Stack(grid, torch.from_numpy(np.stack(made)).to(device), centres, wide)
