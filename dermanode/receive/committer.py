"""The committer: makes arrivals durable, those of concurrent associations together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dermanode.errors import LedgerError
from dermanode.ledger.records import Arrival, ObjectState, Receipt, ReceiptKind, StoredObject
from dermanode.ledger.spool import Spool
from dermanode.receive.gather import Gatherer


class Arrivals(Protocol):
    """The part of the ledger that takes arrivals: `ledger.objects`."""

    def record(self, arrivals: Sequence[Arrival]) -> list[Receipt]: ...

    def get(self, object_id: int) -> StoredObject: ...


class Committer:
    """One thread that syncs folders and writes rows, for all associations that wait.

    A row is written when the file and its name are on disk, so a row always has a whole file, at any crash.
    """

    def __init__(self, spool: Spool, objects: Arrivals) -> None:
        self._spool, self._objects = spool, objects
        # One hand-over an object: each costs the waiting thread two switches, more than what two threads would do at once.
        self._rounds: Gatherer[Arrival, Receipt] = Gatherer("committer", self._commit, (OSError, LedgerError))

    def start(self) -> None:
        self._rounds.start()

    def stop(self) -> None:
        """Ends when what is queued is on disk."""
        self._rounds.stop()

    def record(self, arrival: Arrival) -> Receipt:
        """Waits until the name and the row of a synced file are on disk. Raises OSError, `LedgerError`, or what the database raised."""
        receipt = self._rounds.submit(arrival).result()
        if receipt.kind is ReceiptKind.DUPLICATE:
            first = self._objects.get(receipt.object_id)
            if first.arrival.path != arrival.path:  # the same bytes, kept since another day
                self._spool.fold(arrival.path, None if first.state is ObjectState.PURGED else first.arrival.path)
        return receipt

    def _commit(self, arrivals: Sequence[Arrival]) -> Sequence[Receipt]:
        self._spool.sync_folders(arrival.path for arrival in arrivals)
        return self._objects.record(arrivals)
