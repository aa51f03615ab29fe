"""The deliveries: each destination's share of a case, on its way on its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, update

from dermanode.domain.identifiers import UID
from dermanode.domain.outcome import Outcome
from dermanode.errors import UnknownSubject
from dermanode.ledger.case_rows import get_case, is_same_series
from dermanode.ledger.commitments import forget_commitments, plan_commitment
from dermanode.ledger.database import Database
from dermanode.ledger.history import case_subject, counted, delivery_subject, write_events
from dermanode.ledger.records import CaseState, Delivery, DeliveryState, Event, NewDelivery
from dermanode.ledger.tables import cases, deliveries

_AT_WORK = select(cases.c.id).where(cases.c.state.in_((CaseState.READY.value, CaseState.RUNNING.value)))
"""Cases whose files are about to be written anew."""


class Deliveries:
    """Hands out deliveries and keeps what became of them. Each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, destination: str, now: datetime) -> Delivery | None:
        """The destination's oldest due delivery, now being sent; None when none is due. No two callers get the same one.

        What a case that is run again had made waits for what it makes now. Where the destination has a later revision, nothing is sent:
        the older result would take the newer one's place.
        """
        due = (
            select(deliveries)
            .where(
                deliveries.c.destination == destination,
                deliveries.c.state == DeliveryState.PENDING.value,
                deliveries.c.next_at <= now,
                deliveries.c.case_id.not_in(_AT_WORK),
            )
            .order_by(deliveries.c.next_at, deliveries.c.id)
            .limit(1)
        )
        # Asked without the write lock first: an idle outbox must not hold up the receiver.
        if self._database.read(lambda transaction: transaction.execute(due).first()) is None:
            return None

        def take(transaction: Connection) -> Delivery | None:
            while True:
                row = transaction.execute(due.with_for_update(skip_locked=True)).one_or_none()
                if row is None:
                    return None
                later = transaction.scalar(_later_revision(row))
                if later is None:
                    break
                retire(transaction, row, f"revision {later} was delivered before it", now)
            values = {"state": DeliveryState.SENDING.value, "attempts": row.attempts + 1}
            transaction.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))
            _tell(transaction, row, "sending", f"attempt {row.attempts + 1} began.", now)
            return get_delivery(transaction, row.id)

        return self._database.write(take)

    def succeeded(self, delivery_id: int, receipt: str, now: datetime, *, commitment: tuple[UID, str] | None = None) -> None:
        """The destination acknowledged; `receipt` says how. Nothing changes unless it is being sent.

        `commitment` is the transaction under which the destination of that AE title is to be asked to keep the objects.
        """
        values = {"state": DeliveryState.DELIVERED.value, "receipt": receipt, "delivered_at": now, "last_error": ""}
        self._step(delivery_id, values, "delivered", f"acknowledged: {receipt}", now, commitment)

    def postponed(self, delivery_id: int, error: str, next_at: datetime, now: datetime) -> None:
        """The destination did not answer; it is tried again at `next_at`. Nothing changes unless it is being sent."""
        values = {"state": DeliveryState.PENDING.value, "last_error": error, "next_at": next_at}
        words = f"not delivered, next try at {next_at:%Y-%m-%d %H:%M:%S} UTC: {error}"
        self._step(delivery_id, values, "delivery_postponed", words, now)

    def buried(self, delivery_id: int, error: str, now: datetime) -> None:
        """The destination refused for good, or was tried often enough: a dead letter. Nothing changes unless it is being sent."""
        values = {"state": DeliveryState.DEAD.value, "last_error": error}
        self._step(delivery_id, values, "delivery_buried", f"given up: {error}", now)

    def retry(self, case_id: str, now: datetime, destination: str | None = None) -> int:
        """How many dead or waiting deliveries of the case are due now, by hand. Raises `UnknownSubject`."""
        return self._database.write(lambda transaction: _retry(transaction, case_id, now, destination))

    def get(self, delivery_id: int) -> Delivery:
        """The delivery of that number. Raises `UnknownSubject`."""
        return self._database.read(lambda transaction: get_delivery(transaction, delivery_id))

    def of_case(self, case_id: str) -> list[Delivery]:
        """The deliveries of a case, by destination."""
        query = select(deliveries).where(deliveries.c.case_id == case_id).order_by(deliveries.c.destination)
        return self._database.read(lambda transaction: [_delivery(row) for row in transaction.execute(query)])

    def counts(self) -> Mapping[DeliveryState, int]:
        """How many deliveries are in each state; every state is named."""
        query = select(deliveries.c.state, func.count().label("deliveries")).group_by(deliveries.c.state)
        found = self._database.read(lambda transaction: {row.state: row.deliveries for row in transaction.execute(query)})
        return {state: found.get(state.value, 0) for state in DeliveryState}

    def counts_by_destination(self) -> Mapping[str, Mapping[DeliveryState, int]]:
        """The same for each destination that anything was ever to go to, by its name."""
        query = select(deliveries.c.destination, deliveries.c.state, func.count().label("deliveries"))
        query = query.group_by(deliveries.c.destination, deliveries.c.state).order_by(deliveries.c.destination)
        found: dict[str, dict[DeliveryState, int]] = {}
        for row in self._database.read(lambda transaction: transaction.execute(query).all()):
            found.setdefault(row.destination, dict.fromkeys(DeliveryState, 0))[DeliveryState(row.state)] = row.deliveries
        return found

    def _step(
        self,
        delivery_id: int,
        values: Mapping[str, object],
        kind: str,
        words: str,
        now: datetime,
        commitment: tuple[UID, str] | None = None,
    ) -> None:
        def step(transaction: Connection) -> None:
            delivery = get_delivery(transaction, delivery_id)
            is_sending = (deliveries.c.id == delivery_id) & (deliveries.c.state == DeliveryState.SENDING.value)
            if transaction.execute(update(deliveries).where(is_sending).values(values)).rowcount:
                _tell(transaction, delivery, kind, words, now)
                if commitment is not None:
                    plan_commitment(transaction, delivery_id, *commitment, now)

        self._database.write(step)

    def list(self, state: DeliveryState | None = None, limit: int = 100) -> Sequence[Delivery]:
        """Deliveries in that state, the newest first."""
        query = select(deliveries).order_by(deliveries.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(deliveries.c.state == state.value)
        return self._database.read(lambda transaction: [_delivery(row) for row in transaction.execute(query)])


def plan_deliveries(transaction: Connection, case_id: str, outcome: Outcome, new: Sequence[NewDelivery], now: datetime) -> None:
    """Makes the deliveries of an ended case due; one whose same files were delivered already stays delivered."""
    digests = {produced.path: produced.digest for produced in outcome.objects}
    query = select(deliveries).where(deliveries.c.case_id == case_id).with_for_update()
    known = {row.destination: row for row in transaction.execute(query)}
    for delivery in new:
        content = _content(delivery.paths, digests)
        row = known.get(delivery.destination)
        if row is not None and row.content == content and DeliveryState(row.state).is_acknowledged:
            _tell(transaction, row, "delivery_unchanged", "the same files were delivered before, and are not sent again.", now)
            continue
        values = {
            "case_id": case_id,
            "destination": delivery.destination,
            "paths": json.dumps(delivery.paths, ensure_ascii=False),
            "content": content,
            "state": DeliveryState.PENDING.value,
            "attempts": 0,
            "next_at": now,
            "last_error": "",
            "receipt": "",
            "delivered_at": None,
            "committed_at": None,
        }
        if row is None:
            transaction.execute(deliveries.insert(), values)
        else:
            forget_commitments(transaction, row.id)
            transaction.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))
        words = f"{counted(len(delivery.paths), 'file')} to go to {delivery.destination}."
        write_events(transaction, [Event(now, case_subject(case_id), "delivery_planned", words)])


