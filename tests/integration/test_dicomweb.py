"""The node as a DICOMweb server, judged by others: Orthanc's DICOMweb client, the library dicomweb-client, and kill -9."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread

from dermanode.config import DicomwebDestination
from dermanode.deliver.destination import Package
from dermanode.deliver.dicomweb import Dicomweb
from dermanode.errors import DeliveryRefused, DestinationUnavailable
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.spool import Spool
from dermanode.testing.dicomweb import Service, as_file, multipart_body, photograph, served
from dermanode.testing.node import running_node
from dermanode.testing.real_pacs import DICOMWEB_PLUGIN, ORTHANC, running_orthanc
from dermanode.testing.scenes import demo_series

CONFIGURATION = Path(__file__).parents[2] / "config" / "dermanode.yaml"
needs_orthanc = pytest.mark.skipif(
    ORTHANC is None or not DICOMWEB_PLUGIN.is_file(), reason="Debian's packages orthanc and orthanc-dicomweb are not installed"
)
pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Node:
    """The node's DICOMweb service on a free port."""

    url: str
    service: Service


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with served(tmp_path) as (url, service):
        yield Node(url, service)


@pytest.fixture
def orthanc(tmp_path: Path, node: Node) -> Iterator[httpx.Client]:
    """An Orthanc that knows the node as `node`, by its REST interface."""
    web = {"Enable": True, "Root": "/dicom-web/", "Servers": {"node": [f"{node.url}/"]}}
    with (
        running_orthanc(tmp_path / "orthanc", plugins=[DICOMWEB_PLUGIN], DicomWeb=web) as running,
        httpx.Client(base_url=running.url, timeout=60) as client,
    ):
        yield client


def upload(orthanc: httpx.Client, *datasets: Dataset) -> list[str]:
    """Stores objects in Orthanc; its own names of them."""
    return [orthanc.post("/instances", content=as_file(dataset)).raise_for_status().json()["ID"] for dataset in datasets]


