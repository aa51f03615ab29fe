"""What a real source answers when it is asked how many objects a series has."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from dermanode.config import Source
from dermanode.domain.identifiers import UID, AETitle
from dermanode.ledger.records import SeriesKey
from dermanode.receive.source import count_at_source
from dermanode.testing.ports import free_port
from dermanode.testing.raw_peer import VL_PHOTOGRAPHIC

OWN = AETitle("DERMANODE")
STUDY, SERIES = generate_uid(), generate_uid()
KEY = SeriesKey(UID(STUDY), UID(SERIES), "P1")
ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")

pytestmark = pytest.mark.integration


def await_port(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


def store(port: int, called: str, objects: int) -> None:
    """So many objects of the one series."""
    entity = AE()
    entity.add_requested_context(VL_PHOTOGRAPHIC, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established
    for _ in range(objects):
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = VL_PHOTOGRAPHIC, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
        dataset.PatientID, dataset.PatientName, dataset.Modality, dataset.StudyID = "P1", "Test^Case", "XC", "1"
        dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20261121", "120000", ""
        dataset.file_meta = Dataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        assert association.send_c_store(dataset).Status == 0
    association.release()


def running(command: list[str], port: int, folder: Path) -> Iterator[int]:
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"TCP_NODELAY": "1"})
        try:
            await_port(port)
            yield port
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[int]:
    if ORTHANC is None:
        pytest.skip("Orthanc is not installed")
    port = free_port()
    settings = {
        "StorageDirectory": str(tmp_path / "storage"),
        "IndexDirectory": str(tmp_path / "index"),
        "HttpServerEnabled": False,
        "DicomPort": port,
        "DicomAet": "ORTHANC",
        "DicomAlwaysAllowFind": True,
        "DicomModalities": {"node": ["DERMANODE", "127.0.0.1", 1]},
        "Plugins": [],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    yield from running([ORTHANC, str(tmp_path / "orthanc.json")], port, tmp_path)


@pytest.fixture
def dcmqrscp(tmp_path: Path) -> Iterator[int]:
    program = shutil.which("dcmqrscp")
    if program is None:
        pytest.skip("dcmtk's dcmqrscp is not installed")
    port = free_port()
    (tmp_path / "store").mkdir()
    (tmp_path / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 4\nHostTable BEGIN\nHostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nQRSCP {tmp_path}/store RW (20, 100mb) ANY\nAETable END\n"
    )
    yield from running([program, "-c", str(tmp_path / "dcmqrscp.cfg")], port, tmp_path)


def test_orthanc_counts_its_series(orthanc: int) -> None:
    store(orthanc, "ORTHANC", 3)
    source = Source(ae_title=AETitle("ORTHANC"), host="127.0.0.1", port=orthanc)
    assert count_at_source(source, OWN, KEY) == 3
    assert count_at_source(source, OWN, SeriesKey(UID(STUDY), UID("1.2.3"), "P1")) is None


def test_a_source_that_leaves_the_count_out_has_its_images_counted(dcmqrscp: int) -> None:
    store(dcmqrscp, "QRSCP", 3)
    source = Source(ae_title=AETitle("QRSCP"), host="127.0.0.1", port=dcmqrscp)
    assert count_at_source(source, OWN, KEY) == 3


def test_a_source_that_is_not_there_gives_no_count_in_time() -> None:
    began = time.monotonic()
    source = Source(ae_title=AETitle("NOBODY"), host="127.0.0.1", port=free_port())
    assert count_at_source(source, OWN, KEY, timeout_s=1) is None
    assert time.monotonic() - began < 5


def test_a_source_that_accepts_and_says_nothing_gives_no_count_in_time() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        source = Source(ae_title=AETitle("SILENT"), host="127.0.0.1", port=silent.getsockname()[1])
        began = time.monotonic()
        assert count_at_source(source, OWN, KEY, timeout_s=1) is None
        assert time.monotonic() - began < 10
