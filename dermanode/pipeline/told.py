"""What the fold does, told to whoever watches it as news."""

from __future__ import annotations

import time
from collections.abc import Callable

from dermanode.domain import StageReport
from dermanode.pipeline import wire

PROGRESS_EVERY_S = 0.2
"""A plugin may report its progress for every pixel."""


class Told:
    """A `Watcher` that turns calls into news."""

    def __init__(self, tell: Callable[[wire.News], None]) -> None:
        self._tell = tell
        self._progress_at_s = float("-inf")

    def began(self, stage: str, plugin: str, timeout_s: float) -> None:
        self._tell(wire.Began(stage=stage, plugin=plugin, timeout_s=timeout_s))

    def advanced(self, stage: str, plugin: str, fraction: float) -> None:
        now_s = time.monotonic()
        if now_s - self._progress_at_s >= PROGRESS_EVERY_S:
            self._progress_at_s = now_s
            self._tell(wire.Advanced(stage=stage, plugin=plugin, fraction=fraction))

    def ended(self, report: StageReport) -> None:
        self._tell(wire.Ended(report=report))
