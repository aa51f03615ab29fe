"""How fast the networks run on this machine's CPU, by each way of running them, and how far each is from the plainest.

    python benchmarks/backends.py [--models models] [--threads 2,1] [--views 1,8] [--rounds 15] [--json FILE]

A view is 512 x 512. `network` is the network alone, as the backends differ; `stage` is the whole stage with the backend that serves: the
network's own preprocessing, the network, and what turns its answer into a mask of the source or into probabilities. Backends are
measured by turns in every round, warm, so that what else runs on the machine slows them alike; the median is given, of the time on the
clock and of the CPU's time over all threads, which other programs disturb less. `furthest` is the largest difference of a probability
from float32 as PyTorch runs it. ONNX Runtime and OpenVINO are tried where their packages are installed; nothing that serves needs them.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import io
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import dermanode_classify
import dermanode_preprocess
import dermanode_segment
import numpy as np
import torch
from dermanode_classify import classifier
from dermanode_classify.network import Observed
from dermanode_classify.settings import ClassifySettings
from dermanode_classify.stage import classify_views
from dermanode_networks.backend import Answers, Backend, Eager
from dermanode_segment import segmenter
from dermanode_segment.stage import segment_views
from dermanode_training.measuring.serving import PlainContext, case_of
from numpy.typing import NDArray

from dermanode.domain import Case
from dermanode.pipeline.bundles import open_bundle
from dermanode.testing.scene import Scene, render

CPU = torch.device("cpu")
Build = Callable[[torch.nn.Module, torch.Tensor, int], Backend]
"""From a network, an example of its pictures and a number of threads to something that runs."""


@dataclass(frozen=True)
class Row:
    """One way of running one network on one number of views."""

    network: str
    backend: str
    threads: int
    views: int
    wall_ms: float
    """Median over the rounds."""
    cpu_ms: float
    """Likewise, summed over the threads."""
    furthest: float
    """Largest difference of a probability from eager float32."""
    why_not: str = ""
    """Why it was not measured."""


def contiguous(network: torch.nn.Module, example: torch.Tensor, threads: int) -> Backend:
    """Float32, channels first."""
    return InTorch(network.to(memory_format=torch.contiguous_format), is_channels_last=False)


def channels_last(network: torch.nn.Module, example: torch.Tensor, threads: int) -> Backend:
    """Float32, channels last."""
    return Eager(network.to(memory_format=torch.channels_last), CPU)


def autocast(network: torch.nn.Module, example: torch.Tensor, threads: int) -> Backend:
    """bfloat16 where autocast allows it."""
    return InTorch(network.to(memory_format=torch.channels_last), is_autocast=True)


def compiled(network: torch.nn.Module, example: torch.Tensor, threads: int) -> Backend:
    """torch.compile, which needs a C++ compiler on the machine and most of a minute."""
    return InTorch(torch.compile(network.to(memory_format=torch.channels_last), dynamic=False))


def compiled_autocast(network: torch.nn.Module, example: torch.Tensor, threads: int) -> Backend:
    """torch.compile of what autocast makes of it."""
    return InTorch(torch.compile(network.to(memory_format=torch.channels_last), dynamic=False), is_autocast=True)


def frozen(network: torch.nn.Module, example: torch.Tensor, threads: int) -> Backend:
    """Traced, frozen (batch norms folded into convolutions) and optimised for inference by TorchScript."""
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network.to(memory_format=torch.channels_last), example.to(memory_format=torch.channels_last))
        return InTorch(torch.jit.optimize_for_inference(torch.jit.freeze(traced)))


def onnxruntime(network: torch.nn.Module, example: torch.Tensor, threads: int) -> Backend:
    """ONNX Runtime's CPU provider."""
    import onnxruntime as ort  # type: ignore[import-not-found, unused-ignore]  # not one of the dependencies

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(exported(network, example), options, providers=["CPUExecutionProvider"])
    return lambda pictures: tuple(torch.from_numpy(one) for one in session.run(None, {"pictures": pictures.numpy()}))


