"""The committer: makes arrivals durable, those of concurrent associations together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from dermanode.errors import LedgerError
from dermanode.ledger.records import Arrival, Receipt, ReceiptKind, StoredObject
from dermanode.ledger.spool import IncomingFile, Spool, SpooledFile
from dermanode.receive.gather import Gatherer

log = structlog.get_logger(__name__)


class Arrivals(Protocol):
    """The part of the ledger that takes arrivals: `ledger.objects`."""

    def record(self, arrivals: Sequence[Arrival]) -> list[Receipt]: ...

    def get(self, object_id: int) -> StoredObject: ...


class Committer:
    """Two threads: one syncs folders, one writes rows, each for all associations that wait.

    A row is written when the file and its name are on disk, so a row always has a whole file, at any crash.
    """

    def __init__(self, spool: Spool, objects: Arrivals) -> None:
        self._spool, self._objects = spool, objects
        self._folders: Gatherer[SpooledFile, None] = Gatherer("folder-sync", self._sync_folders, (OSError,))
        self._rows: Gatherer[Arrival, Receipt] = Gatherer("ledger-writer", objects.record, (LedgerError,))

    def start(self) -> None:
        self._folders.start()
        self._rows.start()

    def stop(self) -> None:
        """Ends when what is queued is on disk."""
        self._folders.stop()
        self._rows.stop()

    def sync(self, incoming: IncomingFile, file: SpooledFile) -> None:
        """Makes a settled file durable, its data and its name side by side. Raises OSError."""
        folder = self._folders.submit(file)
        incoming.sync()
        folder.result()

    def record(self, arrival: Arrival) -> Receipt:
        """Waits until the row is on disk. Raises `LedgerError`, or what the database raised."""
        receipt = self._rows.submit(arrival).result()
        if receipt.kind is ReceiptKind.DUPLICATE and self._objects.get(receipt.object_id).arrival.path != arrival.path:
            self._spool.path(arrival.path).unlink(missing_ok=True)  # the same bytes, kept since another day
        return receipt

    def _sync_folders(self, files: Sequence[SpooledFile]) -> Sequence[None]:
        self._spool.sync_folders(files)
        return [None] * len(files)
