"""What a reader sees in OHIF, a viewer that is not ours, over a real Orthanc. With $SCREENSHOTS set to a folder, it is kept there.

OHIF's prebuilt viewer is the npm package `@ohif/app`: `npm pack @ohif/app@3.13.2`, unpacked as `@ohif/app` in the `node_modules` that
`DERMANODE_NODE_MODULES` names, or in `var/oracles/node_modules` in the checkout.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
import yaml
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import FloatRect, Page, sync_playwright
from pydicom import dcmwrite

from dermanode.config import Web
from dermanode.dicom.photograph import make_instances
from dermanode.dicom.read import read_series
from dermanode.domain import ProducedObject
from dermanode.testing.node import running_node, wait_for_case
from dermanode.testing.ports import free_port
from dermanode.testing.scenes import demo_series
from dermanode.web.server import WebServer

ROOT = Path(__file__).parents[2]
MODULES = Path(os.environ.get("DERMANODE_NODE_MODULES", ROOT / "var" / "oracles" / "node_modules"))
VIEWER = MODULES / "@ohif" / "app" / "dist"
ORTHANC, CHROMIUM = shutil.which("Orthanc"), shutil.which("chromium")
DICOMWEB = Path("/usr/share/orthanc/plugins")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(not VIEWER.is_dir(), reason="no @ohif/app: see DERMANODE_NODE_MODULES in this test's docstring"),
    pytest.mark.skipif(ORTHANC is None or not DICOMWEB.is_dir(), reason="Debian's package orthanc-dicomweb is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed"),
]
_SWITCHES = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
_SOURCE = {
    "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
    "sourceName": "dicomweb",
    "configuration": {
        "friendlyName": "Orthanc",
        "name": "orthanc",
        "qidoRoot": "/dicom-web",
        "wadoRoot": "/dicom-web",
        "wadoUriRoot": "/dicom-web/wado",
        "qidoSupportsIncludeField": False,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": True,
        "omitQuotationForMultipartRequest": True,
        "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
    },
}
_CONFIGURATION = {
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "maxNumberOfWebWorkers": 2,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "dicomweb",
    "dataSources": [_SOURCE],
}


@dataclass(frozen=True)
class Shown:
    """A study that a node has worked on, in Orthanc, and where the viewer shows it."""

    address: str
    study_uid: str
    rows: int
    columns: int
    mask: NDArray[np.bool_]
    objects: tuple[ProducedObject, ...]


def viewer(orthanc: str) -> FastAPI:
    """OHIF with Orthanc's DICOMweb behind the same origin."""
    site = FastAPI()

    @site.api_route("/dicom-web/{path:path}", methods=["GET", "POST"])
    async def forwarded(request: Request, path: str) -> Response:
        async with httpx.AsyncClient(timeout=60) as client:
            kept = {name: value for name, value in request.headers.items() if name in ("accept", "content-type", "host")}
            answer = await client.request(
                request.method, f"{orthanc}/dicom-web/{path}?{request.url.query}", headers=kept, content=await request.body()
            )
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))

    @site.get("/app-config.js")
    def configuration() -> Response:
        return Response(f"window.config = {json.dumps(_CONFIGURATION)};", media_type="text/javascript")

    @site.get("/{path:path}")
    def file(path: str) -> FileResponse:
        wanted = VIEWER / path
        isolated = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
        return FileResponse(wanted if path and wanted.is_file() else VIEWER / "index.html", headers=isolated)

    return site


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """One photograph of a rendered lesion, through a whole node and into Orthanc."""
    folder = tmp_path_factory.mktemp("ohif")
    settings = Web(port=0)
    ports = [free_port() for _ in range(2)]
    orthanc = f"http://127.0.0.1:{ports[0]}"
    server = WebServer(viewer(orthanc), settings)
    # Orthanc writes its own address into what it answers: the viewer's, or it would be another origin.
    process = _orthanc(folder, ports[0], ports[1], host=server.address.removeprefix("http://").rstrip("/"))
    try:
        server.start()
        yield _worked(folder, server.address, orthanc, ports[1])
    finally:
        server.stop()
        process.terminate()
        process.wait(20)


