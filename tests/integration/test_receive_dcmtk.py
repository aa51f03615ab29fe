"""dcmtk's programs against the listener."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, generate_uid

from dermanode.config import Receive, Settings
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.spool import Spool
from dermanode.receive.pdu import p_data
from dermanode.receive.scp import StorageScp
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.raw_peer import VL_PHOTOGRAPHIC, RawPeer, store_request

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk is not installed"),
]


@dataclass
class Node:
    scp: StorageScp
    ledger: Ledger
    spool: Spool

    def call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program, "-v", "-aec", "DERMANODE", "127.0.0.1", str(self.scp.port), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"TCP_NODELAY": "1"})


@pytest.fixture(params=[True, False], ids=["lane", "pynetdicom"])
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    settings = Settings(receive=Receive(port=0, minimum_free_mib=0))
    spool = Spool(tmp_path / "spool")
    with Ledger.open(ledger_at(tmp_path / "ledger.db")) as ledger:
        scp = StorageScp(settings, spool, ledger, is_lane_used=request.param)
        scp.start()
        yield Node(scp, ledger, spool)
        scp.stop()


def photograph(folder: Path, syntax: str) -> Path:
    """A small photograph in that transfer syntax."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = VL_PHOTOGRAPHIC, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.PatientName, dataset.Modality = "P1", "Test^Case", "XC"
    pixels = np.random.default_rng(1).integers(0, 255, (40, 50, 3), np.uint8)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PlanarConfiguration = 40, 50, 3, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PhotometricInterpretation, dataset.PixelData = "RGB", pixels.tobytes()
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    file = folder / f"{syntax}.dcm"
    dcmwrite(file, dataset, enforce_file_format=True)
    return file


def test_echoscu_is_answered(node: Node) -> None:
    answer = node.call("echoscu")
    assert answer.returncode == 0
    assert "Received Echo Response (Success)" in answer.stderr


def test_another_called_title_is_rejected(node: Node) -> None:
    answer = node.call("echoscu", "-aec", "ELSEWHERE")
    assert answer.returncode != 0
    assert "Called AE Title Not Recognized" in answer.stderr


@pytest.mark.parametrize(
    ("syntax", "option"),
    [
        (ImplicitVRLittleEndian, "-xi"),
        (ExplicitVRLittleEndian, "-xe"),
        (DeflatedExplicitVRLittleEndian, "-xd"),
        (RLELossless, "-xr"),
    ],
)
def test_storescu_stores_in_the_syntax_that_it_chose(node: Node, tmp_path: Path, syntax: str, option: str) -> None:
    file = photograph(tmp_path, syntax)
    sent = dcmread(file)
    answer = node.call("storescu", option, str(file))
    assert answer.returncode == 0, answer.stderr
    (found,) = node.ledger.objects.find(sent.SOPInstanceUID)
    stored = dcmread(node.spool.path(found.arrival.path))
    assert stored.file_meta.TransferSyntaxUID == syntax
    assert stored.PixelData == sent.PixelData
    assert found.arrival.calling_ae == "STORESCU"


def test_several_files_come_over_one_association(node: Node, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / str(number)).mkdir()
    files = [photograph(tmp_path / str(number), ExplicitVRLittleEndian) for number in range(6)]
    assert node.call("storescu", *map(str, files)).returncode == 0
    stored = node.ledger.objects.recent(10)
    assert len(stored) == 6
    assert len({one.arrival.association for one in stored}) == 1
    assert node.ledger.audit(node.spool, deep=True).is_clean


def test_a_peer_that_breaks_off_does_not_disturb_storescu(node: Node, tmp_path: Path) -> None:
    with RawPeer(node.scp.port) as peer:
        peer.associate()
        peer.send(
            p_data(1, store_request("1.2.3"), is_command=True, is_last=True) + p_data(1, bytes(1000), is_command=False, is_last=False)
        )
    assert node.call("storescu", str(photograph(tmp_path, ExplicitVRLittleEndian))).returncode == 0
    assert len(node.ledger.objects.recent(10)) == 1
