"""How far the reconstruction is from the truth, on rendered scenes whose seeds no test uses; and how long it takes.

    python benchmarks/reconstruction.py [--seeds 1000-1004] [--parts shapes,tilt] [--json FILE] [--jobs 2]
    python benchmarks/reconstruction.py --from FILE                            tables again from what was measured
    python benchmarks/reconstruction.py --time [--device cuda] [--json FILE]   time by stage and step, memory
    python benchmarks/reconstruction.py --series DIR --truth FILE              any DICOM series against a truth

Every scene is rendered, written as a DICOM series with JPEG, read back, and taken through the hooks of preprocess, segment, reconstruct
and fuse as a case is. The outline is the segment stage's own; `--mask truth` takes the scene's, which tells the outline's error from the
geometry's. A scene that is declined, fails or comes out with relative heights is one row like the others and counted as such. Pairs for
the progression are lesions with seeds from 1000 above the first one on, so that no seed of `--seeds` is among them. Classification does
not take part, so no alert comes from a probability.

A truth is JSON with any of volume_mm3, area_mm2, surface_mm2, height_mm; `python -m dermanode.testing.scenes --truth FILE` writes one.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from reconstruction_chain import Bench, Taken, follow, measure
from reconstruction_rows import OF_TRUTH, PairRow, Row
from reconstruction_scenes import FIRST_OF_PAIRS, FIRST_SEED, LESIONS, PARTS, Pair, Trial, pairs, trials
from reconstruction_tables import tables
from reconstruction_time import table, timing

from dermanode.dicom.read import read_series
from dermanode.domain import Series
from dermanode.errors import DermaNodeError
from dermanode.testing.scenes import make_series, write_series

MODELS = Path(__file__).resolve().parents[1] / "models"
Work = TypeVar("Work", Trial, Pair)
Done = TypeVar("Done", Row, PairRow)


@dataclass(frozen=True)
class Ledger:
    """The file that keeps what was measured, whole after every row."""

    path: Path | None
    settings: Mapping[str, object]
    rows: list[Row]
    pairs: list[PairRow]

    def write(self) -> None:
        if self.path is None:
            return
        content = {"settings": self.settings, "rows": [asdict(row) for row in self.rows], "pairs": [asdict(pair) for pair in self.pairs]}
        beside = self.path.with_suffix(self.path.suffix + ".part")
        beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        beside.replace(self.path)


def read_rows(path: Path) -> tuple[list[Row], list[PairRow]]:
    """What a file of `--json` holds."""
    told = json.loads(path.read_text(encoding="utf-8"))
    return [Row.from_json(row) for row in told["rows"]], [PairRow.from_json(pair) for pair in told["pairs"]]


@dataclass(frozen=True)
class Plan:
    """How a process of the measurement is set up."""

    models: Path
    mask: str
    device: str
    threads: int


@cache
def bench_of(plan: Plan) -> Bench:
    """The plugins of this process: networks are loaded once."""
    return Bench(plan.models, plan.mask, plan.device, plan.threads)


def spread(plan: Plan, act: Callable[[Bench, Work], Done], work: Sequence[Work], jobs: int) -> Iterator[Done]:
    """The results as they come, from so many processes; with one job, from this one."""
    if jobs == 1:
        yield from (_act(plan, act, one) for one in work)
        return
    # Spawned, not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(_act, plan, act, one) for one in work]
        for future in as_completed(waiting):
            yield future.result()


def _act(plan: Plan, act: Callable[[Bench, Work], Done], one: Work) -> Done:
    return act(bench_of(plan), one)


def run(told: argparse.Namespace, seeds: Sequence[int], parts: Sequence[str]) -> Ledger:
    """Measures all series of those parts, in a file that is kept up to date; what the file holds already is not measured again."""
    settings = {
        "seeds": list(seeds),
        "parts": list(parts),
        "size": list(told.size),
        "mask": told.mask,
        "device": told.device,
        "pairs": told.pairs,
    }
    ledger = Ledger(told.json, settings, [], [])
    if told.go_on and told.json and told.json.exists():
        known_rows, known_pairs = read_rows(told.json)
        ledger.rows.extend(known_rows)
        ledger.pairs.extend(known_pairs)
    plan = Plan(told.models, told.mask, told.device, told.threads)
    size = (told.size[0], told.size[1])
    known = {row.key for row in ledger.rows}
    work = [trial for trial in trials(parts, seeds, size) if trial.key not in known]
    for number, row in enumerate(spread(plan, measure, work, told.jobs), start=1):
        ledger.rows.append(row)
        ledger.write()
        _say(number, len(work), f"{row.lesion}, seed {row.seed}, {'; '.join(' '.join(tag) for tag in row.tags)}: {_volume(row)}")
    order = {trial.key: place for place, trial in enumerate(trials(parts, seeds, size))}
    ledger.rows.sort(key=lambda row: order.get(row.key, len(order)))
    if "progression" in parts:
        known = {pair.key for pair in ledger.pairs}
        grown = [pair for pair in pairs(told.pairs, seeds, size) if pair.key not in known]
        for number, pair in enumerate(spread(plan, follow, grown, told.jobs), start=1):
            ledger.pairs.append(pair)
            ledger.write()
            change = "not compared" if pair.change_percent is None else f"measured {pair.change_percent:+.1f} %"
            _say(
                number,
                len(grown),
                f"{pair.lesion}, seed {pair.seed}, grown by {pair.growth_percent:g} %: {change}, {len(pair.alerts)} alerts",
            )
    ledger.write()
    return ledger


def _volume(row: Row) -> str:
    found = row.found.get("volume_mm3")
    return row.status if found is None else f"{row.status}, volume {100 * (found.value / row.truth['volume_mm3'] - 1):+.1f} %"


def _say(number: int, of: int, what: str) -> None:
    print(f"{number} of {of}: {what}", file=sys.stderr, flush=True)


def read_folder(folder: Path) -> Series:
    """The series that all DICOM files of a folder are. Raises `UnreadableObject`, and `FileNotFoundError` where there is none."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_dicom(path)]
    if not files:
        raise FileNotFoundError(f"{folder} holds no DICOM file")
    return read_series(files)


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_truth(path: Path) -> dict[str, float]:
    """Raises `ValueError` for what is no truth."""
    told = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(told, dict) or not told:
        raise ValueError(f"{path} holds no truth: an object with any of {', '.join(OF_TRUTH)}")
    if unknown := sorted(set(told) - set(OF_TRUTH)):
        raise ValueError(f"{path}: {', '.join(unknown)} is not known; a truth has any of {', '.join(OF_TRUTH)}")
    truth = {key: float(value) for key, value in told.items()}
    if wrong := [key for key, value in truth.items() if not value > 0]:
        raise ValueError(f"{path}: {', '.join(wrong)} must be above 0")
    return truth


