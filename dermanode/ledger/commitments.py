"""The promises to keep objects (storage commitment, PS3.4 J): those that we ask for, and those that senders ask of us."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, select, update

from dermanode.domain.identifiers import UID
from dermanode.ledger.database import Database
from dermanode.ledger.history import counted, delivery_subject, write_events
from dermanode.ledger.records import CommitmentState, DeliveryState, Event
from dermanode.ledger.tables import commitments, deliveries, results

MOST_ROUNDS = 3
"""So often a destination is asked about one delivery before it is left as it is."""
_PENDING = commitments.c.state == CommitmentState.PENDING.value
_CLAIMED_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Commitment:
    """One request that is not settled."""

    transaction_uid: UID
    delivery_id: int | None
    """The delivery that we ask about; None where a sender asks us."""
    peer: str
    """The AE title of the other side."""
    instances: tuple[tuple[str, str], ...]
    """SOP Class and SOP Instance UIDs."""
    attempts: int
    """Earlier tries in vain."""
    is_asked: bool
    """The request was taken: ours waits for its report, a sender's for our report."""
    words: str


class Settlement(StrEnum):
    """What a report on a transaction met."""

    SETTLED = "settled"
    KNOWN = "settled before"
    FOREIGN = "of another peer"
    UNKNOWN = "unknown"


def commitment_subject(transaction_uid: str) -> str:
    return f"commitment:{transaction_uid}"


class Commitments:
    """Keeps the requests. Each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accept(self, transaction_uid: UID, peer: str, instances: Sequence[tuple[str, str]], words: str, now: datetime) -> bool:
        """Keeps a sender's request, to be reported on; False where that transaction is known with other instances or of another peer."""
        return self._database.write(lambda transaction: _accept(transaction, transaction_uid, peer, instances, words, now))

    def due_reports(self, now: datetime, lease_s: float) -> list[Commitment]:
        """Senders' requests that are to be reported on now; nobody else gets them for `lease_s`."""
        query = select(commitments).where(_PENDING, commitments.c.delivery_id.is_(None), commitments.c.next_at <= now)
        return self._claim(query, now, lease_s)

    def due_requests(self, destination: str, now: datetime, lease_s: float) -> list[Commitment]:
        """Our requests to that destination that are to be sent now, or whose report did not come; nobody else gets them for `lease_s`."""
        query = (
            select(commitments)
            .join(deliveries, deliveries.c.id == commitments.c.delivery_id)
            .where(_PENDING, deliveries.c.destination == destination, commitments.c.next_at <= now)
        )
        return self._claim(query, now, lease_s)

    def get(self, transaction_uid: UID) -> Commitment | None:
        """The request, settled or not; None for a transaction that nobody knows."""
        row = self._database.read(lambda transaction: transaction.execute(_by_uid(transaction_uid)).one_or_none())
        return None if row is None else _commitment(row)

    def asked(self, transaction_uid: UID, report_until: datetime, now: datetime) -> None:
        """The destination took the request; its report is awaited until then."""
        where = (commitments.c.transaction_uid == str(transaction_uid)) & _PENDING
        values = {"asked_at": now, "next_at": report_until}
        self._database.write(lambda transaction: transaction.execute(update(commitments).where(where).values(values)))

    def postponed(self, transaction_uid: UID, words: str, next_at: datetime) -> None:
        """The other side could not be told; it is tried again at `next_at`."""
        where = (commitments.c.transaction_uid == str(transaction_uid)) & _PENDING
        values = {"words": words, "next_at": next_at}
        self._database.write(lambda transaction: transaction.execute(update(commitments).where(where).values(values)))

    def reported(self, transaction_uid: UID, state: CommitmentState, words: str, now: datetime) -> None:
        """A sender was told what is kept (`committed`) and what is not (`failed`), or could not be told at all (`failed`)."""

        def end(transaction: Connection) -> None:
            where = (commitments.c.transaction_uid == str(transaction_uid)) & _PENDING
            if transaction.execute(update(commitments).where(where).values(state=state.value, words=words)).rowcount:
                write_events(transaction, [Event(now, commitment_subject(transaction_uid), "commitment_reported", words)])

        self._database.write(end)

    def settle(
        self, transaction_uid: UID, peer: str, failures: Mapping[str, str], now: datetime, *, kept: Collection[str] | None = None
    ) -> Settlement:
        """A destination's report on our request: the delivery is committed, or is sent again for the `failures` (by SOP Instance UID).

        It is sent again also where `kept` lacks some of what was asked about: silence is no promise. None: all that did not fail is kept.
        """
        return self._database.write(lambda transaction: _settle(transaction, transaction_uid, peer, failures, kept, now))

    def unanswered(self, transaction_uid: UID, words: str, now: datetime) -> None:
        """No report came in time: the objects are sent again; after some rounds the delivery stays delivered, and says why."""
        self._database.write(lambda transaction: _unanswered(transaction, transaction_uid, words, now))

    def declined(self, transaction_uid: UID, words: str, now: datetime) -> None:
        """The destination cannot commit: the delivery stays delivered, and its receipt says so."""

        def decline(transaction: Connection) -> None:
            row = transaction.execute(_by_uid(transaction_uid).with_for_update()).one_or_none()
            if row is not None and row.state == CommitmentState.PENDING.value:
                _end(transaction, transaction_uid, CommitmentState.FAILED, words)
                _add_to_receipt(transaction, row.delivery_id, words, now)

        self._database.write(decline)

    def counts(self) -> Mapping[CommitmentState, int]:
        """How many requests are in each state, in both directions; every state is named."""
        query = select(commitments.c.state, func.count().label("requests")).group_by(commitments.c.state)
        found = self._database.read(lambda transaction: {row.state: row.requests for row in transaction.execute(query)})
        return {state: found.get(state.value, 0) for state in CommitmentState}

    def _claim(self, query: Select[Any], now: datetime, lease_s: float) -> list[Commitment]:
        due = query.order_by(commitments.c.next_at).limit(_CLAIMED_AT_ONCE)
        # Asked without the write lock first: an idle thread must not hold up the receiver.
        if self._database.read(lambda transaction: transaction.execute(due).first()) is None:
            return []

        def take(transaction: Connection) -> list[Commitment]:
            rows = transaction.execute(due.with_for_update(skip_locked=True, of=commitments)).all()
            for row in rows:
                values = {"attempts": row.attempts + 1, "next_at": now + timedelta(seconds=lease_s)}
                transaction.execute(update(commitments).where(commitments.c.transaction_uid == row.transaction_uid).values(values))
            return [_commitment(row) for row in rows]

        return self._database.write(take)


