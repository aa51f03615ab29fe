"""The outbox over a real ledger: from the end of a case to what a PACS and a folder hold."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dermanode.config import Settings
from dermanode.deliver.outbox import Outbox
from dermanode.domain import UID, Digest, Outcome, ProducedObject
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Arrival, DeliveryState, Evidence, Header, NewDelivery, SeriesKey
from dermanode.messages.selection import select
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.pacs import LoopbackPacs

pytestmark = pytest.mark.integration

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SR = "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_at(tmp_path / "ledger.db")) as opened:
        yield opened


def settings(pacs: LoopbackPacs, share: Path) -> Settings:
    retry = {"first_s": 0.05, "longest_s": 0.1, "attempts": 100}
    dimse = {"type": "dimse", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port, "timeout_s": 5, "retry": retry}
    return Settings.model_validate({"destinations": {"pacs": dimse, "share": {"type": "folder", "path": share, "retry": retry}}})


def finish_case(ledger: Ledger, results_dir: Path, configured: Settings) -> str:
    """A case that made two objects, both on disk, with their deliveries planned; its id."""
    digest = Digest(hashlib.sha256(b"photograph").hexdigest())
    jpeg, photo = UID("1.2.840.10008.1.2.4.50"), UID("1.2.840.10008.5.1.4.1.1.77.1.4")
    arrival = Arrival(UID("2.25.7"), photo, jpeg, digest, 10, "ab/x.dcm", "a1", "CAMERA", "DERMANODE", "127.0.0.1", NOW)
    (receipt,) = ledger.objects.record([arrival])
    ledger.objects.set_headers({receipt.object_id: Header(UID("2.25.1"), UID("2.25.2"), "XC", "4711")})
    key = SeriesKey(UID("2.25.1"), UID("2.25.2"), "4711")
    case = ledger.cases.open(key, pipeline="p", plan=(), evidence=Evidence("by hand", "A test."), now=NOW)
    assert ledger.cases.claim(NOW)
    objects = tuple(write_object(results_dir, f"{case.id}/{number}.dcm", f"2.25.10{number}") for number in (1, 2))
    outcome = Outcome(case_id=case.id, revision=1, is_failed=False, reports=(), objects=objects)
    new = [NewDelivery(name, select(name, to, objects)) for name, to in configured.destinations.items()]
    ledger.cases.finish(case.id, outcome, new, NOW)
    return case.id


def write_object(results_dir: Path, path: str, uid: str) -> ProducedObject:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = pydicom.uid.UID(SR)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = pydicom.uid.UID(uid)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = results_dir / path
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, enforce_file_format=True)
    content = file.read_bytes()
    return ProducedObject(
        kind="SR",
        path=path,
        digest=Digest(hashlib.sha256(content).hexdigest()),
        size_bytes=len(content),
        sop_class_uid=UID(SR),
        sop_instance_uid=UID(uid),
    )


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def states(ledger: Ledger, case_id: str) -> dict[str, DeliveryState]:
    return {delivery.destination: delivery.state for delivery in ledger.deliveries.of_case(case_id)}


def test_finished_case_reaches_every_destination(ledger: Ledger, tmp_path: Path) -> None:
    with LoopbackPacs() as pacs:
        configured = settings(pacs, tmp_path / "share")
        outbox = Outbox(ledger, configured, tmp_path / "results", poll_s=30)
        outbox.start()
        case_id = finish_case(ledger, tmp_path / "results", configured)
        outbox.wake()
        assert pacs.wait_for(2)
        wait_until(lambda: set(states(ledger, case_id).values()) == {DeliveryState.DELIVERED})
        outbox.stop()
    assert sorted(path.name for path in (tmp_path / "share" / case_id).iterdir()) == ["1.dcm", "2.dcm"]
    receipts = {delivery.destination: delivery.receipt for delivery in ledger.deliveries.of_case(case_id)}
    assert receipts["pacs"] == "2 objects stored by LOOPBACK"


# pynetdicom leaves the socket of a connection that was refused to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_absent_pacs_gets_its_objects_once_it_is_back_and_holds_up_nobody(ledger: Ledger, tmp_path: Path) -> None:
    pacs = LoopbackPacs()
    pacs.start()
    configured = settings(pacs, tmp_path / "share")
    pacs.stop()
    case_id = finish_case(ledger, tmp_path / "results", configured)
    outbox = Outbox(ledger, configured, tmp_path / "results", poll_s=0.05)
    outbox.start()
    wait_until(lambda: states(ledger, case_id)["share"] is DeliveryState.DELIVERED)
    wait_until(lambda: "cannot be reached" in next(d.last_error for d in ledger.deliveries.of_case(case_id) if d.destination == "pacs"))
    with LoopbackPacs(port=pacs.port) as back:
        assert back.wait_for(2)
        wait_until(lambda: states(ledger, case_id)["pacs"] is DeliveryState.DELIVERED)
        outbox.stop()


def test_node_that_died_while_it_sent_sends_the_same_again(ledger: Ledger, tmp_path: Path) -> None:
    with LoopbackPacs() as pacs:
        configured = settings(pacs, tmp_path / "share")
        case_id = finish_case(ledger, tmp_path / "results", configured)
        # Death between the last answer of the PACS and the ledger: claimed, sent, never recorded
        assert ledger.deliveries.claim("pacs", NOW)
        first = Outbox(ledger, configured, tmp_path / "results", poll_s=0.05)
        first.start()
        wait_until(lambda: states(ledger, case_id)["share"] is DeliveryState.DELIVERED)
        first.stop()
        assert states(ledger, case_id)["pacs"] is DeliveryState.SENDING
        ledger.cases.release_running(datetime.now(UTC))
        second = Outbox(ledger, configured, tmp_path / "results", poll_s=0.05)
        second.start()
        wait_until(lambda: states(ledger, case_id)["pacs"] is DeliveryState.DELIVERED)
        second.stop()
    assert pacs.uids == {"2.25.101", "2.25.102"}
