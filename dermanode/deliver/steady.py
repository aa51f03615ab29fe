"""A thread that outlives a defect in its work."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

PAUSE_S = 1.0


class SteadyThread(threading.Thread):
    """Does its work until that returns; where it raises, the defect is told and the work begins anew after a pause.

    A defect is as loud as in any thread (`threading.excepthook`), but it does not stop a destination, a source or the sorting of what
    comes until somebody restarts the node.
    """

    def __init__(self, name: str, work: Callable[[], None], is_stopping: threading.Event, pause_s: float = PAUSE_S) -> None:
        """`work` returns soon after `is_stopping` is set."""
        super().__init__(name=name, daemon=True)  # what hangs does not keep the process alive
        self._work, self._is_stopping, self._pause_s = work, is_stopping, pause_s

    def run(self) -> None:
        while True:
            try:
                self._work()
            except Exception as defect:  # noqa: BLE001  told to whoever listens for it, as the interpreter does at a thread's end
                log.error("thread_failed", thread=self.name, error=type(defect).__name__, next_try_s=self._pause_s)
                threading.excepthook(threading.ExceptHookArgs((type(defect), defect, defect.__traceback__, self)))
            else:
                return
            if self._is_stopping.wait(self._pause_s):
                return
