"""The classifier's task: cross entropy over eight diagnoses on the lesion's crop, rare ones drawn more often, pictures mixed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import structlog
import torch
from dermanode_classify.crop import square_around
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from dermanode_training.data.augmentation import Strength
from dermanode_training.data.lesions import Collection, Lesion
from dermanode_training.data.mixing import mix
from dermanode_training.data.pack import Pack
from dermanode_training.fitting.batches import Batch, Recipe, normalised
from dermanode_training.fitting.budget import Budget
from dermanode_training.fitting.networks import StartUnusable
from dermanode_training.scoring.metrics import balanced_accuracy

log = structlog.get_logger(__name__)

LABELS = ("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC")
"""The seven diagnoses that figures are given for."""

OUTPUTS = ("AK", "SCC", "BCC", "BKL", "DF", "MEL", "NV", "VASC")
"""The eight that the network tells apart, in the order of its outputs; the bundle's classes.json says the same."""

SEVEN_OF = tuple(LABELS.index("AKIEC" if label in ("AK", "SCC") else label) for label in OUTPUTS)
"""For each output its place among the seven: AKIEC is AK and SCC together."""

STRENGTH = Strength(
    scale=(0.75, 1.3), shift=0.1, brightness=0.2, contrast=0.25, cast=0.1, blur=0.2, jpeg=0.3, noise=0.1, hair=0.1, vignette=0.05
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the classifier's task is told beside the budget."""

    margin: float = 0.25
    least: float = 0.35
    smoothing: float = 0.05
    evenness: float = 0.5
    """0 draws pictures as they are, 1 draws every class alike."""
    mixup: float = 0.35
    cutmix: float = 0.25
    distilled: float = 0.7
    """How much of the loss is what the teachers say, where there are any; the rest is the label."""


BUDGET = Budget(epochs=120, sides_px=(96, 112, 128), batch=32, peak_rate=2e-3, weight_decay=0.05, averaging=0.998)


@dataclass(frozen=True, eq=False)
class Classification:
    """Seven or eight diagnoses from the crop of one lesion."""

    collection: Collection
    pack: Path
    plan: Plan = Plan()
    name: str = "classification"
    teachers: tuple[torch.nn.Module, ...] = ()
    """Fitted networks whose mean answer to the same mixed picture is learnt from (Hinton et al. 2015; Beyer et al., CVPR 2022)."""
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def recipe(self, budget: Budget, side_px: int) -> Recipe:
        train = [lesion for lesion in self.collection.split("train") if lesion.label8]
        counts = Counter(lesion.label8 for lesion in train)
        return Recipe(
            numbers=tuple(lesion.number for lesion in train),
            weights=tuple(counts[lesion.label8] ** -self.plan.evenness for lesion in train),
            side_px=side_px,
            batch=budget.batch,
            seed=budget.seed,
            cleaned_share=budget.cleaned_share,
            strength=STRENGTH,
            crop=(self.plan.margin, self.plan.least),
        )

    def loss(self, network: Callable[[torch.Tensor], torch.Tensor], batch: Batch) -> torch.Tensor:
        images, _, numbers = batch
        answers = torch.tensor([OUTPUTS.index(self.collection.lesions[n].label8) for n in numbers.tolist()], device=images.device)
        mixed = mix(images, self._random, mixup=self.plan.mixup, cutmix=self.plan.cutmix)
        logits = network(mixed.images).float()
        own = cross_entropy(logits, answers, label_smoothing=self.plan.smoothing)
        other = cross_entropy(logits, answers[mixed.partner], label_smoothing=self.plan.smoothing)
        told = mixed.share * own + (1 - mixed.share) * other
        if not self.teachers:
            return told
        return (1 - self.plan.distilled) * told + self.plan.distilled * cross_entropy(logits, self._taught(mixed.images))

    def _taught(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            answers = [
                torch.softmax(teacher.to(images.device, memory_format=torch.channels_last).eval()(images).float(), 1)
                for teacher in self.teachers
            ]
        return torch.stack(answers).mean(0)

    def validate(self, network: torch.nn.Module, side_px: int, device: torch.device) -> Mapping[str, float]:
        """Accuracy and balanced accuracy over the seven, by annotated masks; their mean is the score."""
        lesions = [lesion for lesion in self.collection.split("val") if lesion.label]
        truth = np.array([LABELS.index(lesion.label) for lesion in lesions])
        chances = seven(chances_of(network, crops(lesions, Pack(self.pack), self.plan, side_px), device))
        found = chances.argmax(1)
        accuracy, balanced = float((found == truth).mean()), balanced_accuracy(truth, found, len(LABELS))
        loss = float(-np.log(np.clip(chances[np.arange(len(truth)), truth], 1e-9, 1)).mean())
        return {"accuracy": accuracy, "balanced_accuracy": balanced, "log_loss": loss, "score": (accuracy + balanced) / 2}


def seven(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows over the eight outputs become rows over the seven diagnoses."""
    belongs = np.equal.outer(np.asarray(SEVEN_OF), np.arange(len(LABELS)))
    return np.asarray(chances @ belongs)


def chances_of(network: torch.nn.Module, batches: Iterator[torch.Tensor], device: torch.device) -> NDArray[np.float64]:
    """The network's probabilities, one row a picture."""
    network.eval()
    with torch.inference_mode():
        logits = torch.cat([network(batch.to(device)) for batch in batches])
    return np.asarray(torch.softmax(logits.double(), 1).cpu().numpy())


def start_from(network: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Takes the tensors that fit from an earlier run of a classifier, or the encoder of a segmenter (MONAI's `UNet`, or `EncodedUNet`).

    Raises `StartUnusable` where none fits.
    """
    own = network.state_dict()
    named = {_name_of(name): value for name, value in state.items()}
    fitting = {name: value for name, value in named.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise StartUnusable(f"None of the {len(state)} tensors to start from fits the classifier: give weights of the same network.")
    network.load_state_dict(fitting, strict=False)
    log.info("started_from", tensors=len(fitting), of=len(own))


_LEVEL = re.compile(r"model\.(?P<deeper>(?:1\.submodule\.)*)(?P<place>0|1\.submodule)\.(?P<rest>(?:conv|residual)\..*)")
"""How MONAI's `UNet` names its down path: model.0, model.1.submodule.0, model.1.submodule.1.submodule.0; the deepest has no last 0."""


def _name_of(name: str) -> str:
    if name.startswith("encoder.levels."):
        place, rest = name.removeprefix("encoder.levels.").split(".", 1)
        return f"trunk.level{int(place) + 1}.{rest}"
    if name.startswith("encoder."):
        return f"trunk.{name.removeprefix('encoder.')}"
    found = _LEVEL.fullmatch(name)
    if found is None:
        return name
    level = found["deeper"].count("submodule") + (found["place"] != "0")
    return f"trunk.level{level}.{found['rest']}"


def crops(lesions: Sequence[Lesion], pack: Pack, plan: Plan, side_px: int) -> Iterator[torch.Tensor]:
    """The lesions' crops by their annotated masks, without augmentation, in batches."""
    for start in range(0, len(lesions), 64):
        yield normalised(np.stack([_crop(lesion.number, pack, plan, side_px) for lesion in lesions[start : start + 64]]))


def _crop(number: int, pack: Pack, plan: Plan, side_px: int) -> NDArray[np.uint8]:
    cleaned = pack.cleaned(number)
    picture = np.asarray(pack.images[number] if cleaned is None else cleaned)
    cut = square_around(pack.masks[number] > 127, plan.margin, plan.least).cut(picture)
    return np.asarray(cv2.resize(cut, (side_px, side_px), interpolation=cv2.INTER_AREA), np.uint8)
