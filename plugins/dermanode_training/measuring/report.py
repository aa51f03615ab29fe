"""What is told of one pass: the figures of each task, over all photographs and over parts of them, and as JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dermanode_training.measuring.figures import DiagnosisFigures, OutlineFigures, Telling, diagnosis_figures, outline_figures
from dermanode_training.measuring.measure import Measured
from dermanode_training.measuring.subgroups import FEW, WAYS, parted
from dermanode_training.scoring.bootstrap import Estimate

DIGITS = 4


@dataclass(frozen=True)
class Part:
    """The figures of some of the photographs."""

    images: int
    is_few: bool
    """Fewer than `FEW`: told, but not to be relied on."""
    outline: OutlineFigures | None
    diagnoses: Mapping[str, DiagnosisFigures]
    """By the telling's name; one for which no photograph has a label is left out."""
    fused: int
    """Photographs whose groups come from the fusion."""
    flagged_share: float
    """Of the classified photographs, those said to be outside of the training domain."""


@dataclass(frozen=True)
class Report:
    """One task over one split."""

    task: str
    split: str
    whole: Part
    parts: Mapping[str, Mapping[str, Part]]
    """By way (set, sex, ...), then by name."""
    cross_fitted_ece: Mapping[str, Estimate]
    """By listing; told only where the calibration was chosen on these very photographs: it is then the honest error after calibration."""
    undecodable: tuple[str, ...]
    """Sentences, one a file."""
    remarks: tuple[str, ...]
    """`id: stage: reason` for each photograph that something was missing of."""


def report(
    rows: Sequence[Measured],
    task: str,
    split: str,
    tellings: Sequence[Telling] = (),
    *,
    cross_fitted_ece: Mapping[str, Estimate] | None = None,
) -> Report:
    """The task `segmentation` tells of outlines, any other of diagnoses, in each of the tellings."""
    return Report(
        task=task,
        split=split,
        whole=_part(rows, task, tellings),
        parts={
            way: {name: _part(some, task, tellings) for name, some in parted([row for row in rows if row.is_decoded], way).items()}
            for way in WAYS
        },
        cross_fitted_ece=cross_fitted_ece or {},
        undecodable=tuple(f"{row.lesion.id}: {row.problems[0]}" for row in rows if not row.is_decoded),
        remarks=tuple(f"{row.lesion.id}: {problem}" for row in rows if row.is_decoded for problem in row.problems),
    )


def as_json(told: Report) -> str:
    """An interval is [value, low, high]; what does not exist is null."""
    text = json.dumps(_plain(asdict(told)), indent=1, ensure_ascii=False)
    # Rows of numbers on a line each: a third of the size, and a difference between two runs can be read.
    return re.sub(r"\[\s+([-0-9., \nnul]+?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def summary(told: Report) -> dict[str, Any]:
    """What goes into the bundle's metadata: the values alone, over all photographs and by set."""

    def brief(part: Part) -> dict[str, Any]:
        return _brief_outline(part) if told.task == "segmentation" else _brief_diagnosis(part, told.task)

    honest = {"ece_cross_fitted": told.cross_fitted_ece["7"].value} if "7" in told.cross_fitted_ece else {}
    brief_of = {"all": brief(told.whole) | honest} | {name: brief(part) for name, part in told.parts["set"].items()}
    plain: dict[str, Any] = _plain(brief_of)
    return plain


def _part(rows: Sequence[Measured], task: str, tellings: Sequence[Telling]) -> Part:
    told = {one.name: diagnosis_figures(rows, one) for one in tellings}
    classified = [row for row in rows if row.chances is not None]
    return Part(
        images=len(rows),
        is_few=len(rows) < FEW,
        outline=outline_figures(rows) if task == "segmentation" else None,
        diagnoses={name: figures for name, figures in told.items() if figures is not None},
        fused=sum(row.is_fused for row in rows),
        flagged_share=sum(not row.is_in_domain for row in classified) / len(classified) if classified else math.nan,
    )


def _brief_outline(part: Part) -> dict[str, Any]:
    found = part.outline
    if found is None:
        return {"images": 0}
    return {
        "images": found.images,
        "dice": found.dice.value,
        "dice_median": found.dice_median.value,
        "iou": found.iou.value,
        "sensitivity": found.sensitivity.value,
        "specificity": found.specificity.value,
        "share_iou_below_0.65": found.poor_share.value,
        "not_found": found.not_found,
    }


def _brief_diagnosis(part: Part, task: str) -> dict[str, Any]:
    found = part.diagnoses.get("fused" if task == "fusion" else "7")
    if found is None:
        return {"images": 0}
    return {
        "images": found.images,
        "declined": found.declined,
        "accuracy": found.accuracy.value,
        "balanced_accuracy": found.balanced_accuracy.value,
        "auc": {one.label: one.auc.value for one in found.by_label},
        "recall": {one.label: one.recall.value for one in found.by_label if one.images},
        "precision": {one.label: one.precision.value for one in found.by_label},
        "log_loss": found.log_loss.value,
        "ece_before": found.ece_before.value,
        "ece": found.ece.value,
        "strange": part.flagged_share,
    }


def _plain(value: Any) -> Any:
    """JSON has no NaN; an `Estimate` becomes three numbers, a number four digits."""
    if isinstance(value, dict):
        if value.keys() == {"value", "low", "high"}:
            return [_plain(value[key]) for key in ("value", "low", "high")]
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, DIGITS)
    return value
