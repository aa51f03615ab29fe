"""A DICOMweb service over a real ledger and spool without the rest of the node, and small objects to send to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit
from simplejpeg import encode_jpeg

from dermanode.config import Web
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import ObjectState
from dermanode.ledger.spool import Spool
from dermanode.receive.committer import Committer
from dermanode.receive.index import HeaderReader
from dermanode.receive.intake import Intake
from dermanode.receive.stow import Stow
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.recorded import NOON
from dermanode.web.dicomweb.routes import dicomweb_routes
from dermanode.web.server import WebServer
from dermanode.web.site import make_site

DERMOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.7"
ROOT = "http://127.0.0.1:8104"


def photograph(
    instance: str = "2.25.11", series: str = "2.25.10", study: str = "2.25.1", *, is_jpeg: bool = False, rows: int = 24, **more: object
) -> Dataset:
    """A small dermoscopic photograph of red skin; further attributes by keyword."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = DERMOSCOPIC, instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20260301", "093000", "A-7"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "Doe^Jane", "P1", "19800101", "F"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber, dataset.StudyID = "DMS", 1, 1, "S1"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PlanarConfiguration = rows, 32, 3, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    pixels = np.full((rows, 32, 3), (200, 120, 100), np.uint8)
    dataset.file_meta = FileMetaDataset()
    if is_jpeg:
        frame = encode_jpeg(pixels, quality=95, colorspace="RGB", colorsubsampling="422")
        dataset.PhotometricInterpretation, dataset.PixelData = "YBR_FULL_422", encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset.LossyImageCompression = "01"
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    else:
        dataset.PhotometricInterpretation, dataset.PixelData = "RGB", pixels.tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def as_file(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def multipart_body(parts: Sequence[bytes], boundary: str = "BoundaryOfTests", header: str = "Content-Type: application/dicom\r\n") -> bytes:
    body = b"".join(f"--{boundary}\r\n{header}\r\n".encode() + part + b"\r\n" for part in parts)
    return body + f"--{boundary}--\r\n".encode()


def parts_of(response: Response) -> list[tuple[str, bytes]]:
    """Content type and content of each part of an answer."""
    boundary = response.headers["content-type"].split("boundary=")[1].strip('"')
    found = []
    for part in response.content.split(f"\r\n--{boundary}".encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        kind = next(line for line in head.decode().split("\r\n") if line.lower().startswith("content-type:"))
        found.append((kind.partition(":")[2].strip(), content))
    return found


@dataclass
class Service:
    """The site, and what lies behind it."""

    client: TestClient
    site: FastAPI
    ledger: Ledger
    spool: Spool
    stow: Stow
    released: list[str] = field(default_factory=list)

    def post(self, body: bytes, *, path: str = "/dicom-web/studies", kind: str | None = None, **headers: str) -> Response:
        kind = kind if kind is not None else 'multipart/related; type="application/dicom"; boundary=BoundaryOfTests'
        response: Response = self.client.post(path, content=body, headers={"content-type": kind, **headers})
        return response

    def store(self, *datasets: Dataset) -> None:
        """Stores objects, one after the other: those of one request may be recorded in any order. Reads their headers."""
        for dataset in datasets:
            response = self.post(multipart_body([as_file(dataset)]))
            assert response.status_code == 200, response.text
        self.read()

    def read(self) -> None:
        HeaderReader(self.ledger, self.spool).drain()

    def get(self, path: str, accept: str = "", **parameters: str) -> Response:
        headers = {"accept": accept} if accept else {}
        response: Response = self.client.get(f"/dicom-web{path}", params=parameters or None, headers=headers)
        return response

    def stored(self) -> list[Dataset]:
        """What lies in the spool, as its rows say."""
        found = self.ledger.objects.recent(100)
        return [dcmread(self.spool.path(one.arrival.path)) for one in found if one.state is not ObjectState.PURGED]


@contextmanager
def dicomweb_service(folder: Path, web: Web | None = None, silence_s: float = 60.0) -> Iterator[Service]:
    """The service with its data in `folder`: `ledger.db`, `spool`, `results`."""
    web = web or Web()
    with Ledger.open(ledger_at(folder / "ledger.db")) as ledger:
        spool = Spool(folder / "spool")
        spool.recover(ledger.objects.is_recorded)
        committer = Committer(spool, ledger.objects)
        intake = Intake(spool, committer, minimum_free_mib=0, clock=lambda: NOON, on_stored=lambda: None)
        released: list[str] = []
        stow = Stow(intake, "DERMANODE", released.append)
        routes = dicomweb_routes(ledger.served, spool.root, folder / "results", stow, lambda: spool.free_mib(), silence_s)
        site = make_site(ledger, folder / "results", web, wake=lambda: None, now=lambda: NOON, dicomweb=routes)
        committer.start()
        stow.start()
        yield Service(TestClient(site, base_url=ROOT), site, ledger, spool, stow, released)
        stow.stop()
        committer.stop()


@contextmanager
def served(folder: Path, web: Web | None = None, silence_s: float = 60.0) -> Iterator[tuple[str, Service]]:
    """The same on a port of this machine: its URL, and what lies behind it."""
    with dicomweb_service(folder, web, silence_s) as service:
        server = WebServer(service.site, Web(port=0))
        server.start()
        yield f"http://127.0.0.1:{server.port}/dicom-web", service
        server.stop()
