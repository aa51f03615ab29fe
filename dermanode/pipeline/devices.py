"""Which devices get a worker, and how many CPU threads each."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence


def resolve(wanted: Sequence[str]) -> tuple[str, ...]:
    """The devices that `engine.devices` means, each once: `auto` is every GPU that the driver shows, else the CPU."""
    devices: list[str] = []
    for name in wanted:
        devices += _automatic() if name == "auto" else [name]
    return tuple(dict.fromkeys(devices))


def threads_for_each(workers: int, configured: int | None) -> int:
    """What is configured, else this process' cores shared out evenly, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return configured or max(1, cores // max(1, workers))


def _automatic() -> list[str]:
    # Asked of the driver's own tool: importing torch here would cost the server's process its memory.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        count = len([index for index in visible.split(",") if index.strip() and index.strip() != "-1"])
        return [f"cuda:{index}" for index in range(count)] or ["cpu"]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ["cpu"]
    try:
        listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ["cpu"]
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0
    return [f"cuda:{index}" for index in range(count)] or ["cpu"]
