"""The headers of objects that were asked for lately: read once, without their pixels, and kept by digest, so never out of date."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from dermanode.dicom.elements import Elements
from dermanode.dicom.scan import scanned
from dermanode.domain.identifiers import Digest
from dermanode.web.dicomweb.attributes import READ

MOST_KEPT = 4096
"""About 5 KiB each."""


@dataclass(frozen=True, slots=True)
class Head:
    """What was read of one object."""

    elements: Elements
    transfer_syntax: str


class Headers:
    """Reads headers; any thread may ask."""

    def __init__(self, most_kept: int = MOST_KEPT) -> None:
        self._most_kept = most_kept
        self._kept: OrderedDict[Digest, Head] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path, digest: Digest, more: frozenset[int] = frozenset()) -> Head:
        """The attributes that queries usually ask for, and `more`. Raises `UnreadableObject`, also for a file that is gone."""
        if not more <= READ:
            return _read(path, READ | more)
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
                return self._kept[digest]
        head = _read(path, READ)
        with self._lock:
            self._kept[digest] = head
            while len(self._kept) > self._most_kept:
                self._kept.popitem(last=False)
        return head


def _read(path: Path, wanted: frozenset[int]) -> Head:
    with scanned(path, wanted) as scan:
        return Head(scan.elements, scan.transfer_syntax)
