"""Devices come from the settings, from the driver's tool, or there is the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermanode.pipeline import devices


@pytest.fixture(autouse=True)
def _no_restriction(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


def write_tool(folder: Path, output: str, status: int = 0) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '{output}'\nexit {status}\n", encoding="ascii")
    tool.chmod(0o755)


def test_named_devices_are_taken_once() -> None:
    assert devices.resolve(["cuda:1", "cpu", "cuda:1"]) == ("cuda:1", "cpu")


def test_machine_without_the_drivers_tool_has_the_cpu() -> None:
    assert devices.resolve(["auto"]) == ("cpu",)


def test_every_gpu_of_the_driver_gets_a_worker(tmp_path: Path) -> None:
    write_tool(tmp_path, "GPU 0: A (UUID: x)\\nGPU 1: A (UUID: y)\\n")
    assert devices.resolve(["auto"]) == ("cuda:0", "cuda:1")


def test_driver_that_does_not_answer_means_the_cpu(tmp_path: Path) -> None:
    write_tool(tmp_path, "Failed to initialize NVML", status=9)
    assert devices.resolve(["auto"]) == ("cpu",)


@pytest.mark.parametrize(("visible", "expected"), [("", ("cpu",)), ("-1", ("cpu",)), ("3,5", ("cuda:0", "cuda:1"))])
def test_gpus_that_were_hidden_are_not_used(monkeypatch: pytest.MonkeyPatch, visible: str, expected: tuple[str, ...]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.resolve(["auto"]) == expected


def test_threads_are_shared_out_and_never_none() -> None:
    assert devices.threads_for_each(1000, None) == 1
    assert devices.threads_for_each(4, 3) == 3
