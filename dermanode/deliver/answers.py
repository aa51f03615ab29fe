"""The answers to what we ask by DIMSE: none is lost to pynetdicom's own thread."""

from __future__ import annotations

from typing import Any

from pynetdicom import evt


def undisturbed(event: evt.Event) -> None:
    """Leaves every message of the association to who waits for an answer; for associations on which nothing comes unasked.

    pynetdicom's own thread takes messages too while it is not paused, and pausing it has a race: now and then an answer to a request
    that follows another at once is taken and thrown away (pynetdicom issue 875; 1 of 2000 with 3.0.4). A search then finds less.
    Reports on commitments may come unasked all the same: pynetdicom serves them in a thread of their own, past the queue.
    """
    dimse = event.assoc.dimse
    take = dimse.get_msg

    def take_when_waiting(block: bool = False) -> Any:
        return take(block) if block else (None, None)

    dimse.get_msg = take_when_waiting
