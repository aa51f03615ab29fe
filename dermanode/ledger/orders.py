"""The orders that the hospital placed, and which of them a case answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update

from dermanode.domain.order import Order
from dermanode.errors import MessageRefused
from dermanode.ledger.database import Database
from dermanode.ledger.patients import present
from dermanode.ledger.records import CaseRecord
from dermanode.ledger.said import Identity, OrderSaid
from dermanode.ledger.tables import orders


@dataclass(frozen=True, slots=True)
class Match:
    """What is known of the order behind a case."""

    order: Order | None
    words: str
    """A sentence for the case's events, naming no patient; empty where there is nothing to say."""
    is_mismatch: bool = False
    """There is an order with the case's numbers, and it is another patient's."""


class Orders:
    """Finds orders. Each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def for_case(self, record: CaseRecord) -> Match:
        """The order of the case's study or, where none names it, of its accession number; never one of another patient.

        Patients are compared as they are now, after all merges. Where several orders fit, only what they agree on is told.
        """
        return self._database.read(lambda transaction: _for_case(transaction, record))


def note_order(transaction: Connection, said: OrderSaid, now: datetime) -> str:
    """Keeps an order, or what is new of one. Returns what was done, in words.

    Raises `MessageRefused` where an order of that number is another patient's.
    """
    stated = {
        name: value
        for name in ("placer_number", "filler_number", "accession_number", "procedure_code", "procedure_words", "requester")
        if (value := getattr(said, name))
    }
    if said.study_instance_uid:
        stated["study_instance_uid"] = said.study_instance_uid
    row = transaction.execute(select(orders).where(orders.c.number == said.number).with_for_update()).one_or_none()
    state = {"control": said.control, "is_cancelled": said.is_cancelled, "changed_at": now}
    if row is None:
        empty = dict.fromkeys(("placer_number", "filler_number", "accession_number", "procedure_code", "procedure_words", "requester"), "")
        values = {**empty, **stated, **state, "identities": _to_json(said.identities)}
        transaction.execute(insert(orders).values(number=said.number, received_at=now, **values))
        return "The order was noted as cancelled." if said.is_cancelled else "The order was noted."
    known, named = _from_json(row.identities), said.identities
    now_of = present(transaction, {*known, *named})
    if not {now_of[one] for one in known} & {now_of[one] for one in named}:
        raise MessageRefused("the order of that number was placed for another patient", code="204", place="PID^1^3")
    everybody = tuple(dict.fromkeys([*known, *named]))
    values = {**stated, **state, "identities": _to_json(everybody)}
    transaction.execute(update(orders).where(orders.c.id == row.id).values(**values))
    return "The order was cancelled." if said.is_cancelled else "The order was brought up to date."


def _for_case(transaction: Connection, record: CaseRecord) -> Match:
    study, accession = str(record.key.study_instance_uid), record.accession_number
    either = [orders.c.study_instance_uid == study]
    if accession:
        either.append(orders.c.accession_number == accession)
    rows = transaction.execute(select(orders).where(or_(*either)).order_by(orders.c.id)).all()
    if not rows:
        return Match(None, "")
    whose = {row.id: set(present(transaction, _from_json(row.identities)).values()) for row in rows}
    mine = Identity(record.key.patient_id, record.key.issuer_of_patient_id)
    # A Study Instance UID is the study's alone; an accession number is a few digits, which two hospitals may both give out.
    fitting = [row for row in rows if row.study_instance_uid == study and any(_may_be(mine, one) for one in whose[row.id])]
    how = "its Study Instance UID"
    if not fitting:
        fitting = [row for row in rows if accession and row.accession_number == accession and mine.patient_id and mine in whose[row.id]]
        how = "its accession number and patient"
    if not fitting:
        return Match(None, _mismatch(mine, whose.values()), is_mismatch=True)
    return _told(fitting, how)


def _may_be(one: Identity, other: Identity) -> bool:
    """Nothing speaks against the two being one person: an image may leave the issuer out, and the patient id too."""
    return not one.patient_id or (one.patient_id == other.patient_id and (one.issuer == other.issuer or not one.issuer or not other.issuer))


def _mismatch(mine: Identity, others: Iterable[set[Identity]]) -> str:
    words = "An order with its numbers is there, but of another patient: it is not used."
    if mine.patient_id and not mine.issuer and any(one.patient_id == mine.patient_id for whose in others for one in whose):
        words = (
            "An order with its accession number is there, for the same patient id of an assigning authority; the images name no issuer, "
            "so it is not used. Set `hl7.default_issuer` where that authority is theirs."
        )
    return words


def _told(rows: Sequence[Row[Any]], how: str) -> Match:
    alive = [row for row in rows if not row.is_cancelled]
    chosen = alive or rows
    order = Order(
        accession_number=_agreed(row.accession_number for row in chosen),
        placer_number=_agreed(row.placer_number for row in chosen),
        filler_number=_agreed(row.filler_number for row in chosen),
        procedure_code=_agreed(row.procedure_code for row in chosen),
        procedure_words=_agreed(row.procedure_words for row in chosen),
        requester=_agreed(row.requester for row in chosen),
    )
    words = f"It answers an order, found by {how}."
    if len(chosen) > 1:
        words = f"{len(chosen)} orders fit by {how}: what they differ in is left out of the messages."
    if not alive:
        words += " The hospital has cancelled it."
    return Match(order, words)


def _agreed(values: Iterable[str]) -> str:
    """The one value that all have; empty where they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _to_json(identities: Sequence[Identity]) -> str:
    return json.dumps([[one.patient_id, one.issuer] for one in identities], ensure_ascii=False)


def _from_json(text: str) -> tuple[Identity, ...]:
    return tuple(Identity(patient_id, issuer) for patient_id, issuer in json.loads(text))
