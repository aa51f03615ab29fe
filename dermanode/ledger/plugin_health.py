"""How plugins have done lately, and which are suspended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from dermanode.ledger.database import Database
from dermanode.ledger.history import counted, plugin_subject, write_events
from dermanode.ledger.records import Event, PluginHealth
from dermanode.ledger.tables import plugins


class Plugins:
    """Counts failures in a row. A suspended plugin stays so until it is resumed by hand."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def failed(self, plugin: str, stage: str, reason: str, now: datetime, suspend_after: int) -> PluginHealth:
        """The plugin's health after one more failure; suspended when that is the last of `suspend_after` in a row."""

        def count(transaction: Connection) -> PluginHealth:
            before = _of(transaction, plugin)
            failures = before.failures_in_a_row + 1
            is_suspended_now = before.suspended_at is None and failures >= suspend_after
            after = PluginHealth(plugin, failures, f"{stage}: {reason}", now if is_suspended_now else before.suspended_at)
            _keep(transaction, after)
            told = [Event(now, plugin_subject(plugin), "plugin_failed", after.last_failure)]
            if is_suspended_now:
                told.append(Event(now, plugin_subject(plugin), "plugin_suspended", f"It failed {counted(failures, 'time')} in a row."))
            write_events(transaction, told)
            return after

        return self._database.write(count)

    def succeeded(self, plugin: str, now: datetime) -> None:
        """Ends its row of failures. Nothing is written for a plugin that had none."""
        known = {health.plugin: health for health in self.all()}.get(plugin)
        if known is not None and known.failures_in_a_row == 0:
            return

        def forgive(transaction: Connection) -> None:
            before = _of(transaction, plugin)
            _keep(transaction, PluginHealth(plugin, 0, before.last_failure, before.suspended_at))
            if before.failures_in_a_row:
                words = f"It worked again after {counted(before.failures_in_a_row, 'failure')}."
                write_events(transaction, [Event(now, plugin_subject(plugin), "plugin_recovered", words)])

        self._database.write(forgive)

    def all(self) -> list[PluginHealth]:
        """Every plugin that has run here, by name."""
        query = select(plugins).order_by(plugins.c.plugin)
        return self._database.read(lambda transaction: [_health(row) for row in transaction.execute(query)])

    def suspended(self) -> Mapping[str, str]:
        """The suspended plugins, each with its last failure."""
        return {health.plugin: health.last_failure for health in self.all() if health.suspended_at is not None}

    def resume(self, plugin: str, now: datetime) -> None:
        """Lets a suspended plugin run again, its failures forgotten."""

        def let(transaction: Connection) -> None:
            before = _of(transaction, plugin)
            if before.suspended_at is None and before.failures_in_a_row == 0:
                return
            _keep(transaction, PluginHealth(plugin, 0, before.last_failure, None))
            write_events(transaction, [Event(now, plugin_subject(plugin), "plugin_resumed", "Resumed by hand.")])

        self._database.write(let)


def _of(transaction: Connection, plugin: str) -> PluginHealth:
    row = transaction.execute(select(plugins).where(plugins.c.plugin == plugin).with_for_update()).one_or_none()
    return PluginHealth(plugin, 0, "", None) if row is None else _health(row)


def _keep(transaction: Connection, health: PluginHealth) -> None:
    values = {
        "failures_in_a_row": health.failures_in_a_row,
        "last_failure": health.last_failure,
        "suspended_at": health.suspended_at,
    }
    is_it = plugins.c.plugin == health.plugin
    # Not rowcount: MariaDB counts only rows whose values changed.
    if transaction.execute(select(plugins.c.plugin).where(is_it)).first() is None:
        transaction.execute(plugins.insert(), {"plugin": health.plugin, **values})
    else:
        transaction.execute(update(plugins).where(is_it).values(values))


def _health(row: Row[Any]) -> PluginHealth:
    return PluginHealth(row.plugin, row.failures_in_a_row, row.last_failure, row.suspended_at)
