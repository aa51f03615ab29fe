"""The lane and pynetdicom's own handler take the same streams and store the same files; what only the lane does stands below."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from dermanode.errors import LedgerUnavailable
from dermanode.receive.lane import is_known_pynetdicom
from dermanode.receive.pdu import p_data
from dermanode.testing.raw_peer import (
    ABORT,
    ECHO_REQUEST,
    EXPLICIT_LITTLE_ENDIAN,
    VL_PHOTOGRAPHIC,
    RawPeer,
    pdu_of,
    pdv,
    store_pdus,
    store_request,
)

Start = Callable[..., Any]
Eventually = Callable[[Callable[[], bool]], None]
DATA = bytes(range(256)) * 400


def stored(node: Any) -> list[tuple[str, str, bytes]]:
    """UID, name and data set of what was recorded."""
    return [(str(one.sop_instance_uid), one.path, node.data_set(one)) for one in node.ledger.arrivals]


def plain(peer: RawPeer) -> None:
    for part in store_pdus(store_request("1.2.3"), DATA):
        peer.send(part)


def several_pdvs_in_one_pdu(peer: RawPeer) -> None:
    command = store_request("1.2.3")
    peer.send(
        pdu_of(
            pdv(1, command[:20], is_command=True, is_last=False),
            pdv(1, command[20:], is_command=True, is_last=True),
            pdv(1, DATA[:1000], is_command=False, is_last=False),
            pdv(1, DATA[1000:], is_command=False, is_last=True),
        )
    )


def command_split_over_pdus(peer: RawPeer) -> None:
    command = store_request("1.2.3")
    for start in range(0, len(command), 7):
        part = command[start : start + 7]
        peer.send(p_data(1, part, is_command=True, is_last=start + 7 >= len(command)))
    peer.send(p_data(1, DATA, is_command=False, is_last=True))


def byte_by_byte(peer: RawPeer) -> None:
    for part in store_pdus(store_request("1.2.3"), DATA[:300], piece=100):
        for byte in part:
            peer.send(bytes([byte]))


def one_large_pdu(peer: RawPeer) -> None:
    for part in store_pdus(store_request("1.2.3"), DATA * 30, piece=1 << 30):
        peer.send(part)


def ended_by_an_empty_pdv(peer: RawPeer) -> None:
    peer.send(p_data(1, store_request("1.2.3"), is_command=True, is_last=True))
    peer.send(p_data(1, DATA, is_command=False, is_last=False))
    peer.send(p_data(1, b"", is_command=False, is_last=True))


@pytest.mark.parametrize(
    "send", [plain, several_pdvs_in_one_pdu, command_split_over_pdus, byte_by_byte, one_large_pdu, ended_by_an_empty_pdv]
)
def test_both_lanes_store_the_same_file(start: Start, send: Callable[[RawPeer], None]) -> None:
    outcomes = []
    for is_lane_used in (True, False):
        node = start(is_lane_used)
        with node.peer() as peer:
            peer.associate()
            send(peer)
            response = peer.response()
            assert response.number(0x0900) == 0x0000
            assert response.affected_sop_instance_uid == "1.2.3"
            assert peer.release()[:1] == b"\6"
        outcomes.append(stored(node))
    assert len(outcomes[0]) == 1
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("is_lane_used", [True, False])
def test_echoes_between_objects_are_answered(start: Start, is_lane_used: bool) -> None:
    node = start(is_lane_used)
    with node.peer() as peer:
        peer.associate()
        for number in range(3):
            peer.send(p_data(3, ECHO_REQUEST, is_command=True, is_last=True))
            response = peer.response()
            assert (response.field, response.number(0x0900)) == (0x8030, 0)
            assert peer.store(f"1.2.{number}", DATA).number(0x0900) == 0
        assert peer.release()[:1] == b"\6"
    assert len(node.ledger.arrivals) == 3


def test_an_object_sent_behind_an_echo_without_waiting_is_stored(start: Start) -> None:
    node = start()
    with node.peer() as peer:
        peer.associate()
        peer.send(p_data(3, ECHO_REQUEST, is_command=True, is_last=True) + b"".join(store_pdus(store_request("1.2.3"), DATA)))
        assert {peer.response().field, peer.response().field} == {0x8030, 0x8001}
        assert peer.release()[:1] == b"\6"
    assert stored(node)[0][2] == DATA


def test_release_in_the_same_write_as_the_object_is_answered(start: Start, eventually: Eventually) -> None:
    node = start()
    with node.peer() as peer:
        peer.associate()
        peer.send(b"".join(store_pdus(store_request("1.2.3"), DATA)))
        assert peer.response().number(0x0900) == 0
        assert peer.release()[:1] == b"\6"
    eventually(lambda: len(node.released) == 1)
    assert node.released == [node.ledger.arrivals[0].association]
    assert not node.scp.open_associations()


@pytest.mark.parametrize("ending", [ABORT, b""], ids=["abort", "connection closed"])
def test_an_object_that_breaks_off_leaves_nothing_and_disturbs_nobody(start: Start, ending: bytes, eventually: Eventually) -> None:
    node = start()
    with node.peer() as other:
        other.associate()
        with node.peer() as peer:
            peer.associate()
            peer.send(p_data(1, store_request("1.2.3"), is_command=True, is_last=True))
            peer.send(p_data(1, DATA, is_command=False, is_last=False))
            eventually(lambda: len(node.incoming()) == 1)
            peer.send(ending)
        eventually(lambda: not node.incoming())
        eventually(lambda: len(node.released) == 1)
        assert other.store("1.2.4", DATA).number(0x0900) == 0
    assert [one.sop_instance_uid for one in node.ledger.arrivals] == ["1.2.4"]


def test_nonsense_within_an_object_aborts_this_association_only(start: Start, eventually: Eventually) -> None:
    node = start()
    with node.peer() as peer, node.peer() as other:
        peer.associate()
        other.associate()
        peer.send(p_data(1, store_request("1.2.3"), is_command=True, is_last=True) + b"\4\0\0\0\0\7\0\0\0\xff\1\2\0")
        assert peer.receive()[:1] == b"\7"
        assert other.store("1.2.4", DATA).number(0x0900) == 0
    eventually(lambda: not node.incoming())


def test_a_data_set_without_a_command_aborts(start: Start) -> None:
    node = start()
    with node.peer() as peer:
        peer.associate()
        peer.send(p_data(1, DATA, is_command=False, is_last=True))
        assert peer.receive()[:1] == b"\7"


def test_an_object_under_a_context_that_was_not_accepted_aborts(start: Start) -> None:
    node = start()
    with node.peer() as peer:
        peer.associate()
        peer.send(b"".join(store_pdus(store_request("1.2.3"), DATA, context_id=99)))
        assert peer.receive()[:1] in (b"\7", b"")
    assert not node.ledger.arrivals


@pytest.mark.parametrize("is_lane_used", [True, False])
def test_a_data_set_of_no_bytes_is_stored(start: Start, is_lane_used: bool) -> None:
    node = start(is_lane_used)
    with node.peer() as peer:
        peer.associate()
        assert peer.store("1.2.3", b"").number(0x0900) == 0
    assert stored(node)[0][2] == b""


@pytest.mark.parametrize(
    ("uid", "status", "comment"),
    [
        (b"", 0xC000, "Affected SOP Instance UID is missing"),
        ("no uid", 0xC000, "Affected SOP Instance UID is no UID"),
        ("1." + "2" * 70, 0xC000, "Affected SOP Instance UID is no UID"),
        ("../../etc/passwd", 0xC000, "Affected SOP Instance UID is no UID"),
    ],
)
def test_a_wrong_uid_is_refused_and_the_association_goes_on(start: Start, uid: str | bytes, status: int, comment: str) -> None:
    node = start()
    with node.peer() as peer:
        peer.associate()
        response = peer.store(uid, DATA)
        assert (response.number(0x0900), response.text(0x0902)) == (status, comment)
        assert peer.store("1.2.4", DATA).number(0x0900) == 0
        assert peer.release()[:1] == b"\6"
    assert [one.sop_instance_uid for one in node.ledger.arrivals] == ["1.2.4"]
    assert not node.incoming()


def test_a_missing_sop_class_is_refused_as_a_mismatch(start: Start) -> None:
    node = start()
    with node.peer() as peer:
        peer.associate()
        assert peer.store("1.2.3", DATA, sop_class=None).number(0x0900) == 0xA900
        assert peer.store("1.2.4", DATA).number(0x0900) == 0


def test_a_request_without_a_data_set_is_refused(start: Start) -> None:
    node = start()
    with node.peer() as peer:
        peer.associate()
        peer.send(p_data(1, store_request("1.2.3", has_data_set=False), is_command=True, is_last=True))
        assert peer.response().number(0x0900) == 0xC000
        assert peer.store("1.2.4", DATA).number(0x0900) == 0


@pytest.mark.parametrize("raw", [b"1.2.3\0", b"1.2.3 ", b"1.2.3\0\0\0"])
def test_odd_padding_names_the_same_object(start: Start, raw: bytes) -> None:
    node = start()
    with node.peer() as peer:
        peer.associate()
        assert peer.store(raw, DATA).number(0x0900) == 0
    assert node.ledger.arrivals[0].sop_instance_uid == "1.2.3"


@pytest.mark.parametrize("is_lane_used", [True, False])
def test_a_ledger_that_is_down_asks_for_another_try(start: Start, is_lane_used: bool) -> None:
    node = start(is_lane_used)
    with node.peer() as peer:
        peer.associate()
        node.ledger.error = LedgerUnavailable("the database is gone")
        response = peer.store("1.2.3", DATA)
        assert response.number(0x0900) == 0xA700
        assert "ledger" in response.text(0x0902)
        node.ledger.error = None
        assert peer.store("1.2.3", DATA).number(0x0900) == 0
    assert len(node.ledger.arrivals) == 1


@pytest.mark.parametrize("is_lane_used", [True, False])
def test_a_disk_that_is_almost_full_is_out_of_resources(start: Start, is_lane_used: bool) -> None:
    node = start(is_lane_used, minimum_free_mib=1 << 40)
    with node.peer() as peer:
        peer.associate()
        response = peer.store("1.2.3", DATA)
        assert (response.number(0x0900), response.text(0x0902)) == (0xA700, "The disk is almost full")
        assert peer.release()[:1] == b"\6"
    assert not node.incoming()


def test_a_disk_that_fills_up_within_an_object_is_out_of_resources(
    start: Start, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    node = start()
    with node.peer() as peer:
        peer.associate()
        peer.send(p_data(1, store_request("1.2.3"), is_command=True, is_last=True) + p_data(1, DATA, is_command=False, is_last=False))
        eventually(lambda: any(file.stat().st_size > len(DATA) for file in node.incoming()))

        def full(_descriptor: int, _buffers: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("dermanode.ledger.spool.os.writev", full)
        peer.send(p_data(1, DATA, is_command=False, is_last=False))
        eventually(lambda: not node.incoming())
        monkeypatch.undo()
        peer.send(p_data(1, DATA, is_command=False, is_last=True))
        assert peer.response().number(0x0900) == 0xA700
        assert peer.store("1.2.4", DATA).number(0x0900) == 0


def test_a_silent_association_is_aborted(start: Start, eventually: Eventually) -> None:
    node = start(network_timeout_s=0.5)
    with node.peer() as peer:
        peer.associate()
        peer.store("1.2.3", DATA)
        assert peer.receive()[:1] == b"\7"
    eventually(lambda: len(node.released) == 1)


def test_a_sender_that_falls_silent_within_an_object_is_aborted(start: Start, eventually: Eventually) -> None:
    node = start(network_timeout_s=0.5)
    with node.peer() as peer:
        peer.associate()
        peer.send(p_data(1, store_request("1.2.3"), is_command=True, is_last=True))
        assert peer.receive()[:1] == b"\7"
    eventually(lambda: not node.incoming())


def test_stopping_ends_waiting_associations(start: Start) -> None:
    node = start(network_timeout_s=60)
    with node.peer() as peer:
        peer.associate()
        peer.store("1.2.3", DATA)
        began = time.monotonic()
        node.scp.stop()
        assert peer.receive()[:1] in (b"\7", b"")
        assert time.monotonic() - began < 5


def test_a_transfer_syntax_is_kept_as_negotiated(start: Start) -> None:
    node = start()
    jpeg = "1.2.840.10008.1.2.4.50"
    with node.peer() as peer:
        peer.associate([(VL_PHOTOGRAPHIC, EXPLICIT_LITTLE_ENDIAN), (VL_PHOTOGRAPHIC, jpeg)])
        peer.store("1.2.3", DATA)
        for part in store_pdus(store_request("1.2.4"), DATA, context_id=3):
            peer.send(part)
        assert peer.response().number(0x0900) == 0
    assert [one.transfer_syntax_uid for one in node.ledger.arrivals] == [EXPLICIT_LITTLE_ENDIAN, jpeg]


@pytest.mark.parametrize(
    ("version", "is_known"), [("3.0.1", True), ("3.0.4", True), ("3.1.0", False), ("2.1.1", False), ("3.0.4rc1", False)]
)
def test_the_lane_serves_only_the_pynetdicom_that_it_knows(version: str, is_known: bool) -> None:
    assert is_known_pynetdicom(version) is is_known
