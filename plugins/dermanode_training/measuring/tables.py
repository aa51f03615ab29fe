"""A report as Markdown that a person reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from dermanode_training.measuring.figures import POOR_IOU, SENSITIVITY, SPECIFICITY, DiagnosisFigures
from dermanode_training.measuring.report import Part, Report
from dermanode_training.measuring.subgroups import FEW, LARGE, SMALL
from dermanode_training.scoring.bootstrap import DRAWS, Estimate

TITLES = {
    "7": "Seven diagnoses (HAM10000)",
    "8": "Eight diagnoses (ISIC 2019)",
    "groups": "Three groups, as sums over the diagnoses",
    "fused": "Three groups, by the fusion",
}
NAMED = 20
"""So many remarks are told; of the others the number."""

Columns = Sequence[tuple[str, Callable[[Part], str]]]


def markdown(told: Report, command: str) -> str:
    """Headings, sentences and tables; ends with a line break."""
    lines = [
        f"# {told.task.capitalize()} on `{told.split}`: {told.whole.images} photographs",
        "",
        f"Made by `{command}`: every photograph decoded and sent through the plugins, as a case is served.",
        f"In brackets: 95 % bootstrap intervals, {DRAWS} draws of lesions (photographs of one lesion are drawn together). "
        f"† marks parts of fewer than {FEW} photographs: their figures say little.",
        "",
    ]
    if told.undecodable:
        lines += [f"**{len(told.undecodable)} file(s) are no pictures and are in no figure:**", "", *_named(told.undecodable), ""]
    lines += list(_segmentation(told) if told.task == "segmentation" else _diagnoses(told))
    if told.remarks:
        lines += [f"## What was declined or remarked: {len(told.remarks)}", "", *_named(told.remarks), ""]
    return "\n".join(lines).rstrip() + "\n"


def interval(one: Estimate, digits: int = 3) -> str:
    """`0.912 (0.900–0.925)`; a dash where there is none."""
    if math.isnan(one.value):
        return "–"
    inside = "" if math.isnan(one.low) else f" ({one.low:.{digits}f}–{one.high:.{digits}f})"
    return f"{one.value:.{digits}f}{inside}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, and an empty line after it."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)] + [""]


def _segmentation(told: Report) -> Iterator[str]:
    if told.whole.outline is None:
        yield from ("No photograph has an annotated mask: nothing to compare with.", "")
        return
    columns: Columns = (
        ("images", lambda part: str(part.outline.images) if part.outline else "0"),
        ("Dice", lambda part: interval(part.outline.dice) if part.outline else "–"),
        ("median", lambda part: f"{part.outline.dice_median.value:.3f}" if part.outline else "–"),
        ("IoU", lambda part: interval(part.outline.iou) if part.outline else "–"),
        ("sensitivity", lambda part: f"{part.outline.sensitivity.value:.3f}" if part.outline else "–"),
        ("specificity", lambda part: f"{part.outline.specificity.value:.3f}" if part.outline else "–"),
        (f"IoU < {POOR_IOU}", lambda part: f"{part.outline.poor_share.value:.1%}" if part.outline else "–"),
        ("nothing found", lambda part: str(part.outline.not_found) if part.outline else "–"),
    )
    yield from ("Masks are compared at source resolution.", "")
    yield from _parts(told, columns, "outlines")


def _diagnoses(told: Report) -> Iterator[str]:
    if not told.whole.diagnoses:
        yield from ("No photograph that was classified has a label: nothing to compare with.", "")
        return
    if not math.isnan(told.whole.flagged_share):
        yield from (f"{told.whole.flagged_share:.1%} of the classified photographs were flagged as outside of the training domain.", "")
    if told.task == "fusion":
        yield from (f"The groups of {told.whole.fused} of {told.whole.images} photographs come from the fusion; the others' are sums.", "")
    for name, figures in told.whole.diagnoses.items():
        yield from (
            f"## {TITLES[name]}",
            "",
            *_overall(figures, told.cross_fitted_ece.get(name)),
            *_labels(figures),
            *_alarm(figures),
            *_confusion(figures),
        )
    for name in told.whole.diagnoses:
        yield from _parts(told, _diagnosis_columns(name), TITLES[name])


def _overall(found: DiagnosisFigures, cross_fitted: Estimate | None) -> list[str]:
    rows = [
        ("photographs", str(found.images)),
        ("declined", str(found.declined)),
        ("accuracy", interval(found.accuracy)),
        ("balanced accuracy", interval(found.balanced_accuracy)),
        ("accuracy, declined count as wrong", interval(found.accuracy_declined_wrong)),
        ("balanced accuracy, declined count as wrong", interval(found.balanced_accuracy_declined_wrong)),
        ("AUC, mean over the labels", interval(found.auc)),
        ("log loss (before calibration)", f"{interval(found.log_loss)} ({found.log_loss_before.value:.3f})"),
        ("ECE before calibration", interval(found.ece_before)),
    ]
    if cross_fitted is None:
        rows.append(("ECE after", interval(found.ece)))
    else:
        rows.append(("ECE after (each fifth calibrated by the other four)", interval(cross_fitted)))
        rows.append(("ECE as served (calibrated on these very photographs: too good)", interval(found.ece)))
    return table(("figure", "value"), rows)


def _labels(found: DiagnosisFigures) -> list[str]:
    rows = [
        (
            one.label + (" †" if one.images < FEW else ""),
            str(one.images),
            interval(one.precision, 2),
            interval(one.recall, 2),
            interval(one.f1, 2),
            interval(one.auc),
        )
        for one in found.by_label
    ]
    return table(("label", "images", "precision", "recall", "F1", "AUC"), rows)


def _alarm(found: DiagnosisFigures) -> list[str]:
    alarm = found.alarm
    if math.isnan(alarm.sensitivity_at_specificity.value):
        return []
    rows = [
        (f"{one.threshold:g}", interval(one.sensitivity, 2), interval(one.specificity, 2), interval(one.predictive_value, 2))
        for one in alarm.thresholds
    ]
    return [
        f"{alarm.label} against all others: sensitivity {interval(alarm.sensitivity_at_specificity)} at {SPECIFICITY:.0%} specificity, "
        f"specificity {interval(alarm.specificity_at_sensitivity)} at {SENSITIVITY:.0%} sensitivity.",
        "",
        *table((f"probability of {alarm.label} at least", "sensitivity", "specificity", "share of alarms that are right"), rows),
    ]


def _confusion(found: DiagnosisFigures) -> list[str]:
    rows = [(f"**{label}**", *(str(count) for count in row)) for label, row in zip(found.labels, found.confusion, strict=True)]
    return table(("truth \\ found", *found.labels), rows)


def _diagnosis_columns(name: str) -> Columns:
    def told(what: Callable[[DiagnosisFigures], str]) -> Callable[[Part], str]:
        return lambda part: what(part.diagnoses[name]) if name in part.diagnoses else "–"

    def alarm_auc(found: DiagnosisFigures) -> str:
        return next(interval(one.auc, 2) for one in found.by_label if one.label == found.alarm.label)

    def alarm_recall(found: DiagnosisFigures) -> str:
        return next(interval(one.recall, 2) for one in found.by_label if one.label == found.alarm.label)

    alarm = "malignant" if name in ("groups", "fused") else "melanoma"
    return (
        ("images", told(lambda found: str(found.images))),
        ("accuracy", told(lambda found: interval(found.accuracy, 2))),
        ("balanced accuracy", told(lambda found: interval(found.balanced_accuracy, 2))),
        (f"AUC of {alarm}", told(alarm_auc)),
        (f"recall of {alarm}", told(alarm_recall)),
        ("ECE", told(lambda found: f"{found.ece.value:.3f}")),
        ("declined", told(lambda found: str(found.declined))),
        ("flagged", lambda part: "–" if math.isnan(part.flagged_share) else f"{part.flagged_share:.1%}"),
    )


def _parts(told: Report, columns: Columns, what: str) -> Iterator[str]:
    yield from (f"## By part: {what}", "")
    head = ("part", *(name for name, _ in columns))
    yield from table(head, [("**all**", *(tell(told.whole) for _, tell in columns))])
    for way, parts in told.parts.items():
        note = f" (share of the frame: small below {SMALL:.0%}, large from {LARGE:.0%})" if way == "lesion size" else ""
        yield from (f"By {way}{note}:", "")
        yield from table(
            head, [(name + (" †" if part.is_few else ""), *(tell(part) for _, tell in columns)) for name, part in parts.items()]
        )


def _named(sentences: Sequence[str]) -> list[str]:
    more = [f"- and {len(sentences) - NAMED} more (in the JSON file)"] if len(sentences) > NAMED else []
    return [f"- {one}" for one in sentences[:NAMED]] + more
