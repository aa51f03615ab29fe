"""The receiving half of a node on free ports: listener, ledger, header reader, fetchers; no engine, no page."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from dermanode.config import Match, Pipeline, Retry, Settings
from dermanode.ledger.fetch_query import FetchQuery
from dermanode.ledger.fetches import Fetch
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import FetchState, StoredObject
from dermanode.ledger.spool import Spool
from dermanode.receive.commitment import CommitmentDesk
from dermanode.receive.fetch.fetcher import Fetchers
from dermanode.receive.index import HeaderReader
from dermanode.receive.scp import StorageScp
from dermanode.testing.ledgers import ledger_at

QUICK = Retry(attempts=3, first_s=0.2, longest_s=1.0)
DERMOSCOPY = Pipeline(name="test", match=Match(modalities=("DMS", "XC")), stages={})


@dataclass
class FetchingNode:
    """What was fetched lies in its ledger and its spool."""

    ledger: Ledger
    spool: Spool
    scp: StorageScp
    reader: HeaderReader
    fetchers: Fetchers
    seen: list[str] = field(default_factory=list)
    """The words of each attempt of the last fetch."""

    def fetch(self, source: str = "pacs", *, attempts: int | None = None, limit_s: float = 60.0, **query: str) -> Fetch:
        """Asks and waits until it is over, or until so many attempts were made."""
        fetch = self.ledger.fetches.ask(source, FetchQuery.parse(**query), asked_by="test", now=datetime.now(UTC))
        self.fetchers.wake()
        return self.ended(fetch.id, attempts=attempts, limit_s=limit_s)

    def ended(self, fetch_id: int, *, attempts: int | None = None, limit_s: float = 60.0) -> Fetch:
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            fetch = self.ledger.fetches.get(fetch_id)
            is_between = attempts is not None and fetch.attempts >= attempts and fetch.state is FetchState.PENDING
            if fetch.is_over or is_between:
                return fetch
            time.sleep(0.02)
        raise TimeoutError(f"{fetch} is not over.")

    def stored(self) -> list[StoredObject]:
        """Everything that came, in the order of arrival, with headers read."""
        self.reader.drain()
        return sorted(self.ledger.objects.recent(1000), key=lambda one: one.id)

    def uids(self) -> list[str]:
        return sorted(str(one.arrival.sop_instance_uid) for one in self.stored())

    def dataset(self, stored: StoredObject) -> Dataset:
        return dcmread(self.spool.path(stored.arrival.path))


@contextmanager
def fetching_node(
    data: Path,
    sources: Mapping[str, Mapping[str, Any]],
    *,
    pipelines: Sequence[Pipeline] = (DERMOSCOPY,),
    port: int = 0,
    retry: Retry = QUICK,
    minimum_free_mib: int = 0,
    ae_title: str = "DERMANODE",
    is_promising: bool = False,
) -> Iterator[FetchingNode]:
    """A node that listens on that port of loopback. `is_promising`: with the desk for storage commitment."""
    settings = Settings.model_validate(
        {
            "node": {"data_dir": str(data), "ae_title": ae_title},
            "receive": {"port": port, "minimum_free_mib": minimum_free_mib},
            "sources": {name: {"timeout_s": 5.0, **source} for name, source in sources.items()},
        }
    )
    data.mkdir(parents=True, exist_ok=True)
    ledger, spool = Ledger.open(ledger_at(data / "ledger.db")), Spool(settings.node.spool_dir)
    reader = HeaderReader(ledger, spool)
    desk = CommitmentDesk(ledger, spool, settings) if is_promising else None
    scp = StorageScp(settings, spool, ledger, on_stored=reader.wake, desk=desk)
    fetchers = Fetchers(ledger, settings, pipelines, scp.intake, on_fetched=reader.wake, poll_s=0.1, retry=retry, arrival_s=1.0)
    scp.start()
    if desk is not None:
        desk.start()
    reader.start()
    fetchers.start()
    try:
        yield FetchingNode(ledger, spool, scp, reader, fetchers)
    finally:
        fetchers.stop()
        scp.stop()
        if desk is not None:
            desk.stop()
        reader.stop()
        ledger.close()
