"""Fits the classifier: cross entropy on the lesion's crop, rare classes drawn more often, an exponential average of the weights."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import structlog
import torch
from dermanode_classify.crop import square_around
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from dermanode_training.augmentation import Strength
from dermanode_training.averaging import averaged
from dermanode_training.batches import Recipe, loader, normalised
from dermanode_training.lesions import Collection, Lesion
from dermanode_training.metrics import balanced_accuracy
from dermanode_training.pack import Pack
from dermanode_training.schedule import Schedule

log = structlog.get_logger(__name__)

LABELS = ("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC")
"""In the order of the network's outputs; the bundle's classes.json says the same."""

STRENGTH = Strength(
    scale=(0.8, 1.2), shift=0.08, brightness=0.12, contrast=0.15, cast=0.06, blur=0.15, jpeg=0.25, noise=0.1, hair=0.1, vignette=0.05
)

_DOWN = "submodule.1."
"""What MONAI's `UNet` puts before the name of each deeper level."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of the classifier is told."""

    epochs: float = 60.0
    minutes: float = 120.0
    side_px: int = 112
    batch: int = 32
    peak_rate: float = 1.5e-3
    weight_decay: float = 0.05
    averaging: float = 0.995
    smoothing: float = 0.05
    evenness: float = 0.5
    """0 draws pictures as they are, 1 draws every class alike."""
    margin: float = 0.25
    least: float = 0.35
    seed: int = 20261121
    threads: int = 2
    cleaned_share: float = 0.85


def start_from(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Goes on from an earlier run of the classifier, or takes the encoder of a segmenter."""
    if "head.weight" in state:
        network.load_state_dict(state)
        return
    levels = len(network.encoder)
    renamed = {}
    for name, value in state.items():
        for level in range(levels):
            # model.0, model.1.submodule.0, model.1.submodule.1.submodule.0, ...; the deepest level is a submodule itself.
            prefix = "model." + "1." * (level > 0) + _DOWN * max(0, level - 1)
            prefix += "submodule." if level == levels - 1 else "submodule.0." if level else "0."
            if name.startswith(prefix) and not (level == levels - 1 and name[len(prefix)].isdigit()):
                renamed[f"encoder.{level}.{name[len(prefix) :]}"] = value
    missing, unexpected = network.load_state_dict(renamed, strict=False)
    log.info("encoder_taken", tensors=len(renamed), missing=len(missing), unexpected=len(unexpected))


def fit(network: torch.nn.Module, collection: Collection, pack: Path, out: Path, plan: Plan) -> None:
    """Trains in place and writes `out` (a state dict, and beside it a JSON log of the run) whenever validation is measured."""
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    train = [lesion for lesion in collection.split("train") if lesion.label]
    counts = Counter(lesion.label for lesion in train)
    recipe = Recipe(
        numbers=tuple(lesion.number for lesion in train),
        weights=tuple(counts[lesion.label] ** -plan.evenness for lesion in train),
        side_px=plan.side_px,
        batch=plan.batch,
        seed=plan.seed,
        cleaned_share=plan.cleaned_share,
        strength=STRENGTH,
        crop=(plan.margin, plan.least),
    )
    answers = torch.tensor([LABELS.index(lesion.label) if lesion.label else -1 for lesion in collection.lesions])
    network = network.to(memory_format=torch.channels_last)
    average = averaged(network, plan.averaging)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.peak_rate, weight_decay=plan.weight_decay)
    per_epoch = len(train) // plan.batch
    schedule = Schedule(int(plan.epochs * per_epoch), plan.minutes)
    history: list[dict[str, float]] = []
    running = 0.0
    for images, _, numbers in loader(pack, recipe):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(plan.peak_rate)
        network.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(images)
        value = cross_entropy(logits.float(), answers[numbers], label_smoothing=plan.smoothing)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        average.update_parameters(network)
        schedule.step += 1
        running = 0.98 * running + 0.02 * float(value.detach()) if running else float(value.detach())
        if schedule.step % 50 == 0:
            log.info("step", step=schedule.step, loss=round(running, 4), done=round(schedule.done, 3), elapsed_s=round(schedule.elapsed_s))
        if schedule.step % (per_epoch * 3) == 0 or schedule.done >= 1:
            history.append({"step": schedule.step, "loss": running, "elapsed_s": schedule.elapsed_s})
            history[-1] |= _validate(average.module, collection, Pack(pack), plan)
            torch.save(average.module.state_dict(), out)
            out.with_suffix(".json").write_text(json.dumps({"plan": asdict(plan), "history": history}, indent=1), encoding="utf-8")
            log.info("validated", **history[-1])
        if schedule.done >= 1:
            return


def _validate(network: torch.nn.Module, collection: Collection, pack: Pack, plan: Plan) -> dict[str, float]:
    lesions = [lesion for lesion in collection.split("val") if lesion.label]
    answers = np.array([LABELS.index(lesion.label) for lesion in lesions])
    network.eval()
    with torch.inference_mode():
        logits = torch.cat([network(batch) for batch in crops(lesions, pack, plan)])
    found = logits.argmax(1).numpy()
    return {
        "accuracy": float((found == answers).mean()),
        "balanced_accuracy": balanced_accuracy(answers, found, len(LABELS)),
        "loss_val": float(cross_entropy(logits, torch.from_numpy(answers))),
    }


def crops(lesions: Sequence[Lesion], pack: Pack, plan: Plan) -> Iterator[torch.Tensor]:
    """The lesions' crops by their annotated masks, without augmentation, in batches."""
    for start in range(0, len(lesions), 64):
        yield normalised(np.stack([_crop(lesion.number, pack, plan) for lesion in lesions[start : start + 64]]))


def _crop(number: int, pack: Pack, plan: Plan) -> NDArray[np.uint8]:
    cleaned = pack.cleaned(number)
    picture = np.asarray(pack.images[number] if cleaned is None else cleaned)
    cut = square_around(pack.masks[number] > 127, plan.margin, plan.least).cut(picture)
    return np.asarray(cv2.resize(cut, (plan.side_px, plan.side_px), interpolation=cv2.INTER_AREA), np.uint8)
