"""Running listeners, and the ledger in memory that they write to."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

import pytest

from dermanode.config import Receive, Settings
from dermanode.ledger.records import Arrival, ObjectState, Receipt, ReceiptKind, StoredObject
from dermanode.ledger.spool import Spool
from dermanode.receive.scp import StorageScp
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.raw_peer import RawPeer


@dataclass
class MemoryLedger:
    """The part of a ledger that a listener writes to, in memory."""

    arrivals: list[Arrival] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    error: Exception | None = None

    @property
    def objects(self) -> Self:
        return self

    @property
    def history(self) -> Self:
        return self

    def record(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        if self.error is not None:
            raise self.error
        self.arrivals += arrivals
        return [Receipt(ReceiptKind.STORED, len(self.arrivals))] * len(arrivals)

    def get(self, object_id: int) -> StoredObject:
        return StoredObject(object_id, self.arrivals[object_id - 1], ObjectState.WAITING, "", 0, None)

    def find(self, sop_instance_uid: str) -> list[StoredObject]:
        return [self.get(number + 1) for number, one in enumerate(self.arrivals) if one.sop_instance_uid == sop_instance_uid]

    def is_recorded(self, path: str) -> bool:
        return any(one.path == path for one in self.arrivals)

    def add(self, subject: str, kind: str, words: str, at: datetime) -> None:
        self.events.append((subject, kind, words))


@dataclass
class Node:
    """A running listener and what it writes to."""

    scp: StorageScp
    spool: Spool
    ledger: MemoryLedger
    released: list[str]

    def peer(self) -> RawPeer:
        return RawPeer(self.scp.port, timeout_s=30)

    def data_set(self, arrival: Arrival) -> bytes:
        """What was stored behind the file's head."""
        data = self.spool.path(arrival.path).read_bytes()
        return data[144 + struct.unpack("<I", data[140:144])[0] :]

    def incoming(self) -> list[Path]:
        return list((self.spool.root / "incoming").iterdir())


Start = Callable[..., Node]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts listeners; `is_lane_used` and the fields of `receive` may be given."""
    nodes: list[Node] = []

    def make(is_lane_used: bool = True, **receive: object) -> Node:
        settings = Settings(receive=Receive.model_validate({"port": 0, "minimum_free_mib": 0, "network_timeout_s": 10} | receive))
        spool, ledger, released = Spool(tmp_path / f"spool{len(nodes)}"), MemoryLedger(), list[str]()
        scp = StorageScp(settings, spool, ledger, released.append, is_lane_used=is_lane_used)
        scp.start()
        nodes.append(Node(scp, spool, ledger, released))
        return nodes[-1]

    yield make
    for node in nodes:
        node.scp.stop()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits until a condition holds."""

    def wait(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.01)

    return wait


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    """The URL of an empty ledger of the test's own; opened again, it is the same."""
    return ledger_at(tmp_path / "ledger.db")
