"""A real Orthanc promises to keep what we sent, and is promised that we keep what it sent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmwrite

from dermanode.config import Settings
from dermanode.deliver.commitment import CommitmentRequests
from dermanode.deliver.outbox import Outbox
from dermanode.domain.identifiers import UID, Digest
from dermanode.domain.outcome import Outcome, ProducedObject
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import DeliveryState, Evidence, Header, NewDelivery, ObjectState, SeriesKey
from dermanode.ledger.spool import Spool
from dermanode.receive.commitment import CommitmentDesk
from dermanode.receive.scp import StorageScp
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.ports import free_port
from dermanode.testing.scenes import demo_series

ORTHANC = shutil.which("Orthanc")
pytestmark = [pytest.mark.integration, pytest.mark.skipif(ORTHANC is None, reason="Debian's package orthanc is not installed")]


@dataclass
class Both:
    """An Orthanc, and the parts of a node that store and promise."""

    url: str
    ledger: Ledger
    results: Path

    def eventually(self, condition: Any, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    http_port, dicom_port, node_port = free_port(), free_port(), free_port()
    settings = Settings.model_validate(
        {
            "receive": {"port": node_port, "minimum_free_mib": 0},
            "destinations": {"orthanc": {"type": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": dicom_port}},
        }
    )
    file = tmp_path / "orthanc.json"
    content = {
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAet": "ORTHANC",
        "StorageDirectory": str(tmp_path / "orthanc"),
        "DicomModalities": {"node": {"AET": "DERMANODE", "Host": "127.0.0.1", "Port": node_port, "AllowStorageCommitment": True}},
    }
    file.write_text(json.dumps(content))
    url = f"http://127.0.0.1:{http_port}"
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([str(ORTHANC), str(file)], stdout=log, stderr=log, env={**os.environ, "TCP_NODELAY": "1"})
    ledger, spool = Ledger.open(ledger_at(tmp_path / "ledger.db")), Spool(tmp_path / "spool")
    desk = CommitmentDesk(ledger, spool, settings, poll_s=0.1)
    scp = StorageScp(settings, spool, ledger, desk=desk)
    outbox = Outbox(ledger, settings, tmp_path / "results", poll_s=0.1)
    requests = CommitmentRequests(ledger, settings, on_lost=outbox.wake, poll_s=0.1)
    parts = (scp, desk, requests, outbox)
    try:
        for part in parts:
            part.start()
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/system").raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail((tmp_path / "orthanc.log").read_text()[-2000:])
                time.sleep(0.2)
        yield Both(url, ledger, tmp_path / "results")
    finally:
        for part in parts:
            part.stop()
        ledger.close()
        process.kill()
        process.wait(20)


def test_orthanc_hears_that_what_it_sent_is_kept(both: Both) -> None:
    series = demo_series(datetime(2026, 2, 1, tzinfo=UTC), views=2, size=(64, 48))
    ids = []
    for instance in series:
        buffer = BytesIO()
        dcmwrite(buffer, instance, enforce_file_format=True)
        ids.append(httpx.post(f"{both.url}/instances", content=buffer.getvalue()).json()["ID"])
    body = {"Resources": ids, "Synchronous": True, "StorageCommitment": True}
    sent = httpx.post(f"{both.url}/modalities/node/store", json=body, timeout=60).json()
    transaction = sent["StorageCommitmentTransactionUID"]
    both.eventually(lambda: httpx.get(f"{both.url}/storage-commitment/{transaction}").json()["Status"] == "Success")
    report = httpx.get(f"{both.url}/storage-commitment/{transaction}").json()
    assert {one["SOPInstanceUID"] for one in report["Success"]} == {str(one.SOPInstanceUID) for one in series}
    # Orthanc asks about something that never came.
    other = {"DicomInstances": [{"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "SOPInstanceUID": "1.2.3"}]}
    transaction = httpx.post(f"{both.url}/modalities/node/storage-commitment", json=other).json()["ID"]
    both.eventually(lambda: httpx.get(f"{both.url}/storage-commitment/{transaction}").json()["Status"] == "Failure")
    (failure,) = httpx.get(f"{both.url}/storage-commitment/{transaction}").json()["Failures"]
    assert (failure["SOPInstanceUID"], failure["FailureReason"]) == ("1.2.3", 0x0112)


def test_what_orthanc_keeps_ends_as_committed(both: Both) -> None:
    (instance,) = demo_series(datetime(2026, 2, 1, tzinfo=UTC), views=1, size=(64, 48))
    buffer = BytesIO()
    dcmwrite(buffer, instance, enforce_file_format=True)
    orthanc_id = httpx.post(f"{both.url}/instances", content=buffer.getvalue()).json()["ID"]
    httpx.post(f"{both.url}/modalities/node/store", json={"Resources": [orthanc_id], "Synchronous": True}, timeout=60).raise_for_status()
    (stored,) = both.ledger.objects.recent(1, ObjectState.WAITING)
    key = SeriesKey(UID(instance.StudyInstanceUID), UID(instance.SeriesInstanceUID), "P")
    both.ledger.objects.set_headers({stored.id: Header(key.study_instance_uid, key.series_instance_uid, "DMS", "P")})
    now = datetime.now(UTC)
    case = both.ledger.cases.open(key, pipeline="p", plan=(), evidence=Evidence("quiet period", ""), now=now)
    (both.results / case.id).mkdir(parents=True)
    instance.SOPInstanceUID = "2.25.77"
    instance.file_meta.MediaStorageSOPInstanceUID = "2.25.77"
    dcmwrite(both.results / case.id / "made.dcm", instance, enforce_file_format=True)
    made = ProducedObject(
        kind="OTHER",
        path=f"{case.id}/made.dcm",
        digest=Digest("1" * 64),
        size_bytes=1,
        sop_class_uid=UID(instance.SOPClassUID),
        sop_instance_uid=UID("2.25.77"),
    )
    outcome = Outcome(case_id=case.id, revision=1, is_failed=False, reports=(), objects=(made,), took_s=0.1)
    both.ledger.cases.finish(case.id, outcome, [NewDelivery("orthanc", (made.path,))], now)
    both.eventually(lambda: both.ledger.deliveries.of_case(case.id)[0].state is DeliveryState.COMMITTED)
    assert any("ORTHANC has promised to keep 1 object." in event.words for event in both.ledger.history.of_case(case.id))
