"""The worker process: warm plugins on one device, one case after another, and nothing that outlives the server."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

import structlog

from dermanode.pipeline import wire
from dermanode.pipeline.told import Told
from dermanode.pipeline.workbench import Workbench

log = structlog.get_logger(__name__)

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def main(descriptor: int, server: int) -> None:
    """Serves the process `server` over the socket `descriptor` until that is closed."""
    _end_with(server)
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    start = wire.receive_order(connection)
    assert isinstance(start, wire.Start)
    _write_log(start)
    bench = Workbench.open(start, Told(lambda news: wire.send_news(connection, news)))
    # What is warm stays for life: looked through at every full collection, some 900,000 objects would cost each case tenths of a second.
    gc.collect()
    gc.freeze()
    wire.send_news(connection, wire.Ready(failures=dict(bench.failures)))
    while True:
        job = wire.receive_order(connection)
        assert isinstance(job, wire.Job)
        _serve(bench, job, connection)


def _serve(bench: Workbench, job: wire.Job, connection: Connection) -> None:
    try:
        case, done = bench.execute(job)
    except Exception as error:  # the wall around a case
        log.error("case_lost", case=job.case_id, error=f"{type(error).__name__}: {error}")
        log.debug("case_traceback", case=job.case_id, exc_info=error)
        wire.send_news(connection, wire.Lost(reason=f"{type(error).__name__}: {error}"))
    else:
        wire.send_news(connection, done)
        if case is not None:
            bench.tell(case, done.outcome, job)
    wire.send_news(connection, wire.Idle())


def _end_with(server: int) -> None:
    """Sees to it that a server killed by SIGKILL leaves no worker, not even one that hangs in a plugin's C code."""
    if sys.platform == "linux":
        # Also fires when the thread that started us ends: the engine's thread owns its worker for life.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it died before we asked
        os._exit(0)

    def watch() -> None:
        while os.getppid() == server:
            time.sleep(1.0)
        os._exit(0)

    threading.Thread(target=watch, name="server-watch", daemon=True).start()


def _write_log(start: wire.Start) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer()
            if start.log.format == "json"
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[start.log.level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(worker=start.device)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the server is gone, or wants us no more
        main(int(sys.argv[1]), int(sys.argv[2]))
