"""The fusion's examples, and the fit of its network to them: seconds, so there is no checkpoint."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import structlog
import torch
from dermanode_classify.fusion import AdaptiveFusion
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the fit is told."""

    versions: int = 2
    """How many altered versions of every training picture the classifier is shown. It has been trained on these very pictures: on the
    pictures as they are it is surer than it will be on new ones."""
    epochs: int = 60
    patience: int = 10
    """So many passes without a better loss on the pictures kept aside end the fit."""
    batch: int = 128
    peak_rate: float = 5e-4
    gate_rate: float = 1e-2
    """Of W and b, which are four numbers: at the others' rate they would hardly leave where they began."""
    weight_decay: float = 0.05
    smoothing: float = 0.05
    kept_aside: float = 0.15
    """Share of the training pictures, whole lesions, that says when to stop."""
    feature_dropped: float = 0.1
    """How often a geometric feature is left out, so that the network serves without it."""
    surface_dropped: float = 0.25
    """How often the whole geometry is."""
    seed: int = 20261121


@dataclass(frozen=True, eq=False)
class Examples:
    """Pictures as the fusion sees them."""

    flat: NDArray[np.float32]
    """N x versions x features."""
    conf2d: NDArray[np.float64]
    """N x versions."""
    solid: NDArray[np.float64]
    """N x 12, NaN where absent."""
    conf3d: NDArray[np.float64]
    truth: NDArray[np.int64]
    """The group's place."""
    weight: NDArray[np.float64]
    """What makes the shares of the diagnoses those of all training pictures; the mean is 1."""

    def __len__(self) -> int:
        return len(self.truth)

    def only(self, which: NDArray[np.bool_]) -> Examples:
        return Examples(self.flat[which], self.conf2d[which], self.solid[which], self.conf3d[which], self.truth[which], self.weight[which])


@dataclass(frozen=True, eq=False)
class Fitted:
    """A network that was fitted, and how that went."""

    network: AdaptiveFusion
    alpha: float | None
    """What the gate was held at; None for its own."""
    passes: int
    loss: float
    """On the pictures kept aside."""

    def logits(self, examples: Examples) -> NDArray[np.float64]:
        """Of version 0, N x groups."""
        return np.asarray(_logits(self.network, examples, 0, self.alpha).double().numpy())


def standardise(network: AdaptiveFusion, train: Examples) -> None:
    """Sets the buffers: mean and deviation of F2D, median and scaled median absolute deviation of F3D, what is known of both."""
    flat = train.flat.reshape(-1, train.flat.shape[-1]).astype(np.float64)
    is_there = np.isfinite(train.solid)
    known = is_there.any(0)
    filled = np.where(known, np.where(is_there, train.solid, np.nan), 0.0)
    middle = np.nanmedian(filled, 0)
    spread = 1.4826 * np.nanmedian(abs(filled - middle), 0)
    # Where more than half of the values are one, the median deviation is nothing.
    spread = np.where(spread > 0, spread, np.nanstd(filled, 0))
    for name, value in {
        "flat_mean": flat.mean(0),
        "flat_deviation": np.maximum(flat.std(0), 1e-2),
        "solid_middle": middle,
        "solid_deviation": np.where(spread > 1e-6, spread, 1.0),
        "solid_known": known.astype(np.float64),
        "most_confidence": np.asarray(train.conf3d.max()),
    }.items():
        getattr(network, name).copy_(torch.as_tensor(value, dtype=torch.float32))


def fit(network: AdaptiveFusion, train: Examples, aside: Examples, plan: Plan, alpha: float | None = None) -> Fitted:
    """Weighted cross entropy over the groups by AdamW; the pass that does best on the pictures kept aside is what stays.

    `alpha` holds the gate at one value, for what picture or geometry say alone.
    """
    torch.manual_seed(plan.seed)
    random = np.random.default_rng(plan.seed)
    gate = list(network.gate.parameters())
    others = [weight for name, weight in network.named_parameters() if not name.startswith("gate.")]
    optimizer = torch.optim.AdamW(
        [{"params": others, "lr": plan.peak_rate}, {"params": gate, "lr": plan.gate_rate, "weight_decay": 0.0}],
        weight_decay=plan.weight_decay,
    )
    steps = plan.epochs * -(-len(train) // plan.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))
    best, best_loss, best_pass, done = copy.deepcopy(network.state_dict()), math.inf, 0, 0
    for done in range(1, plan.epochs + 1):
        network.train()
        for picture in _batches(len(train), plan.batch, random):
            logits = network(*_drawn(train, picture, plan, random), alpha=_held(alpha, len(picture)))
            losses = cross_entropy(logits, torch.from_numpy(train.truth[picture]), reduction="none", label_smoothing=plan.smoothing)
            value = (losses * torch.from_numpy(train.weight[picture]).float()).mean()
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            schedule.step()
        loss = _loss(network, aside, alpha)
        if loss < best_loss:
            best, best_loss, best_pass = copy.deepcopy(network.state_dict()), loss, done
        if done - best_pass >= plan.patience:
            break
    network.load_state_dict(best)
    log.info("fitted", alpha=alpha, passes=done, best=best_pass, loss=round(best_loss, 4))
    return Fitted(network.eval(), alpha, best_pass, best_loss)


def _batches(count: int, size: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    order = random.permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]


def _drawn(train: Examples, picture: NDArray[np.int64], plan: Plan, random: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """One altered version of each picture, and its geometry with holes."""
    version = random.integers(1, train.flat.shape[1], len(picture)) if train.flat.shape[1] > 1 else np.zeros(len(picture), np.int64)
    solid, conf3d = train.solid[picture].copy(), train.conf3d[picture].copy()
    solid[random.random(solid.shape) < plan.feature_dropped] = np.nan
    without = random.random(len(picture)) < plan.surface_dropped
    solid[without], conf3d[without] = np.nan, 0.0
    told = (train.flat[picture, version], solid, train.conf2d[picture, version], conf3d)
    return tuple(torch.from_numpy(np.asarray(one, np.float32)) for one in told)


def _loss(network: AdaptiveFusion, aside: Examples, alpha: float | None) -> float:
    """Over all versions but the first, where there are others: what the fit is asked."""
    versions = range(1, aside.flat.shape[1]) if aside.flat.shape[1] > 1 else range(1)
    truth, weight = torch.from_numpy(aside.truth), torch.from_numpy(aside.weight)
    losses = [cross_entropy(_logits(network, aside, version, alpha), truth, reduction="none") for version in versions]
    return float((torch.stack(losses).mean(0) * weight).sum() / weight.sum())


def _logits(network: AdaptiveFusion, examples: Examples, version: int, alpha: float | None) -> torch.Tensor:
    told = (examples.flat[:, version], examples.solid, examples.conf2d[:, version], examples.conf3d)
    with torch.inference_mode():
        found: torch.Tensor = network.eval()(
            *(torch.from_numpy(np.asarray(one, np.float32)) for one in told), alpha=_held(alpha, len(examples))
        )
    return found


def _held(alpha: float | None, count: int) -> torch.Tensor | None:
    return None if alpha is None else torch.full((count, 1), alpha)
