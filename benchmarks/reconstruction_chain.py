"""A series taken through the plugins' hooks, as a case is, and what they made of it beside what is true."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import dermanode_fuse
import dermanode_preprocess
import dermanode_progression
import dermanode_reconstruct
import dermanode_segment
import numpy as np
import torch
from dermanode_training.measuring.serving import PlainContext
from numpy.typing import NDArray
from reconstruction_rows import OF_TRUTH, PairRow, Row, Value
from reconstruction_scenes import Pair, Trial
from reconstruction_truth import deviation

from dermanode.dicom.read import read_series
from dermanode.domain import Algorithm, Case, Features, Finding, Measurement, Prior, Progression, Segmentation, Series, Surface, ViewMask
from dermanode.errors import DermaNodeError
from dermanode.hookspecs import StageContext
from dermanode.pipeline.hooks import guarded
from dermanode.pipeline.run import Folded
from dermanode.pipeline.summary import summarise
from dermanode.testing.mishaps import unlucky_series
from dermanode.testing.scene import RenderedView, render
from dermanode.testing.series import FIRST_VISIT, make_series, write_series

Stage = Callable[[Case, StageContext], Finding | None]
STAGES: Mapping[str, Stage] = {
    "preprocess": dermanode_preprocess.preprocess,
    "segment": dermanode_segment.segment,
    "reconstruct": dermanode_reconstruct.reconstruct,
    "fuse": dermanode_fuse.fuse,
}
BETWEEN_VISITS = timedelta(days=180)


@dataclass
class Notes:
    """A stage's log, kept: the time of a step is an event with `step` and `took_s`."""

    steps: dict[str, float] = field(default_factory=dict)

    def info(self, event: str, **fields: Any) -> None:
        if "step" in fields and "took_s" in fields:
            self.steps[str(fields["step"])] = self.steps.get(str(fields["step"]), 0.0) + float(fields["took_s"])

    debug = warning = error = info


@dataclass
class Bench:
    """The plugins, ready to be asked, in one process."""

    models: Path
    mask: str = "found"
    """`found`: the outline is the segment stage's; `truth`: it is the scene's."""
    device: str = "cpu"
    threads: int = 1
    context: PlainContext = field(init=False)

    def __post_init__(self) -> None:
        torch.set_num_threads(self.threads)
        cv2.setNumThreads(self.threads)
        self.context = PlainContext(self.models, threads=self.threads, device=self.device)

    def take(self, series: Series, *, true_masks: Sequence[NDArray[np.bool_]] | None = None, priors: tuple[Prior, ...] = ()) -> Taken:
        """The case after preprocess, segment, reconstruct and fuse. A stage that declines or raises ends as a reason."""
        taken = Taken(Case(id=series.series_instance_uid, revision=1, series=series, priors=priors))
        for name, stage in STAGES.items():
            if name == "segment" and true_masks is not None and self.mask == "truth":
                taken.case = taken.case.with_finding(_true_segmentation(series, true_masks))
                continue
            self.ask(taken, name, stage)
        return taken

    def ask(self, taken: Taken, name: str, stage: Stage) -> None:
        """Adds a stage's finding to the case, or the reason why there is none."""
        context = replace(self.context, deadline=time.monotonic() + 3600, declined=[], log=Notes())
        began = time.perf_counter()
        try:
            finding = guarded(f"dermanode-{name}", name, lambda: stage(taken.case, context))
        except DermaNodeError as error:
            taken.failed[name] = str(error)
            finding = None
        taken.took_s[name] = time.perf_counter() - began
        taken.steps_s[name] = context.log.steps
        if finding is not None:
            taken.case = taken.case.with_finding(finding)
        elif name not in taken.failed:
            taken.declined[name] = "; ".join(context.declined) or "it gave no reason"


@dataclass
class Taken:
    """A case, and what became of each stage."""

    case: Case
    declined: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    took_s: dict[str, float] = field(default_factory=dict)
    steps_s: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """`metric`, `relative`, `declined` or `failed`."""
        if self.case.surface is None:
            return "failed" if self.failed else "declined"
        return "metric" if self.case.surface.is_metric else "relative"

    @property
    def reason(self) -> str:
        """Why there is no metric surface, or what else failed."""
        said = [f"{name}: {why}" for name, why in (*self.failed.items(), *self.declined.items())]
        if self.status == "relative" and self.case.surface is not None:
            said += [*dict.fromkeys(why for _, why in self.case.surface.dropped_views), *self.case.surface.remarks]
        return "; ".join(said)

    def value(self, key: str) -> Value | None:
        """A measurement of the surface itself, else of the features."""
        findings: tuple[Surface | Features | None, ...] = (self.case.surface, self.case.features)
        for finding in findings:
            for one in finding.measurements if finding else ():
                if one.key == key:
                    return Value.of(one)
        return None


def measure(bench: Bench, trial: Trial) -> Row:
    """Renders, writes, reads and takes one series, and holds the findings against the truth."""
    with TemporaryDirectory(prefix="dermanode-scene-") as folder:
        series, rendered = _photographed(trial, Path(folder), FIRST_VISIT)
        taken = bench.take(series, true_masks=[view.mask for view in rendered] if rendered else None)
        return row_of(trial, taken, rendered)


