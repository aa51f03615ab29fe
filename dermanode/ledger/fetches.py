"""The fetches: what was asked for at a source, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from dermanode.errors import UnknownSubject
from dermanode.ledger.database import Database
from dermanode.ledger.fetch_query import FetchQuery
from dermanode.ledger.history import write_events
from dermanode.ledger.records import Event, FetchState
from dermanode.ledger.tables import fetches


@dataclass(frozen=True, slots=True)
class Fetch:
    """One request to fetch from a source."""

    id: int
    source: str
    """Its name under `sources` in the settings."""
    query: FetchQuery
    asked_by: str
    """`command line`, `page`, `API`, or which part of the node."""
    asked_at: datetime
    state: FetchState
    attempts: int
    next_at: datetime
    objects: int
    """How many came, over all attempts."""
    words: str
    """What came, what was left out and what failed; names no patient."""
    ended_at: datetime | None

    @property
    def is_over(self) -> bool:
        return self.state in (FetchState.DONE, FetchState.FAILED)


class Fetches:
    """Takes requests, hands them out and keeps what became of them. Each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, source: str, query: FetchQuery, *, asked_by: str, now: datetime) -> Fetch:
        """A new request, due at once. Any process may ask; the node that has the source's name in its settings does it."""
        values = {
            "source": source,
            "query": query.to_json(),
            "asked_by": asked_by,
            "asked_at": now,
            "state": FetchState.PENDING.value,
            "attempts": 0,
            "next_at": now,
            "objects": 0,
            "words": "",
            "ended_at": None,
        }

        def ask(transaction: Connection) -> Fetch:
            (number,) = transaction.execute(fetches.insert().values(values)).inserted_primary_key or (0,)
            _tell(transaction, number, "fetch_asked", f"asked for at {source} by {asked_by}.", now)
            return _get(transaction, number)

        return self._database.write(ask)

    def claim(self, source: str, now: datetime) -> Fetch | None:
        """The source's oldest due request, now running; None when none is due. No two callers get the same one."""
        due = (
            select(fetches)
            .where(fetches.c.source == source, fetches.c.state == FetchState.PENDING.value, fetches.c.next_at <= now)
            .order_by(fetches.c.next_at, fetches.c.id)
            .limit(1)
        )
        # Asked without the write lock first: an idle fetcher must not hold up the receiver.
        if self._database.read(lambda transaction: transaction.execute(due).first()) is None:
            return None

        def take(transaction: Connection) -> Fetch | None:
            row = transaction.execute(due.with_for_update(skip_locked=True)).one_or_none()
            if row is None:
                return None
            values = {"state": FetchState.RUNNING.value, "attempts": row.attempts + 1}
            transaction.execute(update(fetches).where(fetches.c.id == row.id).values(values))
            _tell(transaction, row.id, "fetch_started", f"attempt {row.attempts + 1} at {source} began.", now)
            return _get(transaction, row.id)

        return self._database.write(take)

    def done(self, fetch_id: int, objects: int, words: str, now: datetime) -> None:
        """Everything that was asked for is here; `objects` came in this attempt. Nothing changes unless it is running."""
        values = {"state": FetchState.DONE.value, "ended_at": now}
        self._step(fetch_id, values, objects, words, "fetch_done", now)

    def postponed(self, fetch_id: int, objects: int, words: str, next_at: datetime, now: datetime) -> None:
        """It did not all come, and is tried again at `next_at`. Nothing changes unless it is running."""
        values = {"state": FetchState.PENDING.value, "next_at": next_at}
        self._step(fetch_id, values, objects, words, "fetch_postponed", now)

    def failed(self, fetch_id: int, objects: int, words: str, now: datetime) -> None:
        """It cannot be done, or was tried often enough. Nothing changes unless it is running."""
        values = {"state": FetchState.FAILED.value, "ended_at": now}
        self._step(fetch_id, values, objects, words, "fetch_failed", now)

    def release_running(self, source: str, now: datetime) -> int:
        """How many requests a dead process had left running at a source; they are due again, and the attempt does not count."""

        def release(transaction: Connection) -> int:
            where = (fetches.c.source == source) & (fetches.c.state == FetchState.RUNNING.value)
            rows = transaction.execute(select(fetches).where(where).with_for_update()).all()
            for row in rows:
                values = {"state": FetchState.PENDING.value, "attempts": max(row.attempts - 1, 0), "next_at": now}
                transaction.execute(update(fetches).where(fetches.c.id == row.id).values(values))
                _tell(transaction, row.id, "fetch_released", "the node ended while it fetched; it is tried again.", now)
            return len(rows)

        return self._database.write(release)

    def get(self, fetch_id: int) -> Fetch:
        """The request of that number. Raises `UnknownSubject`."""
        return self._database.read(lambda transaction: _get(transaction, fetch_id))

    def open_before(self, fetch_id: int) -> int:
        """How many requests to the same source are not over and were asked for earlier."""
        fetch = self.get(fetch_id)
        states = (FetchState.PENDING.value, FetchState.RUNNING.value)
        query = select(fetches.c.id).where(fetches.c.source == fetch.source, fetches.c.id < fetch.id, fetches.c.state.in_(states))
        return self._database.read(lambda transaction: len(transaction.execute(query).all()))

    def recent(self, limit: int) -> Sequence[Fetch]:
        """The last that were asked for, the newest first."""
        query = select(fetches).order_by(fetches.c.id.desc()).limit(limit)
        return self._database.read(lambda transaction: [_fetch(row) for row in transaction.execute(query)])

    def _step(self, fetch_id: int, values: dict[str, object], objects: int, words: str, kind: str, now: datetime) -> None:
        def step(transaction: Connection) -> None:
            is_running = (fetches.c.id == fetch_id) & (fetches.c.state == FetchState.RUNNING.value)
            changed = values | {"objects": fetches.c.objects + objects, "words": words}
            if transaction.execute(update(fetches).where(is_running).values(changed)).rowcount:
                _tell(transaction, fetch_id, kind, words, now)

        self._database.write(step)


def fetch_subject(fetch_id: int) -> str:
    return f"fetch:{fetch_id}"


def _get(transaction: Connection, fetch_id: int) -> Fetch:
    row = transaction.execute(select(fetches).where(fetches.c.id == fetch_id)).one_or_none()
    if row is None:
        raise UnknownSubject(fetch_subject(fetch_id))
    return _fetch(row)


def _tell(transaction: Connection, fetch_id: int, kind: str, words: str, now: datetime) -> None:
    write_events(transaction, [Event(now, fetch_subject(fetch_id), kind, words)])


def _fetch(row: Row[Any]) -> Fetch:
    return Fetch(
        id=row.id,
        source=row.source,
        query=FetchQuery.from_json(row.query),
        asked_by=row.asked_by,
        asked_at=row.asked_at,
        state=FetchState(row.state),
        attempts=row.attempts,
        next_at=row.next_at,
        objects=row.objects,
        words=row.words,
        ended_at=row.ended_at,
    )
