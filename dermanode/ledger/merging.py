"""The merge of two patients: what the ledger has of the one becomes the other's, with a line for each case.

A retired identity is not named any more in what is sent from then on (HL7 2.5.1, 3.3.40): a case that has told some destination
nothing yet runs again.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select, update

from dermanode.errors import MessageRefused
from dermanode.ledger.case_rows import is_same_series
from dermanode.ledger.deliveries import retire
from dermanode.ledger.history import case_subject, counted, object_subject, series_subject, write_events
from dermanode.ledger.patients import add_patient, chain, hold_identities, is_of, tell_cases
from dermanode.ledger.records import MIXED_PATIENTS, CaseState, DeliveryState, Event, ObjectState
from dermanode.ledger.said import Identity, MergeSaid
from dermanode.ledger.tables import cases, deliveries, objects, patients

_PLACE = "MRG^1^1"
_ENDED = (CaseState.FINISHED.value, CaseState.FAILED.value)
_ACKNOWLEDGED = tuple(state.value for state in DeliveryState if state.is_acknowledged)


def merge_patients(transaction: Connection, said: MergeSaid, now: datetime) -> str:
    """Does the merges, each identity's rows moved to where its chain of merges ends. Returns what was done, in words.

    A merge that is known already changes nothing. Raises `MessageRefused` for one into itself, one that closes a circle, and one of an
    identity that was merged into somebody else before: what is moved can no longer be told apart.
    """
    hold_identities(transaction, alone=True)
    moved = sum(_merge(transaction, former, into, said.kind, now) for former, into in said.pairs)
    return f"The patient was merged: {counted(moved, 'case')} became the other's."


def _merge(transaction: Connection, former: Identity, into: Identity, kind: str, now: datetime) -> int:
    if former == into:
        raise MessageRefused("a patient cannot be merged into itself", code="204", place=_PLACE)
    of_former, of_into = chain(transaction, former), chain(transaction, into)
    if former in of_into:
        raise MessageRefused("the patient of PID-3 was merged into that of MRG-1 before: a circle", code="204", place=_PLACE)
    if of_former[-1] == of_into[-1]:
        return 0
    if len(of_former) > 1:
        raise MessageRefused("the patient of MRG-1 was merged into another one before", code="204", place=_PLACE)
    _note(transaction, former, into, now)
    return _move(transaction, former, of_into[-1], kind, now)


def _note(transaction: Connection, former: Identity, into: Identity, now: datetime) -> None:
    merged = {"merged_into": into.patient_id, "merged_into_issuer": into.issuer}
    known = transaction.execute(select(patients.c.id).where(is_of(patients, former)).with_for_update()).one_or_none()
    if known is None:
        add_patient(transaction, former, now, **merged)
    else:
        transaction.execute(update(patients).where(patients.c.id == known.id).values(**merged, changed_at=now))


def _move(transaction: Connection, former: Identity, end: Identity, kind: str, now: datetime) -> int:
    """How many cases there were to move."""
    columns = {"patient_id": end.patient_id, "issuer_of_patient_id": end.issuer}
    # Objects first: who opens a case holds its objects, so that afterwards its case is there to be seen.
    series = transaction.scalars(select(objects.c.series_instance_uid).where(is_of(objects, former)).distinct()).all()
    transaction.execute(update(objects).where(is_of(objects, former)).values(**columns))
    words = f"The hospital merged the patient {_named(former)} into {_named(end)} ({kind})"
    tell_cases(transaction, former, "patient_merged", f"{words}: the case is now of that patient.", now)
    untold = _untold(transaction, former)
    moved = transaction.execute(update(cases).where(is_of(cases, former)).values(**columns)).rowcount
    said = [Event(now, series_subject(uid), "patient_merged", f"{words}: its objects are now of that patient.") for uid in sorted(series)]
    write_events(transaction, said)
    for case_id in untold:
        _tell_anew(transaction, case_id, now)
    _release_mixed(transaction, end, now)
    return moved


def _untold(transaction: Connection, former: Identity) -> list[str]:
    """The ended cases of the patient of which some destination has not acknowledged what it is to get."""
    query = (
        select(cases.c.id)
        .join(deliveries)
        .where(is_of(cases, former), cases.c.state.in_(_ENDED), deliveries.c.state.not_in(_ACKNOWLEDGED))
        .distinct()
    )
    return sorted(transaction.scalars(query))


def _tell_anew(transaction: Connection, case_id: str, now: datetime) -> None:
    """Runs a case again, or leaves it to its later revision to tell."""
    mine, other = cases.alias(), cases.alias()
    later = select(other.c.id).join(mine, is_same_series(mine, other)).where(mine.c.id == case_id, other.c.revision > mine.c.revision)
    if transaction.execute(later.limit(1)).first() is None:
        reason = "The hospital merged its patient before all destinations had its results: they are made anew, under the present identity."
        values = {"state": CaseState.READY.value, "attempts": 0, "finished_at": None, "reason": reason}
        has_ended = (cases.c.id == case_id) & cases.c.state.in_(_ENDED)  # another process may have begun it anew meanwhile
        if transaction.execute(update(cases).where(has_ended).values(values)).rowcount:
            write_events(transaction, [Event(now, case_subject(case_id), "case_released", f"To be run again: {reason}")])
        return
    waiting = (deliveries.c.case_id == case_id) & (deliveries.c.state == DeliveryState.PENDING.value)
    for row in transaction.execute(select(deliveries).where(waiting).with_for_update()).all():
        retire(transaction, row, "it names a patient who was merged, and a later revision is to be told", now)


def _release_mixed(transaction: Connection, end: Identity, now: datetime) -> None:
    """Lets objects wait again that were set aside because their series named two patients, where it names one now."""
    set_aside = (
        select(objects.c.id, objects.c.sop_instance_uid, objects.c.series_instance_uid)
        .where(is_of(objects, end), objects.c.state == ObjectState.QUARANTINED.value, objects.c.reason == MIXED_PATIENTS)
        .with_for_update()
    )
    rows = transaction.execute(set_aside).all()
    for series in {row.series_instance_uid for row in rows}:
        whose = select(objects.c.patient_id, objects.c.issuer_of_patient_id).where(objects.c.series_instance_uid == series).distinct()
        if transaction.scalar(select(func.count()).select_from(whose.subquery())) != 1:
            continue
        freed = [row for row in rows if row.series_instance_uid == series]
        for row in freed:
            transaction.execute(update(objects).where(objects.c.id == row.id).values(state=ObjectState.WAITING.value, reason=""))
        words = "The two patients of its series were merged into one: it waits for its series to be complete."
        write_events(transaction, [Event(now, object_subject(row.sop_instance_uid), "released", words) for row in freed])


def _named(identity: Identity) -> str:
    return f"{identity.patient_id!r} of {identity.issuer}" if identity.issuer else f"{identity.patient_id!r} without an issuer"
