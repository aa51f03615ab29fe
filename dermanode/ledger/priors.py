"""The earlier visits of a lesion, never of another patient."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Connection, Row, and_, select

from dermanode.domain.outcome import Outcome
from dermanode.domain.series import LesionKey
from dermanode.ledger.case_rows import case_record
from dermanode.ledger.records import CaseRecord
from dermanode.ledger.tables import cases

_NAMES: tuple[Column[Any], ...] = (
    cases.c.id,
    cases.c.study_instance_uid,
    cases.c.series_instance_uid,
    cases.c.tracking_uid,
    cases.c.tracking_id,
    cases.c.body_site,
    cases.c.laterality,
)


def priors_of(transaction: Connection, record: CaseRecord) -> list[tuple[CaseRecord, Outcome]]:
    """Earlier visits of the same lesion, the oldest first, each series in its latest revision that has an outcome.

    Without a patient id, or without a time of acquisition, nothing is a prior: an empty patient id is no identity. The issuer must be the
    same too, an empty one included: the same number of two hospitals is two people.
    """
    taken = record.acquired_at
    if not record.key.patient_id or taken is None:
        return []
    same_patient = and_(
        cases.c.patient_id == record.key.patient_id,
        cases.c.issuer_of_patient_id == record.key.issuer_of_patient_id,
        cases.c.outcome.is_not(None),
    )
    # The last word counts, also where it names another lesion than a revision before. Outcomes are large: first the names alone.
    query = select(*_NAMES).where(same_patient).order_by(cases.c.revision)
    latest = {(row.study_instance_uid, row.series_instance_uid): row for row in transaction.execute(query)}
    latest.pop((record.key.study_instance_uid, record.key.series_instance_uid), None)
    ids = [row.id for row in latest.values() if is_same_lesion(record.lesion, _lesion(row))]
    visits = [case_record(row) for row in transaction.execute(select(cases).where(cases.c.id.in_(ids)))]
    found = [
        (earlier, earlier.outcome)
        for earlier in visits
        if earlier.outcome is not None and earlier.acquired_at is not None and moment(earlier.acquired_at) < moment(taken)
    ]
    return sorted(found, key=lambda pair: (moment(pair[0].acquired_at or taken), pair[0].id))


def is_same_lesion(one: LesionKey, other: LesionKey) -> bool:
    """True for equal tracking UIDs or, where not both state one, for equal tracking ids at the same body site, unless the sides differ.

    Of one patient: it is for the caller to see to that, because a tracking id is no more unique than `1`.
    """
    if one.tracking_uid is not None and other.tracking_uid is not None:
        return one.tracking_uid == other.tracking_uid
    # Left and right are two lesions; where a side is not stated, nothing is known against it.
    if {one.laterality, other.laterality} == {"L", "R"}:
        return False
    return bool(one.tracking_id) and one.tracking_id == other.tracking_id and (one.body_site or "") == (other.body_site or "")


def _lesion(row: Row[Any]) -> LesionKey:
    return LesionKey(row.tracking_uid, row.tracking_id, row.body_site, row.laterality or "")


def moment(taken: datetime) -> datetime:
    """The time with an offset. A device without one is taken to be at UTC: the order of visits needs no better than a day."""
    return taken if taken.tzinfo is not None else taken.replace(tzinfo=UTC)
