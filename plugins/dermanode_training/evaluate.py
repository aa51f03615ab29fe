"""Figures of what serves, printed and written into the bundles' docs.

Photographs go through the plugins as cases do: decoded, cleaned, segmented at source resolution, cropped by the mask that was found,
classified and calibrated. `benchmarks/models.py`, the bundles' `run evaluation` and `python -m dermanode_training.evaluate` are this.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from dermanode_classify import BUNDLE as CLASSIFIER
from dermanode_classify.classes import read_classes
from dermanode_classify.fusion import BUNDLE as FUSION
from dermanode_classify.fusion import classifier_of
from dermanode_segment import BUNDLE as SEGMENTER

from dermanode.errors import BundleError, DermaNodeError
from dermanode.pipeline.bundles import open_bundle
from dermanode_training.data.lesions import Collection, DataMissing, Lesion
from dermanode_training.measuring import strange, strange_pictures, tables
from dermanode_training.measuring.choice import choice, cross_fitted_errors
from dermanode_training.measuring.figures import Telling
from dermanode_training.measuring.listing import listings
from dermanode_training.measuring.measure import Measured, measure
from dermanode_training.measuring.report import as_json, report
from dermanode_training.publishing.shelf import put, shelve
from dermanode_training.scoring.calibration import Calibration

BUNDLES = {"segmentation": SEGMENTER, "classification": CLASSIFIER, "fusion": FUSION}
PROGRESS_S = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives 0, or 2 with a sentence on stderr."""
    options = _parsed(arguments)
    try:
        return _run(options)
    except DermaNodeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def bundle_evaluation(bundle_root: str, dataset_dir: str, split: str, task: str, workers: int) -> None:
    """What `python -m monai.bundle run evaluation` does. Raises `DermaNodeError`."""
    models = Path(bundle_root).resolve().parent
    _run(_parsed(["--data", dataset_dir, "--split", split, "--models", str(models), "--tasks", task, "--workers", str(workers)]))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/models.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with lesions.csv and a folder or zip for each set, or a table like it")
    parser.add_argument("--images", type=Path, help="folder of the sets, where it is not that of the table")
    parser.add_argument("--split", default="val", help="which rows: those whose split is this (default: val); all: every row")
    parser.add_argument("--json", type=Path, help="also writes all figures into this file")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the bundles (default: models)")
    parser.add_argument("--tasks", help="of segmentation, classification, fusion; with commas (default: all that have weights)")
    parser.add_argument("--limit", type=int, help="only so many photographs, spread over the split; writes nothing into the bundles")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes of one thread each (default: 2)")
    parser.add_argument("--no-write", action="store_true", help="prints only, and leaves the bundles as they are")
    parser.add_argument("--skip-missing", action="store_true", help="counts rows whose files are not there and goes on, instead of ending")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="chooses temperature, logit bias and limit of strangeness anew and writes them into inference.json",
    )
    parser.add_argument("--strange", action="store_true", help="measures on pictures of other things, drawn here; --data is not needed")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    if options.strange:
        return _strange(options)
    tasks = _tasks(options)
    if options.data is None:
        raise DataMissing("--data is missing: give the folder that holds lesions.csv and the archives.")
    collection = Collection(options.data, options.images)
    lesions, skipped = _rows(collection, options)
    if options.calibrate and "fusion" in tasks:
        raise DataMissing("--calibrate changes the probabilities that the fusion sees: calibrate first, then measure --tasks fusion.")
    asked = options.calibrate or any(task != "segmentation" for task in tasks)
    passing = measure(
        collection,
        lesions,
        options.models,
        classify=asked,
        fuse="fusion" in tasks,
        strangeness=options.calibrate,
        workers=min(options.workers, max(1, len(lesions) // 8)),
    )
    rows = list(_watched(passing, len(lesions)))
    is_written = not options.no_write and options.limit is None
    classifier = options.models / CLASSIFIER
    served, chosen_on = _served(classifier)
    ways = listings(read_classes(CLASSIFIER, classifier / "configs" / "classes.json"))
    if options.calibrate:
        chosen = choice(rows, served, ways)
        print(chosen)
        rows, served, chosen_on = chosen.apply(rows, served, ways[2]), chosen.calibration, options.split
        if is_written:
            chosen.write(classifier, options.split)
            put(classifier / "docs" / "calibration.md", f"# Calibration, by `{options.split}`\n\n{chosen}\n")
    told = []
    for task in tasks:
        tellings = [Telling(way, served) for way in ways]
        if task == "segmentation":
            told.append(report(rows, task, options.split))
        elif task == "classification":
            honest = cross_fitted_errors(rows, served, ways) if chosen_on == options.split else None
            told.append(report(rows, task, options.split, tellings, cross_fitted_ece=honest))
        else:
            fused = Telling(ways[2], _served(options.models / FUSION)[0], is_fused=True)
            told.append(report(rows, task, options.split, [fused, tellings[2]]))
    for one in told:
        print(tables.markdown(one, _command(options)))
        if is_written:
            shelve(one, options.models / BUNDLES[one.task], _command(options))
    for sentence in skipped:
        print(f"skipped: {sentence}", file=sys.stderr)
    if options.json:
        figures = {one.task: json.loads(as_json(one)) for one in told}
        put(options.json, json.dumps(figures | {"skipped": skipped}, indent=1) + "\n")
    if options.limit is not None and not options.no_write:
        print("Nothing was written into the bundles: these are the figures of a part (--limit).", file=sys.stderr)
    return 0


def _tasks(options: argparse.Namespace) -> Sequence[str]:
    """Those that were asked for; else all, the fusion where it was fitted to the classifier's weights and nothing is to be calibrated."""
    if options.tasks is not None:
        tasks = [task.strip() for task in options.tasks.split(",") if task.strip()]
        unknown = [task for task in tasks if task not in BUNDLES]
        if unknown or not tasks:
            raise DataMissing(f"--tasks {options.tasks} names {', '.join(unknown) or 'none'}: give some of {', '.join(BUNDLES)}.")
        return tasks
    if options.calibrate:
        return ("segmentation", "classification")
    try:
        is_fitting = classifier_of(open_bundle(options.models, FUSION)) == open_bundle(options.models, CLASSIFIER).weights_digest
        reason = "" if is_fitting else f"Bundle {FUSION}: it was fitted to other weights of {CLASSIFIER}. Fit it again."
    except BundleError as error:
        reason = str(error)
    if reason:
        print(f"fusion is left out: {reason}", file=sys.stderr)
    return ("segmentation", "classification") if reason else tuple(BUNDLES)


def _rows(collection: Collection, options: argparse.Namespace) -> tuple[Sequence[Lesion], list[str]]:
    """The rows to measure, and what is missing as sentences, before anything takes long."""
    lesions: Sequence[Lesion] = collection.side(options.split)
    if options.limit is not None:
        lesions = [lesions[k] for k in np.unique(np.linspace(0, len(lesions) - 1, max(1, options.limit)).round().astype(int))]
    missing = collection.missing(lesions)
    if missing and not options.skip_missing:
        raise DataMissing(" ".join([*missing, "Or give --skip-missing, and the rows without files are left out and counted."]))
    gone = frozenset().union(*missing.values())
    left = [lesion for lesion in lesions if lesion.number not in gone]
    if not left:
        raise DataMissing(f"No photograph of the split {options.split!r} is there. {' '.join(missing)}")
    return left, [f"{len(numbers)} row(s): {sentence}" for sentence, numbers in missing.items()]


def _watched(passing: Iterator[Measured], count: int) -> Iterator[Measured]:
    """The same, with a line on stderr that says how far it is."""
    began = told = 0.0
    ends = "\r" if sys.stderr.isatty() else "\n"
    for done, row in enumerate(passing, 1):
        yield row
        now = time.monotonic()
        if done == 1:
            began = told = now  # the first waits for the workers to load their libraries
        if now - told > (PROGRESS_S if ends == "\r" else 30 * PROGRESS_S) or done == count:
            each_s = (now - began) / max(1, done - 1)
            line = f"measured {done} of {count}, {each_s:.3f} s a photograph, {each_s * (count - done) / 60:.1f} min left"
            print(f"{line:<78}", end=ends if done < count else "\n", file=sys.stderr, flush=True)
            told = now


def _served(bundle: Path) -> tuple[Calibration, str]:
    """What the classify stage serves with, and the split on which that was chosen."""
    told = json.loads((bundle / "configs" / "inference.json").read_text(encoding="utf-8"))
    return Calibration(float(told.get("temperature", 1.0)), tuple(told.get("logit_bias", ()))), told.get("calibrated_on", "val")


def _command(options: argparse.Namespace) -> str:
    limit = f" --limit {options.limit}" if options.limit is not None else ""
    tasks = "" if options.tasks is None else f" --tasks {options.tasks}"
    return f"benchmarks/models.py --data DIR --split {options.split}{tasks}{limit}"


def _strange(options: argparse.Namespace) -> int:
    found = strange.verdicts(strange_pictures.strange_pictures(), options.models)
    text = strange.markdown(found, "benchmarks/models.py --strange")
    print(text)
    if not options.no_write:
        docs = options.models / CLASSIFIER / "docs"
        put(docs / "figures_strange.md", text)
        put(docs / "figures_strange.json", strange.as_json(found))
    if options.json:
        put(options.json, strange.as_json(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
