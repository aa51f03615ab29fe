"""The page in a real browser. With $SCREENSHOTS set to a folder, what was seen is kept there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from dermanode.config import Web
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CaseRecord, CaseState
from dermanode.testing.recorded import NOON, record_lived
from dermanode.web.server import WebServer
from dermanode.web.site import make_site

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.integration, pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")]

_SWITCHES = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@pytest.fixture
def cases(ledger: Ledger, tmp_path: Path) -> tuple[CaseRecord, CaseRecord]:
    return record_lived(ledger, tmp_path / "results")


@pytest.fixture
def address(ledger: Ledger, tmp_path: Path) -> Iterator[str]:
    settings = Web(port=0)
    server = WebServer(make_site(ledger, tmp_path / "results", settings, wake=lambda: None, now=lambda: NOON), settings)
    server.start()
    yield server.address
    server.stop()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_SWITCHES)
        opened = browser.new_page(viewport={"width": 1300, "height": 1000})
        problems: list[str] = []
        opened.on("pageerror", lambda error: problems.append(str(error)))
        yield opened
        browser.close()
        assert problems == []


def seen(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_a_reader_finds_the_outline_the_probabilities_and_a_surface_to_turn(
    page: Page, address: str, cases: tuple[CaseRecord, CaseRecord]
) -> None:
    page.goto(address)
    seen(page, "cases")
    page.click(f"text={cases[0].id}")
    page.wait_for_selector("#surface[data-drawn=yes]", timeout=60_000)
    outline = page.locator("figure:not(.heat) polygon").bounding_box()
    picture = page.locator("figure:not(.heat) svg").bounding_box()
    assert outline is not None
    assert picture is not None
    assert abs((outline["x"] + outline["width"] / 2) - (picture["x"] + picture["width"] / 2)) < 0.02 * picture["width"]
    heat = page.locator("figure.heat svg")
    assert heat.is_visible()
    assert "Grad-CAM heat map" in (heat.get_attribute("aria-label") or "")
    assert page.evaluate("[...document.querySelectorAll('figure.heat image')].every(one => one.getBBox().width > 0)")
    assert page.locator("#surface canvas").count() >= 1
    assert page.locator("text=Melanocytic nevus").first.is_visible()
    assert page.locator("text=progression not performed").is_visible()
    seen(page, "case")


def test_an_administrator_runs_a_failed_case_again(page: Page, address: str, cases: tuple[CaseRecord, CaseRecord], ledger: Ledger) -> None:
    page.goto(f"{address}cases/{cases[1].id}")
    assert page.locator("text=missed its deadline of 2 s").first.is_visible()
    page.click("text=Run this case again")
    page.wait_for_selector("#running")
    assert ledger.cases.get(cases[1].id).state is CaseState.READY


def test_the_api_page_opens_without_the_internet(page: Page, address: str) -> None:
    page.goto(f"{address}api/docs")
    page.wait_for_selector("text=The cases, newest first", timeout=30_000)
    seen(page, "api")
