"""Filters over stacks of grids, in torch: the same on a CPU and on a GPU. Edges are continued outwards."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def gauss(stack: Tensor, sigma: float) -> Tensor:
    """Gaussian over the last two axes of ... x rows x columns; `sigma` in cells, cut off at 2.5 sigma."""
    reach = max(1, math.ceil(2.5 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=stack.dtype, device=stack.device)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = weights / weights.sum()
    flat = stack.reshape(1, -1, *stack.shape[-2:])
    channels = flat.shape[1]
    across = functional.pad(flat, (reach, reach, 0, 0), mode="replicate")
    across = functional.conv2d(across, weights.expand(channels, 1, 1, -1), groups=channels)
    down = functional.pad(across, (0, 0, reach, reach), mode="replicate")
    down = functional.conv2d(down, weights.view(-1, 1).expand(channels, 1, -1, 1), groups=channels)
    return down.reshape(stack.shape)


def box(stack: Tensor, reach: int) -> Tensor:
    """Mean over squares of 2 reach + 1 cells."""
    flat = functional.pad(stack.reshape(1, -1, *stack.shape[-2:]), (reach,) * 4, mode="replicate")
    return functional.avg_pool2d(flat, 2 * reach + 1, 1).reshape(stack.shape)


def median(grid: Tensor, reach: int = 2) -> Tensor:
    """Median over squares of 2 reach + 1 cells; rows x columns."""
    side = 2 * reach + 1
    padded = functional.pad(grid[None, None], (reach,) * 4, mode="replicate")
    return functional.unfold(padded, side).median(dim=1).values.reshape(grid.shape)


def halved(stack: Tensor) -> Tensor:
    """Every second row and column of ... x rows x columns (odd), each the mean of what lies around it with weights 1, 2, 1."""
    flat = stack.reshape(1, -1, *stack.shape[-2:])
    channels = flat.shape[1]
    tent = torch.tensor([0.25, 0.5, 0.25], dtype=stack.dtype, device=stack.device)
    weights = (tent[:, None] * tent).expand(channels, 1, 3, 3)
    smaller = functional.conv2d(functional.pad(flat, (1,) * 4, mode="replicate"), weights, stride=2, groups=channels)
    return smaller.reshape(*stack.shape[:-2], *smaller.shape[-2:])


def membrane(weight: Tensor, right: Tensor, stiffness: Tensor, rounds: int, start: Tensor) -> Tensor:
    """Solves (weight + stiffness * L) x = right over a grid, L the Laplacian with free edges, by conjugate gradients (Jacobi)."""
    inverse = 1 / (weight + 4 * stiffness)
    x = start
    residual = right - (weight * x + stiffness * _laplacian(x))
    direction = inverse * residual
    energy = (residual * direction).sum()
    for _ in range(rounds):
        applied = weight * direction + stiffness * _laplacian(direction)
        length = energy / (direction * applied).sum().clamp(min=1e-30)
        x = x + length * direction
        residual = residual - length * applied
        preconditioned = inverse * residual
        before, energy = energy, (residual * preconditioned).sum()
        direction = preconditioned + (energy / before.clamp(min=1e-30)) * direction
    return x


def _laplacian(x: Tensor) -> Tensor:
    padded = functional.pad(x[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    return 4 * x - padded[:-2, 1:-1] - padded[2:, 1:-1] - padded[1:-1, :-2] - padded[1:-1, 2:]
