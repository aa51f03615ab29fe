"""Earlier visits from the reports that a real PACS holds: by C-FIND and C-GET, and by Orthanc's REST interface."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread, dcmwrite

from dermanode.cli.send import send_files, write_instances
from dermanode.config import DimseDestination, load_pipelines, load_settings
from dermanode.deliver.destination import Package
from dermanode.deliver.dimse import Dimse
from dermanode.dicom.encode import EncodingOrder, encode_case
from dermanode.dicom.read_report import read_report
from dermanode.domain import UID, AETitle, Case
from dermanode.errors import SourceUnavailable
from dermanode.ledger.records import CaseRecord, CaseState, Evidence, SeriesKey
from dermanode.receive.priors import PriorSearch, sources_of
from dermanode.receive.report_sources import DimseReports, ReportSource
from dermanode.testing import worked_cases
from dermanode.testing.node import receiver_of, started, wait_for_case, with_data
from dermanode.testing.ports import free_port
from dermanode.testing.real_pacs import DICOMWEB_PLUGIN
from dermanode.testing.scenes import demo_series

ROOT = Path(__file__).parents[2]
ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
pytestmark = pytest.mark.integration

WAYS = ("pacs", "rest", *(["web"] if DICOMWEB_PLUGIN.exists() else []))
"""`web` where Debian's package orthanc-dicomweb is installed."""

THEN, NOW = datetime(2026, 1, 10, 9, 0, tzinfo=UTC), datetime(2026, 4, 10, 9, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Pacs:
    """A PACS, under the names by which the settings know its two doors."""

    dicom_port: int
    url: str = ""
    ae_title: str = "ORTHANC"

    def settings(self, *ask: str, timeout_s: float = 30.0) -> dict[str, Any]:
        return {
            "sources": {
                "pacs": {"ae_title": self.ae_title, "host": "127.0.0.1", "port": self.dicom_port},
                "web": {"type": "dicomweb", "url": f"{self.url or 'http://127.0.0.1:1'}/dicom-web"},
            },
            "orthanc": {"rest": {"url": self.url or "http://127.0.0.1:1", "poll_s": 600}},
            "priors": {"ask": ask, "timeout_s": timeout_s},
        }

    def source(self, way: str) -> ReportSource:
        return sources_of(settings_of(self.settings(way)))[0]

    def store(self, content: bytes) -> None:
        httpx.post(f"{self.url}/instances", content=content, timeout=30).raise_for_status()


def settings_of(overrides: dict[str, Any]) -> Any:
    return with_data(load_settings(ROOT / "config" / "dermanode.yaml"), Path("unused"), **overrides)


def await_port(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Pacs]:
    if ORTHANC is None:
        pytest.skip("Debian's package orthanc is not installed")
    pacs = Pacs(free_port(), f"http://127.0.0.1:{free_port()}")
    settings = {
        "StorageDirectory": str(tmp_path / "storage"),
        "IndexDirectory": str(tmp_path / "index"),
        "HttpPort": int(pacs.url.rsplit(":", 1)[1]),
        "RemoteAccessAllowed": False,
        "DicomPort": pacs.dicom_port,
        "DicomAet": pacs.ae_title,
        "DicomAlwaysAllowStore": True,
        # Who asks must be known to it: Orthanc lets nobody else search or get.
        "DicomModalities": {"node": ["DERMANODE", "127.0.0.1", 1]},
        "Plugins": [str(DICOMWEB_PLUGIN)] if DICOMWEB_PLUGIN.exists() else [],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    with (tmp_path / "orthanc.log").open("w") as log:
        command = [ORTHANC, str(tmp_path / "orthanc.json")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"TCP_NODELAY": "1"})
        try:
            await_port(pacs.dicom_port)
            await_port(settings["HttpPort"])
            yield pacs
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def dcmqrscp(tmp_path: Path) -> Iterator[Pacs]:
    program = shutil.which("dcmqrscp")
    if program is None:
        pytest.skip("Debian's package dcmtk is not installed")
    pacs = Pacs(free_port(), ae_title="QRSCP")
    (tmp_path / "store").mkdir()
    (tmp_path / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {pacs.dicom_port}\nMaxPDUSize = 16384\nMaxAssociations = 4\nHostTable BEGIN\nHostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nQRSCP {tmp_path}/store RW (20, 100mb) ANY\nAETable END\n"
    )
    with (tmp_path / "dcmqrscp.log").open("w") as log:
        command = [program, "-c", str(tmp_path / "dcmqrscp.cfg")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"TCP_NODELAY": "1"})
        try:
            await_port(pacs.dicom_port)
            yield pacs
        finally:
            process.kill()
            process.wait()


