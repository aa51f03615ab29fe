"""How long the chain takes for one series, stage by stage and step by step, and what memory the reconstruction needs."""

from __future__ import annotations

import cProfile
import pstats
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import dermanode_classify
import dermanode_reconstruct
import dermanode_risk
import psutil
import torch
from reconstruction_chain import STAGES, Bench, Stage, Taken

from dermanode.domain import Case, Series

LATER: Mapping[str, Stage] = {"classify": dermanode_classify.classify, "risk": dermanode_risk.risk}
_LEAST_SHARE = 0.02
"""Functions that take less of the stage are no steps of it."""


@dataclass(frozen=True)
class Timing:
    """One series on one device; times are medians over the rounds."""

    device: str
    threads: int
    views: int
    columns: int
    rows: int
    rounds: int
    stages_s: Mapping[str, float]
    steps_s: Mapping[str, float]
    """Of the reconstruct stage."""
    steps_from: str
    """`log`: the stage says so itself; `profile`: the plugin's functions with what they call, measured in a round of its own."""
    loaded_mib: float
    """Of the process, before the stage."""
    peak_mib: float | None
    """Of the process, in the stage; None where the system does not tell."""
    gpu_peak_mib: float | None
    surface: str
    """What came out, in words."""


def timing(bench: Bench, series: Series, rounds: int) -> Timing:
    """Takes the series once to warm up, so many times for the clock, and the reconstruct stage twice more for memory and steps."""
    taken = _all(bench, series)
    runs = [_all(bench, series) for _ in range(rounds)]
    stages = {name: statistics.median(run.took_s[name] for run in runs) for name in runs[0].took_s}
    before = _until(taken.case, "reconstruct")
    loaded, peak, gpu_peak = _memory(bench, before)
    steps = _median_steps([run.steps_s["reconstruct"] for run in runs])
    return Timing(
        device=_named(bench.device),
        threads=bench.threads,
        views=len(series.views),
        columns=series.views[0].columns,
        rows=series.views[0].rows,
        rounds=rounds,
        stages_s=stages,
        steps_s=steps or _profiled(bench, before),
        steps_from="log" if steps else "profile",
        loaded_mib=loaded,
        peak_mib=peak,
        gpu_peak_mib=gpu_peak,
        surface=f"{taken.status}, {taken.case.surface.method}" if taken.case.surface else f"{taken.status}: {taken.reason}",
    )


def table(timing: Timing) -> str:
    """The timing in markdown."""
    took = timing.stages_s.get("reconstruct", 0.0)
    lines = [
        f"{timing.views} views of {timing.columns} x {timing.rows} on {timing.device}, {timing.threads} threads, median of "
        f"{timing.rounds}: {timing.surface}.",
        "",
        "| stage | ms |",
        "| --- | --- |",
        *(f"| {name} | {1000 * took_s:.0f} |" for name, took_s in timing.stages_s.items()),
        f"| all of them | {1000 * sum(timing.stages_s.values()):.0f} |",
        "",
        f"| step of reconstruct ({timing.steps_from}) | ms | share |",
        "| --- | --- | --- |",
        *(f"| {name} | {1000 * took_s:.0f} | {took_s / took if took else 0:.0%} |" for name, took_s in timing.steps_s.items()),
        "",
    ]
    if timing.peak_mib is not None:
        above = timing.peak_mib - timing.loaded_mib
        lines.append(
            f"Memory: {timing.loaded_mib:.0f} MiB before the stage, {timing.peak_mib:.0f} at its peak, so {above:.0f} for the stage."
        )
    if timing.gpu_peak_mib is not None:
        lines.append(f"GPU memory at its peak: {timing.gpu_peak_mib:.0f} MiB.")
    return "\n".join(lines).rstrip()


def _all(bench: Bench, series: Series) -> Taken:
    taken = bench.take(series)
    for name, stage in LATER.items():
        bench.ask(taken, name, stage)
    return taken


def _until(case: Case, stage: str) -> Case:
    earlier = list(STAGES)[: list(STAGES).index(stage)]
    return replace(case, findings=tuple(finding for finding in case.findings if finding.stage in earlier))


def _memory(bench: Bench, case: Case) -> tuple[float, float | None, float | None]:
    """MiB before the stage, at its peak, and on the GPU."""
    on_gpu = bench.device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    loaded = psutil.Process().memory_info().rss / 2**20
    try:
        # Linux: writing 5 sets the high-water mark back to what is resident now (proc(5)).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        is_known = True
    except OSError:
        is_known = False
    bench.ask(Taken(case), "reconstruct", STAGES["reconstruct"])
    peak = _high_water_mib() if is_known else None
    return loaded, peak, torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None


def _high_water_mib() -> float | None:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None


def _median_steps(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run.get(name, 0.0) for run in runs) for name in runs[0]}


def _profiled(bench: Bench, case: Case) -> dict[str, float]:
    """The plugin's functions by the time that passes in them and in what they call, the longest first."""
    profile = cProfile.Profile()
    profile.runcall(bench.ask, Taken(case), "reconstruct", STAGES["reconstruct"])
    stats = pstats.Stats(profile)
    root = str(Path(dermanode_reconstruct.__file__).parent)
    # The table of pstats: (file, line, function) -> (calls, calls without recursion, own time, time with what it calls, callers).
    table: Mapping[tuple[str, int, str], tuple[int, int, float, float, object]] = stats.stats  # type: ignore[attr-defined]
    total = max((entry[3] for entry in table.values()), default=0.0)
    steps = [
        (f"{Path(file).stem}.{function}", entry[3])
        for (file, _, function), entry in table.items()
        if file.startswith(root) and not function.startswith("<") and entry[3] >= _LEAST_SHARE * total
    ]
    return dict(sorted(steps, key=lambda step: -step[1]))


def _named(device: str) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device
