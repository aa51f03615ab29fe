"""What the classifier's pictures look like to it on the training pictures: by it, a strange picture is known."""

from __future__ import annotations

from pathlib import Path

import torch

from dermanode_training.data.lesions import Collection
from dermanode_training.data.pack import Pack
from dermanode_training.fitting.classification import Plan, crops


def familiarity(
    network: torch.nn.Module, collection: Collection, pack: Path, plan: Plan, side_px: int, *, most: int = 4000
) -> dict[str, torch.Tensor]:
    """Mean and inverse covariance of the look over the training crops, as the tensors that go beside the weights."""
    lesions = [lesion for lesion in collection.split("train") if lesion.label]
    lesions = lesions[:: max(1, len(lesions) // most)]
    network.eval()
    with torch.inference_mode():
        looks = [network.features_and_look(batch)[1] for batch in crops(lesions, Pack(pack), plan, side_px)]
    found = torch.cat(looks).double()
    mean = found.mean(0)
    covariance = torch.cov(found.T)
    # A little more variance everywhere: a direction that never moves on the training side would count without bound.
    ridge = torch.diag(0.02 * covariance.diagonal() + 1e-6)
    return {"familiarity.mean": mean.float(), "familiarity.precision": torch.linalg.inv(covariance + ridge).float()}
