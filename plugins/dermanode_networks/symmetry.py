"""The eight symmetries of the square: a lesion has no upright, so a network may be asked about it turned and mirrored."""

from __future__ import annotations

from collections.abc import Callable

import torch

COUNTS = (1, 2, 4, 8)
"""How many symmetries can be asked for: none but the picture itself; mirrored; both mirrors and the half turn; all."""


def shown(pictures: torch.Tensor, count: int) -> torch.Tensor:
    """N x channels x side x side becomes (count N) x ...: the pictures as they are come first, then all of them in each other way."""
    return torch.cat([move(pictures) for move in _MOVES[:count]])


def taken_back(maps: torch.Tensor, count: int) -> torch.Tensor:
    """What a network said of `shown` pictures, (count N) x channels x side x side, laid back over them and averaged: N x ..."""
    # Each of the moves that are asked for is its own inverse, but for the quarter turns, which are each other's.
    back = [_MOVES[_INVERSE.get(place, place)](one) for place, one in enumerate(maps.chunk(count))]
    return torch.stack(back).mean(0)


_MOVES: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
    lambda x: x,
    lambda x: x.flip(3),
    lambda x: x.flip(2),
    lambda x: x.flip((2, 3)),
    lambda x: x.transpose(2, 3),
    lambda x: x.transpose(2, 3).flip((2, 3)),
    lambda x: x.transpose(2, 3).flip(3),
    lambda x: x.transpose(2, 3).flip(2),
)
_INVERSE = {6: 7, 7: 6}
