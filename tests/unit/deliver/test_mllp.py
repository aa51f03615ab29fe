from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dermanode.deliver.destination import Package
from dermanode.deliver.mllp import Acknowledgement, Mllp
from dermanode.errors import DeliveryRefused, DestinationUnavailable
from dermanode.testing.mllp import MllpListener, Reply

ORIGINAL = b"MSH|^~\\&|DERMANODE||HIS||20261121||ORU^R01^ORU_R01|DN1|P|2.5.1||||||UNICODE UTF-8\rPID|1||7||M\xc3\xbcller\r"
ENHANCED = ORIGINAL.replace(b"|2.5.1||||||", b"|2.5.1|||AL|AL||")


def sent(listener: MllpListener, tmp_path: Path, message: bytes = ORIGINAL, timeout_s: float = 5.0) -> str:
    file = tmp_path / "oru-his.hl7"
    file.write_bytes(message)
    return Mllp("his", listener.destination(timeout_s=timeout_s)).deliver(Package("case-1", (file,)))


def test_application_accept_delivers_the_message_as_it_is(tmp_path: Path) -> None:
    with MllpListener() as listener:
        assert sent(listener, tmp_path) == "AA for DN1"
    assert listener.messages == (ORIGINAL,)


def test_enhanced_mode_waits_for_the_application_after_the_accept(tmp_path: Path) -> None:
    with MllpListener([(Reply.CA, Reply.AA)]) as listener:
        assert sent(listener, tmp_path, ENHANCED) == "AA for DN1"


def test_accept_alone_is_enough_where_no_application_answer_was_asked_for(tmp_path: Path) -> None:
    with MllpListener([(Reply.CA,)]) as listener:
        assert sent(listener, tmp_path) == "CA for DN1"


@pytest.mark.parametrize(
    ("message", "replies"),
    [
        (ORIGINAL, (Reply.AE,)),
        (ENHANCED, (Reply.CE,)),
        (ENHANCED, (Reply.CA, Reply.AE)),
        (ORIGINAL, (Reply.WRONG_ID,)),
        (ORIGINAL, (Reply.HANG_UP,)),
    ],
)
def test_errors_wrong_ids_and_lost_answers_are_tried_again(tmp_path: Path, message: bytes, replies: tuple[Reply, ...]) -> None:
    with MllpListener([replies, (Reply.CA, Reply.AA)]) as listener:
        with pytest.raises(DestinationUnavailable):
            sent(listener, tmp_path, message)
        assert "for DN1" in sent(listener, tmp_path, message)
    assert listener.control_ids == ["DN1", "DN1"]


@pytest.mark.parametrize(("message", "replies"), [(ORIGINAL, (Reply.AR,)), (ENHANCED, (Reply.CR,)), (ENHANCED, (Reply.CA, Reply.AR))])
def test_rejection_is_final_and_says_why(tmp_path: Path, message: bytes, replies: tuple[Reply, ...]) -> None:
    with MllpListener([replies]) as listener, pytest.raises(DeliveryRefused, match=r"rejected with .R for DN1"):
        sent(listener, tmp_path, message)


@pytest.mark.parametrize(("message", "replies"), [(ORIGINAL, (Reply.NOTHING,)), (ENHANCED, (Reply.CA, Reply.NOTHING))])
def test_silence_ends_after_the_time(tmp_path: Path, message: bytes, replies: tuple[Reply, ...]) -> None:
    with MllpListener([replies]) as listener, pytest.raises(DestinationUnavailable, match=r"no answer within 0\.2 s"):
        sent(listener, tmp_path, message, timeout_s=0.2)


def test_nobody_there_is_tried_again_later(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DestinationUnavailable, match=f"127.0.0.1:{port} cannot be reached"):
        sent(MllpListener(port=port), tmp_path)


def test_answer_in_pieces_is_put_together(tmp_path: Path) -> None:
    class Slow(MllpListener):
        def _reply(self, connection: socket.socket, message: bytes) -> bool:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"\x0bMSH|^~\\&|X\rMSA|AA|DN1|fine\r\x1c\r":
                connection.sendall(bytes([byte]))
            return True

    with Slow() as listener:
        assert sent(listener, tmp_path) == "AA for DN1: fine"


def test_acknowledgement_carries_the_error_segments() -> None:
    block = b"MSH|^~\\&|X\rMSA|AE|DN1|bad\rERR||PID^1|101|E\r"
    assert Acknowledgement.parse(block) == Acknowledgement("AE", "DN1", "bad; PID^1 101 E")
    assert Acknowledgement.parse(b"MSH|^~\\&|X\rPID|1\r") is None
