"""OHIF, a viewer that is not ours, pointed straight at the node. With $SCREENSHOTS set to a folder, what it shows is kept there.

The viewer is served from another origin, as `web.allow_origins` lets it be. Where it comes from is told in `test_ohif.py`.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import FloatRect, Page, sync_playwright
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, VLPhotographicImageStorage
from simplejpeg import encode_jpeg

from dermanode.config import Web
from dermanode.dicom.encode import EncodingOrder, encode_case
from dermanode.testing import worked_cases
from dermanode.testing.dicomweb import served
from dermanode.web.server import WebServer

ROOT = Path(__file__).parents[2]
VIEWER = Path(os.environ.get("DERMANODE_NODE_MODULES", ROOT / "var" / "oracles" / "node_modules")) / "@ohif" / "app" / "dist"
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(not VIEWER.is_dir(), reason="no @ohif/app: see DERMANODE_NODE_MODULES in the docstring of test_ohif.py"),
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed"),
]
_SWITCHES = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
ROWS, COLUMNS = 384, 512


@dataclass(frozen=True)
class Shown:
    """A study in the node, and a viewer elsewhere that is pointed at it."""

    viewer: str
    study_uid: str
    failed: list[str]
    """Requests that went wrong, and what the page complained of."""


def viewer(node: str) -> FastAPI:
    """OHIF, told where the node is."""
    site = FastAPI()
    configuration = {
        "friendlyName": "DermaNode",
        "name": "node",
        "qidoRoot": node,
        "wadoRoot": node,
        "wadoUriRoot": node,
        "qidoSupportsIncludeField": True,
        "supportsWildcard": True,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": True,
        "omitQuotationForMultipartRequest": True,
        "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
    }
    source = {"namespace": "@ohif/extension-default.dataSourcesModule.dicomweb", "sourceName": "node", "configuration": configuration}
    settings = {
        "extensions": [],
        "modes": [],
        "showStudyList": True,
        "maxNumberOfWebWorkers": 2,
        "showWarningMessageForCrossOrigin": False,
        "investigationalUseDialog": {"option": "never"},
        "defaultDataSourceName": "node",
        "dataSources": [source],
    }

    @site.get("/app-config.js")
    def told() -> Response:
        return Response(f"window.config = {json.dumps(settings)};", media_type="text/javascript")

    @site.get("/{path:path}")
    def file(path: str) -> FileResponse:
        wanted = VIEWER / path
        isolated = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
        return FileResponse(wanted if path and wanted.is_file() else VIEWER / "index.html", headers=isolated)

    return site


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    """A photograph with its segmentation and its report, in the node."""
    photograph = worked_cases.photograph(1, ROWS, COLUMNS)
    # OHIF 3.13 does not show the Dermoscopic class.
    photograph.SOPClassUID = photograph.file_meta.MediaStorageSOPClassUID = VLPhotographicImageStorage
    photograph.Modality = "XC"
    case = worked_cases.worked([photograph], tmp_path / "sources")
    order = EncodingOrder(made_at=datetime(2026, 11, 21, 12, 0), pipeline="viewer")
    pixels = photograph.pixel_array
    results = [one.dataset for one in encode_case(case, worked_cases.outcome_of(case), order) if one.kind in ("SEG", "SR")]
    frame = encode_jpeg(pixels, quality=95, colorspace="RGB", colorsubsampling="422")
    photograph.PixelData, photograph.PhotometricInterpretation = encapsulate([frame]), "YBR_FULL_422"
    photograph["PixelData"].is_undefined_length = True
    photograph.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    page = FastAPI()
    site = WebServer(page, Web(port=0))
    address = site.address.rstrip("/")
    with served(tmp_path, Web(allow_origins=(address,))) as (url, service):
        service.store(photograph, *results)
        page.mount("/", viewer(url))
        site.start()
        yield Shown(address, str(photograph.StudyInstanceUID), [])
        site.stop()


@pytest.fixture
def page(shown: Shown) -> Iterator[Page]:
    """The list of studies."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_SWITCHES)
        opened = browser.new_page(viewport={"width": 1500, "height": 950})
        opened.on("response", lambda answer: shown.failed.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
        opened.on("pageerror", lambda error: shown.failed.append(str(error)))
        yield opened
        browser.close()


def test_a_photograph_and_its_segmentation_are_shown_from_the_node(page: Page, shown: Shown) -> None:
    page.goto(shown.viewer, wait_until="domcontentloaded")
    page.get_by_text("P-4711").first.wait_for(timeout=90_000)
    _keep(page, "list")
    page.goto(f"{shown.viewer}/viewer?StudyInstanceUIDs={shown.study_uid}", wait_until="domcontentloaded")
    page.get_by_text("DermaNode segmentation").first.wait_for(timeout=90_000)
    skip = page.get_by_text("Skip all")
    skip.first.wait_for(timeout=30_000)
    skip.first.click()
    before = _drawn(page)
    _keep(page, "photograph")
    page.get_by_text("DermaNode segmentation").first.dblclick()
    page.get_by_role("button", name="Yes", exact=True).click()
    after = _changed(page, before)
    _keep(page, "segmentation")
    differs = np.abs(after.astype(int) - before).max(axis=2) > 12
    height, width = differs.shape
    differs[: height // 10] = differs[-height // 10 :] = False
    rows, columns = np.nonzero(differs)
    # The disc lies in the middle of the photograph, and the photograph in the middle of the viewport.
    assert np.median(rows) / height == pytest.approx(0.5, abs=0.02)
    assert np.median(columns) / width == pytest.approx(0.5, abs=0.02)
    assert not [one for one in shown.failed if "dicom-web" in one], shown.failed


def _drawn(page: Page) -> NDArray[np.uint8]:
    """The viewport once it has stopped changing. Rows x columns x RGB."""
    last = np.zeros((1, 1, 3), np.uint8)
    for _ in range(90):
        box = page.locator("canvas.cornerstone-canvas").first.bounding_box()
        if box is None:  # the layout is being made
            time.sleep(0.5)
            continue
        clip: FloatRect = {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"]}
        picture = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))
        if picture.shape == last.shape and picture.std() > 10 and not np.any(picture != last):
            return picture
        last = picture
        time.sleep(0.5)
    _keep(page, "never")
    pytest.fail("OHIF never finished drawing")


def _changed(page: Page, before: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The viewport when some of it looks different."""
    for _ in range(60):
        picture = _drawn(page)
        if np.mean(np.abs(picture.astype(int) - before).max(axis=2) > 12) > 0.01:
            return picture
        time.sleep(0.5)
    _keep(page, "unchanged")
    pytest.fail("nothing was laid over the photograph")


def _keep(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"ohif-node-{name}.png")
