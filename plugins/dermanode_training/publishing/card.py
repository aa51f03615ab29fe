"""What `configs/metadata.json` says of the weights' making: the part of a model card that can be computed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dermanode.errors import DermaNodeError
from dermanode_training.data.lesions import Collection
from dermanode_training.fitting.classification import OUTPUTS
from dermanode_training.fitting.networks import digest_of
from dermanode_training.publishing.provenance import commit, versions

SPLITS = ("train", "val")
LICENCES = {
    "HAM10000": "CC BY-NC 4.0 (one copy says CC BY-NC-SA 4.0)",
    "ISIC2018T1": "CC-0 or CC BY-NC, by image",
}
CITATIONS = {
    "HAM10000": "P. Tschandl, C. Rosendahl, H. Kittler, The HAM10000 dataset, Sci. Data 5, 180161 (2018)",
    "ISIC2018T1": "N. Codella et al., Skin Lesion Analysis Toward Melanoma Detection 2018, arXiv:1902.03368",
}
UNKNOWN = "not known to this program: see where the set came from"


class LogMissing(DermaNodeError):
    """A run whose log cannot be read: weights are not published without their story."""


def data_card(collection: Collection) -> dict[str, Any]:
    """The sets with their rows, licences and citations, the labels on each side, and the digest of the table."""
    rows = [lesion for lesion in collection.lesions if lesion.split in SPLITS]
    sets = sorted({lesion.set for lesion in rows})
    return {
        "table_sha256": digest_of(collection.table),
        "use": "train is fitted; val chooses weights, thresholds and calibration, so figures on it are a little too good",
        "sets": {
            name: {
                "images": _sides(lesion.split for lesion in rows if lesion.set == name),
                "masks": _sides(lesion.split for lesion in rows if lesion.set == name and lesion.mask),
                "licence": LICENCES.get(name, UNKNOWN),
                "citation": CITATIONS.get(name, UNKNOWN),
            }
            for name in sets
        },
        "labels": {label: _sides(lesion.split for lesion in rows if lesion.label8 == label) for label in OUTPUTS},
        "without_label": _sides(lesion.split for lesion in rows if not lesion.label),
        "groups": {split: len({lesion.group for lesion in rows if lesion.split == split}) for split in SPLITS},
        "groups_about": "Images that are not independent (of one lesion, near-duplicates) are one group; a group is on one side.",
    }


def training_card(logs: Sequence[Path], notes: Sequence[str] = ()) -> dict[str, Any]:
    """Every run in its order, as its log tells it, what they took together, and the commit and libraries at publication.

    Raises `LogMissing`.
    """
    runs = [_run(path) for path in logs]
    return {
        "commit": commit(),
        "seed": runs[-1]["plan"].get("budget", runs[-1]["plan"]).get("seed") if runs else None,
        "took_min": round(sum(run["took_min"] for run in runs), 1),
        "device": ", ".join(dict.fromkeys(f"{run['device']}, {run['threads']} thread(s), bfloat16 autocast" for run in runs)),
        "libraries": versions(),
        "runs": runs,
        "notes": list(notes),
    }


def _run(path: Path) -> dict[str, Any]:
    try:
        told: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LogMissing(f"{path} is not the log of a run ({error}): name the .json beside the weights of each run with --log.") from error
    plan, last = told["plan"], told["history"][-1]
    # Runs before `machine` was told on its own have device and threads among their plan.
    budget = plan.get("budget", plan)
    machine = told.get("machine", {})
    best = max(told["history"], key=lambda row: row.get("score", row["step"]))
    return {
        "name": path.stem,
        "task": told.get("task", ""),
        "origin": told.get("origin", {}),
        "plan": plan,
        "device": machine.get("device", budget.get("device", "cpu")),
        "threads": machine.get("threads", budget.get("threads")),
        "steps": last["step"],
        "pictures_seen": last["step"] * budget["batch"],
        "took_min": round(last["elapsed_s"] / 60, 1),
        "best": {name: value for name, value in best.items() if name != "elapsed_s"},
    }


def _sides(splits: Any) -> dict[str, int]:
    counts = Counter(splits)
    return {split: counts[split] for split in SPLITS}
