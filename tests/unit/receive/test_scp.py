from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import UID_dictionary

from dermanode.config import Receive, Settings
from dermanode.errors import ConfigurationError
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import ObjectState
from dermanode.ledger.spool import Spool
from dermanode.receive.contexts import TRANSFER_SYNTAXES, storage_classes, supported_contexts
from dermanode.receive.part10 import file_head
from dermanode.receive.scp import StorageScp
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.raw_peer import EXPLICIT_LITTLE_ENDIAN, RawPeer

Start = Callable[..., Any]


def accepted(answer: bytes) -> list[bool]:
    """Which of the offered contexts an A-ASSOCIATE-AC takes."""
    results, offset = list[bool](), 74
    while offset < len(answer):
        kind, length = answer[offset], int.from_bytes(answer[offset + 2 : offset + 4], "big")
        if kind == 0x21:
            results.append(answer[offset + 6] == 0)
        offset += 4 + length
    return results


def test_dermoscopy_is_taken_in_every_transfer_syntax(start: Start) -> None:
    dermoscopic = "1.2.840.10008.5.1.4.1.1.77.1.7"
    with start().peer() as peer:
        assert accepted(peer.associate([(dermoscopic, syntax) for syntax in TRANSFER_SYNTAXES])) == [True] * 20


def test_every_storage_class_is_taken(start: Start) -> None:
    node = start()
    classes = storage_classes()
    assert len(classes) > 200
    for first in range(0, len(classes), 100):
        with node.peer() as peer:
            some = classes[first : first + 100]
            assert accepted(peer.associate([(uid, EXPLICIT_LITTLE_ENDIAN) for uid in some])) == [True] * len(some)


def test_objects_of_a_vendors_own_class_are_taken(start: Start) -> None:
    node = start()
    with node.peer() as peer:
        assert accepted(peer.associate([("1.3.12.2.1107.5.9.1", EXPLICIT_LITTLE_ENDIAN)])) == [True]
        assert peer.store("1.2.3", b"data", sop_class="1.3.12.2.1107.5.9.1").number(0x0900) == 0


def test_what_is_no_storage_is_not_taken(start: Start) -> None:
    others = [
        uid for uid, entry in UID_dictionary.items() if entry[0] in ("Modality Performed Procedure Step", "Media Storage Directory Storage")
    ]
    with start().peer() as peer:
        assert not any(accepted(peer.associate([(uid, EXPLICIT_LITTLE_ENDIAN) for uid in others])))


def test_contexts_are_made_once_and_shared() -> None:
    from copy import deepcopy

    contexts = supported_contexts()
    assert deepcopy(contexts) is contexts


def test_another_called_title_is_rejected_and_recorded(start: Start) -> None:
    node = start()
    with node.peer() as peer:
        answer = peer.associate(called="ELSEWHERE")
    assert answer[0] == 3
    assert tuple(answer[7:10]) == (1, 1, 7)
    assert [(subject, kind) for subject, kind, _ in node.ledger.events] == [("node", "association_refused")]


def test_one_association_too_many_is_asked_to_try_again(start: Start) -> None:
    node = start(maximum_associations=1)
    with node.peer() as first:
        assert first.associate()[0] == 2
        with node.peer() as second:
            answer = second.associate()
        assert answer[0] == 3
        assert tuple(answer[7:10]) == (2, 3, 2)
    assert node.ledger.events[0][1] == "association_refused"


def test_a_port_in_use_is_said_with_its_cure(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(receive=Receive(port=taken.getsockname()[1]))
        with Ledger.open(ledger_at(tmp_path / "ledger.db")) as ledger, pytest.raises(ConfigurationError, match=r"receive\.port"):
            StorageScp(settings, Spool(tmp_path / "spool"), ledger).start()


def test_a_file_is_the_same_whoever_sends_it(start: Start) -> None:
    node = start()
    for calling in ("CAMERA1", "CAMERA2"):
        with node.peer() as peer:
            peer.associate(calling=calling)
            peer.store("1.2.3", b"data")
    first, second = node.ledger.arrivals
    assert first.digest == second.digest
    assert [first.calling_ae, second.calling_ae] == ["CAMERA1", "CAMERA2"]


@pytest.fixture
def node(tmp_path: Path) -> Any:
    """A listener over a real ledger."""
    settings = Settings(receive=Receive(port=0, minimum_free_mib=0))
    with Ledger.open(ledger_at(tmp_path / "ledger.db")) as ledger:
        scp = StorageScp(settings, Spool(tmp_path / "spool"), ledger)
        scp.start()
        yield scp, ledger, tmp_path / "spool"
        scp.stop()


def test_a_duplicate_is_acknowledged_and_a_conflict_is_quarantined(node: Any) -> None:
    scp, ledger, spool = node
    with RawPeer(scp.port) as peer:
        peer.associate()
        for data in (b"one", b"one", b"another"):
            assert peer.store("1.2.3", data).number(0x0900) == 0
    first, conflict = ledger.objects.find("1.2.3")
    assert (first.state, first.duplicates) == (ObjectState.WAITING, 1)
    assert conflict.state is ObjectState.QUARANTINED
    assert len(list(spool.glob("*/*.dcm"))) == 2
    assert ledger.audit(Spool(spool), deep=True).is_clean


def test_a_start_keeps_what_is_recorded_and_removes_what_is_not(node: Any) -> None:
    scp, ledger, root = node
    with RawPeer(scp.port) as peer:
        peer.associate()
        peer.store("1.2.3", b"data")
    kept = ledger.objects.find("1.2.3")[0].arrival
    (root / "incoming" / "crashed.part").hardlink_to(root / kept.path)
    spool = Spool(root)
    lost = spool.create()
    lost.write([file_head(kept.sop_class_uid, kept.sop_instance_uid, kept.transfer_syntax_uid), b"other data"])
    lost.settle()
    assert spool.recover(ledger.objects.is_recorded).unrecorded == 1
    assert [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()] == [kept.path]
