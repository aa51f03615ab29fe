"""TCP ports for servers that tests start: nobody else is given them."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import closing

FIRST, PER_PROCESS = 18_000, 1_000
"""Below 32,768, from where Linux takes ports for connections: what is found free here stays so until it is used."""


def _ports() -> Iterator[int]:
    # pytest-xdist numbers its processes gw0, gw1, ...: each has a range of its own.
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    first = FIRST + PER_PROCESS * process
    # Processes that follow each other begin elsewhere: a port just closed may be held for a minute.
    start = os.getpid() % PER_PROCESS
    return itertools.cycle(first + (start + step) % PER_PROCESS for step in range(PER_PROCESS))


_NEXT = _ports()


def free_port() -> int:
    """A port of 127.0.0.1 at which nobody listens. Each call gives another one."""
    for port in itertools.islice(_NEXT, PER_PROCESS):
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"No port of the {PER_PROCESS} for tests is free. Does an earlier run still go on?")
