"""A way into a source: it is searched, and a series of it is retrieved."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Protocol

from dermanode.config import DicomwebSource, Source
from dermanode.domain.identifiers import UID, AETitle
from dermanode.receive.fetch.listing import SeriesOrder
from dermanode.receive.incoming import Incoming
from dermanode.receive.searcher import Searcher

STOPPED = "the node is being stopped"
Begin = Callable[[SeriesOrder], Incoming]
"""A new object of that series is coming."""


class Door(Protocol):
    """One source. Its errors are `SourceUnavailable`, and `SpoolError` where there is no room here."""

    @property
    def name(self) -> str:
        """As the settings call it."""

    @property
    def title(self) -> str:
        """The AE title under which its objects are recorded."""

    @property
    def address(self) -> str:
        """Where it is, for the record."""

    @property
    def is_bringing(self) -> bool:
        """False where the source sends the objects to our listener by itself: they are seen in the ledger."""

    def search(self) -> AbstractContextManager[Searcher]:
        """For the questions of one request."""

    def retrieve(self, order: SeriesOrder, missing: Collection[UID], begin: Begin, stopping: threading.Event) -> None:
        """Brings the missing instances; more of the same series may come too.

        Returns when the source says that it is done, which is believed only as far as objects came. Ends early with
        `SourceUnavailable` when `stopping` is set.
        """


def door_to(name: str, source: Source | DicomwebSource, own_title: AETitle) -> Door:
    """The door of those settings."""
    from dermanode.receive.fetch.dicomweb import DicomwebDoor
    from dermanode.receive.fetch.dimse import GetDoor, MoveDoor

    if isinstance(source, DicomwebSource):
        return DicomwebDoor(name, source)
    return GetDoor(name, source, own_title) if source.retrieve == "get" else MoveDoor(name, source, own_title)
