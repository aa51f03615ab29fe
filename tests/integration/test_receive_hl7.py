"""HL7 in, from another library's senders: plain, over TLS with certificates on both sides, and while the node is killed."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import hl7
import pytest
from hl7.client import MLLPClient
from hl7.mllp import open_hl7_connection
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.parser import parse_message

from dermanode.config import ServerTls, Settings
from dermanode.config.ways_in import Hl7Listener
from dermanode.domain import UID, Digest
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Arrival, CaseRecord, Evidence, Header, SeriesKey
from dermanode.receive.hl7.framing import framed
from dermanode.receive.hl7.listener import Hl7Server
from dermanode.testing.certificates import Authority
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.node import started

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
KEY = SeriesKey(UID("2.25.1"), UID("2.25.2"), "P1", "HOSP")


@contextmanager
def listening(ledger: Ledger, tls: ServerTls | None = None) -> Iterator[Hl7Server]:
    server = Hl7Server(Hl7Listener(port=0, tls=tls, default_issuer="HOSP"), ledger.messages, lambda: datetime.now(UTC))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_at(tmp_path / "ledger.db")) as opened:
        yield opened


def case_of(ledger: Ledger, *, accession: str = "A1", key: SeriesKey = KEY) -> CaseRecord:
    """A case of one image."""
    uid = UID(f"{key.series_instance_uid}.1")
    digest = Digest(f"{abs(hash(uid)):064x}"[:64])
    arrival = Arrival(uid, UID("1.2.840.10008.5.1.4.1.1.77.1.4"), UID("1.2.840.10008.1.2.1"), digest, 1, "x", "a", "CAM", "DN", "::1", NOW)
    (receipt,) = ledger.objects.record([arrival])
    header = Header(
        key.study_instance_uid, key.series_instance_uid, "XC", key.patient_id, key.issuer_of_patient_id, accession_number=accession
    )
    ledger.objects.set_headers({receipt.object_id: header})
    return ledger.cases.open(key, pipeline="derm", plan=(), evidence=Evidence("by hand", "A test."), now=NOW)


def headed(structure: str, version: str, kind: str, control_id: str) -> Message:
    """A message as hl7apy builds it, strictly."""
    message = Message(structure, version=version, validation_level=VALIDATION_LEVEL.STRICT)
    message.msh.msh_3, message.msh.msh_4, message.msh.msh_9, message.msh.msh_10 = "HIS", "HOSP", kind, control_id
    message.msh.msh_11, message.msh.msh_18 = "P", "UNICODE UTF-8"
    return message


def orm(control_id: str) -> Message:
    message = headed("ORM_O01", "2.5.1", "ORM^O01^ORM_O01", control_id)
    patient = message.add_group("ORM_O01_PATIENT")
    patient.pid = "PID|1||P1^^^HOSP^PI||Müller^Anna||19700102|F"
    order = message.add_group("ORM_O01_ORDER")
    order.orc = "ORC|NW|77^HIS|F9^RIS|||||||||4711^House^Gregory"
    detail = order.add_group("ORM_O01_ORDER_DETAIL").add_group("ORM_O01_OBRRQDRQ1RXOODSODT_SUPPGRP")
    detail.obr = "OBR|1|77^HIS|F9^RIS|DERM^Dermoscopy^L||||||||||||||A1"
    return message  # not validated: hl7apy wants every segment of the choice that OBR is of


def oml(control_id: str) -> Message:
    message = headed("OML_O21", "2.5.1", "OML^O21^OML_O21", control_id)
    message.add_group("OML_O21_PATIENT").pid = "PID|1||P1^^^HOSP^PI||Müller^Anna"
    order = message.add_group("OML_O21_ORDER")
    order.orc = "ORC|NW|78^HIS"
    order.add_group("OML_O21_OBSERVATION_REQUEST").obr = "OBR|1|78^HIS|A2^RIS|HISTO^Histology^L"
    message.validate()
    return message


def omi(control_id: str) -> Message:
    message = headed("OMI_O23", "2.5.1", "OMI^O23^OMI_O23", control_id)
    message.add_group("OMI_O23_PATIENT").pid = "PID|1||P1^^^HOSP^PI||Müller^Anna"
    order = message.add_group("OMI_O23_ORDER")
    order.orc = "ORC|NW|79^HIS"
    order.obr = "OBR|1|79^HIS|F3^RIS|DERM^Dermoscopy^L"
    order.ipc = "IPC|A3^RIS|R1^RIS|2.25.1^RIS|S1^RIS"
    message.validate()
    return message


def adt(control_id: str, name: str = "Müller^Anna") -> Message:
    message = headed("ADT_A01", "2.5.1", "ADT^A08^ADT_A01", control_id)
    message.evn.evn_2 = "20261128120000"
    message.pid = f"PID|1||P1^^^HOSP^PI||{name}||19700102|F"
    message.pv1 = "PV1|1|O"
    message.validate()
    return message


def merge(control_id: str, former: str, into: str) -> Message:
    message = headed("ADT_A39", "2.5.1", "ADT^A40^ADT_A39", control_id)
    message.evn.evn_2 = "20261128120000"
    group = message.add_group("ADT_A39_PATIENT")
    group.pid = f"PID|1||{into}^^^HOSP^PI||Müller^Anna"
    group.mrg = f"MRG|{former}^^^HOSP^PI"
    message.validate()
    return message


def sent(client: MLLPClient, message: Message) -> Message:
    """The answer, judged by hl7apy."""
    answer: bytes = client.send_message(message.to_er7())
    assert (answer[:1], answer[-2:]) == (b"\x0b", b"\x1c\r")
    judged = parse_message(answer[1:-2].decode("utf-8"), validation_level=VALIDATION_LEVEL.STRICT)
    judged.validate()
    assert judged.msa.msa_2.to_er7() == message.msh.msh_10.to_er7()
    return judged


def test_what_hl7apy_builds_strictly_is_understood_and_answered_so_that_it_accepts(ledger: Ledger) -> None:
    record = case_of(ledger)
    with listening(ledger) as server, MLLPClient("127.0.0.1", server.port) as client:
        answers = [sent(client, message) for message in (orm("1"), oml("2"), adt("4"), merge("5", "P1", "P2"), omi("3"))]
    assert [answer.msa.msa_1.to_er7() for answer in answers] == ["AA"] * 5
    assert [answer.msh.msh_9.to_er7() for answer in answers] == ["ACK^O01^ACK", "ACK^O21^ACK", "ACK^A08^ACK", "ACK^A40^ACK", "ACK^O23^ACK"]
    present = ledger.cases.get(record.id)
    assert present.key.patient_id == "P2"
    match = ledger.orders.for_case(present)
    assert match.order is not None
    assert (match.order.placer_number, match.order.accession_number) == ("79", "A3")  # the order of the study goes before the other
    patient = ledger.patients.of(present.key)
    assert patient is not None
    assert (patient.name, patient.formerly) == ("Müller^Anna", (("P1", "HOSP"),))


def test_error_is_answered_so_that_hl7apy_accepts_it(ledger: Ledger) -> None:
    with listening(ledger) as server, MLLPClient("127.0.0.1", server.port) as client:
        answer = sent(client, merge("1", "P1", "P1"))
    assert (answer.msa.msa_1.to_er7(), answer.err.err_2.to_er7(), answer.err.err_4.to_er7()) == ("AE", "MRG^1^1", "E")
    assert answer.err.err_8.to_er7() == "A patient cannot be merged into itself."


def test_tls_with_certificates_on_both_sides(ledger: Ledger, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    own, theirs, strangers = authority.issue("node"), authority.issue("his"), other.issue("stranger")
    tls = ServerTls(certificate=own.certificate, key=own.key, client_ca=authority.ca)

    async def send(context: ssl.SSLContext, port: int) -> str:
        reader, writer = await open_hl7_connection("127.0.0.1", port, encoding="utf-8", ssl=context)
        try:
            writer.writemessage(hl7.parse(adt("1").to_er7()))
            await writer.drain()
            return str((await reader.readmessage()).segment("MSA")[1])
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def context(certificate: Path | None, key: Path | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(authority.ca))
        if certificate is not None:
            made.load_cert_chain(certificate, key)
        return made

    with listening(ledger, tls) as server:
        assert asyncio.run(send(context(theirs.certificate, theirs.key), server.port)) == "AA"
        for stranger in (context(None, None), context(strangers.certificate, strangers.key)):
            with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
                asyncio.run(send(stranger, server.port))
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
            plain.sendall(framed(adt("9").to_er7().encode()))
            assert b"MSA" not in plain.recv(65536)
    assert [record.head.control_id for record in ledger.messages.recent(10)] == ["1"]


def test_whole_node_takes_messages_where_it_is_told_to(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "node": {"data_dir": str(tmp_path)},
            "receive": {"port": 0, "minimum_free_mib": 0},
            "web": {"is_enabled": False},
            "engine": {"kind": "inline"},
            "hl7": {"is_enabled": True, "port": 0},
        }
    )
    with started(settings, [], tmp_path) as node:
        assert node.hl7_port is not None
        with MLLPClient("127.0.0.1", node.hl7_port) as client:
            assert sent(client, adt("1")).msa.msa_1.to_er7() == "AA"
        assert node.ledger.messages.counts() == {("ADT^A08", "AA"): 1}


SERVE = """
import sys
from datetime import UTC, datetime
from dermanode.config.ways_in import Hl7Listener
from dermanode.ledger.ledger import Ledger
from dermanode.receive.hl7.listener import Hl7Server

