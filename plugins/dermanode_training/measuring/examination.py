"""One photograph taken through the plugins' stages, and what they said of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import dermanode_classify
import dermanode_fuse
import dermanode_preprocess
import dermanode_reconstruct
import dermanode_segment
import numpy as np
import structlog
from dermanode_classify.classifier import load
from dermanode_classify.stage import shown_crops
from numpy.typing import NDArray

from dermanode.domain import Case, Classification, Finding
from dermanode.domain.series import RGB
from dermanode.errors import BundleError
from dermanode.hookspecs import StageContext
from dermanode_training.measuring.serving import PlainContext, case_of

Stage = Callable[[Case, StageContext], Finding | None]


@dataclass(frozen=True, eq=False)
class Said:
    """What the stages said of one photograph."""

    mask: NDArray[np.bool_]
    """At source resolution; all False where nothing was found."""
    has_mask: bool
    chances: NDArray[np.float64] | None
    """In the order of the classifier's outputs; None where the stage declined, or was not asked."""
    groups: NDArray[np.float64] | None
    """With the fusion, where that was asked for; None where the stage declined, or was not asked."""
    is_fused: bool
    """The lesion was measured, so that there was something to fuse."""
    strangeness: float
    is_in_domain: bool
    declined: tuple[str, ...]
    """`stage: reason` for each that declined or failed."""


class Examination:
    """The stages with the bundles of one folder, opened once."""

    def __init__(self, models: Path, *, threads: int = 1, device: str = "cpu") -> None:
        # On stderr: what is printed on stdout is figures.
        log = structlog.wrap_logger(structlog.PrintLogger(sys.stderr))
        self._context = PlainContext(models, threads=threads, device=device, log=log)

    def of(self, picture: RGB, case_id: str, *, classify: bool = True, fuse: bool = False, strangeness: bool = False) -> Said:
        """A case of one view, `picture` its source pixels. A stage that raises is told among the declined, as the node would record it.

        Raises `BundleError`: without its weights nothing is measured.
        """
        # The eight of ISIC 2019: the seven and the groups are sums of them.
        telling = {"diagnoses": 8, "fusion": fuse}
        stages: list[Stage] = [dermanode_preprocess.preprocess, dermanode_segment.segment]
        if fuse:
            stages += [dermanode_reconstruct.reconstruct, dermanode_fuse.fuse]
        if classify:
            stages.append(dermanode_classify.classify)
        case, declined = case_of([picture], case_id), []
        for stage in stages:
            context = replace(self._context, settings=telling if stage is dermanode_classify.classify else {}, declined=[])
            case = _asked(stage, case, context)
            declined += [f"{stage.__name__}: {reason}" for reason in context.declined]
        found = case.classification if classify else None
        rows, columns = picture.shape[:2]
        return Said(
            mask=case.segmentation.masks[0].mask if case.segmentation else np.zeros((rows, columns), np.bool_),
            has_mask=case.segmentation is not None,
            chances=None if found is None else self._in_order(found),
            groups=None if found is None else np.array([one.probability for one in found.groups]),
            is_fused=found is not None and fuse and case.features is not None,
            strangeness=self._strangeness(case) if classify and strangeness else float("nan"),
            is_in_domain=found is None or found.is_in_domain,
            declined=tuple(declined),
        )

    def _in_order(self, found: Classification) -> NDArray[np.float64]:
        told = {one.label: one.probability for one in found.diagnosis}
        outputs = load(self._context.bundle(dermanode_classify.BUNDLE), self._context.device).classes.outputs
        return np.array([told[name] for name in outputs])

    def _strangeness(self, case: Case) -> float:
        classifier = load(self._context.bundle(dermanode_classify.BUNDLE), self._context.device)
        _, crops = shown_crops(case, classifier)
        return float(np.median(classifier.answer(crops).strangeness)) if crops else float("nan")


def _asked(stage: Stage, case: Case, context: PlainContext) -> Case:
    try:
        finding = stage(case, context)
    except BundleError:
        raise
    except Exception as error:  # noqa: BLE001 - the wall at a hook call: one photograph must not end the measurement
        context.decline(f"failed with {type(error).__name__}: {error}")
        return case
    return case if finding is None else case.with_finding(finding)
