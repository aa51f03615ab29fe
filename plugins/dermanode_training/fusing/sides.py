"""The two sides of a fusion table as the network sees them: `train` is fitted, `val` judges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dermanode_classify.classifier import Classifier
from dermanode_classify.fusion import certainty
from numpy.typing import NDArray

from dermanode.hookspecs import Bundle
from dermanode_training.data.lesions import Collection, DataMissing, Lesion
from dermanode_training.fusing.features import Flat, flat_of
from dermanode_training.fusing.fit import Examples, Plan
from dermanode_training.fusing.table import Row
from dermanode_training.measuring.listing import Listing


@dataclass(frozen=True, eq=False)
class Side:
    """One side of the table, ready to be fitted or judged."""

    lesions: tuple[Lesion, ...]
    examples: Examples


def side_of(
    collection: Collection,
    split: str,
    there: Mapping[int, Row],
    table: Path,
    bundle: Bundle,
    classifier: Classifier,
    groups: Listing,
    plan: Plan,
) -> Side:
    """The labelled and outlined pictures of a split, of those that are there. Raises `DataMissing` where there is none."""
    labelled = {lesion.number: lesion for lesion in collection.split(split) if lesion.label8 and lesion.number in there}
    is_train = split == "train"
    flat = flat_of(table, bundle, classifier, tuple(labelled), versions=plan.versions if is_train else 0, seed=plan.seed)
    if not len(flat.numbers):
        raise DataMissing(f"{table} holds no picture of {split} with a label8 and an outline: collect some first (without --refit).")
    lesions = tuple(labelled[int(number)] for number in flat.numbers)
    weight = _weights(lesions, collection.split(split)) if is_train else np.ones(len(lesions))
    truth = [place for lesion in lesions if (place := groups.truth(lesion)) is not None]
    return Side(lesions, _examples(flat, classifier, [there[lesion.number] for lesion in lesions], np.array(truth), weight))


def kept_aside(side: Side, plan: Plan) -> NDArray[np.bool_]:
    """Which pictures say when to stop: whole groups of pictures of one lesion. Raises `DataMissing` where those are all or none."""
    names, group_of = np.unique([lesion.group for lesion in side.lesions], return_inverse=True)
    is_aside = (np.random.default_rng(plan.seed).random(len(names)) < plan.kept_aside)[group_of]
    if is_aside.all() or not is_aside.any():
        raise DataMissing(f"{len(side.lesions)} training pictures are too few to keep some aside: collect more, or change kept_aside.")
    return np.asarray(is_aside)


def _examples(
    flat: Flat, classifier: Classifier, geometry: Sequence[Row], truth: NDArray[np.int64], weight: NDArray[np.float64]
) -> Examples:
    conf2d = [certainty(flat.chances(classifier, version)) for version in range(flat.features.shape[1])]
    solid, conf3d = np.stack([row.values for row in geometry]), np.array([row.confidence for row in geometry])
    return Examples(flat.features, np.stack(conf2d, 1), solid, conf3d, truth, weight)


def _weights(taken: Sequence[Lesion], of: Sequence[Lesion]) -> NDArray[np.float64]:
    """The inverse of the share of its diagnosis that was taken; the mean is 1."""
    there, have = Counter(lesion.label8 for lesion in of), Counter(lesion.label8 for lesion in taken)
    weights = np.array([there[lesion.label8] / have[lesion.label8] for lesion in taken])
    return np.asarray(weights / weights.mean())
