"""`python -m dermanode_training.train segmentation|classification --data DIR --work DIR`: fits a bundle's network."""

from __future__ import annotations

import argparse
from pathlib import Path

from dermanode_training.lesions import Collection
from dermanode_training.pack import clean_pack, write_pack


def main(arguments: list[str] | None = None) -> int:
    """Decodes once, fits, and leaves the averaged weights and the log of the run in the work folder."""
    parser = argparse.ArgumentParser(prog="python -m dermanode_training.train", description=__doc__)
    parser.add_argument("task", choices=["segmentation", "classification"])
    parser.add_argument("--data", type=Path, required=True, help="folder with lesions.csv and the archives")
    parser.add_argument("--work", type=Path, required=True, help="folder for the decoded pictures, the weights and the log")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the bundles")
    parser.add_argument("--start", type=Path, help="state dict to start from")
    parser.add_argument("--out", type=Path, help="where the state dict goes (default: WORK/TASK.pt)")
    parser.add_argument(
        "--clean", action="store_true", help="first sends every picture through the preprocess plugin (15 minutes on one core)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="changes one number of the plan")
    options = parser.parse_args(arguments)

    import torch

    from dermanode_training import classification, segmentation
    from dermanode_training.networks import new_network

    collection = Collection(options.data)
    write_pack(collection, options.work)
    if options.clean:
        clean_pack(collection, options.work)
    out = options.out or options.work / f"{options.task}.pt"
    task = segmentation if options.task == "segmentation" else classification
    name = "lesion_segmentation" if options.task == "segmentation" else "lesion_classifier"
    changes = {key: type(getattr(task.Plan(), key))(float(value)) for key, value in (item.split("=") for item in options.set)}
    plan = task.Plan(**changes)
    torch.manual_seed(plan.seed)
    network = new_network(options.models / name)
    if options.start:
        task.start_from(network, torch.load(options.start, weights_only=True))
    task.fit(network, collection, options.work, out, plan)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
