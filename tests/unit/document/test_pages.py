"""Setting pages: what is kept from one case to the next must never be seen in its pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dermanode.document import fonts, pages, report
from dermanode.document.wording import LANGUAGES, Language
from dermanode.domain import Case, Outcome, Risk, StageReport, StageStatus
from dermanode.testing.worked_cases import case_of, outcome_of, photograph, worked

pytestmark = pytest.mark.skipif(
    bool(fonts.lacking_libraries()), reason=f"Debian's {', '.join(fonts.lacking_libraries().values())} are not installed"
)

Set = tuple[str, str, Mapping[str, bytes], dict[str, object]]


def asked_for(case: Case, outcome: Outcome, language: Language, monkeypatch: pytest.MonkeyPatch) -> Set:
    """HTML, stylesheet, pictures and options of a case's report."""
    if lack := fonts.lacking_font(language):
        pytest.skip(f"Debian's package {lack} is not installed")
    asked: list[Set] = []

    def take(html: str, css: str, pictures: Mapping[str, bytes], **options: object) -> bytes:
        asked.append((html, css, pictures, options))
        return b""

    with monkeypatch.context() as patch:
        patch.setattr(report, "set_pages", take)
        report.encode_pdf(case, outcome, language=language, made_at=datetime(2026, 11, 28, tzinfo=UTC), institution="Clinic")
    return asked[0]


def made(asked: Set) -> bytes:
    html, css, pictures, options = asked
    return pages.set_pages(html, css, pictures, **options)  # type: ignore[arg-type]  # as they came


def by_the_usual_door(asked: Set) -> bytes:
    """What WeasyPrint makes of the same HTML by itself, without anything kept."""
    from weasyprint import CSS, HTML
    from weasyprint.urls import URLFetcher, URLFetcherResponse

    html, css, pictures, options = asked

    class Pictures(URLFetcher):  # type: ignore[misc]  # WeasyPrint has no types
        def fetch(self, url: str, headers: object = None) -> object:
            return URLFetcherResponse(url, pictures[url.removeprefix("picture:")], {"Content-Type": "image/jpeg"})

    def prefer(_document: object, pdf: object) -> None:
        reading = {"DisplayDocTitle": "true", "Direction": "/R2L" if options["is_right_to_left"] else "/L2R"}
        pdf.catalog["ViewerPreferences"] = type(pdf.catalog)(reading)  # type: ignore[attr-defined]  # as above

    document = HTML(string=html, url_fetcher=Pictures())
    identifier = str(options["identifier"]).encode()
    done: bytes = document.write_pdf(stylesheets=[CSS(string=css)], pdf_identifier=identifier, pdf_variant=pages.VARIANT, finisher=prefer)
    return done


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, tuple[Case, Outcome]]:
    """Cases that differ in what their pages hold."""
    one = worked([photograph(1)], tmp_path / "one")
    low = replace(
        one, findings=tuple(replace(found, level="low", score=0.07) if isinstance(found, Risk) else found for found in one.findings)
    )
    followed = worked([photograph(number) for number in (1, 2, 3)], tmp_path / "three", is_metric=True)
    bare = case_of([photograph(1)], tmp_path / "bare")
    failed = StageReport(stage="segment", status=StageStatus.FAILED, plugin="acme", reason="missed its deadline of 2 s")
    known = {"one": one, "low": low, "followed": followed}
    return {**{name: (case, outcome_of(case)) for name, case in known.items()}, "failed": (bare, outcome_of(bare, (failed,)))}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of WeasyPrint 70
@pytest.mark.parametrize("language", ["en", "ar"])
def test_pages_are_those_of_weasyprints_own_door(
    cases: dict[str, tuple[Case, Outcome]], language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("followed", "failed"):
        asked = asked_for(*cases[name], language, monkeypatch)
        assert made(asked) == by_the_usual_door(asked)


def test_pages_are_the_same_whatever_cases_came_before(cases: dict[str, tuple[Case, Outcome]], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {name: asked_for(*cases[name], "en", monkeypatch) for name in ("one", "failed", "low")}
    first = []
    for name in ("one", "failed"):
        pages._sheet.cache_clear()
        first.append(made(asked[name]))
    made(asked["low"])
    assert [made(asked["one"]), made(asked["failed"])] == first


def test_a_place_seen_before_costs_no_cascade(cases: dict[str, tuple[Case, Outcome]], monkeypatch: pytest.MonkeyPatch) -> None:
    from weasyprint.css import StyleFor

    one, low = (asked_for(*cases[name], "en", monkeypatch) for name in ("one", "low"))
    made(one), made(low)

    def refuse(*_: object) -> None:
        raise AssertionError("the styles were computed again")

    monkeypatch.setattr(StyleFor, "__init__", refuse)
    assert made(one)


@pytest.mark.parametrize("language", LANGUAGES)
def test_style_attributes_hold_percentages_alone(
    cases: dict[str, tuple[Case, Outcome]], language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other style must come from the sheet, whose rules the kept styles know."""
    html = asked_for(*cases["followed"], language, monkeypatch)[0]
    found = re.findall(r'style="([^"]*)"', html)
    assert found
    assert all(re.fullmatch(r"([\w-]+: [\d.]+%(; )?)+", style) for style in found)
