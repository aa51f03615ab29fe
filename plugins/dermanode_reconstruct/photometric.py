"""Photometric stereo: slopes from how the brightness changes as the light, on the camera, goes around the lesion (Woodham 1980).

Stereo knows heights, shading knows slopes: fused, each mends the other. Where the light does not move with the cameras, or the skin
shines, the slopes are wrong, and the gate refuses them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn, idctn
from torch import Tensor

from dermanode_reconstruct.stack import Stack

Field = NDArray[np.float64]

_LEAST_GAIN, _MOST_GAIN = 0.8, 1.3
_LEAST_CORRELATION = 0.85
_LEAST_SLOPE = 0.04
"""Standard deviation of the stereo's slopes below which a lesion is flat: there is nothing to compare with."""
_COMPARED_CELLS = 4.0
_REACH_MM = 0.5
"""Shading rules over shorter distances, stereo over longer ones; for pictures of 20 mm width."""
_ROUNDS = 8
_MENDINGS = 4
_MISLED = 3.0
"""Robust standard deviations between stereo and shading, and ..."""
_LEAST_OFF_MM = 0.01
"""... millimetres more, from which on a stereo height does not count."""


@dataclass(frozen=True, slots=True)
class Gate:
    """How the two kinds of slopes agree."""

    gain: float
    """Of the stereo's slopes over those of the shading."""
    correlation: float
    is_flat: bool

    @property
    def is_open(self) -> bool:
        return not self.is_flat and _LEAST_GAIN < self.gain < _MOST_GAIN and self.correlation > _LEAST_CORRELATION


@dataclass(frozen=True, eq=False)
class Fused:
    """The height with the shading's slopes where the gate is open, else as it came."""

    height: Field
    """n x n, mm."""
    gate: Gate


def fuse(light: Stack, height: Tensor, is_near: NDArray[np.bool_], scale: float) -> Fused:
    """`light` has one channel, linear luminance, and trust; `height` is the stereo's, n x n in mm; `is_near` is the lesion and its rim."""
    stereo = height.cpu().numpy().astype(np.float64)
    step = light.grid.step_mm
    across, down = _slopes(light, height)
    gate = _gate(stereo, across, down, is_near, step)
    if not gate.is_open:
        return Fused(stereo, gate)
    across, down, hold = across * gate.gain, down * gate.gain, (_REACH_MM * scale) ** -2
    fused = _integrated(across, down, stereo, step, hold)
    for _ in range(_MENDINGS):
        # Where stereo is far off what shading says, it was misled (a steep side without texture), and has no say.
        off = abs(fused - stereo)
        limit = _MISLED * 1.4826 * float(np.median(off[is_near])) + _LEAST_OFF_MM * scale
        fused = _integrated(across, down, np.where(off > limit, fused, stereo), step, hold)
    return Fused(fused, gate)


def _slopes(light: Stack, height: Tensor) -> tuple[Field, Field]:
    """dz/dx and dz/d(row) for Lambert's law and a lamp on each camera: least squares for albedo times normal."""
    x, y = light.x, light.y
    reach = torch.stack([part.expand_as(height) for part in (x, y)] + [height], -1)
    towards = light.centres[:, None, None] - reach
    distance = torch.linalg.vector_norm(towards, dim=-1, keepdim=True)
    towards, falloff = towards / distance, (distance / light.centres[:, 2].mean()) ** 2
    seen = light.sample(height)
    weight = seen[:, 1:].permute(0, 2, 3, 1).clamp(min=1e-4)
    brightness = seen[:, :1].permute(0, 2, 3, 1) * falloff
    normal = torch.einsum("vijk,vijl->ijkl", weight * towards, towards) + 1e-6 * torch.eye(3, device=height.device)
    right = torch.einsum("vijk,vijl->ijk", weight * towards, brightness.expand_as(towards)[..., :1])
    n = torch.linalg.solve_ex(normal, right[..., None])[0][..., 0]
    up = n[..., 2].clamp(min=1e-4)
    across, down = -n[..., 0] / up, n[..., 1] / up
    return across.cpu().numpy().astype(np.float64), down.cpu().numpy().astype(np.float64)


def _gate(stereo: Field, across: Field, down: Field, is_near: NDArray[np.bool_], step: float) -> Gate:
    """Robust regression (Cauchy's weights) of the stereo's slopes on the shading's, both at one scale."""

    def smooth(field: Field) -> Field:
        return np.asarray(cv2.GaussianBlur(field, (0, 0), _COMPARED_CELLS))

    level = smooth(stereo)
    of_stereo = np.concatenate([np.gradient(level, step, axis=axis)[is_near] for axis in (1, 0)])
    of_shading = np.concatenate([smooth(across)[is_near], smooth(down)[is_near]])
    of_stereo, of_shading = of_stereo - np.median(of_stereo), of_shading - np.median(of_shading)
    weight = np.ones_like(of_stereo)
    gain = 0.0
    for _ in range(_ROUNDS):
        gain = float((weight * of_shading * of_stereo).sum() / max((weight * of_shading**2).sum(), 1e-9))
        off = of_stereo - gain * of_shading
        weight = 1 / (1 + (off / (2 * 1.4826 * np.median(abs(off)) + 1e-4)) ** 2)
    energy = (weight * of_shading**2).sum() * (weight * of_stereo**2).sum()
    correlation = float((weight * of_shading * of_stereo).sum() / np.sqrt(max(energy, 1e-18)))
    return Gate(gain, correlation, bool(of_stereo.std() < _LEAST_SLOPE))


def _integrated(across: Field, down: Field, height: Field, step: float, hold: float) -> Field:
    """The z that minimises |grad z - slopes|^2 + hold |z - height|^2 with free edges, by the cosine transform (Simchony et al. 1990)."""
    rows, columns = height.shape
    divergence = np.zeros_like(height)
    between_columns, between_rows = (across[:, 1:] + across[:, :-1]) / 2, (down[1:] + down[:-1]) / 2
    divergence[:, :-1] += between_columns / step
    divergence[:, 1:] -= between_columns / step
    divergence[:-1] += between_rows / step
    divergence[1:] -= between_rows / step
    waves_x = (2 - 2 * np.cos(np.pi * np.arange(columns) / columns)) / step**2
    waves_y = (2 - 2 * np.cos(np.pi * np.arange(rows) / rows)) / step**2
    spectrum = dctn(-divergence + hold * height, norm="ortho") / (waves_x[None] + waves_y[:, None] + hold)
    return np.asarray(idctn(spectrum, norm="ortho"))
