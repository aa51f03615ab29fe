from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dermanode.domain.identifiers import UID, Digest
from dermanode.errors import LedgerError, LedgerUnavailable, UnreadableObject
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Arrival, Header, ObjectState
from dermanode.ledger.spool import Spool
from dermanode.receive.index import BATCH, HeaderReader
from dermanode.testing.ledgers import ledger_at

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_at(tmp_path / "ledger.db")) as opened:
        yield opened


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def arrive(ledger: Ledger, spool: Spool, *names: str) -> list[int]:
    """Objects whose file holds their name; their rows."""
    arrivals = []
    for number, name in enumerate(names):
        incoming = spool.create(NOW.date())
        incoming.write([name.encode()])
        file = incoming.seal()
        uid = UID(f"1.2.{number}")
        arrivals.append(
            Arrival(uid, UID("1.2"), UID("1.2.840.10008.1.2.1"), Digest(file.digest), 1, file.path, "a1", "A", "B", "127.0.0.1", NOW)
        )
    return [receipt.object_id for receipt in ledger.objects.record(arrivals)]


def read(path: Path) -> Header:
    """Reads what `arrive` wrote."""
    text = path.read_text()
    if text.startswith("unreadable"):
        raise UnreadableObject(str(path), "it has no Study Instance UID")
    if text.startswith("odd"):
        raise RecursionError("deep")
    return Header(UID("1.2"), UID("1.2.3"), "XC", text)


def test_headers_are_read_in_batches_until_none_is_left(ledger: Ledger, spool: Spool) -> None:
    ids = arrive(ledger, spool, *(f"P{number}" for number in range(BATCH + 3)))
    assert HeaderReader(ledger, spool, read).drain() == BATCH + 3
    header = ledger.objects.get(ids[-1]).header
    assert header is not None
    assert header.patient_id == f"P{BATCH + 2}"
    assert ledger.objects.unread(1) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("unreadable", "Its header cannot be read: it has no Study Instance UID"),
        ("odd", "Its header cannot be parsed (RecursionError): the file does not follow the standard."),
    ],
)
def test_what_cannot_be_read_is_quarantined_and_the_rest_goes_on(ledger: Ledger, spool: Spool, name: str, reason: str) -> None:
    bad, good = arrive(ledger, spool, name, "P1")
    HeaderReader(ledger, spool, read).drain()
    found = ledger.objects.get(bad)
    assert (found.state, found.reason) == (ObjectState.QUARANTINED, reason)
    assert ledger.objects.get(good).header is not None


def test_a_file_that_is_gone_is_quarantined(ledger: Ledger, spool: Spool) -> None:
    (lost,) = arrive(ledger, spool, "P1")
    spool.path(ledger.objects.get(lost).arrival.path).unlink()
    HeaderReader(ledger, spool, read).drain()
    assert "cannot be opened" in ledger.objects.get(lost).reason


def test_a_woken_thread_reads(ledger: Ledger, spool: Spool, eventually: Callable[[Callable[[], bool]], None]) -> None:
    reader = HeaderReader(ledger, spool, read)
    reader.start()
    arrive(ledger, spool, "P1")
    reader.wake()
    eventually(lambda: not ledger.objects.unread(1))
    reader.stop()


def test_a_ledger_that_is_down_for_a_while_does_not_end_the_thread(
    ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    failures = iter([LedgerUnavailable("down")])
    unread = ledger.objects.unread

    def down_once(limit: int) -> object:
        for error in failures:
            raise error
        return unread(limit)

    arrive(ledger, spool, "P1")
    monkeypatch.setattr(ledger.objects, "unread", down_once)
    reader = HeaderReader(ledger, spool, read)
    reader.start()
    reader.wake()
    eventually(lambda: not unread(1))
    reader.stop()


def test_a_header_that_the_ledger_refuses_holds_up_no_other(ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = arrive(ledger, spool, "P1", "refused", "P2")
    keep = ledger.objects.set_headers

    def picky(headers: Mapping[int, Header]) -> None:
        if any(header.patient_id == "refused" for header in headers.values()):
            raise LedgerError("The ledger refused a record.")
        keep(headers)

    monkeypatch.setattr(ledger.objects, "set_headers", picky)
    HeaderReader(ledger, spool, read).drain()
    assert [ledger.objects.get(one).state for one in ids] == [ObjectState.WAITING, ObjectState.QUARANTINED, ObjectState.WAITING]
    assert ledger.objects.unread(1) == []
