"""DICOM over TLS: with certificates on both sides, and nobody is heard without one."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from dermanode.config import ClientTls, DimseDestination, ServerTls, Settings
from dermanode.deliver.destination import Package
from dermanode.deliver.dimse import Dimse
from dermanode.domain.identifiers import AETitle
from dermanode.errors import DestinationUnavailable
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.spool import Spool
from dermanode.receive.scp import StorageScp
from dermanode.testing import worked_cases
from dermanode.testing.certificates import Authority
from dermanode.testing.ledgers import ledger_at

pytestmark = pytest.mark.integration


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_at(tmp_path / "ledger.db")) as opened:
        yield opened


@pytest.fixture
def listener(tmp_path: Path, authority: Authority, ledger: Ledger) -> Iterator[StorageScp]:
    own = authority.issue("node")
    tls = ServerTls(certificate=own.certificate, key=own.key, client_ca=authority.ca)
    settings = Settings.model_validate(
        {"node": {"data_dir": str(tmp_path)}, "receive": {"port": 0, "minimum_free_mib": 0, "tls": tls.model_dump()}}
    )
    scp = StorageScp(settings, Spool(tmp_path / "spool"), ledger)
    scp.start()
    yield scp
    scp.stop()


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    return worked_cases.save(worked_cases.photograph(1), tmp_path)


def to(listener: StorageScp, tls: ClientTls | None) -> Dimse:
    settings = DimseDestination(type="dimse", ae_title=AETitle("DERMANODE"), host="127.0.0.1", port=listener.port, tls=tls, timeout_s=5)
    return Dimse("node", settings, AETitle("SENDER"))


def test_an_object_comes_over_tls(listener: StorageScp, authority: Authority, ledger: Ledger, photograph: Path) -> None:
    ours = authority.issue("sender")
    tls = ClientTls(ca=authority.ca, certificate=ours.certificate, key=ours.key)
    assert "1 objects stored" in to(listener, tls).deliver(Package("case", (photograph,)))
    sent: Dataset = worked_cases.photograph(1)
    (kept,) = ledger.objects.find(str(sent.SOPInstanceUID))
    assert kept.arrival.calling_ae == "SENDER"


@pytest.mark.parametrize("kind", ["no certificate", "a stranger's certificate", "no TLS"])
def test_nobody_is_heard_without_a_certificate(
    listener: StorageScp, authority: Authority, ledger: Ledger, photograph: Path, tmp_path: Path, kind: str
) -> None:
    stranger = Authority(tmp_path / "stranger").issue("sender")
    tls = {
        "no certificate": ClientTls(ca=authority.ca),
        "a stranger's certificate": ClientTls(ca=authority.ca, certificate=stranger.certificate, key=stranger.key),
        "no TLS": None,
    }[kind]
    with pytest.raises(DestinationUnavailable):
        to(listener, tls).deliver(Package("case", (photograph,)))
    assert ledger.objects.recent(1) == []


def test_a_caller_that_never_greets_keeps_nobody_out(listener: StorageScp, authority: Authority) -> None:
    ours = authority.issue("sender")
    with socket.create_connection(("127.0.0.1", listener.port)):
        began = time.monotonic()
        entity = AE(ae_title="SENDER")
        entity.add_requested_context(Verification)
        tls = ClientTls(ca=authority.ca, certificate=ours.certificate, key=ours.key).context()
        association = entity.associate("127.0.0.1", listener.port, ae_title="DERMANODE", tls_args=(tls, "127.0.0.1"))
        assert association.is_established
        assert association.send_c_echo().Status == 0x0000
        association.release()
        assert time.monotonic() - began < 5
