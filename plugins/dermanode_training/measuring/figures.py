"""The figures of many photographs: of their outlines, and of their diagnoses, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermanode_training.measuring.listing import Listing
from dermanode_training.measuring.measure import Measured
from dermanode_training.scoring import weighted
from dermanode_training.scoring.bootstrap import Estimate, estimate, resamples
from dermanode_training.scoring.calibration import Calibration
from dermanode_training.scoring.weighted import Weights

POOR_IOU = 0.65
"""Below this the ISIC challenge counted an outline as failed."""
SPECIFICITY = SENSITIVITY = 0.9
"""The operating points that are told."""
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Probabilities of the alarm from which on a reader might be called."""


@dataclass(frozen=True)
class OutlineFigures:
    """Over the photographs that have an annotated mask, at source resolution."""

    images: int
    dice: Estimate
    dice_median: Estimate
    iou: Estimate
    sensitivity: Estimate
    specificity: Estimate
    poor_share: Estimate
    """Share with an IoU below `POOR_IOU`."""
    not_found: int
    """Photographs, with or without an annotated mask, in which the segmenter found nothing."""


@dataclass(frozen=True)
class LabelFigures:
    """One label against all others."""

    label: str
    images: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    auc: Estimate


@dataclass(frozen=True)
class ThresholdFigures:
    """The alarm given from that probability on."""

    threshold: float
    sensitivity: Estimate
    specificity: Estimate
    predictive_value: Estimate
    """Share of the alarms that are right, at this set's share of such lesions."""


@dataclass(frozen=True)
class AlarmFigures:
    """How well the label that must not be missed is told from all others by its probability."""

    label: str
    sensitivity_at_specificity: Estimate
    """At `SPECIFICITY`, by the best threshold on these photographs."""
    specificity_at_sensitivity: Estimate
    """At `SENSITIVITY`, likewise."""
    thresholds: tuple[ThresholdFigures, ...]


@dataclass(frozen=True)
class DiagnosisFigures:
    """Over the photographs that have a label and were classified."""

    labels: tuple[str, ...]
    images: int
    declined: int
    """Labelled photographs that the node gave no answer for; they are in no figure but the two that say so."""
    accuracy: Estimate
    balanced_accuracy: Estimate
    accuracy_declined_wrong: Estimate
    balanced_accuracy_declined_wrong: Estimate
    auc: Estimate
    """Mean over the labels."""
    log_loss: Estimate
    log_loss_before: Estimate
    ece: Estimate
    """Expected calibration error as served, 15 bins."""
    ece_before: Estimate
    """Of the softmax of the bare logits."""
    by_label: tuple[LabelFigures, ...]
    alarm: AlarmFigures
    confusion: tuple[tuple[int, ...], ...]
    """Rows are the truth."""


def outline_figures(rows: Sequence[Measured]) -> OutlineFigures | None:
    """None where no row has an annotated mask that could be compared."""
    known = [row for row in rows if not np.isnan(row.dice)]
    if not known:
        return None
    weights = resamples([row.lesion.group for row in known])

    def average(values: Sequence[float]) -> Estimate:
        return estimate(weighted.mean(np.array(values, np.float64), weights))

    return OutlineFigures(
        images=len(known),
        dice=average([row.dice for row in known]),
        dice_median=estimate(weighted.median(np.array([row.dice for row in known]), weights)),
        iou=average([row.iou for row in known]),
        sensitivity=average([row.sensitivity for row in known]),
        specificity=average([row.specificity for row in known]),
        poor_share=average([row.iou < POOR_IOU for row in known]),
        not_found=sum(row.is_decoded and not row.has_mask for row in rows),
    )


@dataclass(frozen=True, eq=False)
class Telling:
    """Which probabilities are judged: those of a listing, by a calibration."""

    listing: Listing
    served: Calibration
    """What the rows' probabilities were calibrated by: those of the outputs, or of the fused groups."""
    is_fused: bool = False
    """The groups as the fusion serves them; they are no sums of the diagnoses."""

    @property
    def name(self) -> str:
        return "fused" if self.is_fused else self.listing.name

    def chances(self, row: Measured) -> NDArray[np.float64]:
        """Over the listing's labels, for a row that was classified."""
        assert row.chances is not None
        return row.groups if self.is_fused and row.groups is not None else self.listing.fold(row.chances)

    def bare(self, row: Measured) -> NDArray[np.float64]:
        """As they would be without calibration."""
        assert row.chances is not None
        outputs = row.groups if self.is_fused and row.groups is not None else row.chances
        chances = Calibration().chances(self.served.logits(outputs[None]))[0]
        return chances if self.is_fused else self.listing.fold(chances)