def post(orthanc: httpx.Client, path: str, **body: Any) -> Any:
    response = orthanc.post(f"/dicom-web/servers/node/{path}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


@needs_orthanc
def test_orthanc_sends_to_the_node_queries_it_and_retrieves_from_it(node: Node, orthanc: httpx.Client) -> None:
    sent = [photograph("2.25.11", is_jpeg=True), photograph("2.25.12", InstanceNumber=2)]
    ids = upload(orthanc, *sent)
    told = post(orthanc, "stow", Resources=ids, Synchronous=True)
    assert told["InstancesCount"] in (2, "2"), told
    node.service.read()
    pixels = {str(one.SOPInstanceUID): one.PixelData for one in sent}
    assert {str(one.SOPInstanceUID): one.PixelData for one in node.service.stored()} == pixels

    (study,) = post(orthanc, "qido", Uri="/studies", Arguments={"00100010": "doe*"})
    told = {element["Name"]: element.get("Value") for element in study.values()}
    assert told["StudyInstanceUID"] == "2.25.1"
    assert told["PatientName"] == "Doe^Jane"

    headers = post(orthanc, "get", Uri="/studies/2.25.1/metadata", HttpHeaders={"Accept": "application/dicom+json"})
    assert {header["00080018"]["Value"][0] for header in headers} == {"2.25.11", "2.25.12"}

    for one in ids:
        orthanc.delete(f"/instances/{one}").raise_for_status()
    assert orthanc.get("/instances").json() == []
    post(orthanc, "retrieve", Resources=[{"Study": "2.25.1"}], Synchronous=True)
    assert sorted(orthanc.get("/instances").json()) == sorted(ids)
    back = [dcmread(BytesIO(orthanc.get(f"/instances/{one}/file").content)) for one in ids]
    assert [one.PixelData for one in back] == [one.PixelData for one in sent]
    assert [one.file_meta.TransferSyntaxUID for one in back] == [one.file_meta.TransferSyntaxUID for one in sent]


def test_another_library_stores_finds_and_retrieves(node: Node) -> None:
    client = DICOMwebClient(node.url)
    sent = [photograph("2.25.11", is_jpeg=True), photograph("2.25.12", InstanceNumber=2)]
    answer = client.store_instances([dcmread(BytesIO(as_file(one))) for one in sent])
    assert len(answer.ReferencedSOPSequence) == 2
    assert "FailedSOPSequence" not in answer
    node.service.read()

    (study,) = client.search_for_studies(search_filters={"PatientName": "Doe*"}, fields=["StudyDescription"])
    assert study["0020000D"]["Value"] == ["2.25.1"]
    assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
    (series,) = client.search_for_series("2.25.1")
    assert series["00201209"]["Value"] == [2]
    assert len(client.search_for_instances("2.25.1", "2.25.10")) == 2

    back = client.retrieve_study("2.25.1", media_types=(("application/dicom", "*"),))
    assert {str(one.SOPInstanceUID): one.PixelData for one in back} == {str(one.SOPInstanceUID): one.PixelData for one in sent}
    instance = client.retrieve_instance("2.25.1", "2.25.10", "2.25.11")
    assert instance.PatientName == "Doe^Jane"
    headers = client.retrieve_study_metadata("2.25.1")
    assert {Dataset.from_json(header, lambda _tag, _vr, _uri: b"").InstanceNumber for header in headers} == {1, 2}

    (frame,) = client.retrieve_instance_frames("2.25.1", "2.25.10", "2.25.12", [1])
    assert frame == sent[1].PixelData
    (jpeg,) = client.retrieve_instance_frames("2.25.1", "2.25.10", "2.25.11", [1], media_types=("image/jpeg",))
    assert jpeg.startswith(b"\xff\xd8\xff")
    reference = next(header for header in headers if header["00200013"]["Value"] == [2])["7FE00010"]["BulkDataURI"]
    # The library names the host without its port, so the node's references lack it too.
    (pixels,) = client.retrieve_bulkdata(node.url + reference.partition("/dicom-web")[2])
    assert pixels == sent[1].PixelData
    picture = client.retrieve_instance_rendered("2.25.1", "2.25.10", "2.25.11", media_types=("image/png",))
    assert np.frombuffer(picture[:8], np.uint8).tobytes() == b"\x89PNG\r\n\x1a\n"


def files(folder: Path, *datasets: Dataset) -> tuple[Path, ...]:
    """The objects as files, named by their instance."""
    paths = []
    for dataset in datasets:
        paths.append(folder / f"{dataset.SOPInstanceUID}.dcm")
        paths[-1].write_bytes(as_file(dataset))
    return tuple(paths)


def destination(url: str) -> Dicomweb:
    return Dicomweb("pacs", DicomwebDestination(type="dicomweb", url=url, timeout_s=20))


@needs_orthanc
def test_a_case_is_delivered_to_orthanc_twice_and_held_once(orthanc: httpx.Client, tmp_path: Path) -> None:
    sent = files(tmp_path, photograph("2.25.11", is_jpeg=True), photograph("2.25.12"))
    road = destination(f"{orthanc.base_url}/dicom-web")
    for _ in range(2):
        assert road.deliver(Package("case", sent)).startswith("2 objects stored at http://127.0.0.1")
    assert len(orthanc.get("/instances").json()) == 2
    with pytest.raises(DeliveryRefused, match="404"):
        destination(f"{orthanc.base_url}/elsewhere").deliver(Package("case", sent))


def test_a_node_delivers_to_a_node_and_is_told_why_not(node: Node, tmp_path: Path) -> None:
    good, bad = photograph("2.25.11"), photograph("2.25.12")
    bad.SOPClassUID = "1.2.840.10008.5.1.4.34.6.1"
    road = destination(node.url)
    assert road.deliver(Package("case", files(tmp_path, good))) == f"1 objects stored at {node.url}/studies"
    with pytest.raises(DeliveryRefused, match=r"stored 1 of 2; 2\.25\.12\.dcm: 0x0122 the SOP class is not supported"):
        road.deliver(Package("case", files(tmp_path, good, bad)))
    node.service.stow.stop()
    with pytest.raises(DestinationUnavailable, match="503"):
        road.deliver(Package("case", files(tmp_path, good)))


SERVE = """
import pathlib, sys, time
import structlog
from dermanode.testing.dicomweb import served
structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
with served(pathlib.Path(sys.argv[1])) as (url, _):
    print(url, flush=True)
    time.sleep(300)
"""


def test_nothing_that_was_acknowledged_is_lost_when_the_node_is_killed(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for kill, after_s in enumerate((0.03, 0.11)):
        server = subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path)], stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().decode().strip()
            killer = threading.Timer(after_s, server.kill)
            number = 0
            try:
                with httpx.Client(timeout=30) as client:
                    while True:
                        number += 1
                        uids = [f"2.25.{kill + 1}{number:04}{part}" for part in range(4)]
                        body = multipart_body([as_file(photograph(uid)) for uid in uids])
                        headers = {"content-type": 'multipart/related; type="application/dicom"; boundary=BoundaryOfTests'}
                        answer = client.post(f"{url}/studies", content=body, headers=headers)
                        assert answer.status_code == 200
                        if number == 1:
                            killer.start()
                        acknowledged |= {item["00081155"]["Value"][0] for item in answer.json()["00081199"]["Value"]}
            except httpx.TransportError:
                pass  # killed
            killer.join()
        finally:
            server.kill()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        spool = Spool(tmp_path / "spool")
        spool.recover(ledger.objects.is_recorded)
        assert acknowledged
        for uid in acknowledged:
            (found,) = ledger.objects.find(uid)
            assert dcmread(spool.path(found.arrival.path)).PixelData == photograph().PixelData
        assert ledger.audit(spool, deep=True).is_clean


def test_a_series_by_stow_is_complete_when_its_request_ends(tmp_path: Path) -> None:
    series = demo_series(datetime(2026, 2, 1, tzinfo=UTC), views=2, size=(320, 240))
    with running_node(CONFIGURATION, tmp_path / "var", expected_views=2, complete={"quiet_s": 300}) as running:
        road = destination(f"{running.page}dicom-web")
        assert road.deliver(Package("case", files(tmp_path, *series))).startswith("2 objects stored")
        deadline = time.monotonic() + 60
        while not (cases := running.ledger.cases.list(1, 0)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert cases[0].evidence.kind == "association released"
        assert cases[0].source_ae == "STOW-RS"


def test_a_sender_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    with served(tmp_path, silence_s=0.5) as (url, service):
        parts = urlsplit(url)
        body = multipart_body([as_file(photograph()), as_file(photograph("2.25.12"))])
        head = "POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\nContent-Type: {}\r\n\r\n"
        kind = "multipart/related; type=application/dicom; boundary=BoundaryOfTests"
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as sender:
            sender.sendall(head.format(len(body), kind).encode() + body[:-400])
            assert sender.recv(100).startswith(b"HTTP/1.1 408")
        assert service.stow.open_associations() == frozenset()
        assert not list((service.spool.root / "incoming").iterdir())
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as sender:
            sender.sendall(head.format(len(body), kind).encode() + body[:-400])
        deadline = time.monotonic() + 20
        while len(service.released) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(service.released) == 2
        assert not list((service.spool.root / "incoming").iterdir())
