"""`python -m dermanode_training.publish BUNDLE STATE.pt --data DIR --work DIR`: puts weights and their story into a bundle."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from dermanode_classify.network import LesionClassifier
from safetensors.torch import save_file

from dermanode.errors import DermaNodeError
from dermanode_training.data.lesions import Collection, Lesion
from dermanode_training.data.pack import Pack, write_pack
from dermanode_training.fitting.batches import normalised
from dermanode_training.fitting.classification import Plan, crops
from dermanode_training.fitting.networks import digest_of, new_network, weights_of
from dermanode_training.fitting.segmentation import start_from
from dermanode_training.publishing.card import data_card, training_card
from dermanode_training.publishing.familiarity import familiarity
from dermanode_training.publishing.metadata import metadata_of, update_metadata
from dermanode_training.publishing.provenance import versions
from dermanode_training.publishing.rounding import rounded, rounding

WEIGHTS = "models/model.safetensors"
LARGEST_MB = 25.0
"""What a repository takes as a file without further ado; 10^6 bytes."""
COMPARED = 64
"""So many validation pictures are shown to the network with its weights as they are, and rounded."""

BESIDE = "familiarity."
"""How tensors begin that are no weights. They are never rounded: means are subtracted and an inverse covariance is multiplied by."""


class WeightsTooLarge(DermaNodeError):
    """Weights that the bundle may not hold."""


def publish(
    bundle: Path, state: Mapping[str, torch.Tensor], training: Mapping[str, Any], *, is_rounded: bool = True, largest_mb: float = LARGEST_MB
) -> str:
    """Writes the weights into the bundle and their digest and training into its metadata; gives the digest.

    Figures in the metadata that were measured with other weights are removed. Raises `WeightsTooLarge`, and then nothing is changed.
    """
    path = bundle / WEIGHTS
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(_tensors(state, is_rounded), partial)
    size = partial.stat().st_size
    if size > largest_mb * 1e6:
        partial.unlink()
        cure = "train a smaller network, or allow more with --largest-mb"
        raise WeightsTooLarge(f"The weights for {bundle.name} take {size / 1e6:.1f} MB, {largest_mb:g} MB are allowed: {cure}.")
    partial.chmod(0o644)  # safetensors leaves it to the owner alone; a worker may be another user
    partial.replace(path)
    digest = digest_of(path)
    weights = {"file": WEIGHTS, "sha256": digest, "size_bytes": size, "precision": "float16" if is_rounded else "float32"}
    stale: dict[str, Any] = {} if metadata_of(bundle).get("weights", {}).get("sha256") == digest else {"eval_metrics": {}}
    update_metadata(bundle, {"weights": weights, "training": training} | stale)
    return digest


def _tensors(state: Mapping[str, torch.Tensor], is_rounded: bool) -> dict[str, torch.Tensor]:
    weights = {name: value for name, value in state.items() if not name.startswith(BESIDE)}
    kept = {name: value for name, value in state.items() if name.startswith(BESIDE)}
    return {name: value.contiguous() for name, value in ((rounded(weights) if is_rounded else weights) | kept).items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what rounding changes, adds what strangeness is told by, writes the bundle."""
    parser = argparse.ArgumentParser(prog="python -m dermanode_training.publish", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="lesions.csv, or the folder that holds it")
    parser.add_argument("--images", type=Path, help="folder of the sets (default: beside the table)")
    parser.add_argument("--work", type=Path, help="folder of the decoded pictures (default: that of STATE)")
    parser.add_argument("--log", type=Path, action="append", help="the JSON log of each run, in order (default: the one beside STATE)")
    parser.add_argument("--note", action="append", default=[], help="a sentence on the training for the model card; may be repeated")
    parser.add_argument("--largest-mb", type=float, default=LARGEST_MB, help="the largest file allowed (default 25)")
    options = parser.parse_args(arguments)
    collection = Collection(options.data, options.images)
    work = options.work or options.state.parent
    pack = write_pack(collection, work)
    network, state = new_network(options.bundle), dict(weights_of(options.state))
    start_from(network, state)
    told = json.loads((options.bundle / "configs" / "inference.json").read_text(encoding="utf-8"))
    lesions = collection.side("val")
    lesions = lesions[:: max(1, len(lesions) // COMPARED)][:COMPARED]
    if isinstance(network, LesionClassifier):
        plan = Plan(margin=told["margin"], least=told["least"])
        change = rounding(network, crops(lesions, pack, plan, told["side_px"]))
        state |= familiarity(network, collection, work, plan, told["side_px"])
    else:
        change = rounding(network, _whole(lesions, pack, told["side_px"]))
    training = training_card(options.log or [options.state.with_suffix(".json")], options.note)
    digest = publish(options.bundle, state, training, is_rounded=change.is_harmless, largest_mb=options.largest_mb)
    found = versions()
    update_metadata(
        options.bundle,
        {
            "monai_version": found["monai"],
            "pytorch_version": found["torch"],
            "numpy_version": found["numpy"],
            "data": data_card(collection),
            "rounding": asdict(change) | {"about": "The same validation pictures with float32 and with float16 weights."},
        },
    )
    print(f"{options.bundle}: {digest}, float16 changes a probability by {change.largest_change:.5f} at most")
    return 0


def _whole(lesions: Sequence[Lesion], pack: Pack, side_px: int) -> Iterator[torch.Tensor]:
    """The cleaned pictures as a segmenter sees them, in batches."""
    for start in range(0, len(lesions), 16):
        cleaned = [(pack.cleaned(lesion.number), pack.images[lesion.number]) for lesion in lesions[start : start + 16]]
        pictures = [np.asarray(raw if clean is None else clean) for clean, raw in cleaned]
        yield normalised(np.stack([cv2.resize(one, (side_px, side_px), interpolation=cv2.INTER_AREA) for one in pictures]).astype(np.uint8))


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except DermaNodeError as error:
        print(f"publish: {error}", file=sys.stderr)
        raise SystemExit(1) from None
