"""`serve`: runs the node."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from types import FrameType

import structlog

from dermanode.app import Node
from dermanode.cli.opened import configuration
from dermanode.config import Settings


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="run the node",
        description="Receives, runs, delivers, until Ctrl-C or SIGTERM; what was in work goes on at the next start.",
    )
    serve.set_defaults(run=_serve)


def set_up_logging(settings: Settings) -> None:
    """Structured lines on standard error, for people or as JSON."""
    level = getattr(logging, settings.log.level.upper())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if settings.log.format == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # Libraries speak through the standard log: theirs is for debugging, except what they call an error.
    logging.basicConfig(level=logging.DEBUG if level == logging.DEBUG else logging.ERROR, stream=sys.stderr, format="%(name)s: %(message)s")


def _serve(arguments: argparse.Namespace) -> int:
    chosen = configuration(arguments)
    set_up_logging(chosen.settings)
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    node = Node(chosen.settings, chosen.pipelines, chosen.folder)
    node.start()
    try:
        receive = chosen.settings.receive
        print(f"DermaNode listens for DICOM as {chosen.settings.node.ae_title} on {receive.host}:{node.dicom_port}", flush=True)
        if node.page:
            print(f"The page: {node.page}", flush=True)
        stopped.wait()
    finally:
        node.stop()
    return 0
