"""Delivery to the MLLP server of another library (`hl7`), in both modes of acknowledgement."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import hl7
import pytest
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server

from dermanode.config import ClientTls, MllpDestination, ServerTls
from dermanode.deliver.destination import Package
from dermanode.deliver.mllp import Mllp
from dermanode.domain import UID, Case, Outcome, Patient, Series, StageReport, StageStatus
from dermanode.errors import DeliveryRefused, DestinationUnavailable
from dermanode.messages.hl7 import encode_oru
from dermanode.testing.certificates import Authority

pytestmark = pytest.mark.integration

Answer = Callable[[hl7.Message], list[hl7.Message]]


@dataclass
class Server:
    port: int = 0
    got: list[hl7.Message] = field(default_factory=list)


@contextmanager
def serving(answer: Answer, tls: ServerTls | None = None) -> Iterator[Server]:
    server, is_up, loop = Server(), threading.Event(), asyncio.new_event_loop()
    done, talks = asyncio.Event(), set[asyncio.Task[object]]()

    async def talk(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            while not reader.at_eof():
                message = await reader.readmessage()
                server.got.append(message)
                for reply in answer(message):
                    writer.writemessage(reply)
                    await writer.drain()
        except (asyncio.IncompleteReadError, OSError):  # the peer has gone
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def main() -> None:
        async with await start_hl7_server(talk, "127.0.0.1", 0, encoding="utf-8", ssl=tls.context() if tls else None) as listening:
            server.port = listening.sockets[0].getsockname()[1]
            is_up.set()
            await done.wait()
            if talks:
                await asyncio.wait(talks, timeout=30)
            # Connections close in the loop's next rounds; one of TLS that is left to the garbage collector warns in a later test.
            await asyncio.sleep(0.2)

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    assert is_up.wait(30)
    yield server
    loop.call_soon_threadsafe(done.set)
    thread.join(60)
    loop.close()


def message(port: int, acknowledgement: Literal["original", "enhanced"], folder: Path) -> tuple[MllpDestination, Package]:
    patient = Patient("4711", "Clinic", "Øvergård^Zoë")
    series = Series(UID("1.2.3"), UID("1.2.3.1"), patient, "DMS", ())
    report = StageReport(stage="segment", status=StageStatus.FAILED, plugin="acme", reason="raised ValueError")
    outcome = Outcome(case_id="case-1", revision=1, is_failed=True, reports=(report,))
    to = MllpDestination(type="mllp", host="127.0.0.1", port=port, timeout_s=5, acknowledgement=acknowledgement)
    file = folder / "oru-his.hl7"
    file.write_bytes(encode_oru(Case("case-1", 1, series), outcome, to, made_at=datetime(2026, 11, 21, tzinfo=UTC), facility="F"))
    return to, Package("case-1", (file,))


def acks(*codes: str) -> Answer:
    return lambda got: [got.create_ack(code) for code in codes]


@pytest.mark.parametrize(
    ("mode", "codes", "receipt"), [("original", ("AA",), "AA"), ("original", ("CA",), "CA"), ("enhanced", ("CA", "AA"), "AA")]
)
def test_other_library_reads_our_message_and_we_its_answer(mode: Any, codes: tuple[str, ...], receipt: str, tmp_path: Path) -> None:
    with serving(acks(*codes)) as server:
        to, package = message(server.port, mode, tmp_path)
        assert Mllp("his", to).deliver(package).startswith(f"{receipt} for ")
    (got,) = server.got
    assert str(got.segment("PID")[5]) == "Øvergård^Zoë^^^^^L^A"
    assert str(got.segment("OBX")[5]).startswith("ANALYSIS FAILED: segment: raised ValueError.")


@pytest.mark.parametrize(("mode", "codes"), [("original", ("AE",)), ("enhanced", ("CE",)), ("enhanced", ("CA", "AE"))])
def test_error_is_tried_again_with_the_same_control_id(mode: Any, codes: tuple[str, ...], tmp_path: Path) -> None:
    with serving(acks(*codes)) as server:
        to, package = message(server.port, mode, tmp_path)
        for _ in range(2):
            with pytest.raises(DestinationUnavailable, match=f"answered {codes[-1]}"):
                Mllp("his", to).deliver(package)
    assert len({str(got.segment("MSH")[10]) for got in server.got}) == 1
    assert len(server.got) == 2


@pytest.mark.parametrize(("mode", "codes"), [("original", ("AR",)), ("enhanced", ("CR",)), ("enhanced", ("CA", "AR"))])
def test_rejection_is_final(mode: Any, codes: tuple[str, ...], tmp_path: Path) -> None:
    with serving(acks(*codes)) as server:
        to, package = message(server.port, mode, tmp_path)
        with pytest.raises(DeliveryRefused, match=f"rejected with {codes[-1]}"):
            Mllp("his", to).deliver(package)


def test_answer_to_another_message_is_no_answer(tmp_path: Path) -> None:
    def wrong(got: hl7.Message) -> list[hl7.Message]:
        reply = got.create_ack("AA")
        reply["MSA"][0][2] = "SOMEBODY-ELSES"
        return [reply]

    with serving(wrong) as server:
        to, package = message(server.port, "original", tmp_path)
        with pytest.raises(DestinationUnavailable, match="acknowledged 'SOMEBODY-ELSES' instead of"):
            Mllp("his", to).deliver(package)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def secured(server: Server, folder: Path, tls: ClientTls) -> tuple[Mllp, Package]:
    to, package = message(server.port, "original", folder)
    return Mllp("his", to.model_copy(update={"tls": tls})), package


def test_message_goes_over_tls_with_certificates_on_both_sides(authority: Authority, tmp_path: Path) -> None:
    ours, theirs = authority.issue("node"), authority.issue("his")
    listening = ServerTls(certificate=theirs.certificate, key=theirs.key, client_ca=authority.ca)
    with serving(acks("AA"), listening) as server:
        mllp, package = secured(server, tmp_path, ClientTls(ca=authority.ca, certificate=ours.certificate, key=ours.key))
        assert mllp.deliver(package).startswith("AA for ")
    assert len(server.got) == 1


def test_a_server_that_nobody_vouches_for_gets_nothing(authority: Authority, tmp_path: Path) -> None:
    theirs = Authority(tmp_path / "impostor").issue("his")
    with serving(acks("AA"), ServerTls(certificate=theirs.certificate, key=theirs.key)) as server:
        mllp, package = secured(server, tmp_path, ClientTls(ca=authority.ca))
        with pytest.raises(DestinationUnavailable, match="no TLS that can be trusted"):
            mllp.deliver(package)
    assert server.got == []


def test_a_certificate_that_is_missing_is_named(authority: Authority, tmp_path: Path) -> None:
    theirs = authority.issue("his")
    with serving(acks("AA"), ServerTls(certificate=theirs.certificate, key=theirs.key)) as server:
        mllp, package = secured(server, tmp_path, ClientTls(ca=tmp_path / "nowhere.pem"))
        with pytest.raises(DestinationUnavailable, match=r"nowhere\.pem cannot be used"):
            mllp.deliver(package)