def visit(folder: Path, number: int, taken: datetime, *, patient_id: str = "P-4711", issuer: str = "CLINIC") -> tuple[Case, bytes]:
    """A case of that date, and its report. Every patient's lesion has the same Tracking ID and the same Tracking UID."""
    photograph = worked_cases.photograph(1, study=f"{patient_id} {issuer} visit {number}")
    photograph.PatientID, photograph.IssuerOfPatientID = patient_id, issuer
    case = worked_cases.case_of([photograph], folder)
    view = replace(case.series.views[0], acquired_at=taken)
    case = replace(case, id=f"{patient_id}-{issuer}-{number}", series=replace(case.series, views=(view,), acquired_at=taken))
    case = replace(case, findings=worked_cases.numbers(case))
    order = EncodingOrder(made_at=taken, pipeline="test", kinds=("SR",))
    (encoded,) = encode_case(case, worked_cases.outcome_of(case), order)
    return case, as_file(encoded.dataset)


def as_file(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def record_of(case: Case) -> CaseRecord:
    """The case as the ledger has it when it begins."""
    series = case.series
    assert series.acquired_at is not None
    return CaseRecord(
        id=case.id,
        key=SeriesKey(series.study_instance_uid, series.series_instance_uid, series.patient.patient_id, series.patient.issuer),
        revision=1,
        pipeline="test",
        plan=(),
        evidence=Evidence("by hand", "A test."),
        state=CaseState.RUNNING,
        attempts=1,
        opened_at=series.acquired_at,
        started_at=series.acquired_at,
        finished_at=None,
        reason="",
        lesion=series.lesion,
        acquired_at=series.acquired_at,
        accession_number="",
        source_ae="",
        outcome=None,
        supersedes=None,
    )


@pytest.mark.parametrize("way", WAYS)
def test_two_patients_with_one_tracking_id_are_never_merged(orthanc: Pacs, tmp_path: Path, way: str) -> None:
    case, own = visit(tmp_path, 1, THEN)
    for _, foreign in (visit(tmp_path, 1, THEN, patient_id="P-9999"), visit(tmp_path, 1, THEN, issuer="OTHER CLINIC")):
        orthanc.store(foreign)
    orthanc.store(own)
    now, _ = visit(tmp_path, 2, NOW)
    assert now.series.lesion == case.series.lesion
    asked = PriorSearch(settings_of(orthanc.settings(way)))(record_of(now), ())
    assert asked.gaps == ()
    assert [prior.case_id for prior in asked.visits] == [read_report(own, "").sop_instance_uid]


@pytest.mark.parametrize("way", WAYS)
def test_a_patient_id_that_reads_like_a_wildcard_finds_no_other_patient(orthanc: Pacs, tmp_path: Path, way: str) -> None:
    orthanc.store(visit(tmp_path, 1, THEN)[1])
    now, _ = visit(tmp_path, 2, NOW, patient_id="P-*")
    assert PriorSearch(settings_of(orthanc.settings(way)))(record_of(now), ()).visits == ()


@pytest.mark.parametrize("way", WAYS)
def test_only_earlier_reports_of_the_last_revision_are_used(orthanc: Pacs, tmp_path: Path, way: str) -> None:
    first, first_report = visit(tmp_path, 1, THEN)
    old = dcmread(BytesIO(first_report))
    predecessor = (str(old.SOPClassUID), str(old.SOPInstanceUID), str(old.SeriesInstanceUID), str(old.StudyInstanceUID))
    order = EncodingOrder(made_at=THEN, pipeline="test", kinds=("SR",), predecessor_report=predecessor)
    (revised,) = encode_case(replace(first, revision=2), worked_cases.outcome_of(first), order)
    for content in (first_report, as_file(revised.dataset), visit(tmp_path, 3, datetime(2026, 12, 1, tzinfo=UTC))[1]):
        orthanc.store(content)
    now, _ = visit(tmp_path, 2, NOW)
    asked = PriorSearch(settings_of(orthanc.settings(way)))(record_of(now), ())
    assert [prior.case_id for prior in asked.visits] == [revised.dataset.SOPInstanceUID]


def test_a_pacs_that_does_not_know_us_is_said(orthanc: Pacs) -> None:
    source = settings_of(orthanc.settings("pacs")).sources["pacs"]
    with pytest.raises(SourceUnavailable):
        list(DimseReports("pacs", source, AETitle("STRANGER")).reports("P-4711", time.monotonic() + 30))


def test_a_pacs_of_another_make_gives_its_reports_too(dcmqrscp: Pacs, tmp_path: Path) -> None:
    _, own = visit(tmp_path, 1, THEN)
    (tmp_path / "sr.dcm").write_bytes(own)
    destination = DimseDestination.model_validate(
        {"type": "dimse", "ae_title": dcmqrscp.ae_title, "host": "127.0.0.1", "port": dcmqrscp.dicom_port}
    )
    Dimse("pacs", destination, AETitle("DERMANODE")).deliver(Package("case", (tmp_path / "sr.dcm",)))
    now, _ = visit(tmp_path, 2, NOW)
    asked = PriorSearch(settings_of(dcmqrscp.settings("pacs")))(record_of(now), ())
    assert asked.gaps == ()
    assert [prior.case_id for prior in asked.visits] == [read_report(own, "").sop_instance_uid]


@pytest.mark.parametrize("way", WAYS)
def test_a_patient_without_reports_has_none(orthanc: Pacs, way: str) -> None:
    assert list(orthanc.source(way).reports("NOBODY", time.monotonic() + 30)) == []


@pytest.mark.slow
@pytest.mark.timeout(900)  # three nodes with warm plugins, one after another
def test_the_second_visit_finds_the_first_though_the_ledger_was_emptied_between(orthanc: Pacs, tmp_path: Path) -> None:
    folder = ROOT / "config"
    destination = {"pacs": {"type": "dimse", "ae_title": orthanc.ae_title, "host": "127.0.0.1", "port": orthanc.dicom_port}}
    stages = {name: (f"dermanode-{name}",) for name in ("preprocess", "segment", "fuse", "progression")}
    read = load_settings(folder / "dermanode.yaml")
    pipelines = [
        pipeline.model_copy(update={"deliver": ("pacs",), "expected_views": 2, "stages": stages})
        for pipeline in load_pipelines(read, folder)
    ]

    def seen(data: str, taken: datetime, *ask: str) -> tuple[CaseRecord, UID]:
        """One visit at a node that knows nothing; the case and its report's UID."""
        settings = with_data(read, tmp_path / data, destinations=destination, **orthanc.settings(*ask))
        instances = demo_series(taken, views=2, size=(320, 240))
        with started(settings.model_copy(update={"orthanc": {}} if ask != ("rest",) else {}), pipelines, folder) as node:
            send_files(write_instances(instances, tmp_path / f"{data}-sent"), receiver_of(node))
            case = wait_for_case(node, str(instances[0].SeriesInstanceUID))
            events = [event.words for event in node.ledger.history.of(f"case:{case.id}") if event.kind == "priors_asked"]
        assert case.outcome is not None
        assert not case.outcome.is_failed, case.outcome.reason
        assert events == (["1 earlier visit of the lesion found in reports that others hold."] if ask else [])
        return case, next(made.sop_instance_uid for made in case.outcome.objects if made.kind == "SR" and made.sop_instance_uid)

    first, report = seen("first", THEN)
    assert first.outcome is not None
    assert first.outcome.progression is None
    for data, way in (("second", "pacs"), ("third", "rest")):
        later, own_report = seen(data, NOW, way)
        assert later.outcome is not None
        assert later.outcome.progression is not None
        assert later.outcome.progression.priors == (report,)
        (change,) = [one for one in later.outcome.progression.changes if one.key == "area_mm2_change_percent"]
        assert abs(change.value) < 20  # nothing grew
        httpx.delete(f"{orthanc.url}/instances/{lookup(orthanc, own_report)}").raise_for_status()  # so that the next finds the first alone


def lookup(orthanc: Pacs, sop_instance_uid: str) -> str:
    found = httpx.post(f"{orthanc.url}/tools/lookup", content=sop_instance_uid).json()
    return str(found[0]["ID"])