def plan_commitment(transaction: Connection, delivery_id: int, transaction_uid: UID, peer: str, now: datetime) -> None:
    """Notes that the destination of an acknowledged delivery is to be asked, in the transaction that acknowledges it."""
    row = transaction.execute(select(deliveries.c.case_id, deliveries.c.paths).where(deliveries.c.id == delivery_id)).one()
    query = select(results.c.sop_class_uid, results.c.sop_instance_uid).where(
        results.c.case_id == row.case_id, results.c.path.in_(json.loads(row.paths)), results.c.sop_instance_uid.is_not(None)
    )
    instances = sorted((made.sop_class_uid, made.sop_instance_uid) for made in transaction.execute(query))
    if not instances:
        return
    # A report on what was sent before must not speak for what was sent now.
    of_delivery = (commitments.c.delivery_id == delivery_id) & _PENDING
    transaction.execute(update(commitments).where(of_delivery).values(state=CommitmentState.FAILED.value, words="sent again since"))
    transaction.execute(commitments.insert(), _values(transaction_uid, delivery_id, peer, instances, None, now, ""))


def forget_commitments(transaction: Connection, delivery_id: int) -> None:
    """Drops what was asked about a delivery whose content or fate is decided anew; its events stay."""
    transaction.execute(delete(commitments).where(commitments.c.delivery_id == delivery_id))


def _accept(
    transaction: Connection, transaction_uid: UID, peer: str, instances: Sequence[tuple[str, str]], words: str, now: datetime
) -> bool:
    row = transaction.execute(_by_uid(transaction_uid).with_for_update()).one_or_none()
    if row is None:
        transaction.execute(commitments.insert(), _values(transaction_uid, None, peer, instances, now, now, words))
    elif row.delivery_id is not None or row.peer != peer or _commitment(row).instances != tuple(instances):
        return False
    else:  # asked again: told again
        values = {"state": CommitmentState.PENDING.value, "attempts": 0, "next_at": now, "words": words}
        transaction.execute(update(commitments).where(commitments.c.transaction_uid == str(transaction_uid)).values(values))
    asked = f"{peer} asked whether {counted(len(instances), 'object')} are kept."
    write_events(transaction, [Event(now, commitment_subject(transaction_uid), "commitment_asked", asked)])
    return True


