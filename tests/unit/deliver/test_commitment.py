"""What was delivered is asked about: it ends as committed, is sent again, or is said to be not committed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dermanode.config import Settings
from dermanode.deliver.commitment import CommitmentRequests
from dermanode.deliver.outbox import Outbox
from dermanode.domain.identifiers import UID, Digest
from dermanode.domain.outcome import Outcome, ProducedObject
from dermanode.ledger.commitments import Commitment
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Arrival, Delivery, DeliveryState, Evidence, Header, NewDelivery, SeriesKey
from dermanode.ledger.spool import Spool
from dermanode.receive.commitment import CommitmentDesk
from dermanode.receive.scp import StorageScp
from dermanode.testing.committing import CommittingPacs
from dermanode.testing.pacs import LoopbackPacs

SR = "1.2.840.10008.5.1.4.1.1.88.34"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class Sender:
    """A node's outbox, its requests for commitment and its listener, with one delivery of one report."""

    ledger: Ledger
    delivery_id: int
    port: int

    def delivery(self) -> Delivery:
        return self.ledger.deliveries.get(self.delivery_id)

    def wait(self, wanted: Callable[[Delivery], bool], timeout_s: float = 30) -> Delivery:
        deadline = time.monotonic() + timeout_s
        while not wanted(self.delivery()):
            assert time.monotonic() < deadline, self.delivery()
            time.sleep(0.02)
        return self.delivery()


@pytest.fixture
def sending(tmp_path: Path, ledger_url: str, write_dicom: Callable[..., Path]) -> Any:
    @contextmanager
    def make(pacs: LoopbackPacs, **destination: Any) -> Iterator[Sender]:
        settings = Settings.model_validate(
            {
                "receive": {"port": 0, "minimum_free_mib": 0},
                "destinations": {"pacs": pacs.destination(retry={"first_s": 0.05, "longest_s": 0.1}, **destination).model_dump()},
            }
        )
        ledger = Ledger.open(ledger_url)
        delivery_id = planned(ledger, tmp_path / "results", write_dicom("sr.dcm", "1.2.3", SR))
        # A report that comes here has as long as it takes; for one that does not come here nobody waits long.
        hold_s = 30.0 if getattr(pacs, "where", "never") == "here" else 0.1
        spool = Spool(tmp_path / "spool")
        desk = CommitmentDesk(ledger, spool, settings, poll_s=0.05)
        scp = StorageScp(settings, spool, ledger, desk=desk)
        outbox = Outbox(ledger, settings, tmp_path / "results", poll_s=0.05)
        requests = CommitmentRequests(ledger, settings, on_lost=outbox.wake, poll_s=0.05, hold_s=hold_s)
        scp.start()
        if isinstance(pacs, CommittingPacs):
            pacs.reports_to = ("127.0.0.1", scp.port)
        for part in (outbox, requests):
            part.start()
        try:
            yield Sender(ledger, delivery_id, scp.port)
        finally:
            for part in (scp, requests, outbox):
                part.stop()
            ledger.close()

    return make


def planned(ledger: Ledger, results: Path, file: Path) -> int:
    """The number of the one delivery of a case that made this file."""
    arrival = Arrival(
        sop_instance_uid=UID("1.1.1"),
        sop_class_uid=UID("1.2.840.10008.5.1.4.1.1.77.1.4"),
        transfer_syntax_uid=UID("1.2.840.10008.1.2.1"),
        digest=Digest("0" * 64),
        size_bytes=1,
        path="x.dcm",
        association="a",
        calling_ae="CAMERA",
        called_ae="DERMANODE",
        source_address="127.0.0.1",
        received_at=NOW,
    )
    (receipt,) = ledger.objects.record([arrival])
    key = SeriesKey(UID("1.1"), UID("1.1.0"), "P")
    ledger.objects.set_headers({receipt.object_id: Header(key.study_instance_uid, key.series_instance_uid, "XC", "P")})
    case = ledger.cases.open(key, pipeline="p", plan=(), evidence=Evidence("quiet period", ""), now=NOW)
    (results / case.id).mkdir(parents=True)
    shutil.copy(file, results / case.id / "sr.dcm")
    made = ProducedObject(
        kind="SR", path=f"{case.id}/sr.dcm", digest=Digest("1" * 64), size_bytes=1, sop_class_uid=UID(SR), sop_instance_uid=UID("1.2.3")
    )
    outcome = Outcome(case_id=case.id, revision=1, is_failed=False, reports=(), objects=(made,), took_s=0.1)
    ledger.cases.finish(case.id, outcome, [NewDelivery("pacs", (f"{case.id}/sr.dcm",))], NOW)
    return ledger.deliveries.of_case(case.id)[0].id


