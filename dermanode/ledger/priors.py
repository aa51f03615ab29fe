"""The earlier visits of a lesion, never of another patient."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, and_, select

from dermanode.domain.outcome import Outcome
from dermanode.domain.series import LesionKey
from dermanode.ledger.case_rows import case_record
from dermanode.ledger.records import CaseRecord, SeriesKey
from dermanode.ledger.tables import cases


def priors_of(transaction: Connection, record: CaseRecord) -> list[tuple[CaseRecord, Outcome]]:
    """Earlier visits of the same lesion, the oldest first, each series in its latest revision that has an outcome.

    Without a patient id, or without a time of acquisition, nothing is a prior: an empty patient id is no identity.
    """
    taken = record.acquired_at
    if not record.key.patient_id or taken is None:
        return []
    same_patient = and_(
        cases.c.patient_id == record.key.patient_id,
        cases.c.issuer_of_patient_id == record.key.issuer_of_patient_id,
        cases.c.outcome.is_not(None),
    )
    latest: dict[SeriesKey, CaseRecord] = {}
    for row in transaction.execute(select(cases).where(same_patient).order_by(cases.c.revision)):
        # Only a row of the same lesion is worth reading its outcome.
        if is_same_lesion(record.lesion, LesionKey(row.tracking_uid, row.tracking_id, row.body_site)):
            earlier = case_record(row)
            latest[earlier.key] = earlier
    found = [
        (earlier, earlier.outcome)
        for key, earlier in latest.items()
        if key != record.key
        and earlier.outcome is not None
        and earlier.acquired_at is not None
        and _moment(earlier.acquired_at) < _moment(taken)
    ]
    return sorted(found, key=lambda pair: (_moment(pair[0].acquired_at or taken), pair[0].id))


def is_same_lesion(one: LesionKey, other: LesionKey) -> bool:
    """True for equal tracking UIDs or, where not both state one, for equal tracking ids at the same body site."""
    if one.tracking_uid is not None and other.tracking_uid is not None:
        return one.tracking_uid == other.tracking_uid
    return bool(one.tracking_id) and one.tracking_id == other.tracking_id and (one.body_site or "") == (other.body_site or "")


def _moment(taken: datetime) -> datetime:
    # A device without an offset is taken to be at UTC: the order of visits needs no better than a day.
    return taken if taken.tzinfo is not None else taken.replace(tzinfo=UTC)
