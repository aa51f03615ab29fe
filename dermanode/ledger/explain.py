"""The story of an object, a series or a case, told from the ledger in plain sentences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from dermanode.domain.outcome import StageReport, StageStatus
from dermanode.errors import UnknownSubject
from dermanode.ledger.case_rows import case_record
from dermanode.ledger.history import case_subject, counted, object_subject, read_events
from dermanode.ledger.objects import stored_object
from dermanode.ledger.records import CaseRecord, CaseState, DeliveryState, ObjectState, StoredObject
from dermanode.ledger.tables import case_objects, cases, deliveries, objects, results


def explain(transaction: Connection, name: str) -> list[str]:
    """Sentences in the order of events. They name UIDs, never a patient. Raises `UnknownSubject`."""
    name = name.strip()
    story = [
        *_received(transaction, name),
        *_produced(transaction, name),
        *_series(transaction, name),
        *_case_by_id(transaction, name),
    ]
    if not story:
        raise UnknownSubject(name)
    return story


def _received(transaction: Connection, uid: str) -> list[str]:
    rows = transaction.execute(select(objects).where(objects.c.sop_instance_uid == uid).order_by(objects.c.id)).all()
    story: list[str] = []
    for row in rows:
        story.extend(_of_object(transaction, stored_object(row)))
    if rows:
        # Duplicates and conflicts share the UID: their lines stand once, after the objects.
        again = ("duplicate_received", "conflict_quarantined")
        events = read_events(transaction, [object_subject(uid)])
        story.extend(f"{_at(event.at)}: {event.words}" for event in events if event.kind in again)
    return story


def _of_object(transaction: Connection, one: StoredObject) -> list[str]:
    arrival = one.arrival
    story = [
        f"Object {arrival.sop_instance_uid} was received on {_at(arrival.received_at)} from {arrival.calling_ae} "
        f"at {arrival.source_address} ({arrival.association}), called as {arrival.called_ae}.",
        f"Its {arrival.size_bytes} bytes were stored as they came in {arrival.path}, SOP class {arrival.sop_class_uid}, "
        f"transfer syntax {arrival.transfer_syntax_uid}.",
    ]
    if one.header is None:
        story.append("Its header was not read." if one.state is not ObjectState.WAITING else "Its header was not read yet.")
    else:
        what = "an image" if one.header.is_image else "no image"
        story.append(f"It is {what} of modality {one.header.modality or 'unknown'}, series {one.header.series_instance_uid}.")
    if one.duplicates:
        story.append(f"It came {counted(one.duplicates, 'more time')} with the same content, each time acknowledged.")
    story.append(_state(one))
    query = select(cases).join(case_objects).where(case_objects.c.object_id == one.id).order_by(cases.c.revision)
    for row in transaction.execute(query).all():
        story.extend(_of_case(transaction, case_record(row)))
    return story


def _state(one: StoredObject) -> str:
    match one.state:
        case ObjectState.WAITING:
            return "It waits for its series to be complete."
        case ObjectState.IN_CASE:
            return "It is in a case."
        case ObjectState.IGNORED:
            return f"It is ignored: {one.reason}"
        case ObjectState.QUARANTINED:
            return f"It is in quarantine: {one.reason}"
        case ObjectState.PURGED:
            return f"It was purged: {one.reason}"


def _series(transaction: Connection, uid: str) -> list[str]:
    members = transaction.execute(select(objects).where(objects.c.series_instance_uid == uid).order_by(objects.c.id)).all()
    if not members:
        return []
    counts = {state: sum(row.state == state.value for row in members) for state in ObjectState}
    parts = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
    first, last = min(row.received_at for row in members), max(row.received_at for row in members)
    story = [f"Series {uid} has {counted(len(members), 'object')} ({parts}), received from {_at(first)} to {_at(last)}."]
    if len({(row.patient_id, row.issuer_of_patient_id) for row in members}) > 1:
        story.append("Its objects name more than one patient; each patient's are kept apart.")
    reasons = dict.fromkeys((row.state, row.reason) for row in members if row.reason)
    story.extend(f"{state.capitalize()}: {reason}" for state, reason in reasons)
    for row in transaction.execute(select(cases).where(cases.c.series_instance_uid == uid).order_by(cases.c.revision, cases.c.id)).all():
        story.extend(_of_case(transaction, case_record(row)))
    return story


def _case_by_id(transaction: Connection, case_id: str) -> list[str]:
    row = transaction.execute(select(cases).where(cases.c.id == case_id)).one_or_none()
    return [] if row is None else _of_case(transaction, case_record(row))


def _produced(transaction: Connection, uid: str) -> list[str]:
    query = select(results).where(results.c.sop_instance_uid == uid).order_by(results.c.id)
    story: list[str] = []
    for made in transaction.execute(query).all():
        record = case_record(transaction.execute(select(cases).where(cases.c.id == made.case_id)).one())
        makers = [f"{r.plugin} {r.plugin_version or ''}".rstrip() for r in (record.outcome.reports if record.outcome else ()) if _did(r)]
        story.append(
            f"Object {uid} was made here: {_kind(made)}, from case {record.id}, revision {record.revision} of series "
            f"{record.key.series_instance_uid}, pipeline {record.pipeline}."
        )
        if makers:
            story.append(f"It rests on the work of {', '.join(dict.fromkeys(makers))}.")
        story.append(_gate(made))
        story.extend(_delivered(transaction, record.id, containing=made.path))
    return story


def _of_case(transaction: Connection, record: CaseRecord) -> list[str]:
    members = transaction.execute(select(case_objects.c.object_id).where(case_objects.c.case_id == record.id)).all()
    story = [
        f"Case {record.id} was opened on {_at(record.opened_at)} as revision {record.revision} of series "
        f"{record.key.series_instance_uid}, with {counted(len(members), 'object')}, for pipeline {record.pipeline}.",
        f"The series counted as complete by {record.evidence.kind}: {record.evidence.words}",
    ]
    if record.supersedes:
        story.append(f"It follows {record.supersedes}.")
    story.extend(f"Plan: {sentence}" for sentence in record.plan)
    story.extend(_hospital(transaction, record.id))
    story.append(_course(record))
    if record.outcome is not None:
        story.extend(_stage(report) for report in record.outcome.reports)
        story.extend(f"View {uid} could not be read: {reason}" for uid, reason in record.outcome.unreadable)
    for made in transaction.execute(select(results).where(results.c.case_id == record.id).order_by(results.c.id)).all():
        uid = f" {made.sop_instance_uid}" if made.sop_instance_uid else ""
        story.append(f"Made {_kind(made)}{uid} as {made.path}. {_gate(made) if made.sop_instance_uid else ''}".rstrip())
    story.extend(_delivered(transaction, record.id))
    return story


def _hospital(transaction: Connection, case_id: str) -> Iterable[str]:
    """What the hospital said of the case's patient and order. Who was merged into whom stands in the events: here nobody is named."""
    for event in read_events(transaction, [case_subject(case_id)]):
        if event.kind == "patient_merged":
            words = "The hospital merged its patient into another, whose case it is now; what was sent before is not sent again."
            yield f"{_at(event.at)}: {words}"
        elif event.kind in ("patient_updated", "order_matched", "order_not_matched"):
            yield f"{_at(event.at)}: {event.words}"


