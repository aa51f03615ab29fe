"""The network of the bundle `lesion_classifier`: a trunk that ends in features, and one layer on top."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dermanode_classify.trunks import Trunk


class LesionClassifier(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy here: it takes minutes
    """Logits over diagnoses; `features` is what the paper calls F2D."""

    def __init__(self, trunk: Trunk, classes: int, *, seen: Sequence[str] = (), dropout: float = 0.3) -> None:
        """`seen` names the trunk's early modules by whose outputs a strange picture is told (see `features_and_look`)."""
        super().__init__()
        self.trunk = trunk
        self.seen = tuple(seen)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.features, classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """N x 3 x rows x columns, normalised, becomes N x features."""
        found: torch.Tensor = self.trunk(images)
        return found

    def features_and_look(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The features, and what the pictures look like: mean and deviation of the channels of the `seen` modules, N x looks.

        By the look the bundle's check of strangeness sees colours and textures that the features no longer tell.
        """
        looks: list[torch.Tensor] = []

        def keep(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            looks.extend((output.mean((2, 3)), output.std((2, 3))))

        hooks = [self.trunk.get_submodule(name).register_forward_hook(keep) for name in self.seen]
        try:
            features = self.features(images)
        finally:
            for hook in hooks:
                hook.remove()
        return features, torch.cat(looks, 1) if looks else features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, N x classes."""
        logits: torch.Tensor = self.head(self.dropout(self.features(images)))
        return logits


class Observed(nn.Module):  # type: ignore[misc]  # as above
    """A classifier together with what is kept of its inside: logits, features and look, in one pass."""

    def __init__(self, network: LesionClassifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """N x classes, N x features, N x looks."""
        features, looks = self.network.features_and_look(images)
        return self.network.head(features), features, looks