def diagnosis_figures(rows: Sequence[Measured], telling: Telling) -> DiagnosisFigures | None:
    """None where no row with a label of the listing was classified."""
    listing = telling.listing
    labelled = [(row, place) for row in rows if row.is_decoded and (place := listing.truth(row.lesion)) is not None]
    known = [(row, place) for row, place in labelled if row.chances is not None]
    if not known:
        return None
    weights = resamples([row.lesion.group for row, _ in known])
    truth = np.array([place for _, place in known])
    chances, bare = (np.stack([told(row) for row, _ in known]) for told in (telling.chances, telling.bare))
    tables = weighted.confusion(truth, chances.argmax(1), len(listing.labels), weights)
    areas = np.stack([weighted.curve(truth == k, chances[:, k], weights).area for k in range(len(listing.labels))], 1)
    accuracy, balanced = estimate(weighted.accuracy(tables)), estimate(weighted.balanced_accuracy(tables))
    strict = (accuracy, balanced) if len(known) == len(labelled) else _strict(labelled, telling)
    return DiagnosisFigures(
        labels=listing.labels,
        images=len(known),
        declined=len(labelled) - len(known),
        accuracy=accuracy,
        balanced_accuracy=balanced,
        accuracy_declined_wrong=strict[0],
        balanced_accuracy_declined_wrong=strict[1],
        auc=estimate(weighted.mean_of_known(areas)),
        log_loss=estimate(weighted.log_loss(truth, chances, weights)),
        log_loss_before=estimate(weighted.log_loss(truth, bare, weights)),
        ece=estimate(weighted.calibration_error(truth, chances, weights)),
        ece_before=estimate(weighted.calibration_error(truth, bare, weights)),
        by_label=_by_label(listing, tables, areas),
        alarm=_alarm(listing, truth, chances, weights),
        confusion=tuple(tuple(int(count) for count in row) for row in tables[0]),
    )


def _strict(labelled: Sequence[tuple[Measured, int]], telling: Telling) -> tuple[Estimate, Estimate]:
    """Accuracy and balanced accuracy where a photograph that was declined counts as wrong, so that nobody wins by declining."""
    weights = resamples([row.lesion.group for row, _ in labelled])
    none = len(telling.listing.labels)
    truth = np.array([place for _, place in labelled])
    found = np.array([none if row.chances is None else int(telling.chances(row).argmax()) for row, _ in labelled])
    tables = weighted.confusion(truth, found, none + 1, weights)
    return estimate(weighted.accuracy(tables)), estimate(weighted.balanced_accuracy(tables))


def _by_label(listing: Listing, tables: weighted.Draws, areas: weighted.Draws) -> tuple[LabelFigures, ...]:
    precision, recall, f1 = weighted.precision(tables), weighted.recall(tables), weighted.f1(tables)
    return tuple(
        LabelFigures(
            label=label,
            images=int(tables[0, k].sum()),
            precision=estimate(precision[:, k]),
            recall=estimate(recall[:, k]),
            f1=estimate(f1[:, k]),
            auc=estimate(areas[:, k]),
        )
        for k, label in enumerate(listing.labels)
    )


def _alarm(listing: Listing, truth: NDArray[np.int64], chances: NDArray[np.float64], weights: Weights) -> AlarmFigures:
    place = listing.labels.index(listing.alarm)
    is_positive, score = truth == place, chances[:, place]
    curve = weighted.curve(is_positive, score, weights)
    thresholds = []
    for threshold in THRESHOLDS:
        table = weighted.confusion(is_positive.astype(int), (score >= threshold).astype(int), 2, weights)
        recall, precision = weighted.recall(table), weighted.precision(table)
        thresholds.append(ThresholdFigures(threshold, estimate(recall[:, 1]), estimate(recall[:, 0]), estimate(precision[:, 1])))
    return AlarmFigures(
        label=listing.alarm,
        sensitivity_at_specificity=estimate(curve.sensitivity_at(SPECIFICITY)),
        specificity_at_sensitivity=estimate(curve.specificity_at(SENSITIVITY)),
        thresholds=tuple(thresholds),
    )
