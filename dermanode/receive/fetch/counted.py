"""How many objects a source counts in the series that were asked for: they are complete when all of these are here."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from dermanode.domain.identifiers import UID
from dermanode.receive.source import SourceCount

MOST_REMEMBERED = 10_000
"""The latest series; an older one has long become a case, or is judged by other evidence."""


class FetchedCounts:
    """Any thread may use it. A restart forgets: then the source is asked again, or the series grows quiet."""

    def __init__(self) -> None:
        self._counts: OrderedDict[UID, SourceCount] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, source: str, counts: Mapping[UID, int]) -> None:
        """What the source has just said, by Series Instance UID."""
        with self._lock:
            for series, objects in counts.items():
                self._counts.pop(series, None)
                self._counts[series] = SourceCount(source, objects)
            while len(self._counts) > MOST_REMEMBERED:
                self._counts.popitem(last=False)

    def count(self, series: UID) -> SourceCount | None:
        with self._lock:
            return self._counts.get(series)

    def forget(self, series: UID) -> None:
        """A case was opened: what comes later is not measured by an old count."""
        with self._lock:
            self._counts.pop(series, None)