def row_of(trial: Trial, taken: Taken, rendered: Sequence[RenderedView]) -> Row:
    """`rendered` is empty where it is not known what the views show: then nothing is said of heights point by point."""
    surface, views = taken.case.surface, taken.case.series.views
    known = {str(view.sop_instance_uid): shown for view, shown in zip(views, rendered, strict=False)}
    away = deviation(surface, trial.scene.relief, known) if surface is not None and known else "what the views show is not known"
    numbers = {view.sop_instance_uid: number for number, view in enumerate(views, start=1)}
    return Row(
        key=trial.key,
        lesion=trial.lesion,
        seed=trial.scene.seed,
        tags=trial.tags,
        status=taken.status,
        reason=taken.reason,
        truth=asdict(trial.scene.truth),
        found=_found(taken),
        deviation=None if isinstance(away, str) else asdict(away),
        why_no_deviation=away if isinstance(away, str) else "",
        dice=_dice(taken.case.segmentation, known),
        used_views=len(surface.used_views) if surface else 0,
        dropped_views=tuple((numbers[uid], why) for uid, why in surface.dropped_views) if surface else (),
        remarks=surface.remarks if surface else (),
        tilt_deg=surface.tilt_deg if surface else None,
        reprojection_error_px=surface.reprojection_error_px if surface else None,
        confidence=surface.confidence if surface else None,
        took_s=taken.took_s,
    )


def follow(bench: Bench, pair: Pair) -> PairRow:
    """Both visits of a lesion, the second with the first as its prior, and what the progression stage says."""
    with TemporaryDirectory(prefix="dermanode-pair-") as folder:
        first = _visited(bench, pair.first, Path(folder) / "first", FIRST_VISIT, ())
        outcome = summarise(Folded(first.case, ()), (), 0.0)
        prior = Prior(outcome.case_id, first.case.series.acquired_at, outcome, first.case.series.views)
        later = _visited(bench, pair.later, Path(folder) / "later", FIRST_VISIT + BETWEEN_VISITS, (prior,))
        bench.ask(later, "progression", dermanode_progression.progression)
    found = later.case.progression
    change = _change(found)
    worst = max((first, later), key=lambda one: ("metric", "relative", "declined", "failed").index(one.status))
    return PairRow(
        key=pair.key,
        lesion=pair.first.lesion,
        seed=pair.first.scene.seed,
        growth_percent=pair.growth_percent,
        status=worst.status,
        reason=worst.reason or "; ".join((*later.declined.values(), *later.failed.values())),
        change_percent=change.value if change else None,
        lower_percent=change.lower if change else None,
        upper_percent=change.upper if change else None,
        alerts=found.alerts if found else (),
        truth=asdict(pair.first.scene.truth),
        first=_found(first),
        later=_found(later),
    )


def _change(found: Progression | None) -> Measurement | None:
    return next((one for one in found.changes if one.key == "volume_mm3_change_percent"), None) if found else None


def _visited(bench: Bench, trial: Trial, folder: Path, at: datetime, priors: tuple[Prior, ...]) -> Taken:
    series, rendered = _photographed(trial, folder, at)
    return bench.take(series, true_masks=[view.mask for view in rendered], priors=priors)


def _photographed(trial: Trial, folder: Path, at: datetime) -> tuple[Series, list[RenderedView]]:
    """The series as a PACS would send it, and what its views show; nothing of that where a mishap mixed them up."""
    if trial.mishap is not None:
        return read_series(write_series(folder, unlucky_series(trial.mishap, trial.scene, trial.ring, trial.size))), []
    rendered = render(trial.scene, trial.ring, trial.size)
    made = make_series(trial.scene, trial.ring, size=trial.size, jpeg_quality=trial.jpeg_quality, views=rendered, acquired_at=at)
    return read_series(write_series(folder, made)), rendered


def _found(taken: Taken) -> dict[str, Value]:
    keys = (*OF_TRUTH.values(), "mean_height_mm", "footprint_mm2", "max_curvature_per_mm", "mean_curvature_per_mm", "relative_relief")
    return {key: value for key in keys if (value := taken.value(key)) is not None}


def _true_segmentation(series: Series, masks: Sequence[NDArray[np.bool_]]) -> Segmentation:
    return Segmentation(
        algorithm=Algorithm("The scene's own outline", "1"),
        masks=tuple(
            ViewMask(
                sop_instance_uid=view.sop_instance_uid,
                mask=mask.copy(),
                confidence=0.95,
                touches_border=bool(mask[[0, -1]].any() or mask[:, [0, -1]].any()),
            )
            for view, mask in zip(series.views, masks, strict=True)
        ),
    )


def _dice(segmentation: Segmentation | None, rendered: Mapping[str, RenderedView]) -> float | None:
    if segmentation is None or not rendered:
        return None
    shares = []
    for uid, view in rendered.items():
        found = segmentation.mask(uid)
        both = 0 if found is None else np.count_nonzero(found.mask & view.mask)
        total = (0 if found is None else np.count_nonzero(found.mask)) + np.count_nonzero(view.mask)
        shares.append(2 * both / total if total else 1.0)
    return float(np.mean(shares))
