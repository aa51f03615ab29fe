"""What the page and the metrics show of the hospital's messages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dermanode.config import Web
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.said import MessageHead, Verdict
from dermanode.testing.ledgers import ledger_at
from dermanode.web.site import make_site

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with Ledger.open(ledger_at(tmp_path / "ledger.db")) as ledger:
        for number, (kind, answer) in enumerate((("ADT^A08", "AA"), ("ADT^A08", "AA"), ("MDM^T02", "AR"))):
            head = MessageHead(sender="HIS|<b>HOSP</b>", control_id=f"M{number}", kind=kind, digest="d")
            ledger.messages.note(head, Verdict(answer=answer, words="Words about it."), NOW)
        site = make_site(ledger, tmp_path, Web(), wake=lambda: None, now=lambda: NOW)
        with TestClient(site, base_url="http://127.0.0.1") as client:
            yield client


def test_node_page_lists_the_last_messages(client: TestClient) -> None:
    page = client.get("/node").text
    for text in ("HIS|&lt;b&gt;HOSP", "MDM^T02", "M2", "Words about it.", '<span class="chip failed">AR</span>'):
        assert text in page


def test_messages_are_counted_by_kind_and_answer(client: TestClient) -> None:
    assert 'dermanode_hl7_messages{answer="AA",kind="ADT^A08"} 2.0' in client.get("/metrics").text
