"""A real Orthanc routes real photographs to the node, and gets their results back."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmwrite

from dermanode.dicom.photograph import make_instances
from dermanode.testing.node import running_node, wait_for_case
from dermanode.testing.ports import free_port
from dermanode.testing.scenes import demo_series

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
ORTHANC = shutil.which("Orthanc")
pytestmark = [pytest.mark.integration, pytest.mark.skipif(ORTHANC is None, reason="Debian's package orthanc is not installed")]

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SURFACE = "1.2.840.10008.5.1.4.1.1.66.5"
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"
HEAT_MAP = "1.2.840.10008.5.1.4.1.1.7"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"


@dataclass(frozen=True)
class RunningOrthanc:
    """An Orthanc on free ports."""

    url: str
    dicom_port: int
    node_port: int

    def store(self, instances: list[Dataset]) -> None:
        for instance in instances:
            buffer = BytesIO()
            dcmwrite(buffer, instance, enforce_file_format=True)
            httpx.post(f"{self.url}/instances", content=buffer.getvalue()).raise_for_status()

    def classes_in_study(self, study_uid: str) -> list[str]:
        """The SOP Class UIDs of all instances that it holds of a study."""
        found = self._json("/tools/lookup", study_uid)
        study = next(one["ID"] for one in found if one["Type"] == "Study")
        instances = httpx.get(f"{self.url}/studies/{study}/instances").json()
        return [httpx.get(f"{self.url}/instances/{one['ID']}/metadata/SopClassUid").text for one in instances]

    def _json(self, path: str, body: str) -> Any:
        return httpx.post(f"{self.url}{path}", content=body).json()


@pytest.fixture
def orthanc(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunningOrthanc]:
    """With the marker value `routing`, it loads the auto-routing script that is shipped."""
    http_port, dicom_port, node_port = free_port(), free_port(), free_port()
    settings: dict[str, Any] = json.loads((ROOT / "docker" / "orthanc" / "orthanc.json").read_text())
    settings.pop("DicomWeb")
    settings |= {
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "StorageDirectory": str(tmp_path / "orthanc"),
        "IndexDirectory": str(tmp_path / "orthanc"),
        "StableAge": 1,
        "RemoteAccessAllowed": False,
        "DicomModalities": {"dermanode": ["DERMANODE", "127.0.0.1", node_port]},
        "DicomAlwaysAllowStore": True,
        "LuaScripts": [str(ROOT / "config" / "orthanc" / "route.lua")] if getattr(request, "param", "") == "routing" else [],
    }
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(settings))
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([str(ORTHANC), str(file)], stdout=log, stderr=log, env={**os.environ, "TCP_NODELAY": "1"})
        url = f"http://127.0.0.1:{http_port}"
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    httpx.get(f"{url}/system").raise_for_status()
                    break
                except httpx.HTTPError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        pytest.fail((tmp_path / "orthanc.log").read_text()[-2000:])
                    time.sleep(0.2)
            yield RunningOrthanc(url, dicom_port, node_port)
        finally:
            process.kill()
            process.wait(20)


def photographs(folder: Path, count: int) -> list[Path]:
    """Real dermoscopic photographs of one lesion, as JPEG files in the folder."""
    with (SHARED / "lesions.csv").open() as rows:
        row = next(row for row in csv.DictReader(rows) if row["set"].lower().startswith("ham") and row["split"] == "val")
    with zipfile.ZipFile(SHARED / "ham10000.zip") as images:
        name = next(name for name in images.namelist() if name.endswith(row["image"]))
        file = folder / "photo.jpg"
        file.write_bytes(images.read(name))
    return [file] * count


@pytest.mark.parametrize("orthanc", ["routing"], indirect=True)
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real photographs of ../shared/data are not beside the checkout")
def test_a_photograph_that_orthanc_routes_comes_back_as_seg_surface_heat_map_and_report(orthanc: RunningOrthanc, tmp_path: Path) -> None:
    destination = {"orthanc": {"type": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}}
    with running_node(
        ROOT / "config" / "dermanode.yaml",
        tmp_path / "var",
        deliver=["orthanc"],
        destinations=destination,
        receive={"port": orthanc.node_port},
        complete={"quiet_s": 2},
    ) as node:
        instances = make_instances(
            photographs(tmp_path, 1), patient_id="REAL-1", pixel_spacing_mm=0.05, made_at=datetime(2026, 1, 1, tzinfo=UTC)
        )
        orthanc.store(instances)
        case = wait_for_case(node, "REAL-1")
        assert case.outcome is not None
        assert not case.outcome.is_failed, case.outcome.reason
        assert sorted(set(orthanc.classes_in_study(instances[0].StudyInstanceUID))) == sorted(
            {instances[0].SOPClassUID, SEG, SURFACE, HEAT_MAP, REPORT, PDF}
        )
        assert case.source_ae == "ORTHANC"
        time.sleep(3)  # Orthanc calls the results stable now: they must not come back to the node as a new case
        assert sum(node.ledger.cases.counts().values()) == 1


def test_a_series_that_orthanc_calls_stable_is_fetched(orthanc: RunningOrthanc, tmp_path: Path) -> None:
    destination = {"orthanc": {"type": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}}
    series = demo_series(datetime(2026, 2, 1, tzinfo=UTC), views=3, size=(640, 480))
    orthanc.store(series)
    with running_node(
        ROOT / "config" / "dermanode.yaml",
        tmp_path / "var",
        deliver=["orthanc"],
        destinations=destination,
        orthanc={"clinic": {"url": orthanc.url, "poll_s": 0.5}},
        complete={"quiet_s": 300},
    ) as node:
        case = wait_for_case(node, str(series[0].SeriesInstanceUID))
        assert case.evidence.kind == "stable series"
        assert len(node.ledger.objects.of_case(case.id)) == 3
        classes = orthanc.classes_in_study(str(series[0].StudyInstanceUID))
        assert classes.count(SEG) == 3
        assert classes.count(REPORT) == 1
    # The place in Orthanc's changes was kept: a restart fetches nothing twice.
    assert json.loads((tmp_path / "var" / "orthanc-clinic.last").read_text())["last"] > 0
