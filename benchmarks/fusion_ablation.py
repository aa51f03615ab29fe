"""What the third dimension adds to the groups' probabilities: the picture alone, with the shape of one view, with that of eight.

    python benchmarks/fusion_ablation.py --data DIR [--work DIR] [--json FILE] [--page FILE]
    python benchmarks/fusion_ablation.py --data DIR --work DIR --fits 5      also fits the fusion anew with and without the relief
    python benchmarks/fusion_ablation.py --data DIR --parts scenes           eight views only, of photographs laid over made-up reliefs

DIR of --data holds lesions.csv and the sets. The work folder is that of `dermanode train fusion`: what the node computes for a photograph
is kept there, and what is missing of `val` is computed. --fits wants the training pictures there too. Intervals are percentiles of 1,000
draws of lesions, the same draws for all ways, so that differences are paired.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from dermanode_classify import BUNDLE as CLASSIFIER
from dermanode_classify.classifier import load
from dermanode_classify.fusion import BUNDLE as FUSION
from dermanode_classify.fusion import load_fusion
from dermanode_classify.geometry import FEATURES
from dermanode_training.data.lesions import Collection, DataMissing
from dermanode_training.fusing.features import chances_of
from dermanode_training.fusing.fit import Examples, Fitted, Plan
from dermanode_training.fusing.sides import Side, kept_aside, side_of
from dermanode_training.fusing.table import collect, geometries
from dermanode_training.fusion import fitted_to
from dermanode_training.measuring.listing import listings
from dermanode_training.scoring import weighted
from dermanode_training.scoring.bootstrap import Estimate, estimate, resamples
from dermanode_training.scoring.calibration import best_temperature, with_temperature
from fusion_ablation_page import page
from fusion_ablation_scenes import Chain, Told, chosen, forms
from numpy.typing import NDArray

from dermanode.pipeline.bundles import open_bundle

MODELS = Path(__file__).resolve().parents[1] / "models"
OF_OUTLINE = ("asymmetry", "border_irregularity", "colour_variance", "dermoscopy_score")
"""The geometric features that need no surface."""
PARTS = ("photographs", "scenes")
SCENE_WAYS = {
    "photograph": "the photograph as it is, shape from its shading",
    "one": "one rendered view, shape from its shading",
    "sums": "eight views, sums over the diagnoses (what serves by default, 2D)",
    "flat": "eight views, the fusion without a surface (2D)",
    "shading": "eight views, the fusion with shape from one view's shading",
    "views": "eight views, the fusion with the surface of eight views",
}


@dataclass(frozen=True, eq=False)
class Way:
    """One way of telling the groups of the same pictures."""

    key: str
    about: str
    chances: tuple[NDArray[np.float64], ...]
    """Pictures x groups, one of each fit; figures are means over the fits."""


@dataclass(frozen=True)
class Judged:
    """A way's figures, and how they differ from those of the way that it is compared with."""

    key: str
    about: str
    fits: int
    log_loss: Estimate
    auc_malignant: Estimate
    log_loss_gained: Estimate | None
    """Difference to the way compared with; None for that itself. Below 0 is better."""
    auc_gained: Estimate | None


def judged(ways: Sequence[Way], against: str, truth: NDArray[np.int64], groups: Sequence[str], malignant: int) -> list[Judged]:
    """The figures of all ways; `groups` says which pictures are drawn together, `against` which way the others are compared with."""
    weights = resamples(groups)
    losses, areas = {}, {}
    for way in ways:
        each = [-np.log(np.clip(one[np.arange(len(truth)), truth], 1e-12, 1)) for one in way.chances]
        losses[way.key] = weighted.mean(np.mean(each, 0), weights)
        areas[way.key] = np.mean([weighted.curve(truth == malignant, one[:, malignant], weights).area for one in way.chances], 0)
    return [
        Judged(
            way.key,
            way.about,
            len(way.chances),
            estimate(losses[way.key]),
            estimate(areas[way.key]),
            None if way.key == against else estimate(losses[way.key] - losses[against]),
            None if way.key == against else estimate(areas[way.key] - areas[against]),
        )
        for way in ways
    ]


