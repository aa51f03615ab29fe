"""How fast a device is: 8 views stage by stage, and pictures a second through each network at growing batches.

    python benchmarks/gpu.py [--device cuda:0] [--models models] [--rounds 20] [--batches 1,2,4,...] [--json FILE]

The stages are the plugins' own code, from source pixels (512 x 512) to mask and probabilities; times are medians on the clock after a
warm-up, the device waited for. The networks are run in the ways that a device knows: float32 and bfloat16 (autocast), and on a GPU each
also as one captured CUDA graph. Pictures lie on the device already, so the rates are those of the networks alone. Batches grow until the
device has no memory for more. On a machine without that device the program says so and ends with 0: there is nothing to measure.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import dermanode_classify
import dermanode_preprocess
import dermanode_segment
import numpy as np
import torch
from dermanode_classify import classifier
from dermanode_segment import segmenter
from dermanode_training.measuring.serving import PlainContext, case_of

from dermanode.domain import Case, Finding
from dermanode.hookspecs import StageContext
from dermanode.testing.scene import Scene, render

Stage = Callable[[Case, StageContext], Finding | None]
Run = Callable[[], object]
VIEWS = 8


@dataclass(frozen=True)
class StageTime:
    """One stage of a case of eight views."""

    stage: str
    ms: float
    note: str = ""
    """Why there is no time."""


@dataclass(frozen=True)
class Rate:
    """One way of running one network on batches of one size."""

    network: str
    way: str
    batch: int
    ms: float
    pictures_per_s: float


@dataclass
class Report:
    """Everything that was measured."""

    device: str
    name: str
    torch: str
    stages: list[StageTime] = field(default_factory=list)
    rates: list[Rate] = field(default_factory=list)


def stage_times(device: str, models: Path, rounds: int, threads: int) -> Iterator[StageTime]:
    """preprocess, segment, classify and, where it is installed, explain, over one case of eight views."""
    context = PlainContext(models, device=device, threads=threads)
    case = case_of([view.pixels for view in render(Scene(), size=(512, 512))][:VIEWS])
    stages: list[tuple[str, Stage]] = [
        ("preprocess", dermanode_preprocess.preprocess),
        ("segment", dermanode_segment.segment),
        ("classify", dermanode_classify.classify),
    ]
    if importlib.util.find_spec("dermanode_explain") is not None:
        import dermanode_explain

        stages.append(("explain", dermanode_explain.explain))
    total = 0.0
    for name, stage in stages:
        finding = stage(case, context)
        if finding is None:
            yield StageTime(name, 0, f"declined: {context.declined[-1]}")
            continue
        took_ms = median_ms(partial(stage, case, context), device, rounds)
        total += took_ms
        yield StageTime(name, took_ms)
        case = case.with_finding(finding)
    yield StageTime("all of them", total)


def rates(device: str, models: Path, rounds: int, batches: Sequence[int]) -> Iterator[Rate]:
    """Both networks, in every way, at every size of batch that the device holds."""
    context = PlainContext(models)
    outliner = segmenter.load(context.bundle(dermanode_segment.BUNDLE), device)
    teller = classifier.load(context.bundle(dermanode_classify.BUNDLE), device)
    view = np.array(render(Scene(), size=(512, 512))[0].pixels)
    for name, network, preprocessing in (
        ("segmentation", outliner.network, outliner.preprocessing),
        ("classification", teller.network, teller.preprocessing),
    ):
        picture = preprocessing(view)[None]
        for way, half, is_graph in ways(device):
            for batch in batches:
                try:
                    pictures = picture.repeat(batch, 1, 1, 1).to(device, memory_format=torch.channels_last)
                    run = captured(network, pictures, half) if is_graph else partial(eager, network, pictures, half)
                    took_ms = median_ms(run, device, rounds)
                except torch.OutOfMemoryError:
                    break
                yield Rate(name, way, batch, took_ms, 1e3 * batch / took_ms)


def ways(device: str) -> list[tuple[str, bool, bool]]:
    """(name, in bfloat16, as a CUDA graph) of each way that the device knows."""
    plain = [("float32", False, False), ("bfloat16", True, False)]
    graphs = [("float32, CUDA graph", False, True), ("bfloat16, CUDA graph", True, True)]
    return plain + graphs if device.startswith("cuda") else plain


def eager(network: torch.nn.Module, pictures: torch.Tensor, half: bool) -> torch.Tensor:
    with torch.inference_mode(), torch.autocast(pictures.device.type, torch.bfloat16, enabled=half):
        answer: torch.Tensor = network(pictures)
    return answer


def captured(network: torch.nn.Module, pictures: torch.Tensor, half: bool) -> Run:
    """The network on these pictures as one graph, which is replayed."""
    # What is chosen and cached on the first calls (cuDNN's algorithms, autocast's weights) must not be in the graph.
    stream = torch.cuda.Stream(pictures.device)
    stream.wait_stream(torch.cuda.current_stream(pictures.device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            eager(network, pictures, half)
    torch.cuda.current_stream(pictures.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Autocast's cache of weights would be freed after the capture, and the graph would read what is no longer there.
    with torch.cuda.graph(graph), torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=half, cache_enabled=False):
        network(pictures)
    replay: Run = graph.replay
    return replay


def median_ms(run: Run, device: str, rounds: int) -> float:
    """Of the time on the clock, the device waited for, after three calls that do not count."""
    took = []
    for number in range(3 + rounds):
        wait_for(device)
        began = time.perf_counter()
        run()
        wait_for(device)
        if number >= 3:
            took.append(time.perf_counter() - began)
    return 1e3 * statistics.median(took)


def wait_for(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def absence(device: str) -> str:
    """Why nothing can be measured on that device; empty where it is there."""
    here = f"cpu ({processor()})"
    if device.startswith("cuda") and not torch.cuda.is_available():
        found = f"PyTorch {torch.__version__} finds no GPU on this machine"
        return f"{device} is not here: {found}. What is here: {here}. Give --device cpu to measure it."
    if device.startswith("cuda") and torch.device(device).index not in (None, *range(torch.cuda.device_count())):
        return f"{device} is not here: this machine has cuda:0 to cuda:{torch.cuda.device_count() - 1}, and {here}."
    return ""


def processor() -> str:
    """The processor's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--models", type=Path, default=Path(__file__).resolve().parents[1] / "models")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batches", help="sizes; up to 512 on a GPU and 16 on a CPU")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--json", type=Path, help="also writes everything there")
    options = parser.parse_args(arguments)
    why_not = absence(options.device)
    if why_not:
        print(why_not)
        return 0
    is_gpu = options.device.startswith("cuda")
    told = options.batches or ("1,2,4,8,16,32,64,128,256,512" if is_gpu else "1,2,4,8,16")
    torch.set_num_threads(options.threads)
    report = Report(options.device, torch.cuda.get_device_name(options.device) if is_gpu else processor(), torch.__version__)
    print(f"{report.device}: {report.name}, PyTorch {report.torch}, {options.threads} CPU thread(s)\n\n{VIEWS} views, stage by stage")
    for one in stage_times(options.device, options.models, options.rounds, options.threads):
        report.stages.append(one)
        print(f"  {one.stage:12} {one.note or f'{one.ms:8.1f} ms'}", flush=True)
    print(f"\n{'network':15} {'way':22} {'batch':>5} {'ms':>9} {'pictures/s':>11}")
    for rate in rates(options.device, options.models, options.rounds, [int(one) for one in told.split(",")]):
        report.rates.append(rate)
        print(f"{rate.network:15} {rate.way:22} {rate.batch:5} {rate.ms:9.2f} {rate.pictures_per_s:11.0f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
