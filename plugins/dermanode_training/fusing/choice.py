"""Whether the fusion serves: it must tell the groups better on `val` than sums over the diagnoses do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermanode_training.scoring import weighted
from dermanode_training.scoring.bootstrap import estimate, resamples

RULE = (
    "The fusion serves where its log loss is below that of the sums with a temperature of their own (the 95 % bootstrap interval of the "
    "difference, over lesions, lies below 0) and its AUC of malignant is not lower."
)


@dataclass(frozen=True, eq=False)
class Way:
    """One way of telling the groups."""

    key: str
    title: str
    chances: NDArray[np.float64]
    """Pictures x groups."""
    alpha: tuple[float, float, float] | None = None
    """Least, median, most; only of the fusion."""


def choice(ways: Sequence[Way], truth: NDArray[np.int64], lesions: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """The figures of every way, and whether `fusion` beats `sums_recalibrated` by `RULE`. `lesions` says which pictures go together."""
    weights = resamples(lesions)
    losses = {way.key: -np.log(np.clip(way.chances[np.arange(len(truth)), truth], 1e-12, 1)) for way in ways}
    gain = estimate(weighted.mean(losses["fusion"] - losses["sums_recalibrated"], weights))
    figures = {way.key: {"about": way.title} | _figures(way, truth, labels) for way in ways}
    fused, summed = (figures[key]["auc_malignant"] for key in ("fusion", "sums_recalibrated"))
    is_sharper = fused is not None and summed is not None and fused >= summed
    return {
        "fusion_serves": bool(gain.high < 0 and is_sharper),
        "rule": RULE,
        "images": len(truth),
        "log_loss_difference": {"value": round(gain.value, 4), "low": round(gain.low, 4), "high": round(gain.high, 4)},
        "ways": figures,
    }


def _figures(way: Way, truth: NDArray[np.int64], labels: Sequence[str]) -> dict[str, Any]:
    once = np.ones((1, len(truth)))
    table = weighted.confusion(truth, way.chances.argmax(1), len(labels), once)
    malignant = labels.index("MALIGNANT")
    found = {
        "log_loss": weighted.log_loss(truth, way.chances, once)[0],
        "accuracy": weighted.accuracy(table)[0],
        "balanced_accuracy": weighted.balanced_accuracy(table)[0],
        "auc_malignant": weighted.curve(truth == malignant, way.chances[:, malignant], once).area[0],
        "ece": weighted.calibration_error(truth, way.chances, once)[0],
    }
    # A figure that does not exist, as an AUC without positives, is no number in JSON either.
    told: dict[str, Any] = {name: None if np.isnan(value) else round(float(value), 4) for name, value in found.items()}
    if way.alpha:
        told["alpha"] = dict(zip(("least", "median", "most"), (round(one, 4) for one in way.alpha), strict=True))
    return told


def markdown(choice: Mapping[str, Any]) -> str:
    """The choice as a page."""
    difference = choice["log_loss_difference"]
    lines = [
        "# Groups: by the fusion, or by sums",
        "",
        f"On the {choice['images']} photographs of `val`. Written by `dermanode train fusion`. {choice['rule']}",
        "",
        f"The difference of the log losses is {difference['value']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f}): "
        + ("the fusion serves." if choice["fusion_serves"] else "sums serve, unless the setting `fusion: true` asks for the fusion."),
        "",
        "| way | log loss | accuracy | balanced accuracy | AUC malignant | ECE |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for way in choice["ways"].values():
        cells = (way["log_loss"], way["accuracy"], way["balanced_accuracy"], way["auc_malignant"], way["ece"])
        lines.append(f"| {way['about']} | " + " | ".join("-" if cell is None else f"{cell:.3f}" for cell in cells) + " |")
    alpha = choice["ways"]["fusion"]["alpha"]
    lines += ["", f"alpha on `val`: {alpha['least']:.2f} to {alpha['most']:.2f}, median {alpha['median']:.2f}.", ""]
    lines += ["| the classifier on | mean confidence | accuracy | conf2D |", "| --- | --- | --- | --- |"]
    for name, one in choice["over_confidence"].items():
        lines.append(f"| {name.replace('_', ' ')} | {one['confidence']:.3f} | {one['accuracy']:.3f} | {one['conf2d']:.3f} |")
    return "\n".join(lines) + "\n"