def figures(ways: Sequence[Judged]) -> list[dict[str, Any]]:
    """As JSON knows them: a figure that does not exist, as an AUC of one kind only, is None."""
    told = []
    for way in ways:
        each = {name: value for name, value in vars(way).items() if not isinstance(value, Estimate)}
        known = {
            name: asdict(value) if np.isfinite([value.value, value.low, value.high]).all() else None
            for name, value in vars(way).items()
            if isinstance(value, Estimate)
        }
        told.append(each | known)
    return told


def without_relief(examples: Examples) -> Examples:
    """What the node computes where nothing was reconstructed: the outline's features alone."""
    solid = examples.solid.copy()
    solid[:, [place for place, name in enumerate(FEATURES) if name not in OF_OUTLINE]] = np.nan
    return replace(examples, solid=solid, conf3d=np.zeros(len(examples)))


def on_photographs(options: argparse.Namespace) -> dict[str, Any]:
    """The shipped fusion on `val`, and what it says with parts of it left out; with `--fits` also fusions that never had those parts."""
    collection, table, plan = Collection(options.data, options.images), options.work / "fusion", Plan()
    collect(collection, [one for one in collection.side(options.split) if one.label8], options.models, table)
    bundle = open_bundle(options.models, CLASSIFIER)
    classifier = load(bundle, "cpu")
    groups = listings(classifier.classes)[2]
    there = geometries(table)
    val = side_of(collection, options.split, there, table, bundle, classifier, groups, plan)
    truth, lesions, malignant = val.examples.truth, [lesion.group for lesion in val.lesions], groups.labels.index("MALIGNANT")
    told = {
        "photographs": len(truth),
        "malignant": int((truth == malignant).sum()),
        "conf3d": [float(one) for one in np.quantile(val.examples.conf3d, (0.05, 0.5, 0.95))],
        "shipped": figures(judged(_shipped(options.models, val, classifier, groups), "sums", truth, lesions, malignant)),
    }
    if options.fits:
        train = side_of(collection, "train", there, table, bundle, classifier, groups, plan)
        told["training_pictures"] = len(train.lesions)
        told["fitted"] = figures(judged(_anew(options.models, train, val, plan, options.fits), "picture", truth, lesions, malignant))
    return told


def _shipped(models: Path, val: Side, classifier: Any, groups: Any) -> list[Way]:
    fusion, truth = load_fusion(open_bundle(models, FUSION), "cpu"), val.examples.truth
    sums = groups.fold(chances_of(classifier, val.examples.flat[:, 0]))
    bare = without_relief(val.examples)
    held = Fitted(fusion.network, 1.0, 0, 0.0).logits(val.examples)

    def served(side: Examples) -> NDArray[np.float64]:
        return fusion.run(side.flat[:, 0], side.solid, side.conf2d[:, 0], side.conf3d)[0]

    return [
        Way("sums", "2D: sums over the diagnoses, with a temperature of their own", (_calibrated(sums, truth),)),
        Way("held", "2D: the fusion with alpha held at 1, with a temperature of its own", (_calibrated(_softmax(held), truth),)),
        Way("flat", "2D: the fusion without a surface, as it serves then", (served(bare),)),
        Way("shading", "+ shape from one view: the fusion as it serves", (served(val.examples),)),
    ]


def _anew(models: Path, train: Side, val: Side, plan: Plan, fits: int) -> list[Way]:
    """Nested fusions, each fitted so many times from other seeds, which also choose other pictures to keep aside."""
    bare_train, bare_val, truth = without_relief(train.examples), without_relief(val.examples), val.examples.truth
    sides = {
        "picture": ("2D: the picture alone", train.examples, val.examples, 1.0),
        "outline": ("2D: picture and outline", bare_train, bare_val, None),
        "shading": ("+ shape from one view", train.examples, val.examples, None),
    }
    found: dict[str, list[NDArray[np.float64]]] = {key: [] for key in sides}
    for number in range(fits):
        own = replace(plan, seed=plan.seed + number)
        is_aside = kept_aside(train, own)
        for key, (_, fitted_on, judged_on, alpha) in sides.items():
            fitted = fitted_to(models, fitted_on, is_aside, own, alpha)
            found[key].append(_calibrated(_softmax(fitted.logits(judged_on)), truth))
    return [Way(key, about, tuple(found[key])) for key, (about, *_) in sides.items()]


