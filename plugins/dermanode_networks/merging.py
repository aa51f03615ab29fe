"""A network for serving whose normalisation is part of its convolutions: the same answers with less to move through memory."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def merged(network: nn.Module) -> nn.Module:
    """The network itself, in evaluation mode, each convolution that a batch normalisation follows in one `Sequential` made one with it.

    Answers differ by rounding alone. It cannot be trained any more, and takes no weights.
    """
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            _merge(module)
    return network


def _merge(row: nn.Sequential) -> None:
    names = list(row._modules)
    for name, following in pairwise(names):
        convolution, normalisation = row._modules[name], row._modules[following]
        if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
            with torch.no_grad():
                row._modules[name] = fuse_conv_bn_eval(convolution.eval(), normalisation.eval())
            row._modules[following] = nn.Identity()