@pytest.mark.parametrize("where", ["here", "anew"])
def test_a_delivery_that_the_pacs_promises_to_keep_ends_as_committed(sending: Any, where: Any) -> None:
    with CommittingPacs() as pacs:
        pacs.where = where
        with sending(pacs) as node:
            row = node.wait(lambda d: d.state is DeliveryState.COMMITTED)
        assert row.receipt == "1 objects stored by LOOPBACK"
        assert len(pacs.transactions) == 1
        assert pacs.answers == [0x0000]


def test_a_pacs_without_storage_commitment_leaves_it_as_delivered_and_said_so(sending: Any) -> None:
    with LoopbackPacs() as pacs, sending(pacs) as node:
        row = node.wait(lambda d: "not offered" in d.receipt)
    assert row.state is DeliveryState.DELIVERED


def test_a_pacs_that_shall_not_be_asked_is_not(sending: Any) -> None:
    with CommittingPacs() as pacs, sending(pacs, commitment="never") as node:
        row = node.wait(lambda d: d.state is DeliveryState.DELIVERED)
        time.sleep(0.3)
        assert row.receipt == "1 objects stored by LOOPBACK"
    assert pacs.transactions == []


def test_what_the_pacs_has_lost_is_sent_again(sending: Any) -> None:
    with CommittingPacs() as pacs:
        pacs.loses = lambda _uid: None if len(pacs.received) > 1 else 0x0112
        with sending(pacs) as node:
            node.wait(lambda d: d.state is DeliveryState.COMMITTED)
            assert [event.kind for event in node.ledger.history.of(f"delivery:{node.delivery_id}")].count("delivered") == 2
    assert len(set(pacs.transactions)) == 2


def test_without_a_report_it_is_sent_again_and_at_last_left_as_delivered(sending: Any) -> None:
    with CommittingPacs() as pacs:
        pacs.where = "never"
        with sending(pacs, commitment_timeout_s=0.1) as node:
            row = node.wait(lambda d: "in 3 rounds" in d.receipt)
    assert row.state is DeliveryState.DELIVERED
    assert len(pacs.received) == 3


def test_a_report_from_another_ae_settles_nothing(sending: Any) -> None:
    with CommittingPacs() as pacs:
        pacs.where, pacs.calls_itself = "anew", "SOMEBODY"
        with sending(pacs) as node:
            deadline = time.monotonic() + 30
            while not pacs.answers and time.monotonic() < deadline:
                time.sleep(0.02)
            assert pacs.answers == [0x0110]
            assert node.delivery().state is DeliveryState.DELIVERED
            pacs.calls_itself = "LOOPBACK"
            pacs.report(UID(pacs.transactions[0]), [(SR, "1.2.3")])
            node.wait(lambda d: d.state is DeliveryState.COMMITTED)
            # The same report again does no harm.
            assert pacs.report(UID(pacs.transactions[0]), [(SR, "1.2.3")]) == 0x0000
            assert node.delivery().state is DeliveryState.COMMITTED


def test_a_busy_pacs_is_asked_again_under_the_same_transaction(sending: Any) -> None:
    with CommittingPacs() as pacs:
        pacs.action_status = 0x0213
        with sending(pacs) as node:
            deadline = time.monotonic() + 30
            while len(pacs.transactions) < 2 and time.monotonic() < deadline:
                time.sleep(0.02)
            pacs.action_status = 0x0000
            node.wait(lambda d: d.state is DeliveryState.COMMITTED)
    assert len(set(pacs.transactions)) == 1
    assert len(pacs.transactions) > 1


def test_a_certificate_that_is_missing_for_now_is_waited_for(tmp_path: Path) -> None:
    postponed: list[str] = []

    class Asked:
        def due_requests(self, *_: Any) -> list[Commitment]:
            return [Commitment(UID("1.9"), 1, "PACS", ((SR, "1.2.3"),), attempts=0, is_asked=False, words="")]

        def postponed(self, _uid: UID, words: str, _next_at: datetime) -> None:
            postponed.append(words)

    tls = {"ca": str(tmp_path / "gone.pem")}
    pacs = {"type": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": 104, "tls": tls}
    settings = Settings.model_validate({"destinations": {"pacs": pacs}})
    ledger: Any = SimpleNamespace(commitments=Asked())
    (asker,) = CommitmentRequests(ledger, settings)._askers
    asker.step()
    assert "gone.pem" in postponed[0]
