"""Senders ask whether we keep what they sent: promised only what is true, told until they have heard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dermanode.config import Retry, Settings
from dermanode.domain import UID
from dermanode.ledger.commitments import Commitment
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CommitmentState
from dermanode.ledger.spool import Spool
from dermanode.receive.commitment import CommitmentDesk
from dermanode.receive.scp import StorageScp
from dermanode.testing.committing import AskingDevice, CommittingPacs
from dermanode.testing.pacs import LoopbackPacs
from dermanode.testing.raw_peer import RawPeer

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SR = "1.2.840.10008.5.1.4.1.1.88.34"


@dataclass
class Listening:
    scp: StorageScp
    ledger: Ledger
    spool: Spool

    def store(self, *uids: str) -> None:
        with RawPeer(self.scp.port, timeout_s=30) as peer:
            peer.associate([(SECONDARY_CAPTURE, "1.2.840.10008.1.2.1")])
            for uid in uids:
                assert peer.store(uid, b"data of " + uid.encode(), sop_class=SECONDARY_CAPTURE).number(0x0900) == 0


@pytest.fixture
def listen(tmp_path: Path, ledger_url: str) -> Iterator[Any]:
    """Makes listeners with a desk over a real ledger; the settings are given by section."""
    opened: list[tuple[StorageScp, CommitmentDesk, Ledger]] = []

    def make(is_lane_used: bool = True, **sections: Any) -> Listening:
        content = {"receive": {"port": 0, "minimum_free_mib": 0, "network_timeout_s": 10}, **sections}
        settings = Settings.model_validate(content)
        ledger, spool = Ledger.open(ledger_url), Spool(tmp_path / "spool")
        desk = CommitmentDesk(ledger, spool, settings, retry=Retry(first_s=0.05, longest_s=0.2, attempts=3), poll_s=0.05)
        scp = StorageScp(settings, spool, ledger, is_lane_used=is_lane_used, desk=desk)
        scp.start()
        desk.start()
        opened.append((scp, desk, ledger))
        return Listening(scp, ledger, spool)

    yield make
    for scp, desk, ledger in opened:
        scp.stop()
        desk.stop()
        ledger.close()


@pytest.mark.parametrize("is_lane_used", [True, False])
def test_a_sender_that_stays_is_told_on_its_own_association(listen: Any, is_lane_used: bool) -> None:
    node = listen(is_lane_used)
    node.store("1.2.1", "1.2.2")
    device = AskingDevice(node.scp.port)
    association = device.associate()
    assert device.ask(association, "1.9.1", [(SECONDARY_CAPTURE, "1.2.1"), (SECONDARY_CAPTURE, "1.2.2")]) == 0
    ((kind, data),) = device.wait()
    association.release()
    assert (kind, data.TransactionUID) == (1, "1.9.1")
    assert [item.ReferencedSOPInstanceUID for item in data.ReferencedSOPSequence] == ["1.2.1", "1.2.2"]
    assert node.ledger.commitments.counts()[CommitmentState.COMMITTED] == 1


def test_objects_and_the_question_may_share_an_association(listen: Any) -> None:
    node = listen()
    device = AskingDevice(node.scp.port)
    device._entity.add_requested_context(SECONDARY_CAPTURE)
    association = device.associate()
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian

    for number in (1, 2):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID = SECONDARY_CAPTURE, f"1.3.{number}"
        assert association.send_c_store(one).Status == 0
        assert device.ask(association, f"1.9.{number}", [(SECONDARY_CAPTURE, f"1.3.{number}")]) == 0
        device.wait(number)
    association.release()
    assert [kind for kind, _ in device.events] == [1, 1]


def test_a_sender_that_leaves_is_called_at_its_known_address(listen: Any) -> None:
    device = AskingDevice(0)
    port = device.listen()
    node = listen(sources={"camera": {"ae_title": "CAMERA", "host": "127.0.0.1", "port": port}})
    device._port = node.scp.port
    node.store("1.2.1")
    association = device.associate()
    assert device.ask(association, "1.9.1", [(SECONDARY_CAPTURE, "1.2.1")]) == 0
    association.release()
    ((kind, _),) = device.wait()
    device.close()
    assert kind == 1


def test_a_sender_nobody_knows_the_address_of_is_given_up_with_the_cure(listen: Any, eventually: Any) -> None:
    node = listen()
    device = AskingDevice(node.scp.port)
    association = device.associate()
    assert device.ask(association, "1.9.1", [(SECONDARY_CAPTURE, "1.2.1")]) == 0
    association.release()
    eventually(lambda: node.ledger.commitments.counts()[CommitmentState.FAILED] == 1)
    assert "name it under `sources`" in node.ledger.history.of("commitment:1.9.1")[-1].words


def test_only_what_is_true_is_promised(listen: Any) -> None:
    node = listen()
    node.store("1.2.1", "1.2.2", "1.2.3")
    (damaged,) = node.ledger.objects.find("1.2.3")
    node.spool.path(damaged.arrival.path).write_bytes(b"short")
    device = AskingDevice(node.scp.port)
    association = device.associate()
    wanted = [(SECONDARY_CAPTURE, "1.2.1"), (SR, "1.2.2"), (SECONDARY_CAPTURE, "1.2.3"), (SECONDARY_CAPTURE, "1.2.4")]
    assert device.ask(association, "1.9.1", wanted) == 0
    ((kind, data),) = device.wait()
    association.release()
    assert kind == 2
    assert [item.ReferencedSOPInstanceUID for item in data.ReferencedSOPSequence] == ["1.2.1"]
    failed = {item.ReferencedSOPInstanceUID: item.FailureReason for item in data.FailedSOPSequence}
    assert failed == {"1.2.2": 0x0119, "1.2.3": 0x0112, "1.2.4": 0x0112}


def test_what_is_in_quarantine_is_kept_too(listen: Any) -> None:
    node = listen()
    node.store("1.2.1")
    node.ledger.objects.quarantine([one.id for one in node.ledger.objects.find("1.2.1")], "It cannot be read.")
    device = AskingDevice(node.scp.port)
    association = device.associate()
    device.ask(association, "1.9.1", [(SECONDARY_CAPTURE, "1.2.1")])
    assert device.wait()[0][0] == 1
    association.release()


def test_a_request_for_nothing_or_for_something_else_under_the_same_transaction_is_refused(listen: Any) -> None:
    node = listen()
    device = AskingDevice(node.scp.port)
    association = device.associate()
    assert device.ask(association, "1.9.1", []) == 0x0115
    assert device.ask(association, "1.9.1", [(SECONDARY_CAPTURE, "1.2.1")]) == 0
    device.wait()
    assert device.ask(association, "1.9.1", [(SECONDARY_CAPTURE, "1.2.2")]) == 0x0210
    association.release()


def test_a_destination_may_call_to_report_and_for_nothing_else(tmp_path: Path) -> None:
    destinations = {"pacs": LoopbackPacs(ae_title="PACS").destination()}
    settings = Settings.model_validate({"destinations": {name: one.model_dump() for name, one in destinations.items()}})
    desk = CommitmentDesk(None, Spool(tmp_path), settings)  # type: ignore[arg-type]  # who may call asks neither
    commitment = "1.2.840.10008.1.20.1"
    assert desk.is_expected("PACS ", "127.0.0.1", [commitment])
    assert not desk.is_expected("PACS", "127.0.0.1", [commitment, SECONDARY_CAPTURE])
    assert not desk.is_expected("PACS", "10.0.0.1", [commitment])
    assert not desk.is_expected("OTHER", "127.0.0.1", [commitment])


def test_a_report_on_a_transaction_nobody_knows_is_told_so(listen: Any) -> None:
    node = listen()
    pacs = CommittingPacs(ae_title="PACS")
    pacs.reports_to = ("127.0.0.1", node.scp.port)
    assert pacs.report(UID("1.9.9"), [(SR, "1.2.3")]) == 0x0115


def test_a_certificate_that_is_missing_for_now_is_waited_for(tmp_path: Path) -> None:
    postponed: list[UID] = []

    class Asked:
        def due_reports(self, *_: Any) -> list[Commitment]:
            return [Commitment(UID("1.9"), None, "CAMERA", ((SR, "1.2.3"),), attempts=0, is_asked=True, words="")]

        def postponed(self, uid: UID, *_: Any) -> None:
            postponed.append(uid)

    tls = {"ca": str(tmp_path / "gone.pem")}
    sources = {"camera": {"ae_title": "CAMERA", "host": "127.0.0.1", "port": 104, "tls": tls}}
    ledger: Any = SimpleNamespace(commitments=Asked(), objects=SimpleNamespace(find=lambda _uid: []))
    CommitmentDesk(ledger, Spool(tmp_path), Settings.model_validate({"sources": sources})).step()
    assert postponed == ["1.9"]