ledger = Ledger.open(sys.argv[1])
server = Hl7Server(Hl7Listener(port=0), ledger.messages, lambda: datetime.now(UTC))
server.start()
print("port", server.port, flush=True)
sys.stdin.read()
"""


def test_message_is_done_once_whenever_the_listener_is_killed(tmp_path: Path, ledger: Ledger) -> None:
    """Each message changes the patient's name, which leaves one line on the case; what is not acknowledged is sent again."""
    record = case_of(ledger)
    names, chance, kills = [f"Name{number}^Anna" for number in range(30)], random.Random(20261128), 0
    messages = [framed(adt(str(number), name).to_er7().encode()) for number, name in enumerate(names)]
    waiting = list(messages)
    while waiting:
        with subprocess.Popen(
            [sys.executable, "-c", SERVE, ledger._database.url.render_as_string()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            port = next(int(line.split()[1]) for line in process.stdout if line.startswith(b"port "))
            until = time.monotonic() + (chance.uniform(0.0, 0.08) if kills < 3 else 60.0)
            waiting = _until_killed(process, port, waiting, until)
            kills += process.poll() == -signal.SIGKILL
            if process.poll() is None:
                assert process.stdin is not None
                process.stdin.close()
                process.kill()
    told = [event for event in ledger.history.of(f"case:{record.id}") if event.kind == "patient_updated"]
    assert kills == 3
    assert len(told) == len(names)
    assert len(ledger.messages.recent(100)) == len(names)
    patient = ledger.patients.of(KEY)
    assert patient is not None
    assert patient.name == names[-1]


def _until_killed(process: subprocess.Popen[bytes], port: int, waiting: list[bytes], until: float) -> list[bytes]:
    """Sends one after the other, kills the listener in the middle at that time; what has no answer is left."""
    left = list(waiting)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        while left:
            try:
                connection.sendall(left[0])
                connection.settimeout(max(until - time.monotonic(), 0.001))
                if b"|AA|" not in connection.recv(65536):
                    break
                left.pop(0)
            except TimeoutError:
                process.send_signal(signal.SIGKILL)
                process.wait(10)
                break
            except OSError:
                break
    return left
