"""`python -m dermanode_training.evaluate segmentation|classification|all --data DIR`: figures of what serves, written into the bundles.

Photographs go through the plugins as cases do: decoded, cleaned, segmented at source resolution, cropped by the mask that was found,
classified and calibrated. With `--calibrate` the classifier's temperature and its limit of strangeness are chosen anew from the same pass.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dermanode_training.calibration import best_temperature, log_loss, with_temperature
from dermanode_training.classification import LABELS
from dermanode_training.lesions import Collection, DataMissing
from dermanode_training.measure import Measured, measure
from dermanode_training.metrics import area_under_curve, balanced_accuracy, confusion, expected_calibration_error
from dermanode_training.publish import update_metadata

POOR_IOU = 0.65
"""Below this the ISIC challenge counted an outline as failed."""
FAMILIAR_SHARE = 0.99
"""The share of the validation pictures that must pass as familiar."""

Figures = dict[str, Any]


def segmentation_figures(rows: Sequence[Measured]) -> Figures:
    """Means over the pictures that have an annotated mask."""
    rows = [row for row in rows if not np.isnan(row.dice)]
    return {
        "images": len(rows),
        "dice": _mean([row.dice for row in rows]),
        "dice_median": round(float(np.median([row.dice for row in rows])), 4),
        "iou": _mean([row.iou for row in rows]),
        "sensitivity": _mean([row.sensitivity for row in rows]),
        "specificity": _mean([row.specificity for row in rows]),
        "share_iou_below_0.65": _mean([row.iou < POOR_IOU for row in rows]),
        "not_found": sum(not row.has_mask for row in rows),
    }


def classification_figures(rows: Sequence[Measured], ratio: float) -> Figures:
    """Over the pictures that have a label and were classified; `ratio` undoes the bundle's temperature, for the error before it."""
    labelled = [row for row in rows if row.lesion.label]
    rows = [row for row in labelled if row.chances is not None]
    truth = np.array([LABELS.index(row.lesion.label) for row in rows])
    chances = np.stack([row.chances for row in rows if row.chances is not None])
    found = chances.argmax(1)
    table = confusion(truth, found, len(LABELS))
    return {
        "images": len(rows),
        "declined": len(labelled) - len(rows),
        "accuracy": _mean(found == truth),
        "balanced_accuracy": round(balanced_accuracy(truth, found, len(LABELS)), 4),
        "auc": {label: round(area_under_curve(truth == k, chances[:, k]), 4) for k, label in enumerate(LABELS) if (truth == k).any()},
        "recall": {label: round(float(table[k, k] / table[k].sum()), 4) for k, label in enumerate(LABELS) if table[k].any()},
        "precision": {label: round(float(table[k, k] / table[:, k].sum()), 4) for k, label in enumerate(LABELS) if table[:, k].any()},
        "log_loss": round(log_loss(chances, truth), 4),
        "ece_before": round(expected_calibration_error(truth, with_temperature(chances, ratio)), 4),
        "ece": round(expected_calibration_error(truth, chances), 4),
        "confusion": table.tolist(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Prints the figures and writes them under the bundle's docs and into its metadata."""
    parser = argparse.ArgumentParser(prog="python -m dermanode_training.evaluate", description=__doc__)
    parser.add_argument("task", choices=["segmentation", "classification", "all"], help="all measures both in one pass")
    parser.add_argument("--data", type=Path, required=True, help="folder with lesions.csv and the archives")
    parser.add_argument("--split", default="val")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--every", type=int, default=1, help="takes every n-th picture only, and writes nothing")
    parser.add_argument("--calibrate", action="store_true", help="chooses temperature and limit of strangeness from this pass")
    options = parser.parse_args(arguments)
    collection = Collection(options.data)
    lesions = collection.split(options.split)[:: options.every]
    if not lesions:
        raise DataMissing(f"{options.data / 'lesions.csv'} has no row whose split is {options.split!r}.")
    rows = list(measure(collection, lesions, options.models, classify=options.task != "segmentation"))
    if options.task != "classification":
        _tell(options.models / "lesion_segmentation", by_set(rows, segmentation_figures), options)
    if options.task != "segmentation":
        bundle = options.models / "lesion_classifier"
        configuration = bundle / "configs" / "inference.json"
        inference = json.loads(configuration.read_text(encoding="utf-8"))
        if options.calibrate:
            rows, inference = calibrated(rows, inference)
            configuration.write_text(json.dumps(inference, indent=2) + "\n", encoding="utf-8")
        figures = by_set(rows, lambda some: classification_figures(some, 1 / inference["temperature"]))
        figures["all"]["strange"] = _mean([row.strangeness > inference["strangeness_limit"] for row in rows if row.chances is not None])
        _tell(bundle, figures, options)
    return 0


def _tell(bundle: Path, figures: Figures, options: argparse.Namespace) -> None:
    print(bundle.name, json.dumps(figures, indent=1))
    if options.every == 1:
        (bundle / "docs").mkdir(exist_ok=True)
        (bundle / "docs" / f"figures_{options.split}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        update_metadata(bundle, {"eval_metrics": {options.split: figures}})


def by_set(rows: Sequence[Measured], figures_of: Any) -> Figures:
    """The figures of all rows, and of each set by itself."""
    sets = sorted({row.lesion.set for row in rows})
    return {"all": figures_of(rows)} | {name: figures_of([row for row in rows if row.lesion.set == name]) for name in sets}


def calibrated(rows: Sequence[Measured], inference: Figures) -> tuple[list[Measured], Figures]:
    """The rows as a newly chosen temperature makes them, and the configuration that says so."""
    known = [row for row in rows if row.chances is not None and row.lesion.label]
    truth = np.array([LABELS.index(row.lesion.label) for row in known])
    ratio = best_temperature(np.stack([row.chances for row in known if row.chances is not None]), truth)
    limit = float(np.quantile([row.strangeness for row in known], FAMILIAR_SHARE))
    changed = [row if row.chances is None else replace(row, chances=with_temperature(row.chances[None], ratio)[0]) for row in rows]
    return changed, inference | {"temperature": round(inference["temperature"] * ratio, 4), "strangeness_limit": round(limit, 3)}


def _mean(values: Any) -> float:
    return round(float(np.mean(values)), 4)


if __name__ == "__main__":
    raise SystemExit(main())
