"""Where the last maps of a network stand that speak for a class: Grad-CAM, by itself and against a crop that shows nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from dermanode_networks.symmetry import shown, taken_back
from torch import nn

SYMMETRIES = 4
"""A map is the mean over the crop, its two mirror images and its half turn, each laid back."""


Score = Callable[[torch.Tensor], torch.Tensor]
"""One number for each row of a network's logits."""


def grad_cam(network: nn.Module, pictures: torch.Tensor, score: Score) -> torch.Tensor:
    """N x 3 x side x side, on the network's device, becomes N x side x side: what speaks for the class; not below 0, in no unit.

    The maps are those of the last layer that still has rows and columns, weighted by the mean gradient of the score there and made as large
    as the pictures (Selvaraju et al. 2017).
    """
    layer = last_spatial_layer(network, pictures.shape[1:])
    activations, gradients = _at_layer(network, layer, shown(pictures, SYMMETRIES), score)
    return _enlarged((gradients.mean((2, 3), keepdim=True) * activations).sum(1, keepdim=True), pictures.shape[2:])


def integrated_grad_cam(network: nn.Module, pictures: torch.Tensor, blanks: torch.Tensor, score: Score) -> torch.Tensor:
    """As `grad_cam`, of what the pictures have beyond `blanks`, which are the same pictures without their structures.

    The layer's change from blank to picture times the score's gradient half-way between them (Sattarzadeh et al. 2021, one step of the
    midpoint rule): so what every piece of skin has does not count, and a gradient that has died away at the picture does not hide anything.
    """
    layer = last_spatial_layer(network, pictures.shape[1:])
    asked = torch.cat([shown(pictures, SYMMETRIES), shown(blanks, SYMMETRIES)])
    # Half-way is taken between what the layer says of both, not between the pictures: no third pass, and the changes of a layer, times the
    # gradients on the straight way between, add up to the score's (Sundararajan et al. 2017).
    outputs, gradients = _at_layer(network, layer, asked, score, start=lambda both: both.unflatten(0, (2, -1)).mean(0))
    there, blank = outputs.chunk(2)
    return _enlarged((gradients * (there - blank)).sum(1, keepdim=True), pictures.shape[2:])


def _enlarged(maps: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """The maps of all symmetries, (symmetries N) x 1 x rows x columns, laid back, averaged and enlarged: N x size."""
    # What speaks against the class is left out before the map is made larger: else its rim would seem to speak for it.
    maps = taken_back(maps, SYMMETRIES).clamp_min(0)
    return nn.functional.interpolate(maps, size, mode="bicubic", align_corners=False)[:, 0].clamp_min(0)


@lru_cache(maxsize=4)
def last_spatial_layer(network: nn.Module, shape: torch.Size) -> str:
    """The name of the layer whose output is the last one with more than one row and column; `shape` is that of a picture.

    Raises ValueError for a network that has none.
    """
    found: list[str] = []

    def keep(name: str) -> Callable[..., None]:
        def look(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
                found.append(name)

        return look

    hooks = [module.register_forward_hook(keep(name)) for name, module in network.named_modules() if name]
    try:
        with torch.inference_mode():
            network(torch.zeros(1, *shape, device=next(network.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ValueError("The network has no layer with rows and columns: its answer has no place in the picture.")
    return found[-1]


def _at_layer(
    network: nn.Module,
    layer: str,
    pictures: torch.Tensor,
    score: Score,
    start: Callable[[torch.Tensor], torch.Tensor] = torch.detach,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer's output, N x channels x rows x columns, and the score's gradient there, at what `start` makes of the output."""
    kept: list[torch.Tensor] = []

    def cut(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        leaf = start(output.detach()).requires_grad_()
        kept.extend((output.detach(), leaf))
        # From here on the way is recorded; what lies before the layer needs no gradient, which saves two thirds of the time.
        torch.set_grad_enabled(True)
        return leaf.clone()  # what follows may work in place, which a leaf does not allow

    hook = network.get_submodule(layer).register_forward_hook(cut)
    try:
        with torch.no_grad():  # and at its end recording is as it was before
            scores = score(network(pictures.contiguous(memory_format=torch.channels_last)))
            (gradients,) = torch.autograd.grad(scores.sum(), kept[1:])
    finally:
        hook.remove()
    return kept[0], gradients
