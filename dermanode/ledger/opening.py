"""The opening of a case: waiting objects become a revision of their series."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, select, update

from dermanode.domain.identifiers import UID
from dermanode.domain.series import LesionKey
from dermanode.errors import LedgerError
from dermanode.ledger.case_rows import case_id_of, case_record, case_values, is_of_series
from dermanode.ledger.history import case_subject, counted, object_subject, series_subject, write_events
from dermanode.ledger.objects import chunks, stored_object
from dermanode.ledger.records import CaseRecord, CaseState, Event, Evidence, ObjectState, SeriesKey, StoredObject
from dermanode.ledger.tables import case_objects, cases, objects
from dermanode.ledger.waiting import the_one


def open_case(
    transaction: Connection, key: SeriesKey, pipeline: str, plan: tuple[str, ...], evidence: Evidence, now: datetime
) -> CaseRecord:
    """The new revision, its objects moved into it. Raises `LedgerError` when no object of the series waits."""
    of_series = select(objects).where(is_of_series(objects, key)).order_by(objects.c.id).with_for_update()
    waiting = [stored_object(row) for row in transaction.execute(of_series.where(objects.c.state == ObjectState.WAITING.value))]
    if not waiting:
        raise LedgerError(f"No object of series {key.series_instance_uid} waits: another process may have opened the case.")
    earlier = _latest_revision(transaction, key)
    kept = _still_in(transaction, key)
    record = _record(key, pipeline, plan, evidence, now, earlier, sorted([*kept, *waiting], key=lambda one: one.id))
    transaction.execute(cases.insert(), case_values(record))
    transaction.execute(case_objects.insert(), [{"case_id": record.id, "object_id": one.id} for one in (*kept, *waiting)])
    for some in chunks([one.id for one in waiting]):
        transaction.execute(update(objects).where(objects.c.id.in_(some)).values(state=ObjectState.IN_CASE.value, reason=""))
    write_events(transaction, _events(record, earlier, kept, waiting, now))
    if earlier is not None and earlier.state is CaseState.READY:
        reason = f"Revision {record.revision} was opened before this one ran."
        transaction.execute(update(cases).where(cases.c.id == earlier.id).values(state=CaseState.SUPERSEDED.value, reason=reason))
        write_events(transaction, [Event(now, case_subject(earlier.id), "superseded", f"{record.id} took its place before it ran.")])
    return record


def _latest_revision(transaction: Connection, key: SeriesKey) -> CaseRecord | None:
    query = select(cases).where(is_of_series(cases, key)).order_by(cases.c.revision.desc(), cases.c.opened_at.desc(), cases.c.id)
    query = query.limit(1).with_for_update()
    row = transaction.execute(query).one_or_none()
    return None if row is None else case_record(row)


def _still_in(transaction: Connection, key: SeriesKey) -> list[StoredObject]:
    """The objects of the series' cases that were not quarantined or purged since.

    Of all its cases: each revision has those of the one before, but a merge of patients may have brought two cases together.
    """
    query = select(objects).where(is_of_series(objects, key), objects.c.state == ObjectState.IN_CASE.value).order_by(objects.c.id)
    return [stored_object(row) for row in transaction.execute(query)]


def _record(
    key: SeriesKey,
    pipeline: str,
    plan: tuple[str, ...],
    evidence: Evidence,
    now: datetime,
    earlier: CaseRecord | None,
    members: Sequence[StoredObject],
) -> CaseRecord:
    revision = 1 if earlier is None else earlier.revision + 1
    headers = [one.header for one in members if one.header is not None]
    # Objects that name different lesions name none: a wrong prior would be worse than no prior.
    tracking_uid = the_one({header.tracking_uid for header in headers})
    lesion = LesionKey(
        tracking_uid=None if tracking_uid is None else UID(tracking_uid),
        tracking_id=the_one({header.tracking_id for header in headers}),
        body_site=the_one({header.body_site for header in headers}),
        laterality=the_one({header.laterality for header in headers}) or "",
    )
    return CaseRecord(
        id=case_id_of(key, revision),
        key=key,
        revision=revision,
        pipeline=pipeline,
        plan=plan,
        evidence=evidence,
        state=CaseState.READY,
        attempts=0,
        opened_at=now,
        started_at=None,
        finished_at=None,
        reason="",
        lesion=lesion,
        acquired_at=_earliest([header.acquired_at for header in headers if header.acquired_at is not None]),
        accession_number=next((header.accession_number for header in headers if header.accession_number), ""),
        source_ae=members[-1].arrival.calling_ae,
        outcome=None,
        supersedes=None if earlier is None else earlier.id,
    )


def _earliest(times: Sequence[datetime]) -> datetime | None:
    return min(times, key=lambda taken: taken if taken.tzinfo else taken.replace(tzinfo=UTC), default=None)


def _events(
    record: CaseRecord, earlier: CaseRecord | None, kept: Sequence[StoredObject], waiting: Sequence[StoredObject], now: datetime
) -> list[Event]:
    of_earlier = "" if earlier is None else f", with {len(kept)} of revision {earlier.revision}"
    words = (
        f"Opened with {counted(len(waiting), 'new object')}{of_earlier}, for pipeline {record.pipeline}. {evidence_words(record.evidence)}"
    )
    return [
        Event(now, case_subject(record.id), "case_opened", words),
        Event(now, series_subject(record.key.series_instance_uid), "case_opened", f"Became {record.id}, revision {record.revision}."),
        *(
            Event(now, object_subject(one.arrival.sop_instance_uid), "joined_case", f"Joined {record.id}, revision {record.revision}.")
            for one in (*kept, *waiting)
        ),
    ]


def evidence_words(evidence: Evidence) -> str:
    return f"Complete by {evidence.kind}: {evidence.words}"
