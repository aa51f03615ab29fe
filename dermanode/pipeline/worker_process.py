"""A worker as the engine holds it: started, watched, and stopped when it takes too long or too much."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import structlog

from dermanode.errors import PluginCrashed, PluginExceededMemory, PluginTimedOut
from dermanode.pipeline import wire

log = structlog.get_logger(__name__)

POLL_S = 0.1
"""How often a silent worker's deadline and memory are looked at."""
FAMILY_EVERY_S = 1.0
"""How often its children are sought: that means a look at every process of the machine."""
MIB = 1024 * 1024
FIRST_TO_GO = 800
"""Linux `oom_score_adj`: when the machine's memory ends, the kernel takes a worker and not the server."""


class WorkerStopped(Exception):
    """The engine is being stopped; the worker was ended with its case unfinished."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a worker may take."""

    memory_mib: float
    start_timeout_s: float


@dataclass(slots=True)
class _Blame:
    """Who is at work in the worker, and until when on `time.monotonic()`."""

    stage: str
    plugin: str
    timeout_s: float
    deadline: float


class WorkerProcess:
    """One worker process. Whoever calls `start` and `run` waits; `is_stopping` ends the wait within `POLL_S`.

    `start` and `run` raise `PluginTimedOut`, `PluginCrashed` or `PluginExceededMemory`, each with the stage and the plugin that
    was at work, and `WorkerStopped`. After any of them the process is gone, its children too.
    """

    def __init__(self, start: wire.Start, limits: Limits, is_stopping: threading.Event) -> None:
        self._order, self._limits, self._is_stopping = start, limits, is_stopping
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._blame = _Blame("start", "", limits.start_timeout_s, time.monotonic() + limits.start_timeout_s)
        self._looked_at_s = 0.0
        self._sought_at_s = float("-inf")
        self._children: list[psutil.Process] = []
        self._is_settled = True

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def used_mib(self) -> float:
        """Resident memory of the worker and its children; 0 when it is gone."""
        if self._process is None:
            return 0.0
        try:
            process = psutil.Process(self._process.pid)
            now = time.monotonic()
            if now - self._sought_at_s >= FAMILY_EVERY_S:
                self._sought_at_s = now
                self._children = process.children(recursive=True)
            return (process.memory_info().rss + sum(map(_resident, self._children))) / MIB
        except psutil.Error:
            return 0.0

    def start(self) -> Mapping[str, str]:
        """Starts the process and waits until it is warm. Returns the plugins that could not be imported or warmed up, and why."""
        self._spawn()
        limit = self._limits.start_timeout_s
        self._blame = _Blame("start", "", limit, time.monotonic() + limit)
        self._send(self._order)
        while True:
            news = self._next()
            if isinstance(news, wire.Ready):
                return news.failures
            if isinstance(news, wire.Began):
                # One limit for the whole start: each plugin gets what is left of it.
                self._blame = _Blame(news.stage, news.plugin, limit, self._blame.deadline)

    def _spawn(self) -> None:
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "dermanode.pipeline.worker", str(theirs.fileno()), str(os.getpid())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=2,  # what a plugin prints must not mix with what a command prints
                    start_new_session=True,  # Ctrl-C in the terminal is the server's to handle; and its children end with it
                    env=_environment(self._order.threads),
                )
            self._connection = Connection(ours.detach())
        except OSError as error:  # no memory, no processes or no file descriptors left
            raise PluginCrashed("", "start", f"it could not be started: {error}") from error
        _offer_to_the_kernel(self._process.pid)

    def run(self, job: wire.Job, on_news: Callable[[wire.News], None]) -> wire.Done | wire.Lost:
        """Gives the worker a case and waits for its end; `on_news` hears of every stage."""
        self._blame = _Blame("start", "", POLL_S, time.monotonic() + 60.0)
        self._send(job)
        self._is_settled = False
        while True:
            news = self._next()
            if isinstance(news, (wire.Done, wire.Lost)):
                return news
            self._take(news)
            on_news(news)

    def settle(self) -> None:
        """Waits until the plugins have been told that the last case is finished. Raises as `run` does."""
        while not self._is_settled:
            news = self._next()
            self._take(news)
            self._is_settled = isinstance(news, wire.Idle)

    def _take(self, news: wire.News) -> None:
        if isinstance(news, wire.Began):
            self._blame = _Blame(news.stage, news.plugin, news.timeout_s, time.monotonic() + news.timeout_s)

    def close(self) -> None:
        """Ends the worker. An idle one sees the end of its connection and goes by itself."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1.0)
            self._kill()

    def _send(self, order: wire.Start | wire.Job) -> None:
        assert self._connection is not None
        try:
            wire.send_order(self._connection, order)
        except OSError:
            raise self._crashed() from None

    def _next(self) -> wire.News:
        """The worker's next news. Kills the worker and raises when it breaks a limit."""
        assert self._connection is not None
        while True:
            self._look()
            try:
                if self._connection.poll(POLL_S):
                    return wire.receive_news(self._connection)
                has_ended = not self.is_alive and not self._connection.poll(0)
            except (EOFError, OSError):
                raise self._crashed() from None
            if has_ended:  # but a child of its own holds the connection open
                raise self._crashed()

    def _look(self) -> None:
        """Holds the worker against its limits."""
        now = time.monotonic()
        blame = self._blame
        if self._is_stopping.is_set():
            self._kill()
            raise WorkerStopped
        if now > blame.deadline:
            self._kill()
            raise PluginTimedOut(blame.plugin, blame.stage, blame.timeout_s)
        if now - self._looked_at_s >= POLL_S:
            self._looked_at_s = now
            used_mib = self.used_mib
            if used_mib > self._limits.memory_mib:
                self._kill()
                raise PluginExceededMemory(blame.plugin, blame.stage, used_mib, self._limits.memory_mib)

    def _crashed(self) -> PluginCrashed:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):  # it closed the connection and lives on: then it is stopped
            self._process.wait(timeout=1.0)
        how = _how(self._process.poll())
        self._kill()
        return PluginCrashed(self._blame.plugin, self._blame.stage, how)

    def _kill(self) -> None:
        """Ends the process and its children at once."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel, where no signal reaches it
            self._process.wait(timeout=10.0)
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has ended
        return 0


def _environment(threads: int) -> dict[str, str]:
    """Ours, with the threads that numerical libraries may use: they read it once, when they are imported."""
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    # Threads that wait for each other spin by default: on a machine that also receives, they take the cores from those they wait for.
    return {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **counts}


def _offer_to_the_kernel(pid: int) -> None:
    with contextlib.suppress(OSError):  # not Linux, or it has ended already
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(FIRST_TO_GO), encoding="ascii")


def _how(status: int | None) -> str:
    """In words, how a process ended."""
    if status is None:
        return "it closed its connection"
    if status == -signal.SIGKILL:
        return "killed by SIGKILL, perhaps because the machine's memory was exhausted"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"
