"""The messages of the hospital: each done once, and answered as often as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from dermanode.errors import MessageRefused
from dermanode.ledger.database import Database
from dermanode.ledger.merging import merge_patients
from dermanode.ledger.orders import note_order
from dermanode.ledger.patients import note_patient
from dermanode.ledger.said import Deed, MergeSaid, MessageHead, MessageRecord, OrderSaid, PatientSaid, Verdict
from dermanode.ledger.tables import messages

ACCEPTED, ERROR, REJECTED = "AA", "AE", "AR"
"""MSA-1 of the original mode: done, not done for what it says, not done for what it is (HL7 2.5.1, 2.9.3.1)."""


class Messages:
    """Does messages and finds them. Each call is one transaction, on disk when it returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def do(self, head: MessageHead, deeds: Sequence[Deed], now: datetime) -> Verdict:
        """Does all that the message says or nothing of it, and how it is to be answered.

        One that was accepted before is not done again, but answered as then. Other content under its control id is another message, and
        is done: senders count to a few digits and begin anew, or count the messages of two feeds each on its own. One that was refused
        may come again, corrected or not, and is judged anew.
        """
        return self._database.write(lambda transaction: _do(transaction, head, lambda: _deeds(transaction, head, deeds, now), now))

    def note(self, head: MessageHead, verdict: Verdict, now: datetime) -> Verdict:
        """Keeps a message that is not to be done, such as a test or one that is not understood, with its answer."""
        return self._database.write(lambda transaction: _do(transaction, head, lambda: verdict, now))

    def recent(self, limit: int) -> list[MessageRecord]:
        """The last that came, newest first."""
        query = select(messages).order_by(messages.c.received_at.desc(), messages.c.id.desc()).limit(limit)
        return self._database.read(lambda transaction: [_record(row) for row in transaction.execute(query)])

    def counts(self) -> dict[tuple[str, str], int]:
        """How many messages of each kind had which answer."""
        query = select(messages.c.kind, messages.c.answer, func.count().label("messages")).group_by(messages.c.kind, messages.c.answer)
        return self._database.read(lambda transaction: {(row.kind, row.answer): row.messages for row in transaction.execute(query)})

    def forget(self, before: datetime) -> int:
        """Drops the messages that came before, so that their control ids may be used again; how many they were. What they did stays."""
        query = delete(messages).where(messages.c.received_at < before)
        return self._database.write(lambda transaction: transaction.execute(query).rowcount)


def _do(transaction: Connection, head: MessageHead, judge: Callable[[], Verdict], now: datetime) -> Verdict:
    same_name = (messages.c.sender == head.sender, messages.c.control_id == head.control_id)
    known = transaction.execute(select(messages).where(*same_name).with_for_update()).one_or_none()
    if known is not None and known.answer == ACCEPTED and known.digest == head.digest:
        return Verdict(answer=known.answer, words=known.words, error=known.error, place=known.place, is_repeated=True)
    verdict = judge()
    values = {
        "kind": head.kind,
        "digest": head.digest,
        "answer": verdict.answer,
        "error": verdict.error,
        "place": verdict.place,
        "words": verdict.words,
        "received_at": now,
    }
    if known is None:
        transaction.execute(insert(messages).values(sender=head.sender, control_id=head.control_id, **values))
    else:
        transaction.execute(update(messages).where(messages.c.id == known.id).values(**values))
    return verdict


def _deeds(transaction: Connection, head: MessageHead, deeds: Sequence[Deed], now: datetime) -> Verdict:
    savepoint = transaction.begin_nested()
    try:
        words = [_deed(transaction, head, deed, now) for deed in deeds]
    except MessageRefused as refused:
        savepoint.rollback()
        return refusal(refused)
    savepoint.commit()
    return Verdict(answer=ACCEPTED, words=" ".join(dict.fromkeys(words)))


def _deed(transaction: Connection, head: MessageHead, deed: Deed, now: datetime) -> str:
    match deed:
        case PatientSaid():
            return note_patient(transaction, deed, head.kind, now)
        case MergeSaid():
            return merge_patients(transaction, deed, now)
        case OrderSaid():
            return note_order(transaction, deed, now)


def refusal(refused: MessageRefused) -> Verdict:
    """How a message that is not done is answered."""
    words = f"{refused.reason[:1].upper()}{refused.reason[1:]}."
    return Verdict(answer=REJECTED if refused.is_unsupported else ERROR, words=words, error=refused.code, place=refused.place)


def _record(row: Row[Any]) -> MessageRecord:
    head = MessageHead(sender=row.sender, control_id=row.control_id, kind=row.kind, digest=row.digest)
    return MessageRecord(head, Verdict(answer=row.answer, words=row.words, error=row.error, place=row.place), row.received_at)