def openvino(network: torch.nn.Module, example: torch.Tensor, threads: int) -> Backend:
    """OpenVINO's CPU plugin in float32."""
    return through_openvino(network, example, threads, "f32")


def openvino_bf16(network: torch.nn.Module, example: torch.Tensor, threads: int) -> Backend:
    """OpenVINO's CPU plugin in bfloat16."""
    return through_openvino(network, example, threads, "bf16")


def through_openvino(network: torch.nn.Module, example: torch.Tensor, threads: int, precision: str) -> Backend:
    import openvino as ov  # type: ignore[import-not-found, unused-ignore]  # not one of the dependencies

    core = ov.Core()
    told = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    model = core.compile_model(core.read_model(io.BytesIO(exported(network, example))), "CPU", told)
    outputs = [model.output(place) for place in range(len(model.outputs))]

    def run(pictures: torch.Tensor) -> Answers:
        found = model([pictures.numpy()])
        return tuple(torch.from_numpy(np.array(found[one])) for one in outputs)

    return run


def exported(network: torch.nn.Module, example: torch.Tensor) -> bytes:
    """The network as ONNX, any number of pictures."""
    stream = io.BytesIO()
    # The tracing exporter: it takes the forward hooks by which a classifier's look is kept.
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.to(memory_format=torch.contiguous_format),
            (example,),
            stream,
            input_names=["pictures"],
            dynamic_axes={"pictures": {0: "views"}},
            opset_version=17,
            dynamo=False,
        )
    return stream.getvalue()


@dataclass(frozen=True, eq=False)
class InTorch:
    """A module run by PyTorch on the CPU."""

    network: Callable[[torch.Tensor], torch.Tensor | Answers]
    is_channels_last: bool = True
    is_autocast: bool = False

    def __call__(self, pictures: torch.Tensor) -> Answers:
        if self.is_channels_last:
            pictures = pictures.to(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.is_autocast):
            found = self.network(pictures)
        return tuple(one.float() for one in (found if isinstance(found, tuple) else (found,)))


BACKENDS: Mapping[str, tuple[Build, str]] = {
    "eager": (contiguous, "torch"),
    "eager channels_last": (channels_last, "torch"),
    "eager bf16": (autocast, "torch"),
    "torch.compile": (compiled, "torch"),
    "torch.compile bf16": (compiled_autocast, "torch"),
    "TorchScript frozen": (frozen, "torch"),
    "ONNX Runtime": (onnxruntime, "onnxruntime"),
    "OpenVINO": (openvino, "openvino"),
    "OpenVINO bf16": (openvino_bf16, "openvino"),
}
"""Each with the package that it needs. The first is what the others are compared with."""


def photographs() -> list[NDArray[np.uint8]]:
    """Eight of one made lesion, 512 x 512."""
    return [view.pixels for view in render(Scene(), size=(512, 512))]


@dataclass(frozen=True, eq=False)
class Subject:
    """A bundle's network, and the stage that it serves."""

    name: str
    network: torch.nn.Module
    preprocessing: Callable[[NDArray[np.uint8]], torch.Tensor]
    probabilities: Callable[[torch.Tensor], torch.Tensor]
    """Of the network's first output."""
    stage: Callable[[Case], object]
    cases: Mapping[int, Case]
    """Ready for the stage, by the number of views."""


