"""The programs that measure what serves: each runs on small bundles and made photographs, and says what it measured."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
Main = Callable[[list[str]], int]


def main_of(name: str) -> Main:
    main: Main = runpy.run_path(str(BENCHMARKS / f"{name}.py"))["main"]
    return main


def test_machine_without_the_gpu_is_told_so_and_nothing_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_of("gpu")(["--device", "cuda:63"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("cuda:63 is not here")
    assert "cpu (" in said


def test_device_is_measured_stage_by_stage_and_by_growing_batches(tiny_models: Any, tmp_path: Path) -> None:
    told = ["--device", "cpu", "--models", str(tiny_models.root), "--rounds", "1", "--batches", "1,2", "--threads", "1"]
    assert main_of("gpu")([*told, "--json", str(tmp_path / "gpu.json")]) == 0
    report = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    stages = [one["stage"] for one in report["stages"]]
    assert stages[:3] == ["preprocess", "segment", "classify"]
    assert stages[-1] == "all of them"
    assert {(one["way"], one["batch"]) for one in report["rates"]} == {(way, size) for way in ("float32", "bfloat16") for size in (1, 2)}
    assert all(one["pictures_per_s"] > 0 for one in report["rates"])


def test_backends_are_compared_with_plain_float32(tiny_models: Any, tmp_path: Path) -> None:
    slow = "torch.compile,torch.compile bf16,TorchScript frozen,ONNX Runtime,OpenVINO,OpenVINO bf16"
    told = ["--models", str(tiny_models.root), "--rounds", "1", "--views", "1", "--threads", "1", "--without", slow]
    assert main_of("backends")([*told, "--json", str(tmp_path / "rows.json")]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    named = {(row["network"], row["backend"]): row for row in rows}
    for network in ("segmentation", "classification"):
        assert named[network, "eager"]["furthest"] == 0
        assert named[network, "eager channels_last"]["furthest"] < 1e-5
        assert named[network, "the whole stage"]["wall_ms"] > 0


def test_every_step_of_the_outline_is_changed_alone(
    tiny_models: Any, disc_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--data", str(disc_data), "--models", str(tiny_models.root), "--limit", "2", "--json", str(tmp_path / "rows.json")]
    assert main_of("outline")(told) == 0
    names = [row["variant"] for row in json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))]
    assert names[0] == "as configured"
    assert {"without refinement", "every piece kept", "holes left", "the network alone"} <= set(names)
    table = capsys.readouterr().out.splitlines()
    assert table[1].endswith("+0.0000 ± 0.0000")
    assert len(table) == 1 + len(names)


def test_counts_of_test_time_views_are_compared(tiny_models: Any, disc_data: Path, tmp_path: Path) -> None:
    tiny_models.tell("lesion_segmentation", "inference", outline={"threshold": 0.01})
    told = ["--data", str(disc_data), "--split", "train", "--models", str(tiny_models.root), "--limit", "4"]
    assert main_of("views")([*told, "--json", str(tmp_path / "rows.json")]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert [(row["views"], row["averaged"]) for row in rows] == [(n, how) for n in (1, 2, 4, 8) for how in ("logits", "probabilities")]
    assert rows[0]["accuracy"] == rows[1]["accuracy"]
