"""`dermanode train fusion --data lesions.csv --work DIR`: fits the bundle `lesion_fusion` to what the node computes, and publishes it.

First pictures are sent through the plugins (a table on disk, which grows and goes on after an interruption), then the classifier is asked
for their features, then the network is fitted and held against sums over the diagnoses. With `--refit` the pictures that are there
suffice: that is what new weights or a new calibration of the classifier ask for.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dermanode_classify import BUNDLE as CLASSIFIER
from dermanode_classify.classifier import Classifier, load
from dermanode_classify.fusion import BUNDLE, AdaptiveFusion, load_fusion
from dermanode_classify.geometry import FEATURES
from numpy.typing import NDArray

from dermanode.errors import DermaNodeError
from dermanode.pipeline.bundles import open_bundle
from dermanode_training.data.lesions import Collection
from dermanode_training.fitting.checkpoint import write_text_whole
from dermanode_training.fitting.machine import Machine
from dermanode_training.fitting.networks import new_network
from dermanode_training.fusing.choice import Way, choice, markdown
from dermanode_training.fusing.features import chances_of
from dermanode_training.fusing.fit import Examples, Fitted, Plan, fit, standardise
from dermanode_training.fusing.sides import Side, kept_aside, side_of
from dermanode_training.fusing.table import Row, collect, geometries, wanted
from dermanode_training.measuring.listing import Listing, listings
from dermanode_training.publish import publish
from dermanode_training.publishing.card import data_card
from dermanode_training.publishing.metadata import metadata_of, update_metadata
from dermanode_training.publishing.provenance import commit, versions
from dermanode_training.publishing.rounding import rounded
from dermanode_training.scoring.calibration import best_temperature, with_temperature
from dermanode_training.train import PlanUnknown, changed, changes_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Collects, fits, chooses, publishes; 130 where the collection was interrupted, which goes on when called again."""
    options = _parser().parse_args(arguments)
    changes = changes_of(options.set)
    plan, machine = changed(Plan(), changes), Machine(options.device, options.threads)
    if changes:
        known = ", ".join(entry.name for entry in fields(plan))
        raise PlanUnknown(f"The plan of fusion has no entry {', '.join(changes)}; it has {known}.")
    torch.set_num_threads(machine.threads)
    collection, table = Collection(options.data, options.images), options.work / "fusion"
    if not options.refit:
        try:
            collect(collection, wanted(collection), options.models, table, minutes=options.minutes)
        except KeyboardInterrupt:
            return 130
    if not options.collect_only:
        print(refit(collection, table, options.models, plan, str(machine.chosen())))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dermanode_training.fusion", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="lesions.csv, or the folder that holds it")
    parser.add_argument("--images", type=Path, help="folder of the sets, each a zip or a folder (default: beside the table)")
    parser.add_argument("--work", type=Path, required=True, help="folder that the collected pictures are kept in")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the bundles")
    parser.add_argument("--minutes", type=float, default=math.inf, help="collects for so many at most, and fits to what is there")
    parser.add_argument("--device", default="auto", help="of the classifier: cpu, cuda, cuda:1 ... or auto")
    parser.add_argument("--threads", type=int, default=2, help="of the classifier and the fit on a CPU")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--refit", action="store_true", help="collects nothing more")
    only.add_argument("--collect-only", action="store_true", help="fits nothing yet")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="changes one entry of the plan")
    return parser


def refit(collection: Collection, table: Path, models: Path, plan: Plan, device: str) -> str:
    """Fits to the rows that are there, writes the bundle, gives the table of the choice. Raises `DataMissing`, `BundleError`."""
    # Asked first: as soon as something of the bundle is written the checkout differs from its commit.
    began, made_by = time.monotonic(), commit()
    bundle = open_bundle(models, CLASSIFIER)
    classifier = load(bundle, device)
    groups = listings(classifier.classes)[2]
    there = geometries(table)
    train, val = (side_of(collection, split, there, table, bundle, classifier, groups, plan) for split in ("train", "val"))
    is_aside = kept_aside(train, plan)
    fitted = {
        name: fitted_to(models, train.examples, is_aside, plan, alpha) for name, alpha in (("", None), ("picture", 1.0), ("solid", 0.0))
    }
    own = fitted[""]
    state = rounded(own.network.state_dict())
    # What is served is rounded, so that is what is calibrated and judged.
    own.network.load_state_dict({name: value.float() for name, value in state.items()})
    temperature = round(best_temperature(_softmax(own.logits(val.examples)), val.examples.truth), 4)
    root = models / BUNDLE
    _configure(root, {"temperature": temperature, "groups": list(groups.labels), "geometry": list(FEATURES)})
    publish(root, state, {"commit": made_by} | _training(train, val, there, plan, own, began))
    ways = _ways(val, fitted, _served(models, val, device), groups.fold(chances_of(classifier, val.examples.flat[:, 0])))
    chosen = choice(ways, val.examples.truth, [lesion.group for lesion in val.lesions], groups.labels)
    told = {
        "classifier": {"bundle": f"{bundle.name} {bundle.version}", "sha256": bundle.weights_digest, "temperature": classifier.temperature}
        | {"logit_bias": [round(float(one), 4) for one in classifier.logit_bias]},
        "choice": chosen | {"over_confidence": _over_confidence(train, val, classifier, groups)},
        "data": data_card(collection),
    }
    found = versions()
    of_libraries = {"monai_version": found["monai"], "pytorch_version": found["torch"], "numpy_version": found["numpy"]}
    update_metadata(root, told | of_libraries | _formats(root))
    text = markdown(told["choice"])
    write_text_whole(text, root / "docs" / "choice.md")
    return text