def scored(taken: Taken, truth: Mapping[str, float]) -> list[dict[str, object]]:
    """One line a key of the truth: measured, interval, error, and whether the interval holds the truth."""
    absent = dict(taken.case.features.absent) if taken.case.features else {}
    lines: list[dict[str, object]] = []
    for key, true in truth.items():
        found = taken.value(OF_TRUTH[key])
        line: dict[str, object] = {"key": key, "truth": true, "measured": None, "lower": None, "upper": None, "error_percent": None}
        if found is not None:
            line |= {**asdict(found), "measured": found.value, "error_percent": 100 * (found.value / true - 1)}
            del line["value"]
        line["covers"] = None if found is None else found.covers(true)
        line["why_absent"] = "" if found is not None else absent.get(OF_TRUTH[key]) or taken.reason or "not measured"
        lines.append(line)
    return lines


def score_series(told: argparse.Namespace) -> int:
    """Takes a series of any origin and prints it beside its truth."""
    try:
        truth, series = read_truth(told.truth), read_folder(told.series)
    except (ValueError, OSError, DermaNodeError) as error:
        print(error, file=sys.stderr)
        return 2
    bench = Bench(told.models, "found", told.device, told.threads)
    taken = bench.take(series)
    lines = scored(taken, truth)
    print(f"{len(series.views)} views: {taken.status}{', ' + taken.case.surface.method if taken.case.surface else ''}")
    if taken.reason:
        print(taken.reason)
    print("\n| | truth | measured | 90 % interval | error % | held |\n| --- | --- | --- | --- | --- | --- |")
    for line in lines:
        if line["measured"] is None:
            print(f"| {line['key']} | {line['truth']:g} | not measured: {line['why_absent']} | - | - | - |")
            continue
        interval = "none" if line["lower"] is None else f"{line['lower']:.4g} to {line['upper']:.4g}"
        held = {True: "yes", False: "no", None: "-"}[line["covers"]]  # type: ignore[index]  # bool or None, as `scored` makes it
        print(f"| {line['key']} | {line['truth']:g} | {line['measured']:.4g} | {interval} | {line['error_percent']:+.1f} | {held} |")
    if told.json:
        surface = taken.case.surface
        content = {
            "status": taken.status,
            "reason": taken.reason,
            "views": len(series.views),
            "method": surface.method if surface else None,
            "dropped_views": list(surface.dropped_views) if surface else [],
            "remarks": list(surface.remarks) if surface else [],
            "measurements": lines,
            "took_s": taken.took_s,
        }
        told.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


