"""`dermanode train segmentation|classification --data lesions.csv --images DIR --work DIR`: fits a bundle's network.

The same as `python -m dermanode_training.train`. Called again after an interruption, it goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dermanode.errors import DermaNodeError
from dermanode_training.data.lesions import Collection, DataMissing
from dermanode_training.data.pack import clean_pack, write_pack

if TYPE_CHECKING:
    import torch

    from dermanode_training.fitting.loop import Run

BUNDLES = {"segmentation": "lesion_segmentation", "classification": "lesion_classifier"}
NAMED = 3

T = TypeVar("T")


class PlanUnknown(DermaNodeError):
    """A change of a plan that has no such entry, or one that is not understood."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Decodes once, fits, and leaves the best weights, the log and a checkpoint in the work folder; 130 where it was interrupted."""
    options = _parser().parse_args(arguments)
    collection = Collection(options.data, options.images)
    check_files(collection)
    write_pack(collection, options.work, processes=options.processes)
    if options.clean:
        clean_pack(collection, options.work, processes=options.processes)
    run = run_of(options, collection)
    try:
        run.fit()
    except KeyboardInterrupt:
        return 130
    print(f"The best weights by validation are {run.out}; {run.out.with_suffix('.json')} tells how they were made.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dermanode_training.train", description=__doc__)
    parser.add_argument("task", choices=sorted(BUNDLES))
    parser.add_argument("--data", type=Path, required=True, help="lesions.csv, or the folder that holds it")
    parser.add_argument("--images", type=Path, help="folder of the sets, each a zip or a folder (default: beside the table)")
    parser.add_argument("--work", type=Path, required=True, help="folder for the decoded pictures, the weights and the log")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the bundles")
    parser.add_argument("--network", default="default", help="another network of the bundle, by the name of its file in configs/networks")
    parser.add_argument("--start", type=Path, help="weights to start from: .pt or .safetensors")
    parser.add_argument(
        "--teacher",
        action="append",
        default=[],
        metavar="NETWORK=FILE",
        help="a classifier learns from what this one says too: a network's name and its .pt; may be repeated",
    )
    parser.add_argument("--out", type=Path, help="where the weights go (default: WORK/TASK.pt, WORK/TASK-NETWORK.pt)")
    parser.add_argument("--minutes", type=float, help="the run ends after so many, if it is not over before (as --set minutes=)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... or auto: the GPU where there is one (as --set device=)")
    parser.add_argument("--tensorboard", action="store_true", help="writes events for TensorBoard beside the weights")
    parser.add_argument(
        "--clean", action="store_true", help="first sends every picture through the preprocess plugin (15 minutes on one core)"
    )
    parser.add_argument("--processes", type=int, default=1, help="so many decode and clean (default 1)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="changes one entry of the plan or the budget")
    return parser


def check_files(collection: Collection) -> None:
    """Raises `DataMissing` where a side has no row, or rows name files that are not there; before hours are spent on decoding."""
    rows = [*collection.side("train"), *collection.side("val")]
    missing = tuple(collection.missing(rows))
    if missing:
        raise DataMissing(" ".join(missing[:NAMED]))


def run_of(options: argparse.Namespace, collection: Collection) -> Run:
    """The run that the options ask for. Raises `PlanUnknown`, `BundleError`, `StartUnusable`."""
    import torch

    from dermanode_training.fitting import classification, segmentation
    from dermanode_training.fitting.loop import Run
    from dermanode_training.fitting.machine import Machine
    from dermanode_training.fitting.networks import DEFAULT, digest_of, new_network, weights_of
    from dermanode_training.publishing.provenance import commit, versions

    kind = segmentation if options.task == "segmentation" else classification
    changes = changes_of(options.set)
    changes |= {name: str(value) for name in ("minutes", "device") if (value := getattr(options, name)) is not None}
    budget, plan, machine = changed(kind.BUDGET, changes), changed(kind.Plan(), changes), changed(Machine(), changes)
    if changes:
        known = ", ".join(entry.name for one in (budget, plan, machine) for entry in fields(one))
        raise PlanUnknown(f"The plan of {options.task} has no entry {', '.join(changes)}; it has {known}.")
    torch.manual_seed(budget.seed)
    network = new_network(options.models / BUNDLES[options.task], options.network)
    origin = {"network": options.network, "commit": commit(), **versions()}
    if options.start:
        kind.start_from(network, weights_of(options.start))
        origin["start"] = f"{options.start.name} (SHA-256 {digest_of(options.start)})"
    if options.teacher:
        origin["teachers"] = ", ".join(_told(text) for text in options.teacher)
    task = (
        segmentation.Segmentation(collection, options.work, plan)
        if kind is segmentation
        else classification.Classification(collection, options.work, plan, teachers=teachers(options.models, options.teacher))
    )
    if not task.recipe(budget, budget.sides_px[0]).numbers:
        wanted = "a mask" if kind is segmentation else "a label8 (or a label7 other than AKIEC)"
        raise DataMissing(f"No row of {collection.table} whose split is train has {wanted}: there is nothing to learn from.")
    name = options.task if options.network == DEFAULT else f"{options.task}-{options.network}"
    out = options.out or options.work / f"{name}.pt"
    return Run(task, network, out, budget, machine, origin, has_events=options.tensorboard)


def teachers(models: Path, texts: Sequence[str]) -> tuple[torch.nn.Module, ...]:
    """NETWORK=FILE, one after the other: fitted classifiers, which learn nothing more. Raises `PlanUnknown`, `StartUnusable`."""
    from dermanode_training.fitting.networks import new_network, weights_of
    from dermanode_training.fitting.segmentation import start_from

    found = []
    for text in texts:
        name, file = _parted(text)
        network = new_network(models / BUNDLES["classification"], name)
        start_from(network, weights_of(Path(file)))
        found.append(network.eval().requires_grad_(False))
    return tuple(found)


def _parted(text: str) -> tuple[str, str]:
    if "=" not in text:
        raise PlanUnknown(f"--teacher {text} is not understood: write NETWORK=FILE, for example --teacher default=classification.pt.")
    name, file = text.split("=", 1)
    return name, file


def _told(text: str) -> str:
    from dermanode_training.fitting.networks import digest_of

    name, file = _parted(text)
    return f"{name} {Path(file).name} (SHA-256 {digest_of(Path(file))})"


def changes_of(texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE, one after the other. Raises `PlanUnknown` for what is written otherwise."""
    for text in texts:
        if "=" not in text:
            raise PlanUnknown(f"--set {text} is not understood: write NAME=VALUE, for example --set minutes=30.")
    return dict(text.split("=", 1) for text in texts)


def changed(plan: T, changes: dict[str, str]) -> T:
    """The plan with the changes that name one of its entries; those are taken out of `changes`. Raises `PlanUnknown`."""
    told: dict[str, Any] = {}
    for entry in fields(plan):  # type: ignore[arg-type]
        if entry.name not in changes:
            continue
        now, text = getattr(plan, entry.name), changes.pop(entry.name)
        # An int stands for a number that need not be whole where the entry is declared as one.
        kind = float if entry.type == "float" else type(now)
        try:
            told[entry.name] = tuple(int(part) for part in text.split(",")) if isinstance(now, tuple) else kind(text)
        except ValueError as error:
            raise PlanUnknown(f"{entry.name}={text} is not understood: {error}.") from error
    return replace(plan, **told)  # type: ignore[type-var]


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except DermaNodeError as error:
        print(f"train: {error}", file=sys.stderr)
        raise SystemExit(1) from None
