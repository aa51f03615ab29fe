"""How many test-time views the classifier should be shown: figures over the seven diagnoses for 1, 2, 4 and 8 of the square's symmetries.

    python benchmarks/views.py --data DIR [--split val] [--limit N] [--models models] [--threads 1] [--json FILE]

Photographs go the way of a case up to the crop (decoded, cleaned, segmented, cropped by the mask that was found); each crop is shown in all
eight ways, so every count is over the same answers. Answers are averaged as logits, which serves, and as probabilities beside it. Averaging
changes how sure a network is, so every row has a temperature of its own, the one with the least log loss on these pictures. Choose
`test_time_views` of the bundle's `configs/inference.json` by it; the bundle's calibration must be chosen anew after that.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import dermanode_classify
import dermanode_preprocess
import dermanode_segment
import numpy as np
import torch
from dermanode_classify.classifier import Classifier, load
from dermanode_classify.stage import shown_crops
from dermanode_networks.symmetry import COUNTS, shown
from dermanode_training.data.lesions import Collection, Lesion
from dermanode_training.fitting.classification import LABELS, OUTPUTS, SEVEN_OF, seven
from dermanode_training.measuring.serving import PlainContext, case_of
from dermanode_training.scoring.calibration import best_temperature, log_loss, with_temperature
from dermanode_training.scoring.metrics import area_under_curve, balanced_accuracy, expected_calibration_error
from numpy.typing import NDArray


@dataclass(frozen=True)
class Row:
    """What a number of views gave."""

    views: int
    averaged: str
    temperature: float
    accuracy: float
    balanced_accuracy: float
    auc_mel: float
    log_loss: float
    ece: float


def logits_of(
    collection: Collection, lesions: Sequence[Lesion], classifier: Classifier, context: PlainContext
) -> dict[str, NDArray[np.float64]]:
    """For every photograph in which a lesion was found its logits, ways x outputs."""
    found = {}
    for number, lesion in enumerate(lesions):
        case = case_of([collection.image(lesion)], lesion.id)
        for stage in (dermanode_preprocess.preprocess, dermanode_segment.segment):
            finding = stage(case, context)
            case = case if finding is None else case.with_finding(finding)
        _, crops = shown_crops(case, classifier)
        if crops:
            pictures = torch.stack([classifier.preprocessing(np.array(crop)) for crop in crops])
            found[lesion.id] = classifier.runner.run(shown(pictures, COUNTS[-1])).answers[0].double().numpy()
        if number % 100 == 99:
            print(f"{number + 1} of {len(lesions)}", file=sys.stderr, flush=True)
    return found


def rows_of(logits: NDArray[np.float64], truth8: NDArray[np.int64], bias: NDArray[np.float64]) -> list[Row]:
    """`logits`: pictures x ways x outputs; `truth8`: for each picture the output that is right."""
    rows, truth = [], np.asarray(SEVEN_OF)[truth8]
    for count in COUNTS:
        ways = logits[:, :count]
        averages = {"logits": _softmax(ways.mean(1)), "probabilities": _softmax(ways).mean(1)}
        for name, chances in averages.items():
            temperature = best_temperature(chances, truth8)
            calibrated = with_temperature(chances, temperature) * np.exp(bias)
            told = seven(calibrated / calibrated.sum(1, keepdims=True))
            answer = told.argmax(1)
            rows.append(
                Row(
                    views=count,
                    averaged=name,
                    temperature=temperature,
                    accuracy=float((answer == truth).mean()),
                    balanced_accuracy=balanced_accuracy(truth, answer, len(LABELS)),
                    auc_mel=area_under_curve(truth == LABELS.index("MEL"), told[:, LABELS.index("MEL")]),
                    log_loss=log_loss(told, truth),
                    ece=expected_calibration_error(truth, told),
                )
            )
    return rows


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with lesions.csv and the archives")
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, help="so many pictures, evenly over the split")
    parser.add_argument("--models", type=Path, default=Path(__file__).resolve().parents[1] / "models")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also writes the rows there")
    options = parser.parse_args(arguments)
    collection, context = Collection(options.data), PlainContext(options.models, threads=options.threads)
    classifier = load(context.bundle(dermanode_classify.BUNDLE), "cpu")
    lesions = [lesion for lesion in collection.split(options.split) if lesion.label8]
    if options.limit is not None:
        lesions = [lesions[round(place)] for place in np.linspace(0, len(lesions) - 1, min(options.limit, len(lesions)))]
    logits = logits_of(collection, lesions, classifier, context)
    seen = [lesion for lesion in lesions if lesion.id in logits]
    truth = np.array([OUTPUTS.index(lesion.label8) for lesion in seen])
    rows = rows_of(np.stack([logits[lesion.id] for lesion in seen]), truth, classifier.logit_bias)
    print(f"{len(seen)} of {len(lesions)} photographs; no lesion was found in the others.")
    print(f"{'views':>5}  {'averaged':13} {'T':>5} {'accuracy':>8} {'balanced':>8} {'AUC MEL':>8} {'log loss':>8} {'ECE':>7}")
    for row in rows:
        figures = f"{row.accuracy:8.4f} {row.balanced_accuracy:8.4f} {row.auc_mel:8.4f} {row.log_loss:8.4f} {row.ece:7.4f}"
        print(f"{row.views:5}  {row.averaged:13} {row.temperature:5.2f} {figures}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
