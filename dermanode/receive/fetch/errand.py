"""One attempt at one request: what the source has, what of it is missing here, and what came in the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from dermanode.domain.identifiers import UID, AETitle
from dermanode.errors import SourceRefused, SourceUnavailable, UnreadableObject
from dermanode.ledger.fetches import Fetch
from dermanode.ledger.history import counted
from dermanode.receive.fetch.door import STOPPED, Door
from dermanode.receive.fetch.listing import Listing, SeriesOrder, list_series
from dermanode.receive.incoming import Incoming
from dermanode.receive.intake import Caller, Intake
from dermanode.receive.wanted import WantedModalities

log = structlog.get_logger(__name__)

ARRIVAL_S = 10.0
"""How long objects are awaited that a source says it has sent to our listener: some answer before they have."""
ARRIVAL_POLL_S = 0.1
ANOTHER_PATIENT = "{source} sent it when another patient's series was asked for. Correct it there, then fetch it by its own patient."


class Holdings(Protocol):
    """What an errand asks of the ledger."""

    def received(self, uids: Collection[UID]) -> frozenset[UID]: ...
    def made_here(self, uids: Collection[UID]) -> frozenset[UID]: ...
    def owners(self, uids: Collection[UID]) -> Mapping[int, frozenset[tuple[str, str]] | None]: ...


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt went."""

    objects: int
    """How many came."""
    words: str
    """Names no patient: it is logged, and stands in the audit trail."""
    is_whole: bool
    """Everything that was asked for is here."""
    is_final: bool = False
    """Another attempt would go the same way."""


class Errand:
    """Does requests at one source, one attempt each."""

    def __init__(
        self,
        door: Door,
        intake: Intake,
        holdings: Holdings,
        own_title: AETitle,
        wanted: WantedModalities,
        *,
        on_listed: Callable[[Mapping[UID, int]], None] = lambda _counts: None,
        quarantine: Callable[[Collection[int], str], None] = lambda _ids, _reason: None,
        arrival_s: float = ARRIVAL_S,
    ) -> None:
        """`on_listed` is told how many objects the source counts in each series that is fetched, before any of them comes."""
        self._quarantine = quarantine
        self._door, self._intake, self._holdings, self._own_title = door, intake, holdings, own_title
        self._wanted, self._on_listed, self._arrival_s = wanted, on_listed, arrival_s

    def run(self, fetch: Fetch, association: str, stopping: threading.Event) -> Result:
        """One attempt. Raises `SourceUnavailable` where the source could not even be asked, `SpoolError` and `LedgerError`."""
        with self._door.search() as searcher:
            listing = list_series(searcher, fetch.query, self._wanted)
        self._on_listed({order.series_instance_uid: order.objects for order in listing.orders})
        account = _Account(listing)
        for order in listing.orders:
            if stopping.is_set():
                account.problems.append(STOPPED)
                break
            try:
                self._bring(order, association, account, stopping)
            except SourceRefused as error:
                account.problems.append(error.reason)
                return account.result(is_final=True)
        return account.result()

    def _bring(self, order: SeriesOrder, association: str, account: _Account, stopping: threading.Event) -> None:
        uids = order.instances.keys()
        if uids and self._holdings.made_here(uids) == uids:
            account.own += 1
            return
        missing = uids - self._holdings.received(uids)
        if missing:
            account.objects += self._retrieve(order, missing, association, account, stopping)
        elif len(uids) >= order.objects and uids:
            account.here += 1
        if len(uids) < order.objects or not uids:
            account.problems.append(f"of series {order.series_instance_uid} it counts {order.objects} objects and names {len(uids)}")

    def _retrieve(
        self, order: SeriesOrder, missing: Collection[UID], association: str, account: _Account, stopping: threading.Event
    ) -> int:
        caller = Caller(association, self._door.title, str(self._own_title), self._door.address)

        def begin(of: SeriesOrder) -> Incoming:
            return Incoming(self._intake, caller, self._door.name, of.belonging)

        reason = ""
        try:
            self._door.retrieve(order, missing, begin, stopping)
        except SourceRefused:
            raise
        except (SourceUnavailable, UnreadableObject) as error:
            reason = f": {error.reason}"
            log.warning("series_not_fetched", source=self._door.name, series=str(order.series_instance_uid), reason=error.reason)
        deadline = time.monotonic() + (0.0 if self._door.is_bringing or reason else self._arrival_s)
        came = self._arrived(missing, deadline, stopping)
        if not self._door.is_bringing:
            self._look_whose(order, came, stopping)
        if len(came) < len(missing):
            account.problems.append(f"of series {order.series_instance_uid} {len(came)} of {counted(len(missing), 'object')} came{reason}")
        else:
            account.series += 1
        return len(came)

    def _arrived(self, missing: Collection[UID], deadline: float, stopping: threading.Event) -> frozenset[UID]:
        """What is in the ledger now, or at the deadline."""
        came = self._holdings.received(missing)
        while len(came) < len(missing) and time.monotonic() < deadline and not stopping.wait(ARRIVAL_POLL_S):
            came = self._holdings.received(missing)
        return came

    def _look_whose(self, order: SeriesOrder, came: Collection[UID], stopping: threading.Event) -> None:
        """What came through our listener could not be refused: another patient's goes to quarantine. Raises `SourceRefused`."""
        deadline = time.monotonic() + self._arrival_s
        owners = self._holdings.owners(came)
        while None in owners.values() and time.monotonic() < deadline and not stopping.wait(ARRIVAL_POLL_S):
            owners = self._holdings.owners(came)
        strangers = [row for row, names in owners.items() if names is not None and not any(_is_expected(order, *name) for name in names)]
        if strangers:
            self._quarantine(strangers, ANOTHER_PATIENT.format(source=self._door.name))
            words = f"it sent {counted(len(strangers), 'object')} of another patient than was asked for, now in quarantine: look there"
            raise SourceRefused(self._door.name, words)


def _is_expected(order: SeriesOrder, patient_id: str, issuer: str) -> bool:
    return order.patient_id in (None, patient_id) and order.issuer_of_patient_id in (None, issuer)


class _Account:
    """What becomes of a request's series."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self.objects = self.series = self.here = self.own = 0
        self.problems: list[str] = []

    def result(self, is_final: bool = False) -> Result:
        words = [self._came(), *self._left_out(), *(f"Failed: {problem}." for problem in self.problems)]
        return Result(self.objects, " ".join(filter(None, words)), is_whole=not self.problems, is_final=is_final)

    def _came(self) -> str:
        if not self._listing.orders:
            return "Nothing that is wanted was found."
        if not self.objects:
            return "Nothing came." if self.problems else ""
        return f"{counted(self.objects, 'object')} came; whole: {self.series} of {len(self._listing.orders)} series."

    def _left_out(self) -> list[str]:
        left: list[str] = []
        if self.here:
            left.append(f"{self.here} series were here already." if self.here > 1 else "1 series was here already.")
        if self.own:
            left.append(f"{self.own} series are results of this node and were left out.")
        if self._listing.unwanted:
            kinds = ", ".join(sorted(self._listing.unwanted))
            left.append(f"Left out, because no pipeline wants their modality: {kinds}.")
        for what, studies in sorted(self._listing.foreign.items()):
            left.append(f"Left out, because {what} is not the one that was asked for: {studies} {'study' if studies == 1 else 'studies'}.")
        return left
