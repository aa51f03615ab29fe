"""Every odd file of the public test collections is sent to a node: each ends in one state, with a reason that people understand."""

from __future__ import annotations

import hashlib
import struct
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from dermanode.config import Match, Pipeline, load_settings
from dermanode.ledger.records import CaseState, ObjectState
from dermanode.testing.node import started, with_data
from dermanode.testing.raw_peer import RawPeer

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT.parent / "shared" / "data" / "dicom_samples.zip"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SAMPLES.is_file(), reason="../shared/data/dicom_samples.zip is not beside the checkout"),
]

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
VL_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
# Whatever holds pixels is let in, so that every decoder is tried; nothing but reading and reporting is done with it.
MODALITIES = (
    *("CR", "CT", "DMS", "DX", "ECG", "ES", "GM", "IO", "IVOCT", "MG", "MR", "NM", "OPT", "OT"),
    *("PT", "PX", "RF", "RG", "RTDOSE", "RTIMAGE", "SC", "SM", "US", "XA", "XC"),
)


@dataclass(frozen=True)
class Sample:
    """A file as a sender would put it on the wire."""

    name: str
    sop_class: str
    instance: str
    syntax: str
    data_set: bytes


def samples() -> Iterator[Sample]:
    """The files; what names no class or instance of its own is sent under one that was made up."""
    with zipfile.ZipFile(SAMPLES) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith("/") and name != "CATALOGUE.csv":
                yield sample(name, archive.read(name))


def sample(name: str, content: bytes) -> Sample:
    made_up = f"2.25.{int.from_bytes(hashlib.sha256(name.encode()).digest()[:12], 'big')}"
    try:
        meta = dcmread(BytesIO(content), specific_tags=["SOPClassUID"], stop_before_pixels=True).file_meta
        start = 144 + struct.unpack_from("<I", content, 140)[0]
        return Sample(
            name,
            str(meta.get("MediaStorageSOPClassUID", "") or VL_PHOTOGRAPHIC),
            str(meta.get("MediaStorageSOPInstanceUID", "") or made_up),
            str(meta.get("TransferSyntaxUID", "") or IMPLICIT_LITTLE_ENDIAN),
            content[start:],
        )
    except Exception:  # noqa: BLE001  these files are broken in every way there is
        try:
            found = dcmread(BytesIO(content), force=True, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
            sop_class, instance = str(found.get("SOPClassUID", "")), str(found.get("SOPInstanceUID", ""))
        except Exception:  # noqa: BLE001
            sop_class = instance = ""
        return Sample(name, sop_class or VL_PHOTOGRAPHIC, instance or made_up, IMPLICIT_LITTLE_ENDIAN, content)


def test_every_sample_ends_in_one_state_with_a_reason(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = with_data(
        load_settings(ROOT / "config" / "dermanode.yaml"), tmp_path / "var", complete={"quiet_s": 3}, web={"is_enabled": False}
    )
    pipeline = Pipeline(name="read-only", match=Match(modalities=MODALITIES), stages={})
    with started(settings, [pipeline], ROOT / "config") as node:
        for one in samples():
            with RawPeer(node.dicom_port) as peer:
                answer = peer.associate([(one.sop_class, one.syntax)])
                assert answer[:1] == b"\2", f"{one.name}: the association was not accepted"
                if _is_refused(answer):
                    continue  # an abstract syntax that is no storage class
                peer.store(one.instance, one.data_set, sop_class=one.sop_class)
                peer.release()
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline:
            counts = node.ledger.objects.counts()
            cases = node.ledger.cases.counts()
            if not counts.get(ObjectState.WAITING, 0) and not cases.get(CaseState.READY, 0) and not cases.get(CaseState.RUNNING, 0):
                break
            time.sleep(0.5)
        audit = node.ledger.audit(node.spool, deep=True)
        stored = node.ledger.objects.recent(1000)
    assert audit.is_clean, audit.problems[:5]
    assert audit.accepted > 300
    assert {item.state for item in stored} <= {ObjectState.IN_CASE, ObjectState.IGNORED, ObjectState.QUARANTINED}
    for item in stored:
        if item.state is not ObjectState.IN_CASE:
            assert len(item.reason) > 15, f"{item.arrival.sop_instance_uid}: {item.reason!r} says too little"
            assert "Traceback" not in item.reason
    assert "Traceback" not in capfd.readouterr().err


def _is_refused(answer: bytes) -> bool:
    """Whether the presentation context 1 was refused: its result, in the item 0x21, is not 0 (PS3.8 9.3.3.2)."""
    start = answer.find(b"\x21\x00", 74)
    return start < 0 or answer[start + 6] != 0
