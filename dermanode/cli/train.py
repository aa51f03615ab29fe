"""`train`: fits a network on your own photographs; the work is done by the package that serves it."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from dermanode.errors import DermaNodeError

_ROOM = "dermanode_training"
_TASKS = {"segmentation": f"{_ROOM}.train", "classification": f"{_ROOM}.train", "fusion": f"{_ROOM}.fusion"}
"""Which module's `main` trains what. They are imported by name when they are wanted: the node itself needs no torch."""

_HANDED_OVER = ("data", "images", "work", "models", "network", "start", "out", "minutes", "device")


class TrainingMissing(DermaNodeError):
    """The package that trains, or one that it needs, is not installed."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser(
        "train",
        help="fit a network on your own photographs",
        description="Fits a network of a model bundle on the photographs that a table names. Called again after an interruption, "
        "it goes on. docs/training.md tells how the table looks and what to do with the weights.",
    )
    train.add_argument("task", choices=sorted(_TASKS), help="what the network is for")
    train.add_argument("--data", type=Path, required=True, metavar="FILE", help="lesions.csv, or the folder that holds it")
    train.add_argument("--images", type=Path, metavar="DIR", help="folder of the sets, each a zip or a folder (default: beside the table)")
    train.add_argument(
        "--work",
        type=Path,
        default=Path("var/training"),
        metavar="DIR",
        help="folder for decoded pictures, weights and logs (default var/training)",
    )
    train.add_argument("--models", type=Path, metavar="DIR", help="folder of the bundles (default models)")
    train.add_argument("--network", metavar="NAME", help="another network of the bundle: a file of its configs/networks, without .json")
    train.add_argument("--start", type=Path, metavar="FILE", help="weights to start from: .pt of a run, or .safetensors of a bundle")
    train.add_argument("--out", type=Path, metavar="FILE", help="where the weights go (default: in the work folder, named after the task)")
    train.add_argument("--minutes", type=float, metavar="M", help="end after so many minutes, if the run is not over before")
    train.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1 or auto: the GPU where there is one (default auto)")
    train.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change one entry of the plan; may be repeated")
    train.add_argument("--clean", action="store_true", help="first send every photograph through the preprocess plugin, as a case is")
    train.add_argument("--tensorboard", action="store_true", help="write events for TensorBoard beside the weights")
    train.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    main = _main_of(arguments.task)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO), logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    return main(_handed_over(arguments))


def _main_of(task: str) -> Callable[[Sequence[str]], int]:
    """Raises `TrainingMissing`."""
    try:
        found: Callable[[Sequence[str]], int] = importlib.import_module(_TASKS[task]).main
    except ModuleNotFoundError as error:
        raise TrainingMissing(
            f"Training needs {(error.name or _ROOM).partition('.')[0]}, which is not installed: run `pip install dermanode-plugins` "
            "(or `pip install -e ./plugins` in a checkout) in this environment."
        ) from error
    return found


def _handed_over(arguments: argparse.Namespace) -> list[str]:
    """What was asked for, as the task's own command line."""
    told = [] if arguments.task == "fusion" else [arguments.task]
    for name in _HANDED_OVER:
        value = getattr(arguments, name)
        told += [] if value is None else [f"--{name}", str(value)]
    for change in arguments.set:
        told += ["--set", change]
    return told + [f"--{name}" for name in ("clean", "tensorboard") if getattr(arguments, name)]