def fitted_to(models: Path, train: Examples, is_aside: NDArray[np.bool_], plan: Plan, alpha: float | None = None) -> Fitted:
    """A network of the bundle's configuration, standardised by and fitted to what is not kept aside; `alpha` holds its gate."""
    torch.manual_seed(plan.seed)
    network = new_network(models / BUNDLE)
    assert isinstance(network, AdaptiveFusion), "the bundle's own configuration builds it"
    standardise(network, train.only(~is_aside))
    return fit(network, train.only(~is_aside), train.only(is_aside), plan, alpha)


def _served(models: Path, val: Side, device: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities and alpha by the bundle as the stage loads it."""
    fusion = load_fusion(open_bundle(models, BUNDLE), device)
    return fusion.run(val.examples.flat[:, 0], val.examples.solid, val.examples.conf2d[:, 0], val.examples.conf3d)


def _ways(
    val: Side, fitted: Mapping[str, Fitted], served: tuple[NDArray[np.float64], NDArray[np.float64]], sums: NDArray[np.float64]
) -> list[Way]:
    """All that can be said of the groups. Each but the sums as they are served has a temperature of its own, chosen on val."""
    truth = val.examples.truth
    forced = Fitted(fitted[""].network, 1.0, 0, 0.0)

    def calibrated(chances: NDArray[np.float64]) -> NDArray[np.float64]:
        return with_temperature(chances, best_temperature(chances, truth))

    return [
        Way("sums", "Sums over the diagnoses, as they are served", sums),
        Way("sums_recalibrated", "The same with a temperature of their own", calibrated(sums)),
        Way("fusion", "Fusion", served[0], (float(served[1].min()), float(np.median(served[1])), float(served[1].max()))),
        Way("fusion_without_geometry", "The same network with alpha held at 1", calibrated(_softmax(forced.logits(val.examples)))),
        Way(
            "picture_alone", "Fitted with alpha held at 1: the picture alone", calibrated(_softmax(fitted["picture"].logits(val.examples)))
        ),
        Way("geometry_alone", "Fitted with alpha held at 0: geometry alone", calibrated(_softmax(fitted["solid"].logits(val.examples)))),
    ]


def _over_confidence(train: Side, val: Side, classifier: Classifier, groups: Listing) -> dict[str, dict[str, float]]:
    """How sure and how right the classifier is of its own training pictures, as they are and altered, and of val's."""
    shown = {"train_as_it_is": (train, 0), "train_altered": (train, 1), "val": (val, 0)}
    found = {}
    for name, (side, version) in shown.items():
        version = min(version, side.examples.flat.shape[1] - 1)
        chances = groups.fold(chances_of(classifier, side.examples.flat[:, version]))
        weight = side.examples.weight / side.examples.weight.sum()
        is_right = chances.argmax(1) == side.examples.truth
        found[name] = {
            "confidence": round(float(chances.max(1) @ weight), 4),
            "accuracy": round(float(is_right @ weight), 4),
            "conf2d": round(float(side.examples.conf2d[:, version] @ weight), 4),
        }
    return found


def _configure(root: Path, changes: Mapping[str, Any]) -> None:
    path = root / "configs" / "inference.json"
    told = json.loads(path.read_text(encoding="utf-8")) | dict(changes)
    write_text_whole(json.dumps(told, indent=2) + "\n", path)


def _formats(root: Path) -> dict[str, Any]:
    """What the metadata say of the geometry that the network is given, with the features' names; nothing where they say nothing of it."""
    told = metadata_of(root).get("network_data_format")
    if not told:
        return {}
    geometry = told["inputs"]["geometry"] | {
        "num_channels": len(FEATURES),
        "channel_def": {str(place): name for place, name in enumerate(FEATURES)},
    }
    return {"network_data_format": told | {"inputs": told["inputs"] | {"geometry": geometry}}}


def _training(train: Side, val: Side, there: Mapping[int, Row], plan: Plan, own: Fitted, began: float) -> dict[str, Any]:
    used = [there[lesion.number] for side in (train, val) for lesion in side.lesions]
    return {
        "seed": plan.seed,
        "took_min": round((time.monotonic() - began) / 60, 1),
        "libraries": versions(),
        "plan": asdict(plan),
        "pictures": {name: dict(Counter(lesion.label8 for lesion in side.lesions)) for name, side in (("train", train), ("val", val))},
        "outlines_by_weights": dict(Counter(row.segmenter for row in used)),
        "best_pass": own.passes,
        "loss_kept_aside": round(own.loss, 4),
    }


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True))


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except DermaNodeError as error:
        print(f"fusion: {error}", file=sys.stderr)
        raise SystemExit(1) from None
