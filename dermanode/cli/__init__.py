"""The command `dermanode`: what an administrator types, and the exit codes that scripts read.

0: done. 1: it did not work, and the message says why. 2: wrong usage or settings. 130: stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from dermanode import __version__
from dermanode.cli import bench, cases, configuration, demo, doctor, fetch, plugins, send, serve, train
from dermanode.errors import ConfigurationError, DermaNodeError

_COMMANDS = (serve, send, fetch, cases, plugins, configuration, doctor, demo, bench, train)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = make_parser()
    chosen = parser.parse_args(arguments)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING), logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    try:
        return int(chosen.run(chosen))
    except ConfigurationError as error:
        print(f"dermanode: {error}", file=sys.stderr)
        return 2
    except DermaNodeError as error:
        print(f"dermanode: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `dermanode cases | head`
        sys.stderr.close()
        return 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the documentation is checked against it."""
    parser = argparse.ArgumentParser(
        prog="dermanode",
        description="An AI node for dermoscopy beside your PACS: it receives series by C-STORE, runs them through plugins, and gives back "
        "Segmentation, Surface Segmentation and Structured Reports, HL7 v2 and FHIR. Research software, not a cleared medical device.",
        epilog="Begin with `dermanode doctor`, then `dermanode serve`.",
    )
    parser.add_argument("--version", action="version", version=f"dermanode {__version__}")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the settings (default: $DERMANODE_CONFIG, else config/dermanode.yaml)",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_to(commands)
    return parser
