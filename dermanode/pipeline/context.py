"""What a stage may use: one context for each call of a hook."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from dermanode.hookspecs import Bundle, Log


@dataclass(frozen=True, kw_only=True)
class Powers:
    """What a process lends to every stage that runs in it."""

    device: str
    threads: int
    open_bundle: Callable[[str], Bundle]
    """Opens a model bundle by its name. Raises `BundleError`."""


@dataclass(kw_only=True)
class Context:
    """The `StageContext` of one call. It ends with the call: a plugin gains nothing by keeping it."""

    powers: Powers
    plugin: str
    deadline: float
    settings: Mapping[str, Any]
    workdir: Path
    on_progress: Callable[[float], None] = lambda _fraction: None
    declined: str | None = field(default=None, init=False)
    """Why the plugin declined, where it said so."""

    @property
    def device(self) -> str:
        return self.powers.device

    @property
    def threads(self) -> int:
        return self.powers.threads

    @property
    def log(self) -> Log:
        log: Log = structlog.get_logger(self.plugin)
        return log

    def bundle(self, name: str) -> Bundle:
        return self.powers.open_bundle(name)

    def progress(self, fraction: float) -> None:
        self.on_progress(min(max(float(fraction), 0.0), 1.0))

    def decline(self, reason: str) -> None:
        self.declined = str(reason).strip()


def deadline_after(timeout_s: float) -> float:
    """The moment on `time.monotonic()` when a stage that begins now has had its time."""
    return time.monotonic() + timeout_s