def on_scenes(options: argparse.Namespace) -> dict[str, Any]:
    """Photographs laid over made-up reliefs and seen from eight sides: what the chain says by each way."""
    collection, chain = Collection(options.data, options.images), Chain.of(options.models)
    lesions = chosen(collection, options.split, options.scenes, chain.groups)
    reliefs = forms(len(lesions) // 2)
    told: list[Told] = []
    for number, lesion in enumerate(lesions):
        # The k-th benign and the k-th malignant lesion have the same relief: it cannot tell them apart.
        told.append(chain.tell(collection, lesion, reliefs[number % len(reliefs)]))
        print(f"{number + 1} of {len(lesions)}: {'metric' if told[-1].is_metric else told[-1].reason}", flush=True)
    return _of_scenes(told, chain)


def _of_scenes(told: Sequence[Told], chain: Chain) -> dict[str, Any]:
    labels = chain.groups.labels
    malignant = labels.index("MALIGNANT")
    truth = np.array([malignant if one.is_malignant else labels.index("BENIGN") for one in told])
    ways = [Way(key, about, (np.stack([one.chances[key] for one in told]),)) for key, about in SCENE_WAYS.items()]
    three = ways[-1].chances[0]
    same = {}
    for way in ways[:-1]:
        moved = three[:, malignant] - way.chances[0][:, malignant]
        same[way.key] = {
            "same_group": int((three.argmax(1) == way.chances[0].argmax(1)).sum()),
            "moved_mean": float(abs(moved).mean()),
            "moved_most": float(abs(moved).max()),
            "raised_benign": float(moved[truth != malignant].mean()),
            "raised_malignant": float(moved[truth == malignant].mean()),
        }
    return {
        "lesions": len(told),
        "malignant": int((truth == malignant).sum()),
        "metric": sum(one.is_metric for one in told),
        "reasons": sorted({one.reason for one in told if one.reason}),
        "declined": sum(one.is_declined for one in told),
        "conf3d": {name: [float(at) for at in np.quantile([one.conf3d[name] for one in told], (0, 0.5, 1))] for name in told[0].conf3d},
        "strange": {name: dict(Counter(one for each in told for one in each.strange[name])) for name in told[0].strange},
        "ways": figures(judged(ways, "flat", truth, [one.lesion.group for one in told], malignant)),
        "eight_views_against": same,
        "rows": [
            asdict(one.form)
            | {"id": one.lesion.id, "label": one.lesion.label8, "is_metric": one.is_metric, "conf3d": dict(one.conf3d)}
            | {"p_malignant": {key: round(float(chances[malignant]), 4) for key, chances in one.chances.items()}}
            for one in told
        ],
    }


def _calibrated(chances: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    return with_temperature(chances, best_temperature(chances, truth))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with lesions.csv and the sets")
    parser.add_argument("--images", type=Path, help="folder of the sets (default: beside the table)")
    parser.add_argument("--work", type=Path, default=Path("var/training"), help="folder of `dermanode train fusion` (default var/training)")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of the bundles")
    parser.add_argument("--split", default="val")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}; with commas")
    parser.add_argument("--fits", type=int, default=0, help="fits anew so many times with and without the relief")
    parser.add_argument("--scenes", type=int, default=40, help="so many photographs are laid over reliefs")
    parser.add_argument("--json", type=Path, help="writes the figures there; parts that are not asked for stay as they are there")
    parser.add_argument("--page", type=Path, help="writes the tables there as a page")
    options = parser.parse_args(arguments)
    parts = options.parts.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"--parts knows {', '.join(PARTS)}")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    told: dict[str, Any] = json.loads(options.json.read_text(encoding="utf-8")) if options.json and options.json.is_file() else {}
    try:
        for part in parts:
            told[part] = on_photographs(options) if part == "photographs" else on_scenes(options)
            if options.json:
                options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    except DataMissing as error:
        print(f"Nothing was measured: {error}")
        return 0
    text = page(told)
    print(text)
    if options.page:
        options.page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
