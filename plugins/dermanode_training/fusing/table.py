"""What the node itself computes for training pictures: the lesion's crop, the twelve features and conf3D, kept on disk as it grows.

The crops are kept without loss, so that the features of new classifier weights are had from them in minutes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import dermanode_fuse
import dermanode_preprocess
import dermanode_reconstruct
import dermanode_segment
import numpy as np
import structlog
from dermanode_classify.crop import square_around
from dermanode_classify.geometry import FEATURES, geometry_of
from dermanode_classify.stage import working_mask
from numpy.typing import NDArray

from dermanode.domain import Case
from dermanode.domain.series import RGB
from dermanode.errors import DermaNodeError
from dermanode_training.data.lesions import Collection, Lesion
from dermanode_training.fitting.classification import OUTPUTS
from dermanode_training.measuring.serving import PlainContext, case_of

log = structlog.get_logger(__name__)

PART_ROWS = 32
"""How many pictures an interruption may cost."""
MOST = {"BKL": 600, "MEL": 800, "NV": 1200}
"""How many training pictures of a common diagnosis are taken; of every other one all are."""
STAGES = (dermanode_preprocess.preprocess, dermanode_segment.segment, dermanode_reconstruct.reconstruct, dermanode_fuse.fuse)


class TableDiffers(DermaNodeError):
    """A table whose rows were made of other features."""


@dataclass(frozen=True, eq=False)
class Row:
    """One picture as the node sees it; a picture without an outline has no crop."""

    number: int
    """The row of `lesions.csv`."""
    crop: bytes
    """PNG; empty where no lesion was found."""
    values: NDArray[np.float64]
    """The twelve; NaN where absent."""
    confidence: float
    """conf3D."""
    segmenter: str
    """Digest of the weights that the outline is from."""

    @property
    def pixels(self) -> RGB:
        return np.asarray(cv2.imdecode(np.frombuffer(self.crop, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def wanted(collection: Collection, seed: int = 20261121, most: Mapping[str, int] = MOST) -> list[Lesion]:
    """What to collect, in a fixed random order that may be cut anywhere: rare diagnoses of `train`, then the others mixed with `val`."""
    random = np.random.default_rng(seed)
    shuffled = [collection.lesions[int(number)] for number in random.permutation(len(collection.lesions))]
    rare: list[Lesion] = []
    rest: list[Lesion] = []
    taken = dict.fromkeys(OUTPUTS, 0)
    for lesion in shuffled:
        if lesion.split == "val" and lesion.label8:
            rest.append(lesion)
        elif lesion.split == "train" and lesion.label8 and taken[lesion.label8] < most.get(lesion.label8, len(shuffled)):
            taken[lesion.label8] += 1
            (rest if lesion.label8 in most else rare).append(lesion)
    return rare + rest


def collect(
    collection: Collection,
    lesions: Sequence[Lesion],
    models: Path,
    folder: Path,
    *,
    minutes: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Sends each picture through preprocess, segment, reconstruct and fuse, for so many minutes at most; goes on where it was stopped.

    Raises `TableDiffers`.
    """
    until = clock() + 60 * minutes
    folder.mkdir(parents=True, exist_ok=True)
    done = {number for part in _parts(folder) for number in part["numbers"].tolist()}
    left = [lesion for lesion in lesions if lesion.number not in done]
    context = _Once(models)
    told = json.loads((models / "lesion_classifier" / "configs" / "inference.json").read_text(encoding="utf-8"))
    for start in range(0, len(left), PART_ROWS):
        if clock() >= until:
            return
        part = [
            _row(lesion, collection.image(lesion), context, told["margin"], told["least"]) for lesion in left[start : start + PART_ROWS]
        ]
        _write(part, folder)
        log.info("collected", done=len(done) + start + len(part), of=len(lesions))


def rows(folder: Path) -> Iterator[Row]:
    """All rows that are there, in the order they were made. Raises `TableDiffers`."""
    for part in _parts(folder):
        crops = np.split(part["crops"], part["ends"][:-1])
        told = zip(part["numbers"], crops, part["values"], part["confidences"], part["segmenters"], strict=True)
        for number, crop, values, confidence, segmenter in told:
            yield Row(int(number), crop.tobytes(), values, float(confidence), str(segmenter))


def geometries(folder: Path) -> dict[int, Row]:
    """The rows by number, without their crops, which are what takes long to read. Raises `TableDiffers`."""
    found: dict[int, Row] = {}
    for part in _parts(folder):
        told = zip(part["numbers"], part["values"], part["confidences"], part["segmenters"], strict=True)
        for number, values, confidence, segmenter in told:
            found[int(number)] = Row(int(number), b"", values, float(confidence), str(segmenter))
    return found


def _parts(folder: Path) -> Iterator[Any]:
    """The files, opened one by one; what is not asked of them is not read."""
    for path in sorted(folder.glob("part-*.npz"), key=lambda path: int(path.stem.split("-")[1])):
        with np.load(path) as part:
            if tuple(part["features"]) != tuple(FEATURES):
                raise TableDiffers(f"{path} holds other features than this version computes. Give another --work, or remove {folder}.")
            yield part


def _write(part: Sequence[Row], folder: Path) -> None:
    number = 1 + max((int(path.stem.split("-")[1]) for path in folder.glob("part-*.npz")), default=-1)
    partial = folder / f"part-{number}.partial"
    with partial.open("wb") as stream:
        np.savez(
            stream,
            features=np.array(tuple(FEATURES)),
            numbers=np.array([row.number for row in part]),
            values=np.stack([row.values for row in part]),
            confidences=np.array([row.confidence for row in part]),
            segmenters=np.array([row.segmenter for row in part]),
            crops=np.frombuffer(b"".join(row.crop for row in part), np.uint8),
            ends=np.cumsum([len(row.crop) for row in part]),
        )
    partial.replace(folder / f"part-{number}.npz")


class _Once(PlainContext):
    """Opens each bundle once, so that a run has the same weights from its first picture to its last."""

    def __init__(self, models: Path) -> None:
        super().__init__(models)
        self._opened: dict[str, Any] = {}

    def bundle(self, name: str) -> Any:
        if name not in self._opened:
            self._opened[name] = super().bundle(name)
        return self._opened[name]


def _row(lesion: Lesion, picture: RGB, context: PlainContext, margin: float, least: float) -> Row:
    case = case_of([picture], lesion.id)
    for stage in STAGES:
        finding = stage(case, context)
        case = case if finding is None else case.with_finding(finding)
    geometry = geometry_of(case)
    values = np.full(len(FEATURES), np.nan) if geometry is None else geometry.values
    segmenter = case.segmentation.algorithm.weights_digest if case.segmentation else None
    return Row(lesion.number, _crop(case, margin, least), values, geometry.confidence if geometry else 0.0, segmenter or "")


def _crop(case: Case, margin: float, least: float) -> bytes:
    """What the classify stage would cut out of the case's only view, as PNG; empty without an outline."""
    if case.clean_views is None or case.segmentation is None or not case.segmentation.masks[0].confidence:
        return b""
    view, mask = case.clean_views.views[0], case.segmentation.masks[0]
    cut = square_around(working_mask(view, mask), margin, least).cut(view.pixels)
    _, code = cv2.imencode(".png", cv2.cvtColor(cut, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return bytes(code)
