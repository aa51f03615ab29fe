"""What only a GPU can show: the same answers as on a CPU, runs that feed it from its own memory, and the benchmark."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from dermanode_classify.classifier import load as load_classifier
from dermanode_segment.segmenter import load as load_segmenter
from dermanode_training.data.lesions import Collection
from dermanode_training.data.pack import write_pack
from dermanode_training.fitting.budget import Budget
from dermanode_training.fitting.loop import Run
from dermanode_training.fitting.machine import Machine
from dermanode_training.fitting.segmentation import Segmentation
from monai.networks.nets import UNet

from dermanode.pipeline.bundles import open_bundle
from dermanode.testing.scene import Scene, render

CHECKOUT = Path(__file__).resolve().parents[3]
MODELS = CHECKOUT / "models"

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU on this machine")


def views() -> list[np.ndarray]:
    return [np.asarray(view.pixels) for view in render(Scene(), size=(256, 256))][:3]


def test_gpu_outlines_as_the_cpu_does() -> None:
    bundle = open_bundle(MODELS, "lesion_segmentation")
    here, there = (load_segmenter(bundle, device).answer(views()).chances for device in ("cpu", "cuda"))
    for one, other in zip(here, there, strict=True):
        assert np.abs(one - other).mean() < 2e-3
        assert ((one > 0.5) != (other > 0.5)).mean() < 2e-3


def test_gpu_classifies_as_the_cpu_does() -> None:
    bundle = open_bundle(MODELS, "lesion_classifier")
    here, there = (load_classifier(bundle, device).answer(views()) for device in ("cpu", "cuda"))
    assert np.abs(here.chances - there.chances).max() < 0.01
    assert there.strangeness == pytest.approx(here.strangeness, rel=0.02)


@pytest.mark.parametrize("compiled", [0, 1])
def test_run_draws_from_the_gpus_own_memory_and_goes_on_on_a_cpu(disc_data: Path, tmp_path: Path, compiled: int) -> None:
    collection = Collection(disc_data)
    write_pack(collection, tmp_path / "work")
    task = Segmentation(collection, tmp_path / "work")
    budget = Budget(epochs=20, minutes=5, sides_px=(32, 64), batch=5, validations=2, averaging=0.5, peak_rate=0.02)

    def run(device: str, **changes: int) -> Run:
        torch.manual_seed(0)
        network = UNet(2, 3, 1, (4, 8), (2,), norm="BATCH")
        return Run(task, network, tmp_path / "run.pt", budget, Machine(device, threads=1, **changes))

    run("cuda", compiled=compiled).fit()
    told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert told["machine"]["device"].startswith("cuda: ")
    assert told["machine"]["workers"] == 0
    assert told["history"][-1]["loss"] < told["history"][0]["loss"]
    resumed = run("cpu")
    resumed.fit()
    assert len(resumed.history) == 2


def test_benchmark_measures_stages_and_networks(tmp_path: Path) -> None:
    main = runpy.run_path(str(CHECKOUT / "benchmarks" / "gpu.py"))["main"]
    assert main(["--device", "cuda:0", "--rounds", "1", "--batches", "1,2", "--json", str(tmp_path / "gpu.json")]) == 0
    told = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert {one["way"] for one in told["rates"]} == {"float32", "bfloat16", "float32, CUDA graph", "bfloat16, CUDA graph"}
    assert {one["batch"] for one in told["rates"]} == {1, 2}
