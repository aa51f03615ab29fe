"""How long all objects of a case take to encode, on one core, against the aims: below 1.0 s at 1024 x 768, below 4 s at 4096 x 3072.

    python benchmarks/encode.py [--sizes 1024x768 4096x3072] [--views 8] [--rounds 5] [--json FILE] [--profile KIND]

A case of views as a dermatoscope writes them (JPEG baseline) with a finding of every stage: masks with probabilities, a closed surface
in mm, numbers, classes, heat maps, risk. No network takes part. Each kind is encoded and written as DICOM, and judged by the output gate
as the node does it; the median of the rounds is told. `all` is one order of every kind at once, which shares what is shared, and whose
report names the others; `usual` is one of the kinds that a pipeline names by default. The document (PDF) is timed apart: laying out its
pages is other work than putting it into an object. The process keeps to one core. One file, so that it can be read and run by itself.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import os
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from dermanode.config import Outputs
from dermanode.dicom import gate
from dermanode.dicom.encode import Encoded, EncodingOrder, encode_case
from dermanode.dicom.photograph import make_instances
from dermanode.dicom.read import read_series
from dermanode.domain import Case, Outcome
from dermanode.testing import worked_cases

AIMS_S = {(1024, 768): 1.0, (4096, 3072): 4.0}
MADE_AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
KINDS = ("SEG", "SURFACE_SEG", "STL", "SC", "OVERLAY", "PMAP", "PDF", "SR", "SEG_FRACTIONAL", "SEG_LABELMAP")
USUAL = Outputs().kinds


@dataclass(frozen=True)
class Timing:
    """One kind, or all of them: medians."""

    kinds: str
    objects: int
    mebibytes: float
    encoded_s: float
    """Made and written as DICOM."""
    judged_s: float
    """By the output gate."""
    encoded_cpu_s: float
    """The same in processor time, which other programs on the machine do not lengthen much."""
    judged_cpu_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; 1 where an aim is missed by all kinds together."""
    options = _options(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    console = Console(width=120)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            case = made_case(Path(folder) / f"{size[0]}", size, options.views)
            outcome = worked_cases.outcome_of(case)
            timings = list(timed(case, outcome, options.rounds))
            document_s = _document_s(case, outcome)
            results[f"{size[0]}x{size[1]}"] = {"timings": [asdict(timing) for timing in timings], "document_s": document_s}
            console.print(_table(size, options.views, timings, document_s))
            if options.profile:
                _print_profile(case, outcome, options.profile)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    missed = [
        size
        for size in options.sizes
        for timing in results[f"{size[0]}x{size[1]}"]["timings"]
        if timing["kinds"] == "all" and timing["encoded_s"] > AIMS_S.get(size, np.inf)
    ]
    return 1 if missed else 0


def made_case(folder: Path, size: tuple[int, int], views: int) -> Case:
    """A case of photographs of that size (columns, rows), read as the node reads them."""
    folder.mkdir(parents=True)
    photographs = []
    for number in range(views):
        photographs.append(folder / f"{number}.jpg")
        _photograph(size, number).save(photographs[-1], "JPEG", quality=92, subsampling="4:2:2")
    paths = []
    instances = make_instances(
        photographs, patient_id="P-1", made_at=MADE_AT, tracking_id="Lesion 1", pixel_spacing_mm=20 / size[0], body_site=worked_cases.BACK
    )
    for instance in instances:
        paths.append(folder / f"{instance.SOPInstanceUID}.dcm")
        instance.save_as(paths[-1], enforce_file_format=True)
    case = Case(id="benchmark", revision=1, series=read_series(paths))
    masks = worked_cases.segmentation(case, has_probability=True)
    findings = (masks, worked_cases.metric_surface(case), *worked_cases.numbers(case), worked_cases.explanation(case))
    return replace(case, findings=findings)


def _photograph(size: tuple[int, int], seed: int) -> Image.Image:
    """Skin with a lesion and some grain, so that the JPEG has as many bytes as a real one."""
    columns, rows = size
    picture = np.full((rows, columns, 3), (224, 172, 150), np.int16)
    picture[worked_cases.disc(rows, columns)] = (110, 70, 50)
    picture += np.random.default_rng(seed).integers(-6, 7, picture.shape, np.int16)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def timed(case: Case, outcome: Outcome, rounds: int) -> Iterator[Timing]:
    """Each kind by itself, then the usual ones and all at once."""
    sources = [Path(getattr(view.source, "path")) for view in case.series.views]  # noqa: B009 - a pixel source need not lie in a file
    for name, kinds in (*((kind, (kind,)) for kind in KINDS), ("usual", USUAL), ("all", KINDS)):
        order = EncodingOrder(made_at=MADE_AT, pipeline="benchmark", kinds=kinds)
        rounds_s: list[tuple[float, float, float, float]] = []
        made: list[Encoded] = []
        written: list[bytes] = []
        for _ in range(rounds):
            clocks = [_clocks()]
            made = encode_case(case, outcome, order, worked_cases.SMALL_PDF)
            written = [_written(encoded) for encoded in made]
            clocks.append(_clocks())
            _judged(written, sources)
            clocks.append(_clocks())
            (encode_s, encode_cpu_s), (judge_s, judge_cpu_s) = ((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(clocks))
            rounds_s.append((encode_s, judge_s, encode_cpu_s, judge_cpu_s))
        yield Timing(name, len(made), sum(map(len, written)) / 2**20, *map(statistics.median, zip(*rounds_s, strict=True)))


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _written(encoded: Encoded) -> bytes:
    stream = io.BytesIO()
    encoded.dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _judged(written: Sequence[bytes], sources: Sequence[Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(number) for number in range(len(written))]
        for file, content in zip(files, written, strict=True):
            file.write_bytes(content)
        for reasons in filter(None, gate.check_all(files, sources)):
            raise SystemExit(f"The gate refused what was encoded: {'; '.join(reasons)}")


def _document_s(case: Case, outcome: Outcome) -> float | None:
    """How long the pages of the report for people take to lay out; None where what lays them out is missing."""
    try:
        from dermanode.document.report import encode_pdf
    except (ImportError, OSError) as missing:  # WeasyPrint raises OSError without Pango
        print(f"The document is not timed: {missing}", file=sys.stderr)
        return None
    encode_pdf(case, outcome, language="en", made_at=MADE_AT)  # fonts are found and kept at the first page
    began = time.perf_counter()
    encode_pdf(case, outcome, language="en", made_at=MADE_AT)
    return time.perf_counter() - began


def _table(size: tuple[int, int], views: int, timings: Sequence[Timing], document_s: float | None) -> Table:
    aim = AIMS_S.get(size)
    title = f"{views} views of {size[0]} x {size[1]}, one core" + (f"; aim for encoding all: {aim:g} s" if aim else "")
    table = Table("kind", "objects", "MiB", "encode s", "gate s", "encode CPU s", "gate CPU s", title=title)
    for one in timings:
        seconds = (one.encoded_s, one.judged_s, one.encoded_cpu_s, one.judged_cpu_s)
        row = (one.kinds, str(one.objects), f"{one.mebibytes:.1f}", *(f"{each:.3f}" for each in seconds))
        table.add_row(*row, style="bold" if one.kinds in ("usual", "all") else None)
    table.caption = "The document's pages: " + (f"{document_s:.2f} s" if document_s is not None else "not timed")
    return table


def _print_profile(case: Case, outcome: Outcome, kind: str) -> None:
    order = EncodingOrder(made_at=MADE_AT, pipeline="benchmark", kinds=KINDS if kind == "all" else (kind,))
    sources = [Path(getattr(view.source, "path")) for view in case.series.views]  # noqa: B009 - as above
    profile = cProfile.Profile()
    steps: list[Callable[[], object]] = [
        lambda: _judged([_written(encoded) for encoded in encode_case(case, outcome, order, worked_cases.SMALL_PDF)], sources)
    ]
    for step in steps:
        profile.runcall(step)
    pstats.Stats(profile).sort_stats("tottime").print_stats(35)


def _size(text: str) -> tuple[int, int]:
    columns, _, rows = text.partition("x")
    return int(columns), int(rows)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=_size, nargs="+", default=list(AIMS_S), help="columns x rows, such as 1024x768")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--profile", metavar="KIND", help="where the time goes: of one kind, or all")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
