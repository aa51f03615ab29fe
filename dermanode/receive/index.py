"""The header reader: sorts stored objects into series, off the receiving lane."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

import structlog

from dermanode.deliver.steady import SteadyThread
from dermanode.dicom.read import read_header
from dermanode.errors import LedgerError, LedgerUnavailable, SpoolError, UnreadableObject
from dermanode.ledger.records import Header, StoredObject
from dermanode.ledger.spool import Spool

log = structlog.get_logger(__name__)

BATCH = 64
"""Headers in one transaction: the receiver's transactions wait for it."""
POLL_S = 1.0
"""How often it looks by itself; usually the receiver wakes it."""
GATHER_S = 0.05
"""It begins when no object came for so long: its reading and its transactions hold up the receiver's."""
GATHER_MOST_S = 1.0
"""It begins after so long in any case."""


class IndexedObjects(Protocol):
    """The part of `ledger.objects` that the header reader uses."""

    def unread(self, limit: int) -> list[StoredObject]: ...

    def set_headers(self, headers: Mapping[int, Header]) -> None: ...

    def quarantine(self, ids: Collection[int], reason: str) -> None: ...


class IndexedLedger(Protocol):
    @property
    def objects(self) -> IndexedObjects: ...


class HeaderReader:
    """A thread that reads the header of each new object; what cannot be read goes to quarantine with the reason."""

    def __init__(self, ledger: IndexedLedger, spool: Spool, read: Callable[[Path], Header] = read_header) -> None:
        self._ledger, self._spool, self._read = ledger, spool, read
        self._news = threading.Event()
        self._is_stopping = threading.Event()
        self._thread = SteadyThread("header-reader", self._run, self._is_stopping)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the batch at hand."""
        self._is_stopping.set()
        self._news.set()
        self._thread.join()

    def wake(self) -> None:
        """There is a new object."""
        self._news.set()

    def drain(self) -> int:
        """Reads all that is unread, in the caller's thread; how many objects that were. Raises `LedgerError`."""
        read = 0
        while not self._is_stopping.is_set() and (batch := self._ledger.objects.unread(BATCH)):
            self._read_batch(batch)
            read += len(batch)
        return read

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            self._news.wait(POLL_S)
            self._gather()
            try:
                self.drain()
            except LedgerError as error:
                log.error("headers_not_recorded", error=str(error), cure="They are read again when the ledger answers.")

    def _gather(self) -> None:
        end = time.monotonic() + GATHER_MOST_S
        while self._news.is_set() and not self._is_stopping.is_set() and time.monotonic() < end:
            self._news.clear()
            time.sleep(GATHER_S)
        self._news.clear()

    def _read_batch(self, batch: Collection[StoredObject]) -> None:
        headers: dict[int, Header] = {}
        unreadable: defaultdict[str, list[int]] = defaultdict(list)
        for item in batch:
            try:
                headers[item.id] = self._read(self._spool.path(item.arrival.path))
            except UnreadableObject as error:
                unreadable[f"Its header cannot be read: {error.reason}"].append(item.id)
            except (SpoolError, OSError) as error:
                unreadable[f"Its file in the spool cannot be opened ({type(error).__name__})."].append(item.id)
            except Exception as error:  # the DIMSE handler's wall, moved off the lane: any sender may send any bytes
                log.debug("header_reader_raised", sop_instance_uid=str(item.arrival.sop_instance_uid), exc_info=True)
                unreadable[f"Its header cannot be parsed ({type(error).__name__}): the file does not follow the standard."].append(item.id)
        self._keep(headers)
        for reason, ids in unreadable.items():
            log.warning("objects_quarantined", objects=len(ids), reason=reason)
            self._ledger.objects.quarantine(ids, reason)

    def _keep(self, headers: Mapping[int, Header]) -> None:
        """One header that the ledger refuses goes to quarantine with its object: it would hold up all that come after it."""
        try:
            self._ledger.objects.set_headers(headers)
        except LedgerUnavailable:
            raise
        except LedgerError as error:
            if len(headers) > 1:
                for number, header in headers.items():
                    self._keep({number: header})
                return
            log.error("header_refused", error=str(error))
            self._ledger.objects.quarantine(list(headers), "The ledger cannot hold what its header says: see the node's log.")
