"""The HL7 listener over a real ledger, spoken to by sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dermanode.config.ways_in import Hl7Listener
from dermanode.domain import UID
from dermanode.errors import ConfigurationError, LedgerError, LedgerUnavailable
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import SeriesKey
from dermanode.ledger.said import Identity
from dermanode.receive.access import is_welcome
from dermanode.receive.hl7 import listener as module
from dermanode.receive.hl7.framing import Frames, framed
from dermanode.receive.hl7.listener import Hl7Server
from dermanode.testing.ledgers import ledger_at

KEY = SeriesKey(UID("1.2"), UID("1.2.3"), "P1")


def message(
    kind: str = "ADT^A08^ADT_A01",
    control_id: str = "M1",
    body: str = "PID|1||P1^^^HOSP||Meier^Anna",
    *,
    rest: str = "P|2.5.1",
    extra: str = "",
) -> bytes:
    return f"MSH|^~\\&|HIS|HOSP|DN|DERM|20261128||{kind}|{control_id}|{rest}{extra}\r{body}\r".encode()


class Talk:
    """A connection to a listener."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._frames, self._waiting = Frames(10**6), list[str]()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> str:
        """The next answer; empty when the listener has closed."""
        while not self._waiting:
            try:
                received = self.socket.recv(65536)
            except ConnectionResetError:
                return ""
            if not received:
                return ""
            self._waiting += [answer.decode("utf-8") for answer in self._frames.feed(received)]
        return self._waiting.pop(0)

    def asked(self, content: bytes) -> str:
        """MSA and ERR of the answer, as a line."""
        self.send(framed(content))
        return self.said()

    def said(self) -> str:
        return " ".join(line for line in self.read().split("\r") if line.startswith(("MSA", "ERR")))


@contextmanager
def listening(folder: Path, **settings: object) -> Iterator[tuple[Talk, Ledger, Hl7Server]]:
    with Ledger.open(ledger_at(folder / "ledger.db")) as ledger:
        chosen = Hl7Listener.model_validate({"port": 0, "default_issuer": "HOSP", **settings})
        server = Hl7Server(chosen, ledger.messages, lambda: datetime.now(UTC))
        server.start()
        talk = Talk(server.port)
        try:
            yield talk, ledger, server
        finally:
            talk.socket.close()
            server.stop()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[tuple[Talk, Ledger, Hl7Server]]:
    with listening(tmp_path) as found:
        yield found


Room = tuple[Talk, Ledger, Hl7Server]


def name_of(ledger: Ledger) -> str:
    patient = ledger.patients.of(KEY)
    return patient.name if patient is not None else ""


def test_message_is_done_recorded_and_acknowledged(room: Room) -> None:
    talk, ledger, _ = room
    assert talk.asked(message()) == "MSA|AA|M1|Noted of the patient: name."
    assert name_of(ledger) == "Meier^Anna"
    (record,) = ledger.messages.recent(10)
    assert (record.head.sender, record.head.kind, record.verdict.answer) == ("HIS|HOSP", "ADT^A08", "AA")


def test_message_that_comes_again_is_answered_again_and_other_content_is_another_message(room: Room) -> None:
    talk, ledger, _ = room
    first = talk.asked(message())
    assert talk.asked(message().replace(b"20261128", b"20261129")) == first
    assert talk.asked(message(body="PID|1||P1^^^HOSP||Other^Anna")) == "MSA|AA|M1|Noted of the patient: name."
    assert name_of(ledger) == "Other^Anna"


@pytest.mark.parametrize("size", [1, 5, 4096])
def test_stream_of_pieces_garbage_and_many_messages_is_understood(room: Room, size: int) -> None:
    talk, _, _ = room
    stream = (
        b"\x00garbage"
        + framed(message(control_id="A"))
        + b"\r\n"
        + framed(message(control_id="B"))
        + b"?"
        + framed(message(control_id="C"))
    )
    for start in range(0, len(stream), size):
        talk.send(stream[start : start + size])
    assert [talk.said().split("|")[2] for _ in range(3)] == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("mode", "answers"), [("AL|AL", ["CA", "AA"]), ("AL|NE", ["CA"]), ("AL|", ["CA"]), ("NE|AL", ["AA"]), ("ER|SU", ["AA"])]
)
def test_enhanced_mode_answers_as_asked(room: Room, mode: str, answers: list[str]) -> None:
    talk, _, _ = room
    talk.send(framed(message(extra=f"|||{mode}")) + framed(message(control_id="last")))
    said = [talk.said().split("|")[1] for _ in range(len(answers) + 1)]
    assert said == [*answers, "AA"]


