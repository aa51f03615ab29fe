"""The start after a crash: what was on its way into the spool either has its row or goes."""

from __future__ import annotations

from typing import Protocol

from dermanode.ledger.records import StoredObject
from dermanode.ledger.spool import Recovered, Spool
from dermanode.receive.part10 import sop_instance_uid_in

HEAD_BYTES = 1024


class RecordedObjects(Protocol):
    """The part of `ledger.objects` that knows what is recorded."""

    def find(self, sop_instance_uid: str) -> list[StoredObject]: ...


def recover(spool: Spool, objects: RecordedObjects) -> Recovered:
    """Removes what no sender was told is stored. Before anything is received; raises `LedgerError` when the ledger cannot tell."""

    def is_recorded(relative: str) -> bool:
        with spool.path(relative).open("rb") as file:
            uid = sop_instance_uid_in(file.read(HEAD_BYTES))
        return uid is not None and any(one.arrival.path == relative for one in objects.find(uid))

    return spool.recover(is_recorded)
