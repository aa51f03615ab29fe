"""The bundles' other networks beside the default: each is fitted by the same recipe, for the same time, from nothing.

    python benchmarks/networks.py --data DIR --work DIR --minutes 3 [--task classification] [--networks default,resnet50] [--json FILE]

Writes a table into docs/networks.md of each bundle. The time is the processor's, so that a machine that does other things meanwhile is
fair to all (`--clock wall` for a GPU, whose time is not counted so). Results are kept in FILE: called again with the same budget, it goes
on with those that are missing, in the middle of a network too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from dermanode_training.data.lesions import Collection
from dermanode_training.data.pack import write_pack
from dermanode_training.fitting import classification, segmentation
from dermanode_training.fitting.budget import Budget
from dermanode_training.fitting.checkpoint import write_text_whole
from dermanode_training.fitting.loop import Run
from dermanode_training.fitting.machine import Machine
from dermanode_training.fitting.networks import new_network
from dermanode_training.publishing.provenance import commit, versions
from dermanode_training.train import BUNDLES

CLOCKS: Mapping[str, Callable[[], float]] = {"processor": time.process_time, "wall": time.monotonic}

# From cheap to dear: what a short evening does not reach are the largest.
NETWORKS = {
    "classification": (
        "default",
        "mobilenet_v3_large",
        "mobilenet_v2",
        "efficientnet_b0",
        "inception_v3",
        "resnet50",
        "resnet101",
        "resnet152",
        "residual",
        "encoded_wide",
    ),
    "segmentation": ("default", "flexible_efficientnet", "unetplusplus", "resnet_unet", "unet", "residual_unet"),
}
SIDES_PX = {"classification": 96, "segmentation": 128}
COLUMNS = {
    "classification": {"score": "score", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "log_loss": "log loss"},
    "segmentation": {"dice": "Dice"},
}
ABOUT = {
    "classification": "Score is the mean of accuracy and balanced accuracy over seven diagnoses; crops by annotated masks.",
    "segmentation": "Dice is that of the bare network at 256 x 256, on about {most} pictures of `val`: no step after it, no mirror images.",
}
ENDLESS_EPOCHS = 100_000.0
TIMED_RUNS = 15


def main(arguments: Sequence[str] | None = None) -> int:
    """Fits what is missing and writes the tables; 130 where it was interrupted."""
    options = _parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    path: Path = options.json or options.out / "networks.json"
    collection = Collection(options.data, options.images)
    write_pack(collection, options.work)
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for task in [options.task] if options.task else list(NETWORKS):
        budget = _budget(task, options)
        page = options.models / BUNDLES[task] / "docs" / "networks.md"
        for name in options.networks.split(",") if options.networks else NETWORKS[task]:
            if not _is_done(results.get(task, {}).get(name), budget, options.clock):
                try:
                    found = _fitted(task, name, collection, budget, options)
                except KeyboardInterrupt:
                    return 130
                results.setdefault(task, {})[name] = found
                write_text_whole(json.dumps(results, indent=1) + "\n", path)
                print(json.dumps({"task": task, "network": name} | found["figures"]), flush=True)
            write_text_whole(page_of(task, results[task], budget, options.clock), page)
    return 0


def page_of(task: str, results: Mapping[str, Any], budget: Budget, clock: str) -> str:
    """The table in Markdown, with the budget in words; what was not fitted with that budget is named as missing."""
    columns = COLUMNS[task]
    done = {name: one for name, one in results.items() if _is_done(one, budget, clock)}
    missing = [name for name in NETWORKS[task] if name not in done]
    machine = next(iter(done.values()))["machine"] if done else {}
    kind = "processor time" if clock == "processor" else "wall time"
    lines = [
        f"# {BUNDLES[task]}: the other networks",
        "",
        "Each network was fitted from nothing (no weights of an earlier run, no ImageNet weights) by the recipe of the default:",
        f"{budget.minutes:g} minutes of {kind} each, pictures of {budget.sides_px[0]} x {budget.sides_px[0]}, {budget.batch} a step, "
        f"seed {budget.seed}" + (f", threads: {machine['threads']}, device: {machine['device']}." if machine else "."),
        "This is a very small budget: it shows what a network learns in minutes, not what it can become. A large one sees few pictures.",
        "The figures are the training loop's own, on `val`, of the averaged weights; they cannot be held against those of what is shipped.",
        ABOUT[task].format(most=machine.get("validated", "some")),
        "ms a view: one picture at that size, float32, one thread, median of processor time.",
        "",
        f"| network | weights (millions) | pictures seen | {' | '.join(columns.values())} | ms a view |",
        "| --- " * (4 + len(columns)) + "|",
    ]
    for name in sorted(done, key=lambda one: -done[one]["figures"]["score"]):
        one = done[name]
        figures = " | ".join(f"{one['figures'][key]:.3f}" for key in columns)
        lines.append(f"| {name} | {one['weights_millions']:.1f} | {one['pictures_seen']} | {figures} | {one['ms_a_view']:.1f} |")
    if missing:
        lines += ["", f"Not fitted with this budget: {', '.join(missing)}."]
    if done:
        lines += [
            "",
            f"PyTorch {machine['torch']}, commit {machine['commit'][:12]}{'-dirty' * machine['commit'].endswith('-dirty')}. Again:",
        ]
        lines += ["", f"    python benchmarks/networks.py --task {task} --data DIR --work DIR --minutes {budget.minutes:g} --clock {clock}"]
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="lesions.csv, or the folder that holds it")
    parser.add_argument("--images", type=Path, help="folder of the sets (default: beside the table)")
    parser.add_argument("--work", type=Path, required=True, help="folder of the decoded pictures; made where it is missing, else only read")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the bundles")
    parser.add_argument("--out", type=Path, default=Path("var/networks"), help="folder for weights and logs (default var/networks)")
    parser.add_argument("--minutes", type=float, default=3.0, help="for each network (default 3)")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="processor", help="whose minutes (default processor)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--validated", type=int, default=200, help="about so many pictures measure a segmenter (default 200)")
    parser.add_argument("--task", choices=sorted(NETWORKS), help="only this one")
    parser.add_argument("--networks", help="only these, separated by commas")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where results are kept (default OUT/networks.json)")
    return parser


def _budget(task: str, options: argparse.Namespace) -> Budget:
    """The recipe of the default, cut to one size and ended by the clock."""
    recipe = segmentation.BUDGET if task == "segmentation" else classification.BUDGET
    return replace(recipe, epochs=ENDLESS_EPOCHS, minutes=options.minutes, sides_px=(SIDES_PX[task],), batch=options.batch, validations=1)


def _is_done(result: Mapping[str, Any] | None, budget: Budget, clock: str) -> bool:
    return result is not None and result["budget"] == _told(budget) and result["clock"] == clock


def _told(budget: Budget) -> dict[str, Any]:
    """As it is after a way through JSON."""
    told: dict[str, Any] = json.loads(json.dumps(asdict(budget)))
    return told


def _fitted(task: str, name: str, collection: Collection, budget: Budget, options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(budget.seed)
    network = new_network(options.models / BUNDLES[task], name)
    fitted = (
        segmentation.Segmentation(collection, options.work, most_validated=options.validated)
        if task == "segmentation"
        else classification.Classification(collection, options.work)
    )
    machine = Machine(options.device, options.threads)
    out = options.out / f"{task}-{name}.pt"
    run = Run(fitted, network, out, budget, machine, {"network": name}, CLOCKS[options.clock])
    run.fit()
    last = run.history[-1]
    for file in (out, out.with_suffix(".checkpoint")):
        file.unlink()  # of a ResNet-152 they are a gigabyte
    return {
        "budget": _told(budget),
        "clock": options.clock,
        "machine": {
            "device": machine.chosen().type,
            "threads": options.threads,
            "torch": versions()["torch"],
            "commit": commit(),
            "validated": options.validated,
        },
        "weights_millions": sum(one.numel() for one in network.parameters()) / 1e6,
        "pictures_seen": int(last["step"]) * budget.batch,
        "figures": {key: value for key, value in last.items() if key not in ("step", "elapsed_s", "loss")},
        "ms_a_view": _ms_a_view(network.cpu(), budget.sides_px[0]),
    }


def _ms_a_view(network: torch.nn.Module, side_px: int) -> float:
    """One picture, one thread, float32: the median of processor time."""
    torch.set_num_threads(1)
    picture = torch.zeros(1, 3, side_px, side_px).contiguous(memory_format=torch.channels_last)
    taken: list[float] = []
    network.eval()
    with torch.inference_mode():
        for _ in range(TIMED_RUNS):
            began = time.process_time()
            network(picture)
            taken.append(time.process_time() - began)
    return round(1000 * statistics.median(taken), 2)


if __name__ == "__main__":
    raise SystemExit(main())