def _settle(
    transaction: Connection, transaction_uid: UID, peer: str, failures: Mapping[str, str], kept: Collection[str] | None, now: datetime
) -> Settlement:
    row = transaction.execute(_by_uid(transaction_uid).with_for_update()).one_or_none()
    if row is None or row.delivery_id is None:
        return Settlement.UNKNOWN
    if row.peer != peer:
        return Settlement.FOREIGN
    if row.state != CommitmentState.PENDING.value:
        return Settlement.KNOWN
    # PS3.4 J.3.3.1.1: a report names every instance, as kept or as failed.
    left_out = [uid for _, uid in json.loads(row.instances) if kept is not None and uid not in kept and uid not in failures]
    if left_out and not failures:
        words = f"{peer} did not say of {counted(len(left_out), 'object')} whether it keeps them"
        _end(transaction, transaction_uid, CommitmentState.FAILED, words)
        _send_again(transaction, row.delivery_id, words, now, is_lost=False)
        return Settlement.SETTLED
    if not failures:
        _end(transaction, transaction_uid, CommitmentState.COMMITTED, "")
        is_delivered = (deliveries.c.id == row.delivery_id) & (deliveries.c.state == DeliveryState.DELIVERED.value)
        values = {"state": DeliveryState.COMMITTED.value, "committed_at": now}
        if transaction.execute(update(deliveries).where(is_delivered).values(values)).rowcount:
            kept = counted(len(json.loads(row.instances)), "object")
            _tell(transaction, row.delivery_id, "committed", f"{peer} has promised to keep {kept}.", now)
        return Settlement.SETTLED
    words = f"{peer} does not keep {counted(len(failures), 'object')}: " + "; ".join(f"{uid} ({why})" for uid, why in failures.items())
    _end(transaction, transaction_uid, CommitmentState.FAILED, words)
    _send_again(transaction, row.delivery_id, words, now, is_lost=True)
    return Settlement.SETTLED


def _unanswered(transaction: Connection, transaction_uid: UID, words: str, now: datetime) -> None:
    row = transaction.execute(_by_uid(transaction_uid).with_for_update()).one_or_none()
    if row is not None and row.state == CommitmentState.PENDING.value:
        _end(transaction, transaction_uid, CommitmentState.FAILED, words)
        _send_again(transaction, row.delivery_id, words, now, is_lost=False)


def _send_again(transaction: Connection, delivery_id: int, words: str, now: datetime, *, is_lost: bool) -> None:
    """`is_lost`: the destination said that it does not have them, so that a last round ends as a dead letter."""
    delivery = transaction.execute(select(deliveries).where(deliveries.c.id == delivery_id).with_for_update()).one()
    if delivery.state != DeliveryState.DELIVERED.value:
        return
    rounds = transaction.scalar(select(func.count()).select_from(commitments).where(commitments.c.delivery_id == delivery_id)) or 0
    if rounds < MOST_ROUNDS:
        values = {"state": DeliveryState.PENDING.value, "attempts": 0, "next_at": now, "last_error": words}
        kind, told = "delivery_sent_again", f"sent again: {words}"
    elif is_lost:
        values = {"state": DeliveryState.DEAD.value, "last_error": words}
        kind, told = "delivery_buried", f"given up after {counted(rounds, 'round')}: {words}"
    else:
        _add_to_receipt(transaction, delivery_id, f"not committed: {words}, in {counted(rounds, 'round')}", now)
        return
    transaction.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(values))
    _tell(transaction, delivery_id, kind, told, now)


def _add_to_receipt(transaction: Connection, delivery_id: int, words: str, now: datetime) -> None:
    row = transaction.execute(select(deliveries.c.state, deliveries.c.receipt).where(deliveries.c.id == delivery_id)).one()
    if row.state != DeliveryState.DELIVERED.value:
        return
    receipt = "; ".join(filter(None, [row.receipt, words]))
    transaction.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(receipt=receipt))
    _tell(transaction, delivery_id, "not_committed", words, now)


def _end(transaction: Connection, transaction_uid: UID, state: CommitmentState, words: str) -> None:
    where = commitments.c.transaction_uid == str(transaction_uid)
    transaction.execute(update(commitments).where(where).values(state=state.value, words=words))


def _tell(transaction: Connection, delivery_id: int, kind: str, words: str, now: datetime) -> None:
    destination = transaction.scalar(select(deliveries.c.destination).where(deliveries.c.id == delivery_id))
    write_events(transaction, [Event(now, delivery_subject(delivery_id), kind, f"{destination}: {words}")])


def _by_uid(transaction_uid: UID) -> Select[Any]:
    return select(commitments).where(commitments.c.transaction_uid == str(transaction_uid))


def _values(
    transaction_uid: UID,
    delivery_id: int | None,
    peer: str,
    instances: Sequence[tuple[str, str]],
    asked_at: datetime | None,
    now: datetime,
    words: str,
) -> dict[str, object]:
    return {
        "transaction_uid": str(transaction_uid),
        "delivery_id": delivery_id,
        "peer": peer,
        "instances": json.dumps(instances),
        "state": CommitmentState.PENDING.value,
        "attempts": 0,
        "asked_at": asked_at,
        "next_at": now,
        "words": words,
    }


def _commitment(row: Row[Any]) -> Commitment:
    return Commitment(
        transaction_uid=UID(row.transaction_uid),
        delivery_id=row.delivery_id,
        peer=row.peer,
        instances=tuple((sop_class, instance) for sop_class, instance in json.loads(row.instances)),
        attempts=row.attempts,
        is_asked=row.asked_at is not None,
        words=row.words,
    )