def _course(record: CaseRecord) -> str:
    tries = f"at attempt {record.attempts}" if record.attempts > 1 else "at the first attempt"
    why = f" {record.reason}" if record.reason else ""
    match record.state:
        case CaseState.READY:
            return f"It waits for a worker.{why}"
        case CaseState.RUNNING:
            return f"It runs since {_at(record.started_at)}."
        case CaseState.FINISHED:
            return f"It finished on {_at(record.finished_at)}, {tries}."
        case CaseState.FAILED:
            return f"It failed on {_at(record.finished_at)}, {tries}.{why}"
        case CaseState.SUPERSEDED:
            return f"It was superseded.{why}"


def _stage(report: StageReport) -> str:
    by = f" by {report.plugin} {report.plugin_version or ''}".rstrip() if report.plugin else ""
    took = f" in {report.took_s:.2f} s" if report.took_s else ""
    why = f": {report.reason}" if report.reason else "."
    return f"Stage {report.stage} was {report.status.value}{by}{took}{why}"


def _did(report: StageReport) -> bool:
    return report.status is StageStatus.PERFORMED and report.plugin is not None


def _kind(made: Row[Any]) -> str:
    return f"{made.kind} ({made.description})" if made.description else str(made.kind)


def _gate(made: Row[Any]) -> str:
    if made.passed_gate:
        return "It passed the output gate."
    return f"The output gate refused it: {'; '.join(json.loads(made.reasons))}."


def _delivered(transaction: Connection, case_id: str, containing: str | None = None) -> Iterable[str]:
    rows: Sequence[Row[Any]] = transaction.execute(
        select(deliveries).where(deliveries.c.case_id == case_id).order_by(deliveries.c.destination)
    ).all()
    for row in rows:
        paths = json.loads(row.paths)
        if containing is None or containing in paths:
            yield f"Delivery of {counted(len(paths), 'file')} to {row.destination}: {_delivery(row)}"


def _delivery(row: Row[Any]) -> str:
    match DeliveryState(row.state):
        case DeliveryState.PENDING:
            last = f" Last error: {row.last_error}" if row.last_error else ""
            return f"due on {_at(row.next_at)}, after {counted(row.attempts, 'attempt')}.{last}"
        case DeliveryState.SENDING:
            return f"being sent, attempt {row.attempts}."
        case DeliveryState.DELIVERED:
            return f"acknowledged on {_at(row.delivered_at)}. {row.receipt}".rstrip()
        case DeliveryState.COMMITTED:
            return f"acknowledged on {_at(row.delivered_at)}, committed on {_at(row.committed_at)}. {row.receipt}".rstrip()
        case DeliveryState.DEAD:
            return (
                f"given up after {counted(row.attempts, 'attempt')}. {row.last_error} Try again with `dermanode cases retry {row.case_id}`."
            )


def _at(moment: datetime | None) -> str:
    return "an unknown date" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
