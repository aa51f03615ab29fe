"""The page in a real browser. With $SCREENSHOTS set to a folder, what was seen is kept there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from dermanode.config import Web
from dermanode.domain import UID
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CaseRecord, CaseState
from dermanode.pipeline.mesh import encode_mesh
from dermanode.testing.followed import record_followed
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.raised import raised
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
    with Ledger.open(ledger_at(tmp_path / "ledger.db")) as opened:
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


@pytest.fixture
def followed(ledger: Ledger, tmp_path: Path) -> CaseRecord:
    """The last of three visits."""
    return record_followed(ledger, tmp_path / "results")[-1]


def came_true(page: Page, words: str) -> None:
    """Waits until what is said in JavaScript holds. Playwright's own wait compiles them in the page, whose policy forbids it."""
    for _ in range(300):
        if page.evaluate(words):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"It did not come true in 30 s: {words}")


def settled(page: Page, words: str) -> None:
    """Waits until the surface is drawn and what is said of its traces holds."""
    came_true(page, f"(() => {{ const traces = document.getElementById('surface').data; return traces && ({words}); }})()")


def lesion_faces(page: Page) -> int:
    count: int = page.evaluate("document.getElementById('surface').data[0].i.length")
    return count


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


def test_a_reader_sees_the_photograph_the_heights_or_the_curvature_on_the_mesh(page: Page, address: str, followed: CaseRecord) -> None:
    page.goto(f"{address}cases/{followed.id}")
    page.wait_for_selector("#surface[data-drawn=yes]", timeout=60_000)
    assert lesion_faces(page) == 9360
    colours = "traces[0].vertexcolor[0]"
    photograph = page.evaluate("document.getElementById('surface').data[0].vertexcolor[0]")
    assert not page.locator("#surface-legend").is_visible()
    page.click("[data-mode=height]")
    settled(page, f"{colours} === 'rgb(253,231,37)'")  # the highest point, in viridis' last colour
    assert page.locator("#surface-legend").inner_text().split("\n") == ["height above the skin, mm", "0", "0.9", "1.8"]
    seen(page, "height")
    page.click("[data-mode=curvature]")
    settled(page, f"{colours} !== 'rgb(253,231,37)' && traces[1].vertexcolor.every((one) => /^rgb\\((\\d+),\\1,\\1\\)$/.test(one))")
    legend = page.locator("#surface-legend").inner_text()
    assert "mean curvature, 1/mm, at a scale of 0.27 mm" in legend
    ends = [line.split()[0] for line in legend.split("\n") if "hollow" in line or "bulging" in line]
    assert ends[0].replace("−", "") == ends[1].replace("+", "")
    assert page.locator("[data-mode=curvature]").get_attribute("aria-pressed") == "true"
    seen(page, "curvature")
    page.click("[data-mode=photograph]")
    settled(page, f"{colours} === {photograph!r}")


def test_nothing_of_the_surface_can_be_sent_to_another_house(page: Page, address: str, followed: CaseRecord) -> None:
    page.goto(f"{address}cases/{followed.id}")
    page.wait_for_selector("#surface[data-drawn=yes]", timeout=60_000)
    titles = page.evaluate("[...document.querySelectorAll('.modebar-btn')].map((one) => one.dataset.title)")
    assert titles
    assert not any("hare" in title or "loud" in title for title in titles)


def test_the_cameras_stand_nearer_than_they_did_and_the_page_says_so(page: Page, address: str, followed: CaseRecord) -> None:
    page.goto(f"{address}cases/{followed.id}")
    page.wait_for_selector("#surface[data-drawn=yes]", timeout=60_000)
    page.check("#surface-cameras")
    settled(page, "traces.some((one) => one.text && one.text.join() === '1,2,3,4,5,6,7')")
    assert "stood 149 mm from the lesion; they are drawn nearer" in page.locator("#surface-note").inner_text()
    assert page.evaluate("document.getElementById('surface').layout.scene.zaxis.range[1]") < 15
    seen(page, "cameras")
    page.uncheck("#surface-cameras")
    settled(page, "!traces.some((one) => one.text)")


def test_a_flat_lesion_can_be_drawn_higher_and_the_page_says_so(page: Page, address: str, followed: CaseRecord) -> None:
    page.goto(f"{address}cases/{followed.id}")
    page.wait_for_selector("#surface[data-drawn=yes]", timeout=60_000)
    ratio = "(() => { const one = document.getElementById('surface').layout.scene.aspectratio; return one.z / one.x; })()"
    before = page.evaluate(ratio)
    page.select_option("#surface-stretch", "10")
    came_true(page, f"{ratio} > 1.5 * {before}")
    assert page.locator("#surface-note").inner_text() == "Heights are drawn 10 times as high as they are."
    assert "drawn 10 times as high" in page.evaluate("document.getElementById('surface').layout.scene.zaxis.title.text")