def subjects(models: Path, views: Sequence[int], context: PlainContext) -> Iterator[Subject]:
    """The segmenter and the classifier of the bundles."""
    outliner = segmenter.load(open_bundle(models, dermanode_segment.BUNDLE), "cpu")
    teller = classifier.load(open_bundle(models, dermanode_classify.BUNDLE), "cpu")
    taken = photographs()
    cleaned, masked = {}, {}
    for count in views:
        case = case_of([taken[number % len(taken)] for number in range(count)])
        found = dermanode_preprocess.preprocess(case, context)
        assert found is not None
        cleaned[count] = case.with_finding(found)
        outlined = segment_views(cleaned[count], outliner, context)
        assert outlined is not None, context.declined
        masked[count] = cleaned[count].with_finding(outlined)
    yield Subject(
        "segmentation", outliner.network, outliner.preprocessing, torch.sigmoid, lambda c: segment_views(c, outliner, context), cleaned
    )
    told = ClassifySettings()
    yield Subject(
        "classification",
        Observed(teller.network).eval(),
        teller.preprocessing,
        lambda logits: torch.softmax(logits / teller.temperature, 1),
        lambda c: classify_views(c, teller, told, context),
        masked,
    )


def measured(subject: Subject, views: Sequence[int], threads: int, rounds: int, without: Sequence[str]) -> Iterator[Row]:
    """Every backend on every number of views, then the stage."""
    torch.set_num_threads(threads)
    taken = [subject.preprocessing(np.array(view)) for view in photographs()]
    for count in views:
        batch = torch.stack([taken[number % len(taken)] for number in range(count)])
        torch._dynamo.reset()
        runs: dict[str, Backend] = {}
        for name, (build, package) in BACKENDS.items():
            if name in without:
                continue
            if importlib.util.find_spec(package) is None:
                yield Row(subject.name, name, threads, count, 0, 0, 0, f"{package} is not installed")
                continue
            # Each has its own copy: the layout of the weights in memory is part of what is compared.
            run = build(copy.deepcopy(subject.network), batch, threads)
            for _ in range(3):
                run(batch)
            runs[name] = run
        reference = subject.probabilities(runs["eager"](batch)[0])
        distances = {name: float((subject.probabilities(run(batch)[0]) - reference).abs().max()) for name, run in runs.items()}
        times = by_turns({name: partial(run, batch) for name, run in runs.items()}, rounds)
        for name, (wall, cpu) in times.items():
            yield Row(subject.name, name, threads, count, wall, cpu, distances[name])
    for count in views:
        case = subject.cases[count]
        subject.stage(case)
        ((wall, cpu),) = by_turns({"stage": partial(subject.stage, case)}, rounds).values()
        yield Row(subject.name, "the whole stage", threads, count, wall, cpu, 0)


def by_turns(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds of each on the clock and of the CPU, one call each in every round, the first one changing."""
    walls: dict[str, list[float]] = {name: [] for name in runs}
    cpus: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for turn in range(rounds):
        for place in range(len(order)):
            name = order[(turn + place) % len(order)]
            wall, cpu = time.perf_counter(), time.process_time()
            runs[name]()
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)
    return {name: (1e3 * statistics.median(walls[name]), 1e3 * statistics.median(cpus[name])) for name in runs}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(__file__).resolve().parents[1] / "models")
    parser.add_argument("--threads", default="2,1", help="numbers of CPU threads")
    parser.add_argument("--views", default="1,8", help="numbers of views in a batch")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--without", default="", help=f"backends to leave out, of: {', '.join(list(BACKENDS)[1:])}")
    parser.add_argument("--json", type=Path, help="also writes the rows there")
    options = parser.parse_args(arguments)
    views = [int(one) for one in options.views.split(",")]
    rows: list[Row] = []
    print(f"{'network':15} {'threads':>7} {'views':>5}  {'backend':20} {'ms':>8} {'CPU ms':>8} {'furthest':>9}")
    for threads in (int(one) for one in options.threads.split(",")):
        for subject in subjects(options.models, views, PlainContext(options.models, threads=threads)):
            for row in measured(subject, views, threads, options.rounds, options.without.split(",")):
                rows.append(row)
                figures = row.why_not or f"{row.wall_ms:8.1f} {row.cpu_ms:8.1f} {row.furthest:9.1e}"
                print(f"{row.network:15} {row.threads:7} {row.views:5}  {row.backend:20} {figures}", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
