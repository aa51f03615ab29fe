"""The audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from dermanode.errors import LedgerError
from dermanode.ledger.history import NODE
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Event


def test_lines_come_back_equal_and_in_order(ledger: Ledger, make: Any) -> None:
    ledger.history.add(NODE, "started", "The node started, version 0.1.0.", make.now)
    ledger.history.add(NODE, "stopped", "Größe: 3 µm.", make.later(0.000001))
    first = Event(make.now, NODE, "started", "The node started, version 0.1.0.")
    second = Event(make.later(0.000001), NODE, "stopped", "Größe: 3 µm.")
    assert ledger.history.of(NODE) == [first, second]
    assert ledger.history.recent(1) == [second]


def test_a_time_without_a_zone_is_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="no time zone"):
        ledger.history.add(NODE, "started", "", datetime(2026, 11, 21))


def test_the_trail_of_a_case_holds_its_deliveries(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 2))
    ledger.deliveries.claim("pacs", make.later(3))
    assert [event.kind for event in ledger.history.of_case(case.id)] == [
        "case_opened",
        "case_started",
        "stage_ended",
        "case_finished",
        "delivery_planned",
        "sending",
    ]
