"""Puts weights into a bundle: half precision, safetensors, digest and story in `configs/metadata.json`."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from dermanode_training.classification import LABELS, Plan
from dermanode_training.familiarity import familiarity
from dermanode_training.lesions import Collection
from dermanode_training.networks import new_network

WEIGHTS = "models/model.safetensors"


def publish(bundle: Path, state: Mapping[str, torch.Tensor], training: Mapping[str, Any]) -> str:
    """Writes the weights into the bundle and their digest and training into its metadata; gives the digest."""
    path = bundle / WEIGHTS
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: _small(name, value) for name, value in state.items()}, path)
    path.chmod(0o644)  # safetensors leaves it to the owner alone; a worker may be another user
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    weights = {"file": WEIGHTS, "sha256": digest, "size_bytes": path.stat().st_size, "precision": "float16"}
    update_metadata(bundle, {"weights": weights, "training": training})
    return digest


def update_metadata(bundle: Path, changes: Mapping[str, Any]) -> None:
    """Sets some of the top-level entries of `configs/metadata.json`."""
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8")) | dict(changes)
    path.write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _small(name: str, value: torch.Tensor) -> torch.Tensor:
    # The familiarity check subtracts means and multiplies by an inverse covariance: half precision would be felt there.
    keeps = not value.is_floating_point() or name.startswith("familiarity.")
    return (value if keeps else value.half()).contiguous()


def story(collection: Collection, logs: list[Path]) -> dict[str, Any]:
    """What went into the weights: counts of the fitted rows, and the plan, steps and time of every run in a row."""
    train, val = collection.split("train"), collection.split("val")
    runs = [json.loads(log.read_text(encoding="utf-8")) for log in logs]
    return {
        "fitted_images": dict(Counter(lesion.set for lesion in train)),
        "choosing_images": dict(Counter(lesion.set for lesion in val)),
        "fitted_labels": {label: sum(lesion.label == label for lesion in train) for label in LABELS},
        "runs": [
            {"plan": run["plan"], "steps": run["history"][-1]["step"], "minutes": round(run["history"][-1]["elapsed_s"] / 60, 1)}
            for run in runs
        ],
        "device": "2 shared CPU cores, bfloat16 autocast",
        "torch": torch.__version__.split("+")[0],
        "numpy": np.__version__,
    }


def main(arguments: list[str] | None = None) -> int:
    """`python -m dermanode_training.publish BUNDLE STATE.pt --data DIR [--work DIR] [--log RUN.json ...]`."""
    parser = argparse.ArgumentParser(prog="python -m dermanode_training.publish", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--log", type=Path, action="append", help="the JSON log of each run, in order (default: the one beside STATE)")
    parser.add_argument("--work", type=Path, help="folder of the decoded pictures; a classifier needs it for its check of strangeness")
    options = parser.parse_args(arguments)
    collection, state = Collection(options.data), torch.load(options.state, weights_only=True)
    if options.work:
        network = new_network(options.bundle)
        network.load_state_dict(state)
        told = json.loads((options.bundle / "configs" / "inference.json").read_text(encoding="utf-8"))
        plan = Plan(side_px=told["side_px"], margin=told["margin"], least=told["least"])
        state |= familiarity(network, collection, options.work, plan)
    logs = options.log or [options.state.with_suffix(".json")]
    digest = publish(options.bundle, state, story(collection, logs))
    print(f"{options.bundle}: {digest}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