@pytest.mark.parametrize(
    ("change", "answers"),
    [
        ({"body": "PID|1||"}, ["CA", "AE"]),
        ({"control_id": ""}, ["CE"]),
        ({"kind": "MDM^T02"}, ["CR"]),
        ({"rest": "P|9.9"}, ["CR"]),
    ],
)
def test_enhanced_mode_tells_what_is_wrong_with_content_and_with_kind_apart(room: Room, change: dict[str, str], answers: list[str]) -> None:
    talk, _, _ = room
    talk.send(framed(message(extra="|||AL|AL", **change)) + framed(message(control_id="last")))
    assert [talk.said().split("|")[1] for _ in range(len(answers) + 1)] == [*answers, "AA"]


def test_what_is_not_understood_is_rejected_and_recorded(room: Room) -> None:
    talk, ledger, _ = room
    assert "200^Unsupported message type" in talk.asked(message("MDM^T02", "M7"))
    assert "201^Unsupported event code" in talk.asked(message("ADT^A60", "M8"))
    assert [record.verdict.answer for record in ledger.messages.recent(10)] == ["AR", "AR"]


@pytest.mark.parametrize("processing_id", ["T", "D", "T^T"])
def test_tests_are_acknowledged_and_not_done(room: Room, processing_id: str) -> None:
    talk, ledger, _ = room
    assert talk.asked(message(rest=f"{processing_id}|2.5.1")).startswith("MSA|AA|M1|Its processing id is")
    assert name_of(ledger) == ""
    assert ledger.messages.recent(1)[0].verdict.words.endswith("it was recorded and not done.")


def test_bytes_that_do_not_fit_their_character_set_are_said_to(room: Room) -> None:
    talk, ledger, _ = room
    said = talk.asked(message(body="PID|1||P1^^^HOSP||M\u00fcller"))
    assert said.startswith("MSA|AE|M1|Byte")
    assert "ERR||MSH^1^18|102^Data type error^HL70357|E|" in said
    assert talk.asked(message(body="PID|1||P1^^^HOSP||Müller", extra="||||||UNICODE UTF-8")).startswith("MSA|AA")
    assert name_of(ledger) == "Müller"


def test_merge_is_done_for_images_without_issuer_too(room: Room) -> None:
    talk, ledger, _ = room
    said = talk.asked(message("ADT^A40^ADT_A39", body="PID|1||P2^^^HOSP||Meier^Anna\rMRG|P1^^^HOSP"))
    assert said.startswith("MSA|AA|M1|The patient was merged")
    assert ledger.patients.present(Identity("P1")) == Identity("P2")
    assert ledger.patients.present(Identity("P1", "HOSP")) == Identity("P2", "HOSP")
    assert ledger.patients.present(Identity("P1", "CLINIC")) == Identity("P1", "CLINIC")


def test_refused_merge_does_nothing_and_may_be_sent_again(room: Room) -> None:
    talk, ledger, _ = room
    bad = message("ADT^A40", body="PID|1||P2^^^HOSP\rMRG|P1^^^HOSP\rPID|1||P3^^^HOSP\rMRG|P3^^^HOSP")
    assert "itself" in talk.asked(bad)
    assert ledger.patients.present(Identity("P1", "HOSP")) == Identity("P1", "HOSP")
    assert talk.asked(message("ADT^A40", body="PID|1||P2^^^HOSP\rMRG|P1^^^HOSP")).startswith("MSA|AA")


def test_message_without_control_id_and_frame_without_message_are_answered(room: Room) -> None:
    talk, ledger, _ = room
    assert talk.asked(message(control_id="")).startswith("MSA|AE||MSH-10 is empty")
    assert talk.asked(b"BHS|^~\\&|HIS").startswith("MSA|AR||The frame does not begin")
    assert ledger.messages.recent(10) == []


def test_acknowledgement_is_never_acknowledged(room: Room) -> None:
    talk, _, _ = room
    talk.send(framed(message("ACK^A08^ACK", body="MSA|AA|DN1")) + framed(message(control_id="after")))
    assert talk.said().startswith("MSA|AA|after")


def test_message_that_is_too_long_is_refused_and_the_connection_closed(tmp_path: Path) -> None:
    with listening(tmp_path, maximum_message_mib=0.01) as (talk, ledger, _):
        talk.send(framed(message(body="PID|1||P1^^^HOSP||" + "x" * 50_000)))
        assert talk.said().startswith("MSA|AR|M1|The message is longer than 0.01 MiB")
        assert talk.read() == ""
        assert ledger.messages.recent(1) == []


