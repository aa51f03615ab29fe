"""Plugins: failures in a row lead to suspension, and only a person ends it."""

from __future__ import annotations

from typing import Any

from dermanode.ledger.ledger import Ledger


def test_a_plugin_is_suspended_after_failures_in_a_row(ledger: Ledger, make: Any) -> None:
    ledger.plugins.failed("acme", "segment", "raised", make.now, suspend_after=3)
    ledger.plugins.succeeded("acme", make.now)
    for _ in range(2):
        assert ledger.plugins.failed("acme", "segment", "raised", make.now, suspend_after=3).suspended_at is None
    assert ledger.plugins.suspended() == {}
    health = ledger.plugins.failed("acme", "segment", "missed its deadline", make.later(1), suspend_after=3)
    assert (health.failures_in_a_row, health.suspended_at) == (3, make.later(1))
    assert ledger.plugins.suspended() == {"acme": "segment: missed its deadline"}
    assert [event.kind for event in ledger.history.of("plugin:acme")][-2:] == ["plugin_failed", "plugin_suspended"]


def test_a_suspended_plugin_stays_so_until_it_is_resumed(ledger: Ledger, make: Any) -> None:
    ledger.plugins.failed("acme", "segment", "raised", make.now, suspend_after=1)
    ledger.plugins.failed("acme", "segment", "raised", make.later(5), suspend_after=1)
    ledger.plugins.succeeded("acme", make.later(6))
    (health,) = ledger.plugins.all()
    assert (health.failures_in_a_row, health.suspended_at) == (0, make.now)
    ledger.plugins.resume("acme", make.later(7))
    assert ledger.plugins.suspended() == {}
    assert ledger.plugins.all()[0].last_failure == "segment: raised"


def test_success_upon_success_writes_nothing(ledger: Ledger, make: Any) -> None:
    for _ in range(3):
        ledger.plugins.succeeded("acme", make.now)
    assert [(health.plugin, health.failures_in_a_row) for health in ledger.plugins.all()] == [("acme", 0)]
    assert ledger.history.of("plugin:acme") == []


def test_resuming_what_is_not_suspended_does_nothing(ledger: Ledger, make: Any) -> None:
    ledger.plugins.resume("acme", make.now)
    assert ledger.plugins.all() == []