def test_a_plane_cuts_the_mesh_open_and_shows_its_profile(page: Page, address: str, followed: CaseRecord) -> None:
    page.goto(f"{address}cases/{followed.id}")
    page.wait_for_selector("#surface[data-drawn=yes]", timeout=60_000)
    whole = lesion_faces(page)
    page.select_option("#surface-axis", "y")
    settled(page, f"traces[0].i.length < {whole}")
    page.wait_for_selector("#surface-profile .scatterlayer .trace")
    half = lesion_faces(page)
    assert half == pytest.approx(whole / 2, rel=0.15)
    middle = page.locator("#surface-profile-words").inner_text()
    assert "the lesion is 7.68 mm wide and at most 1.79 mm high" in middle
    page.focus("#surface-place")
    for _ in range(3):
        page.keyboard.press("PageUp")
    settled(page, f"traces[0].i.length < {half}")
    came_true(page, f"document.getElementById('surface-profile-words').textContent !== {middle!r}")
    # Each key press is drawn on its own: the last one may still be under way.
    drawn = "document.getElementById('surface').data[0]"
    came_true(page, f"Math.min(...{drawn}.i.map((n) => {drawn}.y[n])) > 1")
    seen(page, "cut")
    page.select_option("#surface-axis", "")
    settled(page, f"traces[0].i.length === {whole}")
    assert not page.locator("#surface-profile").is_visible()


def test_a_relative_surface_never_shows_millimetres_of_height(page: Page, address: str, followed: CaseRecord, tmp_path: Path) -> None:
    relative = replace(raised([UID("2.25.32.1")], is_metric=False), is_closed=False, cameras=())
    (tmp_path / "results" / followed.id / "mesh.json").write_bytes(encode_mesh(relative))
    page.goto(f"{address}cases/{followed.id}")
    page.wait_for_selector("#surface[data-drawn=yes]", timeout=60_000)
    assert not page.locator("#surface-cameras").is_visible()
    page.click("[data-mode=height]")
    page.select_option("#surface-axis", "x")
    page.wait_for_selector("#surface-profile .scatterlayer .trace")
    assert page.evaluate("document.getElementById('surface').layout.scene.zaxis.title.text") == "relative height"
    assert page.evaluate("document.getElementById('surface-profile').layout.yaxis.title.text") == "relative height"
    assert "mm" not in page.locator("#surface-legend").inner_text()
    assert "high (relative, no millimetres)" in page.locator("#surface-profile-words").inner_text()
    page.click("[data-mode=curvature]")
    came_true(page, "document.getElementById('surface-legend').textContent.includes('relative mean curvature')")
    assert "mm" not in page.locator("#surface-legend").inner_text()


def test_the_history_has_a_point_a_visit_and_leads_to_the_earlier_cases(page: Page, address: str, followed: CaseRecord) -> None:
    page.goto(f"{address}cases/{followed.id}")
    titles = page.locator(".chart figcaption b").all_inner_texts()
    assert titles == ["Volume", "Area", "Height", "Class probabilities", "Risk"]
    points = [page.locator(".chart").nth(number).locator(".point").count() for number in range(5)]
    assert points == [3, 4, 3, 6, 3]
    assert page.locator(".chart").nth(0).locator(".trend").count() == 1
    assert page.locator(".chart").nth(0).locator(".ring").count() == 1
    assert page.locator(".ring").count() == 1
    page.locator(".chart").nth(1).locator("a").first.click()
    page.wait_for_url("**/cases/*")
    assert followed.id not in page.url


def test_two_visits_are_swiped_with_the_keyboard_and_with_the_mouse(page: Page, address: str, followed: CaseRecord) -> None:
    page.goto(f"{address}cases/{followed.id}")
    page.locator(".swipe").scroll_into_view_if_needed()
    clip = "getComputedStyle(document.querySelector('.swipe .now')).clipPath"
    before = page.evaluate(clip)
    page.focus(".swipe input")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert page.evaluate(clip) != before
    assert page.locator(".swipe input").get_attribute("aria-valuetext") == "60 % then, 40 % now"
    box = page.locator(".swipe").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 60, steps=4)
    page.mouse.up()
    assert int(page.locator(".swipe input").input_value()) < 25
    seen(page, "swipe")


def test_the_case_page_fits_a_phone(page: Page, address: str, followed: CaseRecord) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}cases/{followed.id}")
    page.wait_for_selector("#surface[data-drawn=yes]", timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    seen(page, "phone")


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
