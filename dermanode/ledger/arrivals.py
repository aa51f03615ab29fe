"""Arrivals: the receiver's hot path, and the policy for a UID that comes twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from dermanode.ledger.history import object_subject, write_events
from dermanode.ledger.records import Arrival, Event, ObjectState, Receipt, ReceiptKind
from dermanode.ledger.tables import objects

# Made once: SQLAlchemy then finds their compiled form in its cache.
_KNOWN = select(objects.c.id, objects.c.sop_instance_uid, objects.c.digest, objects.c.copy).where(
    objects.c.sop_instance_uid.in_(bindparam("uids", expanding=True))
)
_INSERT = objects.insert().returning(objects.c.id, sort_by_parameter_order=True)
_COUNT = update(objects).where(objects.c.id == bindparam("object_id")).values(duplicates=objects.c.duplicates + bindparam("more"))


@dataclass(slots=True)
class _Known:
    """A content under a UID: in the table already, or to be inserted with this batch."""

    copy: int
    object_id: int | None


def record_arrivals(transaction: Connection, arrivals: Sequence[Arrival]) -> list[Receipt]:
    """Receipts in the order of the arrivals: three statements for a batch in which every UID is new."""
    contents: dict[str, dict[str, _Known]] = {arrival.sop_instance_uid: {} for arrival in arrivals}
    for row in transaction.execute(_KNOWN, {"uids": [str(uid) for uid in contents]}):
        contents[row.sop_instance_uid][row.digest] = _Known(row.copy, row.id)

    verdicts: list[tuple[ReceiptKind, _Known]] = []
    new: list[tuple[Arrival, _Known]] = []
    seen_again: list[_Known] = []
    for arrival in arrivals:
        under_this_uid = contents[arrival.sop_instance_uid]
        known = under_this_uid.get(arrival.digest)
        if known is not None:
            seen_again.append(known)
            verdicts.append((ReceiptKind.DUPLICATE, known))
            continue
        known = _Known(len(under_this_uid), None)
        under_this_uid[arrival.digest] = known
        new.append((arrival, known))
        verdicts.append((ReceiptKind.CONFLICT if known.copy else ReceiptKind.STORED, known))

    if new:
        ids = transaction.scalars(_INSERT, [_values(arrival, known.copy) for arrival, known in new]).all()
        for (_, known), object_id in zip(new, ids, strict=True):
            known.object_id = object_id
    receipts = [Receipt(kind, _id(known)) for kind, known in verdicts]
    if seen_again:
        transaction.execute(_COUNT, [{"object_id": _id(known), "more": 1} for known in seen_again])
    write_events(transaction, [_event(arrival, kind) for arrival, (kind, _) in zip(arrivals, verdicts, strict=True)])
    set_aside = [one for one, (kind, _) in zip(arrivals, verdicts, strict=True) if one.quarantine_reason and kind is ReceiptKind.STORED]
    quarantined = ObjectState.QUARANTINED.value
    write_events(
        transaction, [Event(one.received_at, object_subject(one.sop_instance_uid), quarantined, one.quarantine_reason) for one in set_aside]
    )
    return receipts


def _id(known: _Known) -> int:
    assert known.object_id is not None
    return known.object_id


CONFLICT = "Another object with the same SOP Instance UID and other content came before; both are kept, and the first one counts."


def _values(arrival: Arrival, copy: int) -> dict[str, object]:
    return {
        "sop_instance_uid": str(arrival.sop_instance_uid),
        "copy": copy,
        "sop_class_uid": str(arrival.sop_class_uid),
        "transfer_syntax_uid": str(arrival.transfer_syntax_uid),
        "digest": str(arrival.digest),
        "size_bytes": arrival.size_bytes,
        "path": arrival.path,
        "association": arrival.association,
        "calling_ae": arrival.calling_ae,
        "called_ae": arrival.called_ae,
        "source_address": arrival.source_address,
        "received_at": arrival.received_at,
        "state": (ObjectState.QUARANTINED if copy or arrival.quarantine_reason else ObjectState.WAITING).value,
        "reason": CONFLICT if copy else arrival.quarantine_reason,
        "duplicates": 0,
    }


_KINDS = {
    ReceiptKind.STORED: ("received", "Received from {who}, {size} bytes, stored as {path}."),
    ReceiptKind.DUPLICATE: ("duplicate_received", "Received again from {who}, the same {size} bytes: acknowledged and counted."),
    ReceiptKind.CONFLICT: (
        "conflict_quarantined",
        "Received again from {who} with other content, {size} bytes: in quarantine as {path}.",
    ),
}


def _event(arrival: Arrival, kind: ReceiptKind) -> Event:
    past, words = _KINDS[kind]
    who = f"{arrival.calling_ae} at {arrival.source_address} ({arrival.association})"
    return Event(
        arrival.received_at,
        object_subject(arrival.sop_instance_uid),
        past,
        words.format(who=who, size=arrival.size_bytes, path=arrival.path),
    )
