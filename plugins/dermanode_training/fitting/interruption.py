"""Ctrl-C and SIGTERM, kept until a step is over: weights are never left half updated."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Inside of `with`, the first signal is noted, a second one raises `KeyboardInterrupt` at once.

    Outside of the main thread, where Python allows no signal handlers, nothing is noted.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._note) for one in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True


def leave_to_the_parent() -> None:
    """For a process that prepares pictures: Ctrl-C reaches it too, but when to stop is the loop's to say."""
    for one in SIGNALS:
        signal.signal(one, signal.SIG_IGN)
