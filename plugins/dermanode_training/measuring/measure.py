"""One pass over photographs through the plugins: what each stage said of each, beside the truth."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.errors import DermaNodeError
from dermanode_training.data.lesions import Collection, Lesion, PictureBroken
from dermanode_training.measuring.examination import Examination, Said
from dermanode_training.scoring.metrics import dice, intersection_over_union

_NAN = float("nan")
_AT_ONCE = 4
"""Photographs handed to a worker together."""


class WorkersLost(DermaNodeError):
    """A worker process ended by itself."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One photograph. Figures of the mask are at source resolution; NaN where there is no annotated mask."""

    lesion: Lesion
    dice: float = _NAN
    iou: float = _NAN
    sensitivity: float = _NAN
    specificity: float = _NAN
    has_mask: bool = False
    """The segmenter found a lesion."""
    share: float = _NAN
    """Of the frame that is lesion: as annotated, else as found; NaN where neither is."""
    chances: NDArray[np.float64] | None = None
    """Of the eight outputs, calibrated as the bundle is now; None where the stage declined."""
    groups: NDArray[np.float64] | None = None
    """Of the three groups; None where the stage declined."""
    is_fused: bool = False
    """The groups come from the fusion; else they are sums over the outputs."""
    strangeness: float = _NAN
    """Only where it was asked for."""
    is_in_domain: bool = True
    problems: tuple[str, ...] = field(default=())
    """Why something is missing here: a file that is no picture, a stage that declined or failed."""
    is_decoded: bool = True
    """False: the photograph's file is no picture, so nothing was measured."""


def measure(
    collection: Collection,
    lesions: Sequence[Lesion],
    models: Path,
    *,
    classify: bool = True,
    fuse: bool = False,
    strangeness: bool = False,
    workers: int = 1,
) -> Iterator[Measured]:
    """Each photograph, in order, as a case of one view by the plugins' own code; the same whatever the number of worker processes.

    `fuse` sends it through reconstruct and fuse before classify and asks for the fusion's groups; `strangeness` asks the classifier for
    that number too. A file that is no picture is said in `problems`; raises `DataMissing` where a file or set is not there, `BundleError`,
    and `WorkersLost`.
    """
    one = partial(_measured, classify=classify, fuse=fuse, strangeness=strangeness)
    if workers <= 1:
        examination = Examination(models)
        for lesion in lesions:
            yield one(lesion, collection, examination)
        return
    # Spawned, not forked: torch's threads do not outlive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(collection.table, collection.folder, models)) as pool:
        try:
            yield from pool.map(partial(_in_worker, one), lesions, chunksize=_AT_ONCE)
        except BrokenProcessPool as error:
            raise WorkersLost("A worker process ended by itself, most likely for want of memory. Try --workers 1.") from error
        finally:
            pool.shutdown(cancel_futures=True)


class _Worker:
    """What a worker process keeps from one photograph to the next."""

    collection: Collection
    examination: Examination


def _begin(table: Path, folder: Path, models: Path) -> None:
    # One thread a process: two processes on two cores are then faster than one with two threads, and no sum depends on the machine.
    cv2.setNumThreads(1)
    _Worker.collection, _Worker.examination = Collection(table, folder), Examination(models)


def _in_worker(one: partial[Measured], lesion: Lesion) -> Measured:
    return one(lesion, _Worker.collection, _Worker.examination)


def _measured(
    lesion: Lesion, collection: Collection, examination: Examination, *, classify: bool, fuse: bool, strangeness: bool
) -> Measured:
    try:
        picture = collection.image(lesion)
    except PictureBroken as error:
        return Measured(lesion, problems=(str(error),), is_decoded=False)
    said = examination.of(picture, lesion.id, classify=classify, fuse=fuse, strangeness=strangeness)
    measured = Measured(
        lesion,
        has_mask=said.has_mask,
        share=float(said.mask.mean()) if said.has_mask else _NAN,
        chances=said.chances,
        groups=said.groups,
        is_fused=said.is_fused,
        strangeness=said.strangeness,
        is_in_domain=said.is_in_domain,
        problems=said.declined,
    )
    return _compared(measured, said, collection) if lesion.mask else measured


def _compared(measured: Measured, said: Said, collection: Collection) -> Measured:
    found, problems = said.mask, measured.problems
    try:
        truth = collection.mask(measured.lesion)
    except PictureBroken as error:
        return replace(measured, problems=(*problems, str(error)))
    if truth.shape != found.shape:
        sizes = f"{truth.shape[1]} x {truth.shape[0]}, the photograph {found.shape[1]} x {found.shape[0]}"
        problems = (*problems, f"its mask is {sizes}: the mask was scaled")
        truth = cv2.resize(truth.view(np.uint8), found.shape[::-1], interpolation=cv2.INTER_NEAREST).view(np.bool_)
    hit, lesion, skin = int((found & truth).sum()), int(truth.sum()), int((~truth).sum())
    return replace(
        measured,
        dice=dice(found, truth),
        iou=intersection_over_union(found, truth),
        sensitivity=hit / lesion if lesion else 1.0,
        specificity=1 - int((found & ~truth).sum()) / skin if skin else 1.0,
        share=lesion / truth.size,
        problems=problems,
    )
