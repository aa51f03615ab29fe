"""F2D of the pictures of a fusion table, by the classifier that serves: kept by the digest of its weights, so it is computed once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog
import torch
from dermanode_classify.classifier import Classifier
from dermanode_classify.crop import Square
from numpy.typing import NDArray

from dermanode.domain.series import RGB
from dermanode.hookspecs import Bundle
from dermanode_training.data.augmentation import augment
from dermanode_training.fitting.classification import STRENGTH
from dermanode_training.fusing.table import Row, rows

log = structlog.get_logger(__name__)

PART_ROWS = 256
AT_ONCE = 16
LARGEST_PX = 224
"""Side of an altered crop; the classifier reduces it further."""


@dataclass(frozen=True, eq=False)
class Flat:
    """F2D of pictures, each in several versions."""

    numbers: NDArray[np.int64]
    """Rows of `lesions.csv`."""
    features: NDArray[np.float32]
    """Pictures x versions x features. Version 0 is the crop as it is, the others are altered as in the classifier's training."""

    def chances(self, classifier: Classifier, version: int = 0) -> NDArray[np.float64]:
        """Pictures x outputs, calibrated as the classifier is now."""
        return chances_of(classifier, self.features[:, version])


def chances_of(classifier: Classifier, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the classifier says of these features: N x features becomes N x outputs. The last layer is linear, so it may follow the mean."""
    with torch.inference_mode():
        logits = classifier.network.head(torch.from_numpy(features).to(classifier.device)).double().cpu().numpy()
    return classifier.calibrated(logits)


def flat_of(table: Path, bundle: Bundle, classifier: Classifier, wanted: Sequence[int], *, versions: int, seed: int) -> Flat:
    """F2D of those of the wanted rows that have a crop; what is not there yet is computed. Goes on where it was stopped.

    With versions (those of training pictures) version 0 is shown once; without, as the stage shows it, with all its test-time views.
    """
    folder = table / f"features-{_key(bundle, classifier)}-{f'{versions}-{seed}' if versions else 'served'}"
    folder.mkdir(exist_ok=True)
    asked = set(wanted)
    done = {int(number) for numbers, _ in _parts(folder) for number in numbers}
    left: list[Row] = []
    for row in rows(table):
        if row.number in asked and row.number not in done and row.crop:
            left.append(row)
            if len(left) == PART_ROWS:
                _write(left, folder, classifier, versions, seed)
                left = []
    if left:
        _write(left, folder, classifier, versions, seed)
    found = [(numbers, features) for numbers, features in _parts(folder)]
    numbers = np.concatenate([numbers for numbers, _ in found]) if found else np.zeros(0, np.int64)
    features = np.concatenate([features for _, features in found]) if found else np.zeros((0, versions + 1, 0), np.float32)
    is_wanted = np.isin(numbers, list(asked))
    return Flat(numbers[is_wanted], features[is_wanted].astype(np.float32))


def _key(bundle: Bundle, classifier: Classifier) -> str:
    """Of all that the features hang on: the weights, and how pictures are shown to them."""
    shown = {name: bundle.parser().get(name) for name in ("network_def", "side_px", "preprocessing", "margin", "least")}
    told = json.dumps([bundle.weights_digest, classifier.test_time_views, shown], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _write(part: Sequence[Row], folder: Path, classifier: Classifier, versions: int, seed: int) -> None:
    once = replace(classifier, test_time_views=1) if versions else classifier
    crops = [row.pixels for row in part]
    features = np.stack([_features(crops, once), *_altered(part, crops, once, versions, seed)], 1)
    number = len(list(folder.glob("part-*.npz")))
    partial = folder / f"part-{number}.partial"
    with partial.open("wb") as stream:
        np.savez(stream, numbers=np.array([row.number for row in part]), features=features.astype(np.float16))
    partial.replace(folder / f"part-{number}.npz")
    log.info("features", part=number, rows=len(part))


def _altered(part: Sequence[Row], crops: Sequence[RGB], classifier: Classifier, versions: int, seed: int) -> Iterator[NDArray[np.float32]]:
    for version in range(1, versions + 1):
        pictures = []
        for row, crop in zip(part, crops, strict=True):
            square, random = Square(0, 0, crop.shape[0]), np.random.default_rng((seed, row.number, version))
            pictures.append(augment(crop, None, square, min(LARGEST_PX, crop.shape[0]), STRENGTH, random)[0])
        yield _features(pictures, classifier)


def _features(pictures: Sequence[RGB], classifier: Classifier) -> NDArray[np.float32]:
    return np.concatenate([classifier.answer(pictures[start : start + AT_ONCE]).features for start in range(0, len(pictures), AT_ONCE)])


def _parts(folder: Path) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    for path in sorted(folder.glob("part-*.npz"), key=lambda path: int(path.stem.split("-")[1])):
        with np.load(path) as part:
            yield part["numbers"], part["features"]