def test_large_message_is_taken(room: Room) -> None:
    talk, _, _ = room
    assert talk.asked(message(body="PID|1||P1^^^HOSP||Meier\r" + "NTE|1||" + "x" * 3_000_000)).startswith("MSA|AA")


def test_half_a_message_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAME_TIMEOUT_S", 0.2)
    with listening(tmp_path) as (talk, ledger, _):
        talk.send(b"\x0b" + message()[:40])
        assert talk.read() == ""
        assert ledger.messages.recent(1) == []


def test_silent_connection_is_closed(tmp_path: Path) -> None:
    with listening(tmp_path, timeout_s=0.2) as (talk, _, _server):
        assert talk.read() == ""


def test_without_the_ledger_nothing_is_answered_and_the_sender_comes_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    talk, ledger, server = room

    def away(*_: object) -> None:
        raise LedgerUnavailable("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(ledger.messages, "do", away)
        assert talk.asked(message()) == ""
    again = Talk(server.port)
    assert again.asked(message()).startswith("MSA|AA")
    again.socket.close()


def test_error_of_ours_is_answered_and_does_not_hold_up_the_next_message(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    talk, ledger, _ = room

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(ledger.messages, "do", broken)
        assert "207^Application internal error" in talk.asked(message())
    assert talk.asked(message()).startswith("MSA|AA")


def test_many_connections_at_once_are_served(room: Room) -> None:
    _, ledger, server = room
    answers: list[str] = []

    def talk(number: int) -> None:
        one = Talk(server.port)
        answers.extend(one.asked(message(control_id=f"{number}-{count}")) for count in range(3))
        one.socket.close()

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [answer[:6] for answer in answers] == ["MSA|AA"] * 60
    assert len(ledger.messages.recent(100)) == 60


def test_connection_too_many_is_closed(tmp_path: Path) -> None:
    with listening(tmp_path, maximum_connections=1) as (talk, _, server):
        assert talk.asked(message()).startswith("MSA|AA")
        second = Talk(server.port)
        assert second.read() == ""
        second.socket.close()
        talk.socket.close()

        def is_served() -> bool:
            one = Talk(server.port)
            try:
                return one.asked(message(control_id="M2")).startswith("MSA|AA")
            except OSError:  # closed before it was sent
                return False
            finally:
                one.socket.close()

        wait_for(is_served)


def wait_for(look: Callable[[], bool], limit_s: float = 30.0) -> None:
    end = time.monotonic() + limit_s
    while not look():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_caller_that_is_gone_before_it_is_greeted_leaves_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    talk, _, server = room
    assert talk.asked(message()).startswith("MSA|AA")
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.StreamWriter, "get_extra_info", lambda *_: None)  # as of a socket that is no longer connected
        gone = Talk(server.port)
        assert gone.read() == ""
        gone.socket.close()
    assert talk.asked(message(control_id="M2")).startswith("MSA|AA")


def test_only_loopback_and_allowed_networks_may_send() -> None:
    networks = Hl7Listener.model_validate({"allow": ["10.1.2.0/24"]}).allow
    assert [is_welcome(address, networks) for address in ("127.0.0.1", "::1", "10.1.2.9", "::ffff:10.1.2.9", "10.1.3.9")] == [
        True,
        True,
        True,
        True,
        False,
    ]


def test_port_that_is_taken_is_a_sentence_with_the_cure(room: Room) -> None:
    _, ledger, server = room
    second = Hl7Server(Hl7Listener(port=server.port), ledger.messages, lambda: datetime.now(UTC))
    with pytest.raises(ConfigurationError, match=r"set another `hl7\.port`"):
        second.start()


def test_messages_are_forgotten_after_a_month(tmp_path: Path) -> None:
    with Ledger.open(ledger_at(tmp_path / "ledger.db")) as ledger:
        from dermanode.ledger.said import MessageHead, Verdict

        ledger.messages.note(
            MessageHead(sender="A|B", control_id="1", kind="ADT^A08", digest="d"),
            Verdict(answer="AA", words=""),
            datetime(2026, 1, 1, tzinfo=UTC),
        )
    with listening(tmp_path) as (_, again, _server):
        wait_for(lambda: again.messages.recent(1) == [])


def test_message_that_the_ledger_refuses_does_not_come_for_ever(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    talk, ledger, _ = room

    def refuse(*_: object) -> None:
        raise LedgerError("The ledger refused a record.")

    with monkeypatch.context() as patch:
        patch.setattr(ledger.messages, "do", refuse)
        assert talk.asked(message()).startswith("MSA|AE|M1|An error of the node")
    assert talk.asked(message(control_id="M2")).startswith("MSA|AA")