@contextmanager
def _one_series(told: argparse.Namespace, seed: int) -> Iterator[Series]:
    """The series that is timed: one that was given, or eight views rendered at the size asked for."""
    if told.series:
        yield read_folder(told.series)
        return
    with TemporaryDirectory(prefix="dermanode-timed-") as folder:
        print(f"rendering eight views of {told.size[0]} x {told.size[1]}", file=sys.stderr, flush=True)
        size = (told.size[0], told.size[1])
        yield read_series(write_series(Path(folder), make_series(LESIONS["dome"](seed), size=size)))


def time_it(told: argparse.Namespace, seed: int) -> int:
    """Prints the time of every stage and of the reconstruction's steps."""
    bench = Bench(told.models, "found", told.device, told.threads)
    with _one_series(told, seed) as series:
        result = timing(bench, series, told.rounds)
    print(table(result))
    if told.json:
        told.json.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    return 0


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        seeds = range(int(first), int(last or first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no range of seeds such as 1000-1004") from None
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} holds no seed: the first is larger than the last")
    if seeds[0] < FIRST_SEED:
        raise argparse.ArgumentTypeError(f"seeds begin at {FIRST_SEED}: smaller ones are those of tests, on which things were tuned")
    if len(seeds) > FIRST_OF_PAIRS:
        raise argparse.ArgumentTypeError(f"more than {FIRST_OF_PAIRS} seeds would run into those of the pairs")
    return seeds


def _parts(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if unknown := [part for part in parts if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there is no such part; choose of {', '.join(PARTS)}")
    return parts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=_seeds, default=_seeds("1000-1004"), metavar="A-B", help="1000 and above (default 1000-1004)")
    parser.add_argument("--parts", type=_parts, default=list(PARTS), metavar="P,P", help=f"of {', '.join(PARTS)} (default all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured here too, one row a scene")
    parser.add_argument("--go-on", action="store_true", help="keep the rows that FILE holds already, and measure the others")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="measure nothing: print the tables of this file")
    parser.add_argument("--mask", choices=("found", "truth"), default="found", help="whose outline (default found: the segment stage's)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("COLUMNS", "ROWS"), help="of a view (default 1024 768; timed 4096 3072)")
    parser.add_argument("--pairs", type=int, default=200, metavar="N", help="pairs of visits for the progression (default 200)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default 2)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of each process (default 1; with --time and --series 2)")
    parser.add_argument("--device", default="cpu", help="as torch names it (default cpu)")
    parser.add_argument("--models", type=Path, default=MODELS, metavar="DIR", help="the bundles")
    parser.add_argument("--time", action="store_true", help="time of the stages for eight views, in place of errors")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="with --time: so many are counted (default 5)")
    parser.add_argument("--series", type=Path, metavar="DIR", help="score this DICOM series, or time it")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="with --series: what is true of it, in JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    told = parser.parse_args(arguments)
    told.size = told.size or ((4096, 3072) if told.time else (1024, 768))
    told.threads = told.threads or (2 if told.time or told.series else 1)
    if told.source:
        print(tables(*read_rows(told.source)))
        return 0
    if told.device.startswith("cuda") and not torch.cuda.is_available():
        print(f"{told.device} is not here: nothing to measure.")
        return 0
    if told.time:
        return time_it(told, told.seeds[0])
    if told.series or told.truth:
        if not (told.series and told.truth):
            parser.error("--series and --truth go together")
        return score_series(told)
    ledger = run(told, told.seeds, told.parts)
    print(tables(ledger.rows, ledger.pairs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
