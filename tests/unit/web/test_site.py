from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dermanode.config import Web
from dermanode.config.settings import Login
from dermanode.domain import Algorithm, Code, Measurement, Progression, RiskTerm, Visit
from dermanode.domain.codes import MM2
from dermanode.domain.outcome import ComparisonSummary
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CaseRecord, CaseState
from dermanode.testing.followed import record_followed
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.recorded import NOON, finished_outcome, open_case, receive_image, record_lived
from dermanode.web.login import hash_password, is_password
from dermanode.web.site import make_site


class Waker:
    """Counts how often the engine and the outbox were woken."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_at(tmp_path / "ledger.db")) as opened:
        yield opened


@pytest.fixture
def cases(ledger: Ledger, tmp_path: Path) -> tuple[CaseRecord, CaseRecord]:
    return record_lived(ledger, tmp_path / "results")


@pytest.fixture
def waker() -> Waker:
    return Waker()


@pytest.fixture
def browser(ledger: Ledger, tmp_path: Path, waker: Waker) -> TestClient:
    site = make_site(ledger, tmp_path / "results", Web(), wake=waker, now=lambda: NOON)
    return TestClient(site, base_url="http://127.0.0.1:8104")


def test_the_first_page_lists_the_cases_with_risk_and_class(browser: TestClient, cases: tuple[CaseRecord, CaseRecord]) -> None:
    page = browser.get("/").text
    assert cases[0].id in page
    assert "Melanocytic nevus" in page
    assert "risk-low" in page


def test_a_case_without_risk_says_that_it_was_not_performed(browser: TestClient, cases: tuple[CaseRecord, CaseRecord]) -> None:
    page = browser.get("/?state=failed").text
    assert cases[1].id in page
    assert cases[0].id not in page
    assert "not performed" in page


def test_the_empty_page_says_what_to_do(browser: TestClient) -> None:
    assert "dermanode send" in browser.get("/").text


def test_a_case_page_shows_outline_measurements_and_what_did_not_run(browser: TestClient, cases: tuple[CaseRecord, CaseRecord]) -> None:
    page = browser.get(f"/cases/{cases[0].id}").text
    assert 'points="100.5,80.5' in page
    assert "progression not performed" in page
    assert "heights are relative, not millimetres" in page
    assert "12.3" in page
    assert "mm²" in page


def test_a_heat_map_lies_over_its_view_with_a_text_for_those_who_do_not_see_it(
    browser: TestClient, cases: tuple[CaseRecord, CaseRecord]
) -> None:
    page = browser.get(f"/cases/{cases[0].id}").text
    picture = re.search(r'href="(/cases/[^"]+/heat/[^"]+\.png)"', page)
    assert picture is not None
    assert browser.get(picture[1]).headers["content-type"] == "image/png"
    spoken = re.findall(r'aria-label="([^"]+)"', page)
    assert any("Grad-CAM heat map" in text and "Melanocytic nevus" in text and "78.0 % of the heat" in text for text in spoken)
    assert "does not say that the answer is right" in page


def test_a_case_without_heat_maps_shows_none(browser: TestClient, cases: tuple[CaseRecord, CaseRecord]) -> None:
    assert "heat map" not in browser.get(f"/cases/{cases[1].id}").text


def test_a_surface_is_told_in_words_with_the_views_that_it_went_without(browser: TestClient, ledger: Ledger, tmp_path: Path) -> None:
    page = browser.get(f"/cases/{record_followed(ledger, tmp_path / 'results')[-1].id}").text
    for words in ("closed, manifold", "10.0°", "0.41 px", "87.0 %", "camera distance 150 mm", "7 used, 1 dropped", "23.8 to 25.3"):
        assert words in page
    assert re.search(r"<td>8</td>.*dropped: blurred: 12 tracks, and 40 are needed", page)


def test_each_part_of_the_risk_is_shown_with_weight_value_and_contribution(
    browser: TestClient, cases: tuple[CaseRecord, CaseRecord]
) -> None:
    page = browser.get(f"/cases/{cases[0].id}").text
    row = re.search(r"<tr><td>asymmetry</td>.*?</tr>", page, re.DOTALL)
    assert row is not None
    assert re.findall(r"0\.\d\d", re.sub(r"<meter.*?</meter>", "", row[0])) == ["0.20", "0.65", "0.13"]
    assert "left out: no earlier visit is known" in page


def test_earlier_visits_lead_to_their_cases_where_the_ledger_has_them(browser: TestClient, ledger: Ledger, tmp_path: Path) -> None:
    first, second, last = record_followed(ledger, tmp_path / "results")
    page = browser.get(f"/cases/{last.id}").text
    table = page[page.index('id="visits"') :]
    assert f'<a href="/cases/{first.id}">' in table
    assert f'<a href="/cases/{second.id}">' in table
    assert "<code>2.25.4711</code>" in table
    assert 'href="/cases/2.25.4711"' not in page
    assert "Volume rose by 44 %" in page
    assert page.count('class="chart"') == 5


def test_a_visit_of_another_patient_is_not_linked(browser: TestClient, ledger: Ledger, tmp_path: Path) -> None:
    stranger = record_lived(ledger, tmp_path / "results")[0]
    view = receive_image(ledger, 50, 1, patient_id="P9").sop_instance_uid
    record = open_case(ledger, 50, patient_id="P9")
    area = Measurement(key="area_mm2", concept=Code("42798000", "SCT", "Area"), value=12.3, unit=MM2)
    history = (Visit(case_id=stranger.id, acquired_at=NOON - timedelta(days=30), values=(area,)),)
    progression = Progression(algorithm=Algorithm("x", "1"), priors=(stranger.id,), changes=(), history=history)
    outcome = replace(finished_outcome(record, view, tmp_path / "results"), progression=progression)
    ledger.cases.finish(record.id, outcome, [], NOON)
    page = browser.get(f"/cases/{record.id}").text
    assert stranger.id in page
    assert f'href="/cases/{stranger.id}"' not in page


def test_two_visits_lie_over_each_other_with_what_changed_beside(browser: TestClient, ledger: Ledger, tmp_path: Path) -> None:
    last = record_followed(ledger, tmp_path / "results")[-1]
    page = browser.get(f"/cases/{last.id}").text
    pictures = re.findall(r'src="(/cases/[^"]+/changes/[^"]+)"', page)
    assert [picture.rsplit("-", 1)[1] for picture in pictures] == ["then.jpg", "now.jpg", "difference.jpg"]
    assert all(browser.get(picture).headers["content-type"] == "image/jpeg" for picture in pictures)
    assert "Change of area in this view" in page
    assert "then · 2026-06-01" in page


def test_what_plugins_say_is_never_markup(browser: TestClient, ledger: Ledger, tmp_path: Path) -> None:
    evil = "\"'><script>alert(1)</script>"
    view = receive_image(ledger, 60, 1).sop_instance_uid
    record = open_case(ledger, 60)
    outcome = finished_outcome(record, view, tmp_path / "results")
    assert outcome.surface is not None
    assert outcome.risk is not None
    odd = Measurement(key=evil, concept=Code("1", "99X", evil), value=1.0, unit=Code(evil, "99X", evil), definition=evil)
    area = Measurement(key="area_mm2", concept=odd.concept, value=12.3, unit=MM2)
    history = (Visit(case_id=evil, acquired_at=NOON - timedelta(days=30), values=(odd, area)),)
    ledger.cases.finish(
        record.id,
        replace(
            outcome,
            surface=replace(outcome.surface, method=evil, scale_source=evil, dropped_views=((view, evil),), measurements=(odd,)),
            risk=replace(outcome.risk, terms=(RiskTerm(name=evil, weight=1.0, value=0.2),), missing=((evil, evil),), recommendation=evil),
            progression=Progression(
                algorithm=Algorithm("x", "1"), priors=(evil,), changes=(odd,), trends=(odd,), history=history, alerts=(f"Area: {evil}",)
            ),
            comparisons=(
                ComparisonSummary(sop_instance_uid=view, prior_case_id=evil, prior_view_uid=view, now=evil, then=evil, difference=evil),
            ),
        ),
        [],
        NOON,
    )
    page = browser.get(f"/cases/{record.id}").text
    assert page.count("alert(1)") > 20
    assert "<script>alert" not in page
    assert "\"'>" not in page


def test_a_failed_case_shows_its_reason(browser: TestClient, cases: tuple[CaseRecord, CaseRecord]) -> None:
    assert "missed its deadline of 2 s" in browser.get(f"/cases/{cases[1].id}").text


def test_an_unknown_case_is_a_sentence_not_a_traceback(browser: TestClient) -> None:
    answer = browser.get("/cases/nobody")
    assert answer.status_code == 404
    assert "nobody" in answer.text
    assert browser.get("/api/cases/nobody").json()["detail"]


def test_a_file_outside_of_the_case_is_not_given(browser: TestClient, cases: tuple[CaseRecord, CaseRecord]) -> None:
    assert browser.get(f"/cases/{cases[0].id}/files/mesh.json").status_code == 200
    assert browser.get(f"/cases/{cases[0].id}/files/%2e%2e/%2e%2e/ledger.db").status_code == 404


def test_running_a_case_again_makes_it_ready_and_wakes_the_engine(
    browser: TestClient, cases: tuple[CaseRecord, CaseRecord], ledger: Ledger, waker: Waker
) -> None:
    browser.post(f"/cases/{cases[1].id}/reopen")
    assert ledger.cases.get(cases[1].id).state is CaseState.READY
    assert waker.count == 1


def test_another_sites_form_is_refused(browser: TestClient, cases: tuple[CaseRecord, CaseRecord], ledger: Ledger) -> None:
    answer = browser.post(f"/cases/{cases[1].id}/reopen", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert ledger.cases.get(cases[1].id).state is CaseState.FAILED


def test_a_rebound_name_sees_nothing(browser: TestClient) -> None:
    assert browser.get("/", headers={"Host": "evil.example"}).status_code == 403


def test_a_page_may_run_and_load_nothing_but_its_own(browser: TestClient, cases: tuple[CaseRecord, CaseRecord]) -> None:
    answer = browser.get(f"/cases/{cases[0].id}")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert not re.search(r"<script>|\son\w+=|\sstyle=|https?://", answer.text.replace("http://www.w3.org", ""))


def test_the_api_gives_the_outcome_as_json(browser: TestClient, cases: tuple[CaseRecord, CaseRecord]) -> None:
    case = browser.get(f"/api/cases/{cases[0].id}").json()
    assert case["outcome"]["risk"]["score"] == 0.21
    assert case["state"] == "finished"


def test_the_api_describes_itself_without_another_host(browser: TestClient) -> None:
    assert "/api/cases" in browser.get("/api/openapi.json").json()["paths"]
    page = browser.get("/api/docs").text
    assert "https://" not in page.replace("https://fastapi.tiangolo.com", "")


def test_metrics_count_by_state(browser: TestClient, cases: tuple[CaseRecord, CaseRecord]) -> None:
    text = browser.get("/metrics").text
    assert 'dermanode_cases{state="failed"} 1.0' in text
    assert 'dermanode_objects{state="in case"} 2.0' in text
    assert 'dermanode_deliveries{destination="archive",state="' in text


def test_health_answers(browser: TestClient) -> None:
    assert browser.get("/health").json()["status"] == "ok"


def test_explain_tells_the_story_of_a_result(browser: TestClient, cases: tuple[CaseRecord, CaseRecord]) -> None:
    assert cases[0].id in browser.get("/explain?name=2.25.99").text
    assert browser.get("/explain?name=1.2.3").status_code == 200


def test_the_node_page_shows_the_audit(browser: TestClient, cases: tuple[CaseRecord, CaseRecord]) -> None:
    assert "2 objects accepted" in browser.get("/node").text


def test_a_login_is_asked_for_and_only_the_right_one_opens(ledger: Ledger, tmp_path: Path) -> None:
    login = Login(username="reader", password_hash=hash_password("correct horse"))
    site = make_site(ledger, tmp_path, Web(host="0.0.0.0", login=login), wake=lambda: None, now=lambda: NOON)
    browser = TestClient(site, base_url="http://node.hospital:8104")

    def status(credentials: str) -> int:
        return browser.get("/", headers={"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}).status_code

    assert browser.get("/").status_code == 401
    assert browser.get("/health").status_code == 200
    assert status("reader:wrong") == 401
    assert status("reader:correct horse") == 200


def test_a_password_is_kept_salted() -> None:
    assert hash_password("a") != hash_password("a")
    assert is_password("a", hash_password("a"))
    assert not is_password("b", hash_password("a"))


def test_node_page_names_what_waits_for_a_destination_and_who_was_refused(
    browser: TestClient, ledger: Ledger, cases: tuple[CaseRecord, CaseRecord]
) -> None:
    claimed = ledger.deliveries.claim("archive", NOON + timedelta(seconds=9))
    assert claimed is not None
    ledger.deliveries.postponed(claimed.id, "the disk is away", NOON + timedelta(minutes=1), NOON + timedelta(seconds=9))
    ledger.history.add("node", "association_refused", "CAMERA at 10.1.2.9 may not send", NOON)
    page = browser.get("/node").text
    waiting = page[page.index('id="waiting"') : page.index('id="dead"')]
    assert cases[0].id in waiting
    assert "the disk is away" in waiting
    callers = page[page.index('id="callers"') : page.index("Latest events")]
    assert "CAMERA at 10.1.2.9 may not send" in callers
    assert "<b>1</b> deliveries wait" in browser.get("/").text