def _worked(folder: Path, address: str, orthanc: str, dicom_port: int) -> Shown:
    (rendered,) = demo_series(datetime(2026, 2, 1, tzinfo=UTC), views=1, size=(1024, 768))
    dcmwrite(folder / "scene.dcm", rendered, enforce_file_format=True)
    Image.fromarray(read_series([folder / "scene.dcm"]).views[0].pixels()).save(folder / "photo.jpg", quality=92)
    made_at = datetime(2026, 2, 1, tzinfo=UTC)
    # The Dermoscopic class is one that OHIF 3.13 does not show; as a photograph the same picture is.
    (photo,) = make_instances([folder / "photo.jpg"], patient_id="OHIF-1", pixel_spacing_mm=0.02, made_at=made_at, sop_class="photographic")
    profile = yaml.safe_load((ROOT / "config" / "profiles" / "ohif.yaml").read_text())
    to = {"orthanc": {"type": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": dicom_port, "send": profile["send"]}}
    with running_node(
        ROOT / "config" / "dermanode.yaml", folder / "var", deliver=["orthanc"], destinations=to, complete={"quiet_s": 1}
    ) as node:
        content = io.BytesIO()
        dcmwrite(content, photo, enforce_file_format=True)
        httpx.post(f"{orthanc}/instances", content=content.getvalue()).raise_for_status()
        modality = {"AET": str(node.settings.node.ae_title), "Host": "127.0.0.1", "Port": node.dicom_port}
        httpx.put(f"{orthanc}/modalities/node", json=modality).raise_for_status()
        series = httpx.get(f"{orthanc}/series").json()[0]
        httpx.post(f"{orthanc}/modalities/node/store", content=series).raise_for_status()
        case = wait_for_case(node, "OHIF-1")
        assert case.outcome is not None
        assert not case.outcome.is_failed, case.outcome.reason
        seg = next(one for one in case.outcome.objects if one.kind == "SEG")
        mask = pydicom.dcmread(node.settings.node.results_dir / seg.path).pixel_array.astype(bool)
    return Shown(address, photo.StudyInstanceUID, photo.Rows, photo.Columns, mask.reshape(photo.Rows, photo.Columns), case.outcome.objects)


def _orthanc(folder: Path, http_port: int, dicom_port: int, host: str) -> subprocess.Popen[bytes]:
    settings = {
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [str(DICOMWEB)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": host},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log)
    for _ in range(300):
        try:
            httpx.get(f"http://127.0.0.1:{http_port}/system").raise_for_status()
            return process
        except httpx.HTTPError:
            time.sleep(0.2)
    process.kill()
    pytest.fail((folder / "orthanc.log").read_text()[-2000:])


@pytest.fixture
def page(shown: Shown) -> Iterator[Page]:
    """The study, open, with the photograph drawn."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_SWITCHES)
        opened = browser.new_page(viewport={"width": 1500, "height": 950})
        opened.goto(f"{shown.address}viewer?StudyInstanceUIDs={shown.study_uid}", wait_until="domcontentloaded")
        opened.get_by_text("DermaNode report", exact=True).first.wait_for(timeout=60_000)
        skip = opened.get_by_text("Skip all")
        skip.first.wait_for(timeout=20_000)
        skip.first.click()
        _drawn(opened)
        yield opened
        browser.close()


def test_the_segmentation_lies_over_the_lesion(page: Page, shown: Shown) -> None:
    before = _drawn(page)
    page.get_by_text("DermaNode segmentation").first.dblclick()
    page.get_by_role("button", name="Yes", exact=True).click()
    after = _changed(page, before)
    _keep(page, "segmentation")
    # A wash of colour and a line: hundreds of pixels in a row that all changed.
    differs = np.abs(after.astype(int) - before).max(axis=2) > 12
    rows, columns = np.nonzero(differs & _inside(differs.shape, shown))
    scale, top, left = _fit(differs.shape, shown)
    seen = np.array([(np.median(rows) - top) / scale / shown.rows, (np.median(columns) - left) / scale / shown.columns])
    rows, columns = np.nonzero(shown.mask)
    meant = np.array([np.median(rows) / shown.rows, np.median(columns) / shown.columns])
    assert np.abs(seen - meant).max() < 0.02, (seen, meant)
    assert len(rows) == pytest.approx((differs & _inside(differs.shape, shown)).sum() / scale**2, rel=0.1)


def test_the_reports_outline_stands_with_its_first_five_numbers(page: Page) -> None:
    before = _drawn(page)
    page.get_by_text("DermaNode report", exact=True).first.dblclick()
    page.get_by_text("Long axis").first.wait_for(state="attached", timeout=30_000)
    _changed(page, before, share=0.001)
    _keep(page, "report")
    words = page.inner_text("body")
    numbers = re.findall(r"(Risk score|Area|Long axis|Short axis|Asymmetry of shape): [0-9.]+", words)
    assert len(numbers) == 5, words


def test_the_pdf_opens(page: Page, shown: Shown) -> None:
    if not any(one.kind == "PDF" for one in shown.objects):
        pytest.skip("no report for people was made: its libraries or fonts are not installed here")
    page.get_by_text("DermaNode report for people").first.dblclick()
    document = page.locator("object[type='application/pdf'], embed[type='application/pdf'], iframe")
    document.first.wait_for(state="attached", timeout=30_000)
    _keep(page, "pdf")  # a browser without a screen shows an empty pane: what counts is what it was given
    address = document.first.get_attribute("data") or document.first.get_attribute("src")
    head = page.evaluate("async address => (await (await fetch(address)).text()).slice(0, 5)", address)
    assert head == "%PDF-"


def _drawn(page: Page) -> NDArray[np.uint8]:
    """The viewport once it has stopped changing. Rows x columns x RGB."""
    last = np.zeros((1, 1, 3), np.uint8)
    for _ in range(60):
        box = page.locator("canvas.cornerstone-canvas").first.bounding_box()
        assert box is not None
        clip: FloatRect = {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"]}
        picture = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))
        if picture.shape == last.shape and picture.std() > 10 and not np.any(picture != last):
            return picture
        last = picture
        time.sleep(0.5)
    pytest.fail("OHIF never finished drawing")


def _changed(page: Page, before: NDArray[np.uint8], share: float = 0.01) -> NDArray[np.uint8]:
    """The viewport when at least that share of it looks different."""
    for _ in range(40):
        picture = _drawn(page)
        if np.mean(np.abs(picture.astype(int) - before).max(axis=2) > 12) > share:
            return picture
        time.sleep(0.5)
    _keep(page, "unchanged")
    pytest.fail("nothing was laid over the photograph")


def _fit(shape: tuple[int, ...], shown: Shown) -> tuple[float, float, float]:
    """How the photograph lies in the viewport: pixels a pixel, top, left."""
    scale = min(shape[0] / shown.rows, shape[1] / shown.columns)
    return scale, (shape[0] - scale * shown.rows) / 2, (shape[1] - scale * shown.columns) / 2


def _inside(shape: tuple[int, ...], shown: Shown) -> NDArray[np.bool_]:
    """Where no text lies over the photograph: all but a frame of a tenth."""
    inside = np.zeros(shape[:2], bool)
    inside[shape[0] // 10 : -shape[0] // 10, shape[1] // 10 : -shape[1] // 10] = True
    return inside


def _keep(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"ohif-{name}.png")
