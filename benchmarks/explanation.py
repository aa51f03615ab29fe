"""Whether a heat map means something: the deletion and insertion test (Petsiuk et al. 2018, RISE) on photographs of a split.

    python benchmarks/explanation.py --data DIR [--split val] [--images 50] [--method integrated-grad-cam] [--json FILE]

Each photograph goes through the plugins as a case does. Then the pixels of the crop that the network saw are blurred in the order of the
map, the hottest first (deletion), or a blurred crop gets its pixels back in that order (insertion), and the explained class's probability
is followed: the area under its curve is small for a map that means something in deletion, and large in insertion. The same is done in the
order of random maps, which have the map's own power spectrum and so are as smooth as it is, and in the order of the lesion's mask.
(The default method compares with the same blurred crop as this test, which may favour it over the others.)
One file, so that it can be read and run by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import dermanode_classify
import dermanode_preprocess
import dermanode_segment
import numpy as np
import torch
from dermanode_classify.classifier import Classifier, load
from dermanode_explain.baseline import blurred
from dermanode_explain.question import Question, question
from dermanode_explain.settings import ExplainSettings
from dermanode_explain.stage import Crop, chances, classified_crops, explainer
from dermanode_training.data.lesions import Collection, Lesion
from dermanode_training.measuring.serving import PlainContext, case_of
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

RESAMPLES = 10_000
SMOOTHNESS = 16
"""Fields that only break ties have structures of a sixteenth of the crop."""
Map = NDArray[np.float64]
"""Rows x columns of the crop as the network sees it: what is hotter comes first."""


@dataclass(frozen=True)
class Areas:
    """Areas under the probability's curve, 0 to 1."""

    deletion: float
    insertion: float


@dataclass(frozen=True)
class Tested:
    """One photograph."""

    id: str
    explained: str
    chance: float
    chance_blurred: float
    by_map: Areas
    by_mask: Areas
    by_random: Areas
    """The mean over the random maps."""


@dataclass(frozen=True)
class Estimate:
    """A mean over the photographs, with its 95 % bootstrap interval."""

    mean: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Estimate:
        sample = np.asarray(values)
        picks = np.random.default_rng(0).integers(0, len(sample), (RESAMPLES, len(sample)))
        lower, upper = np.percentile(sample[picks].mean(1), [2.5, 97.5])
        return cls(float(sample.mean()), float(lower), float(upper))

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.lower:+.3f}, {self.upper:+.3f}]"


