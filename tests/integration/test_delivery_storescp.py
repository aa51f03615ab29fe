"""Delivery into dcmtk's storescp, another implementation's storage server."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dermanode.config import DimseDestination
from dermanode.deliver.destination import Package
from dermanode.deliver.dimse import Dimse
from dermanode.domain import AETitle
from dermanode.testing.ports import free_port

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("storescp"), reason="dcmtk's storescp is not installed (Debian package dcmtk)"),
]

CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.5", "1.2.840.10008.5.1.4.1.1.88.34")


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Starts storescp with more options and returns its port; what it gets is in `pacs`."""
    (tmp_path / "pacs").mkdir()
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> int:
        port = free_port()
        command = ["storescp", "--aetitle", "STORESCP", "--output-directory", str(tmp_path / "pacs"), *options, str(port)]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return port
        raise AssertionError("storescp does not listen")

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


@pytest.fixture
def package(tmp_path: Path) -> Package:
    files = []
    for number, sop_class in enumerate(CLASSES, start=1):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID(sop_class)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(f"1.2.3.{number}")
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.PatientName, dataset.TextValue = "Nobody", "x" * 200_000
        files.append(tmp_path / f"{number}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    return Package("case-1", tuple(files))


def delivered(package: Package, port: int) -> str:
    settings = DimseDestination(type="dimse", ae_title=AETitle("STORESCP"), host="127.0.0.1", port=port, timeout_s=10)
    return Dimse("pacs", settings, AETitle("DERMANODE")).deliver(package)


def stored(tmp_path: Path) -> list[Dataset]:
    return [dcmread(path) for path in sorted((tmp_path / "pacs").iterdir())]


def test_case_is_stored_whole_and_twice_leaves_one(package: Package, storescp: Callable[..., int], tmp_path: Path) -> None:
    port = storescp()
    assert delivered(package, port) == "3 objects stored by STORESCP"
    assert delivered(package, port) == "3 objects stored by STORESCP"
    assert sorted((dataset.SOPInstanceUID, dataset.SOPClassUID) for dataset in stored(tmp_path)) == [
        (f"1.2.3.{number}", sop_class) for number, sop_class in enumerate(CLASSES, start=1)
    ]
    assert {len(dataset.TextValue) for dataset in stored(tmp_path)} == {200_000}


def test_server_that_takes_only_implicit_vr_gets_it(package: Package, storescp: Callable[..., int], tmp_path: Path) -> None:
    delivered(package, storescp("--implicit"))
    assert {dataset.file_meta.TransferSyntaxUID for dataset in stored(tmp_path)} == {ImplicitVRLittleEndian}