def retire(transaction: Connection, delivery: Row[Any], why: str, now: datetime) -> None:
    """Ends a delivery that is not sent, because something else tells what it would have told."""
    receipt = f"not sent: {why}"
    values = {"state": DeliveryState.DELIVERED.value, "receipt": receipt, "delivered_at": now, "last_error": ""}
    transaction.execute(update(deliveries).where(deliveries.c.id == delivery.id).values(values))
    _tell(transaction, delivery, "delivery_outdated", f"{receipt}.", now)


def release_sending(transaction: Connection, now: datetime) -> None:
    """Makes due again what a dead process was sending; the try does not count."""
    query = select(deliveries).where(deliveries.c.state == DeliveryState.SENDING.value).with_for_update()
    for row in transaction.execute(query).all():
        values = {"state": DeliveryState.PENDING.value, "attempts": max(row.attempts - 1, 0), "next_at": now}
        transaction.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))
        _tell(transaction, row, "delivery_released", "the node ended while it sent; it is tried again.", now)


def get_delivery(transaction: Connection, delivery_id: int) -> Delivery:
    """The delivery of that number. Raises `UnknownSubject`."""
    row = transaction.execute(select(deliveries).where(deliveries.c.id == delivery_id)).one_or_none()
    if row is None:
        raise UnknownSubject(f"delivery:{delivery_id}")
    return _delivery(row)


def _later_revision(delivery: Row[Any]) -> Select[Any]:
    """The latest revision of the delivery's series that its destination has, or may have."""
    mine, other = cases.alias(), cases.alias()
    sent = (DeliveryState.SENDING.value, DeliveryState.DELIVERED.value, DeliveryState.COMMITTED.value)
    return (
        select(func.max(other.c.revision))
        .select_from(mine.join(other, is_same_series(mine, other)).join(deliveries, deliveries.c.case_id == other.c.id))
        .where(
            mine.c.id == delivery.case_id,
            other.c.revision > mine.c.revision,
            deliveries.c.destination == delivery.destination,
            deliveries.c.state.in_(sent),
        )
    )


def _retry(transaction: Connection, case_id: str, now: datetime, destination: str | None) -> int:
    get_case(transaction, case_id)
    retriable = (DeliveryState.DEAD.value, DeliveryState.PENDING.value)
    query = select(deliveries).where(deliveries.c.case_id == case_id, deliveries.c.state.in_(retriable)).with_for_update()
    if destination is not None:
        query = query.where(deliveries.c.destination == destination)
    rows = transaction.execute(query).all()
    for row in rows:
        forget_commitments(transaction, row.id)
        values = {"state": DeliveryState.PENDING.value, "attempts": 0, "next_at": now}
        transaction.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))
        _tell(transaction, row, "delivery_retried", "tried again by hand.", now)
    return len(rows)


def _tell(transaction: Connection, delivery: Delivery | Row[Any], kind: str, words: str, now: datetime) -> None:
    write_events(transaction, [Event(now, delivery_subject(delivery.id), kind, f"{delivery.destination}: {words}")])


def _content(paths: Sequence[str], digests: Mapping[str, str]) -> str:
    lines = "\n".join(f"{path} {digests.get(path, '')}" for path in paths)
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        case_id=row.case_id,
        destination=row.destination,
        paths=tuple(json.loads(row.paths)),
        state=DeliveryState(row.state),
        attempts=row.attempts,
        next_at=row.next_at,
        last_error=row.last_error,
        receipt=row.receipt,
        delivered_at=row.delivered_at,
        committed_at=row.committed_at,
    )