@dataclass(frozen=True, eq=False)
class Trial:
    """The classifier under test and how it is asked."""

    classifier: Classifier
    settings: ExplainSettings
    steps: int
    random_maps: int

    def run(self, lesion: Lesion, crop: Crop, asked: Question, random: np.random.Generator) -> Tested:
        heat = explainer(self.classifier, asked, self.settings)(crop.pixels, lambda _share: None)
        side = heat.shape[0]
        picture = cv2.resize(crop.pixels, (side, side), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(crop.is_lesion.astype(np.float64), (side, side), interpolation=cv2.INTER_AREA)
        noise = _field(random, side)
        areas = [
            self._areas(picture, one, asked) for one in (_untied(heat, noise), _untied(mask, noise), *_like(heat, random, self.random_maps))
        ]
        ends = self._asked([picture, blurred(picture)], asked)
        return Tested(
            lesion.id,
            asked.explained.label,
            float(ends[0]),
            float(ends[1]),
            areas[0],
            areas[1],
            Areas(float(np.mean([one.deletion for one in areas[2:]])), float(np.mean([one.insertion for one in areas[2:]]))),
        )

    def _areas(self, picture: NDArray[np.uint8], heat: Map, asked: Question) -> Areas:
        rank = np.empty(heat.size, np.int64)
        rank[np.argsort(-heat, axis=None, kind="stable")] = np.arange(heat.size)
        share = (rank / heat.size).reshape(heat.shape)
        plain = blurred(picture)
        taken = [share < step / self.steps for step in range(self.steps + 1)]
        deleted = [np.where(hot[..., None], plain, picture) for hot in taken]
        inserted = [np.where(hot[..., None], picture, plain) for hot in taken]
        curve = self._asked([*deleted, *inserted], asked)
        return Areas(*(float(np.trapezoid(part, dx=1 / self.steps)) for part in np.split(curve, 2)))

    def _asked(self, pictures: Sequence[NDArray[np.uint8]], asked: Question) -> NDArray[np.float64]:
        return asked.chance(chances(self.classifier, torch.stack([self.classifier.preprocessing(one) for one in pictures])))


def _field(random: np.random.Generator, side: int) -> Map:
    """A smooth random field."""
    return np.asarray(cv2.GaussianBlur(random.standard_normal((side, side)), (0, 0), side / SMOOTHNESS))


def _untied(heat: NDArray[Any], noise: Map) -> Map:
    """The map, with places of one value in the order of the field: pixel by pixel at random they would make a noise of their own."""
    return np.asarray(heat.astype(np.float64) * 1e6 / max(float(heat.max()), 1e-12) + noise)


def _like(heat: NDArray[np.float32], random: np.random.Generator, count: int) -> Iterator[Map]:
    """Random maps with the map's power spectrum: its Fourier transform with the phases of noise."""
    size = np.abs(np.fft.rfft2(heat))
    for _ in range(count):
        phases = np.angle(np.fft.rfft2(random.standard_normal(heat.shape)))
        yield _untied(np.fft.irfft2(size * np.exp(1j * phases), heat.shape), _field(random, heat.shape[0]))


def tested(
    collection: Collection, lesions: Sequence[Lesion], context: PlainContext, trial: Trial, wanted: int, seed: int
) -> Iterator[Tested]:
    """So many photographs that are classified; those that are not are passed over."""
    found = 0
    for lesion in lesions:
        case = case_of([collection.image(lesion)], lesion.id)
        for stage in (dermanode_preprocess.preprocess, dermanode_segment.segment, dermanode_classify.classify):
            finding = stage(case, context)
            case = case if finding is None else case.with_finding(finding)
        if case.classification is None:
            continue
        asked = question(case.classification, trial.classifier, "top")
        assert asked is not None
        (crop,) = classified_crops(case, case.classification, trial.classifier)
        yield trial.run(lesion, crop, asked, np.random.default_rng([seed, lesion.number]))
        found += 1
        if found == wanted:
            return


def summary(rows: Sequence[Tested]) -> dict[str, Estimate]:
    """Every figure by its name; a gain is above 0 where the map does better."""
    figures: dict[str, Estimate] = {}
    for kind, sign in (("deletion", 1), ("insertion", -1)):
        ours = np.array([getattr(row.by_map, kind) for row in rows])
        figures[f"{kind}: map"] = Estimate.of(ours)
        for other in ("random", "mask"):
            theirs = np.array([getattr(getattr(row, f"by_{other}"), kind) for row in rows])
            figures[f"{kind}: {other}"] = Estimate.of(theirs)
            figures[f"{kind}: gain over {other}"] = Estimate.of(sign * (theirs - ours))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder that holds lesions.csv and the images")
    parser.add_argument("--split", default="val", help="which photographs (default val)")
    parser.add_argument("--images", type=int, default=50, metavar="N", help="how many, drawn at random (default 50)")
    parser.add_argument("--method", choices=["integrated-grad-cam", "grad-cam", "lime"], default="integrated-grad-cam")
    parser.add_argument("--steps", type=int, default=16, metavar="N", help="points of a curve, less one (default 16)")
    parser.add_argument("--random-maps", type=int, default=5, metavar="N", help="random maps for each photograph (default 5)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="draws the photographs and the random maps (default 1)")
    parser.add_argument("--models", type=Path, default=Path(__file__).parents[1] / "models", metavar="DIR", help="the bundles")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    context = PlainContext(told.models, threads=told.threads)
    classifier = load(context.bundle(dermanode_classify.BUNDLE), context.device)
    trial = Trial(classifier, ExplainSettings(method=told.method), told.steps, told.random_maps)
    collection = Collection(told.data)
    split = [lesion for lesion in collection.split(told.split) if lesion.label]
    drawn = [split[place] for place in np.random.default_rng(told.seed).permutation(len(split))]
    rows = list(track(tested(collection, drawn, context, trial, told.images, told.seed), "testing", total=told.images, transient=True))
    figures = summary(rows)
    table = Table("", "mean [95 %]", title=f"{told.method}, {len(rows)} photographs of {told.split}: areas under the curve", box=None)
    for name, estimate in figures.items():
        table.add_row(name, str(estimate))
    Console(width=110).print(table)
    if told.json:
        settings = {key: getattr(told, key) for key in ("split", "method", "steps", "random_maps", "seed")}
        content = {
            **settings,
            "weights_sha256": classifier.algorithm.weights_digest,
            "figures": {name: asdict(estimate) for name, estimate in figures.items()},
            "photographs": [asdict(row) for row in rows],
        }
        told.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
