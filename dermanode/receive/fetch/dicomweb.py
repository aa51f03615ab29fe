"""A PACS by QIDO-RS and WADO-RS."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from dermanode.config import DicomwebSource
from dermanode.domain.identifiers import UID
from dermanode.errors import UnreadableObject
from dermanode.receive.dicomweb_peer import DicomwebPeer
from dermanode.receive.fetch.door import Begin
from dermanode.receive.fetch.listing import SeriesOrder
from dermanode.receive.incoming import Incoming
from dermanode.receive.searcher import Searcher


class DicomwebDoor:
    """WADO-RS: multipart, streamed into the spool."""

    is_bringing = True

    def __init__(self, name: str, source: DicomwebSource) -> None:
        self._peer = DicomwebPeer(name, source)
        self.name, self.address = name, source.url
        self.title = str(source.ae_title or name.upper()[:16])

    @contextmanager
    def search(self) -> Iterator[Searcher]:
        with self._peer.session() as session:
            yield session

    def retrieve(self, order: SeriesOrder, missing: Collection[UID], begin: Begin, stopping: threading.Event) -> None:
        series = f"/studies/{order.study_instance_uid}/series/{order.series_instance_uid}"
        is_whole = len(missing) == len(order.instances)
        paths = [series] if is_whole else [f"{series}/instances/{uid}" for uid in sorted(missing)]
        parts = _Parts(lambda: begin(order))
        try:
            with self._peer.session() as session:
                for path in paths:
                    session.retrieve(path, parts, stopping)
        finally:
            parts.abandon()
        if parts.unreadable:
            raise parts.unreadable[0]


class _Parts:
    """Each part of an answer is an object. One that breaks off leaves nothing; one that is no DICOM file does not cost the others."""

    def __init__(self, begin: Callable[[], Incoming]) -> None:
        self._begin = begin
        self._incoming: Incoming | None = None
        self.unreadable: list[UnreadableObject] = []

    def begin(self, content_type: str) -> None:
        self._incoming = self._begin()

    def write(self, data: memoryview) -> None:
        with self._skipping_unreadable():
            if self._incoming is not None:
                self._incoming.write(data)

    def end(self) -> None:
        with self._skipping_unreadable():
            if self._incoming is not None:
                self._incoming.finish()
                self._incoming = None

    def abandon(self) -> None:
        if self._incoming is not None:
            self._incoming.abandon()
            self._incoming = None

    @contextmanager
    def _skipping_unreadable(self) -> Iterator[None]:
        try:
            yield
        except UnreadableObject as error:
            self.unreadable.append(error)
            self.abandon()
