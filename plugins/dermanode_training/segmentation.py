"""Fits the segmenter: 0.3 BCE + 0.7 Dice, AdamW, an exponential average of the weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import structlog
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from dermanode_training.averaging import averaged
from dermanode_training.batches import Recipe, loader, normalised
from dermanode_training.lesions import Collection
from dermanode_training.pack import Pack
from dermanode_training.schedule import Schedule

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of the segmenter is told."""

    epochs: float = 20.0
    minutes: float = 120.0
    side_px: int = 128
    batch: int = 32
    peak_rate: float = 2e-3
    weight_decay: float = 0.02
    averaging: float = 0.99
    seed: int = 20261121
    threads: int = 2
    cleaned_share: float = 0.85


def start_from(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Goes on from an earlier run of the same network."""
    network.load_state_dict(state)


def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """0.3 BCE + 0.7 Dice, Dice for each picture by itself."""
    chance = torch.sigmoid(logits)
    both = (chance * target).sum((1, 2, 3))
    dice = 1 - (2 * both + 1) / (chance.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 1)
    return 0.3 * binary_cross_entropy_with_logits(logits, target) + 0.7 * dice.mean()


def fit(network: torch.nn.Module, collection: Collection, pack: Path, out: Path, plan: Plan) -> None:
    """Trains in place and writes `out` (a state dict, and beside it a JSON log of the run) whenever validation is measured."""
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    train = collection.split("train")
    recipe = Recipe(
        numbers=tuple(lesion.number for lesion in train if lesion.mask),
        weights=None,
        side_px=plan.side_px,
        batch=plan.batch,
        seed=plan.seed,
        cleaned_share=plan.cleaned_share,
    )
    network = network.to(memory_format=torch.channels_last)
    average = averaged(network, plan.averaging)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.peak_rate, weight_decay=plan.weight_decay)
    per_epoch = len(recipe.numbers) // plan.batch
    schedule = Schedule(int(plan.epochs * per_epoch), plan.minutes)
    history: list[dict[str, float]] = []
    running = 0.0
    for images, masks, _ in loader(pack, recipe):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(plan.peak_rate)
        network.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(images)
        value = loss(logits.float(), masks)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        average.update_parameters(network)
        schedule.step += 1
        running = 0.98 * running + 0.02 * float(value.detach()) if running else float(value.detach())
        if schedule.step % 50 == 0:
            log.info("step", step=schedule.step, loss=round(running, 4), done=round(schedule.done, 3), elapsed_s=round(schedule.elapsed_s))
        if schedule.step % (per_epoch * 2) == 0 or schedule.done >= 1:
            dice = validation_dice(average.module, collection, Pack(pack), plan.side_px, most=None if schedule.done >= 1 else 300)
            history.append({"step": schedule.step, "loss": running, "dice": dice, "elapsed_s": schedule.elapsed_s})
            torch.save(average.module.state_dict(), out)
            out.with_suffix(".json").write_text(json.dumps({"plan": asdict(plan), "history": history}, indent=1), encoding="utf-8")
            log.info("validated", **history[-1])
        if schedule.done >= 1:
            return


def validation_dice(network: torch.nn.Module, collection: Collection, pack: Pack, side_px: int, *, most: int | None = None) -> float:
    """Mean Dice at the pack's size on the validation side: the training loop's own figure, not the one that is reported."""
    network.eval()
    numbers = [lesion.number for lesion in collection.split("val") if lesion.mask]
    numbers = numbers[:: max(1, len(numbers) // most)] if most else numbers
    scores = []
    with torch.inference_mode():
        for start in range(0, len(numbers), 32):
            rows = numbers[start : start + 32]
            pictures = [pack.cleaned(n) if pack.cleaned(n) is not None else pack.images[n] for n in rows]
            small = np.stack([cv2.resize(np.asarray(p), (side_px, side_px), interpolation=cv2.INTER_AREA) for p in pictures])
            logits = interpolate(network(normalised(small)), pack.masks.shape[1:], mode="bilinear", align_corners=False)
            truth = torch.from_numpy(np.stack([pack.masks[n] > 127 for n in rows]))
            found = logits[:, 0] > 0
            scores += list((2 * (found & truth).sum((1, 2)) / (found.sum((1, 2)) + truth.sum((1, 2))).clamp(min=1)).numpy())
    return float(np.mean(scores))
