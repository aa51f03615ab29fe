"""A request to fetch, from the page and over the API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dermanode.config import Web
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import FetchState
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.recorded import NOON
from dermanode.web.site import make_site


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_at(tmp_path / "ledger.db")) as opened:
        yield opened


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def browser(ledger: Ledger, tmp_path: Path, woken: list[str]) -> TestClient:
    site = make_site(ledger, tmp_path, Web(), wake=lambda: woken.append("!"), now=lambda: NOON, sources=("pacs", "archive"))
    return TestClient(site, base_url="http://127.0.0.1:8104", follow_redirects=False)


def test_the_form_writes_a_request_and_wakes_the_node(browser: TestClient, ledger: Ledger, woken: list[str]) -> None:
    answer = browser.post("/fetch", data={"source": "archive", "key": "accession_number", "value": " A-17 "})
    assert (answer.status_code, answer.headers["location"]) == (303, "/fetch")
    (fetch,) = ledger.fetches.recent(5)
    assert (fetch.source, fetch.query.accession_number, fetch.asked_by, fetch.state) == ("archive", "A-17", "page", FetchState.PENDING)
    assert woken == ["!"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"source": "pacs", "key": "patient_id", "value": "P-*"}, "in full"),
        ({"source": "pacs", "key": "study_date", "value": "yesterday"}, "is no day"),
        ({"source": "nowhere", "key": "patient_id", "value": "P-1"}, "no source"),
        ({"source": "pacs", "key": "name", "value": "Doe"}, "Choose"),
        ({"source": "pacs", "key": "patient_id", "value": ""}, "Nothing was named"),
    ],
)
def test_a_form_that_could_not_be_meant_is_shown_again_with_the_reason(
    browser: TestClient, ledger: Ledger, data: dict[str, str], words: str
) -> None:
    answer = browser.post("/fetch", data=data)
    assert answer.status_code == 422
    assert words in answer.text
    assert f'value="{data["value"]}"' in answer.text
    assert ledger.fetches.recent(5) == []


def test_the_page_lists_the_latest_requests_with_their_words(browser: TestClient, ledger: Ledger) -> None:
    browser.post("/fetch", data={"source": "pacs", "key": "patient_id", "value": "<P-1>"})
    fetch = ledger.fetches.claim("pacs", NOON)
    assert fetch is not None
    ledger.fetches.done(fetch.id, 8, "8 objects came; whole: 1 of 1 series.", NOON)
    page = browser.get("/fetch").text
    assert "patient id &lt;P-1&gt;" in page
    assert "8 objects came; whole: 1 of 1 series." in page
    assert re.search(r'<span class="chip finished">done</span>', page)


def test_a_request_over_the_api_is_answered_with_its_state(browser: TestClient, ledger: Ledger) -> None:
    answer = browser.post("/api/fetches", json={"source": "pacs", "patient_id": "P-1", "study_date": "2026-11-01..2026-11-28"})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["state"], made["source"], made["query"]["patient_id"]) == ("pending", "pacs", "P-1")
    assert made["query"]["study_dates"] == {"first": "2026-11-01", "last": "2026-11-28"}
    assert browser.get(f"/api/fetches/{made['id']}").json() == made
    assert browser.get("/api/fetches").json() == [made]
    assert browser.get("/api/fetches/99").status_code == 404


@pytest.mark.parametrize("wanted", [{"patient_id": "P?"}, {}, {"accession": "A-1"}])
def test_a_request_over_the_api_that_could_not_be_meant_is_refused(browser: TestClient, ledger: Ledger, wanted: dict[str, str]) -> None:
    assert browser.post("/api/fetches", json={"source": "pacs", **wanted}).status_code == 422
    assert ledger.fetches.recent(5) == []


def test_without_a_source_the_page_says_where_to_add_one(ledger: Ledger, tmp_path: Path) -> None:
    site = make_site(ledger, tmp_path, Web(), wake=lambda: None, now=lambda: NOON)
    page = TestClient(site, base_url="http://127.0.0.1:8104").get("/fetch").text
    assert "under <code>sources</code>" in page
    assert "<form" not in page
