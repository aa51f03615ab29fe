"""The audit trail: one line for everything that happened, written with what it tells of."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, Row, select

from dermanode.ledger.database import Database
from dermanode.ledger.records import Event
from dermanode.ledger.tables import deliveries, events

NODE = "node"
"""The subject of what concerns the node as a whole."""


def object_subject(sop_instance_uid: str) -> str:
    return f"object:{sop_instance_uid}"


def series_subject(series_instance_uid: str) -> str:
    return f"series:{series_instance_uid}"


def case_subject(case_id: str) -> str:
    return f"case:{case_id}"


def delivery_subject(delivery_id: int) -> str:
    return f"delivery:{delivery_id}"


def plugin_subject(plugin: str) -> str:
    return f"plugin:{plugin}"


def counted(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_INSERT = events.insert()


def write_events(transaction: Connection, new: Iterable[Event]) -> None:
    """Adds lines inside the transaction of the change that they tell of. They name UIDs, and a patient only
    where the hospital merged two: the trail must say who became whom."""
    rows = [{"at": event.at, "subject": event.subject, "kind": event.kind, "words": event.words} for event in new]
    if rows:
        transaction.execute(_INSERT, rows)


def read_events(transaction: Connection, subjects: Iterable[str]) -> list[Event]:
    """All lines about these subjects, oldest first."""
    query = select(events).where(events.c.subject.in_(list(subjects))).order_by(events.c.id)
    return [_event(row) for row in transaction.execute(query)]


class History:
    """Reads the audit trail, and writes lines that belong to no other change."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, subject: str, kind: str, words: str, at: datetime) -> None:
        self._database.write(lambda transaction: write_events(transaction, [Event(at, subject, kind, words)]))

    def of(self, subject: str) -> list[Event]:
        """The lines about one subject (`case:ID`, `object:UID`, ...), oldest first."""
        return self._database.read(lambda transaction: read_events(transaction, [subject]))

    def of_case(self, case_id: str) -> list[Event]:
        """The lines about a case and its deliveries, oldest first."""
        query = select(deliveries.c.id).where(deliveries.c.case_id == case_id)

        def read(transaction: Connection) -> list[Event]:
            subjects = [delivery_subject(number) for number in transaction.scalars(query)]
            return read_events(transaction, [case_subject(case_id), *subjects])

        return self._database.read(read)

    def recent(self, limit: int, about: str = "") -> list[Event]:
        """The last lines, newest first; with `about` those whose subject begins so: `folder:`."""
        query = select(events).order_by(events.c.id.desc()).limit(limit)
        if about:
            query = query.where(events.c.subject.startswith(about, autoescape=True))
        return self._database.read(lambda transaction: [_event(row) for row in transaction.execute(query)])


def _event(row: Row[tuple[object, ...]]) -> Event:
    return Event(at=row.at, subject=row.subject, kind=row.kind, words=row.words)
