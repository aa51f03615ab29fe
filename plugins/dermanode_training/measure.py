"""One pass over photographs through the plugins: what each stage said of each, beside the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dermanode_preprocess
import dermanode_segment
import numpy as np
import structlog
from dermanode_classify import BUNDLE as CLASSIFIER
from dermanode_classify.classifier import load
from dermanode_classify.stage import shown_crops
from numpy.typing import NDArray

from dermanode_training.lesions import Collection, Lesion
from dermanode_training.metrics import dice, intersection_over_union
from dermanode_training.serving import PlainContext, case_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True, eq=False)
class Measured:
    """One photograph. Figures of the mask are at source resolution; NaN where there is no annotated mask."""

    lesion: Lesion
    dice: float
    iou: float
    sensitivity: float
    specificity: float
    has_mask: bool
    """The segmenter found a lesion."""
    chances: NDArray[np.float64] | None = None
    """Calibrated as the bundle is now; None where nothing was classified."""
    strangeness: float = float("nan")


def measure(collection: Collection, lesions: Sequence[Lesion], models: Path, *, classify: bool, threads: int = 1) -> Iterator[Measured]:
    """Each photograph as a case of one view: preprocess, segment and, if asked, classify, by the plugins' own code."""
    context = PlainContext(models, threads=threads)
    classifier = load(context.bundle(CLASSIFIER), context.device) if classify else None
    for number, lesion in enumerate(lesions):
        case = case_of([collection.image(lesion)], lesion.id)
        for stage in (dermanode_preprocess.preprocess, dermanode_segment.segment):
            finding = stage(case, context)
            case = case if finding is None else case.with_finding(finding)
        view = case.series.views[0]
        mask = case.segmentation.masks[0].mask if case.segmentation else np.zeros((view.rows, view.columns), np.bool_)
        chances, strangeness = None, float("nan")
        if classifier is not None:
            _, crops = shown_crops(case, classifier)
            if crops:
                answer = classifier.answer(crops)
                chances, strangeness = answer.chances[0], float(answer.strangeness[0])
        truth = collection.mask(lesion) if lesion.mask else None
        yield Measured(lesion, *_compared(mask, truth), case.segmentation is not None, chances, strangeness)
        if number % 200 == 199:
            log.info("measured", done=number + 1, of=len(lesions))


def _compared(found: NDArray[np.bool_], truth: NDArray[np.bool_] | None) -> tuple[float, float, float, float]:
    if truth is None:
        return (float("nan"),) * 4
    hit, lesion, skin = int((found & truth).sum()), int(truth.sum()), int((~truth).sum())
    missed_skin = int((found & ~truth).sum())
    sensitivity = hit / lesion if lesion else 1.0
    specificity = 1 - missed_skin / skin if skin else 1.0
    return dice(found, truth), intersection_over_union(found, truth), sensitivity, specificity
