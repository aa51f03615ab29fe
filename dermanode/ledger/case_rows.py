"""The row of a case: to and from the record, and its id."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, FromClause, Row, Table, and_, select

from dermanode.domain.identifiers import UID
from dermanode.domain.outcome import Outcome
from dermanode.domain.series import LesionKey
from dermanode.errors import UnknownSubject
from dermanode.ledger.records import CaseRecord, CaseState, Evidence, SeriesKey
from dermanode.ledger.tables import cases

_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)
_ID_DIGITS = 14
"""Of SHA-256: among a million series, two share an id with a chance of 1 in 100,000, and then the database refuses the second."""


def case_id_of(key: SeriesKey, revision: int) -> str:
    """The id of a revision of a series, the same wherever it is computed: `c5b2f0e91a7d34-r1`."""
    text = "\n".join((key.series_instance_uid, key.study_instance_uid, key.patient_id, key.issuer_of_patient_id))
    return f"c{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:_ID_DIGITS]}-r{revision}"


def is_of_series(table: Table, key: SeriesKey) -> ColumnElement[bool]:
    """Rows of exactly that series of that patient: the key's four names, so that patients never mix."""
    return and_(
        table.c.series_instance_uid == key.series_instance_uid,
        table.c.study_instance_uid == key.study_instance_uid,
        table.c.patient_id == key.patient_id,
        table.c.issuer_of_patient_id == key.issuer_of_patient_id,
    )


def is_same_series(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    """Rows of two tables that are of one series of one patient."""
    return and_(
        one.c.series_instance_uid == other.c.series_instance_uid,
        one.c.study_instance_uid == other.c.study_instance_uid,
        one.c.patient_id == other.c.patient_id,
        one.c.issuer_of_patient_id == other.c.issuer_of_patient_id,
    )


def get_case(transaction: Connection, case_id: str, *, for_update: bool = False) -> CaseRecord:
    """The case of that id. Raises `UnknownSubject`."""
    query = select(cases).where(cases.c.id == case_id)
    row = transaction.execute(query.with_for_update() if for_update else query).one_or_none()
    if row is None:
        raise UnknownSubject(case_id)
    return case_record(row)


def outcome_to_json(outcome: Outcome) -> str:
    """The outcome as JSON text; it comes back equal, numbers that are none included."""
    # Pydantic's own writer would turn NaN into null, which no float field takes back.
    plain = _OUTCOME.dump_python(outcome, warnings=False)
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), default=_as_json)


def _as_json(value: object) -> object:
    """A NumPy number, which plugins leave in their findings, as Python's; a moment, as of an earlier visit, as ISO 8601 writes it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"an outcome cannot hold {type(value).__name__}")


def outcome_from_json(text: str) -> Outcome:
    return _OUTCOME.validate_json(text)


def case_record(row: Row[Any]) -> CaseRecord:
    """The case of a row of the table."""
    key = SeriesKey(UID(row.study_instance_uid), UID(row.series_instance_uid), row.patient_id, row.issuer_of_patient_id)
    tracking_uid = None if row.tracking_uid is None else UID(row.tracking_uid)
    return CaseRecord(
        id=row.id,
        key=key,
        revision=row.revision,
        pipeline=row.pipeline,
        plan=tuple(json.loads(row.plan)),
        evidence=Evidence(row.evidence_kind, row.evidence_words),
        state=CaseState(row.state),
        attempts=row.attempts,
        opened_at=row.opened_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        reason=row.reason,
        lesion=LesionKey(tracking_uid, row.tracking_id, row.body_site, row.laterality or ""),
        acquired_at=row.acquired_at,
        accession_number=row.accession_number,
        source_ae=row.source_ae,
        outcome=None if row.outcome is None else outcome_from_json(row.outcome),
        supersedes=row.supersedes,
    )


def case_values(record: CaseRecord) -> dict[str, object]:
    """The row of a case."""
    return {
        "id": record.id,
        "study_instance_uid": str(record.key.study_instance_uid),
        "series_instance_uid": str(record.key.series_instance_uid),
        "patient_id": record.key.patient_id,
        "issuer_of_patient_id": record.key.issuer_of_patient_id,
        "revision": record.revision,
        "pipeline": record.pipeline,
        "plan": json.dumps(record.plan, ensure_ascii=False),
        "evidence_kind": record.evidence.kind,
        "evidence_words": record.evidence.words,
        "state": record.state.value,
        "attempts": record.attempts,
        "opened_at": record.opened_at,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "reason": record.reason,
        "tracking_uid": None if record.lesion.tracking_uid is None else str(record.lesion.tracking_uid),
        "tracking_id": record.lesion.tracking_id,
        "body_site": record.lesion.body_site,
        "laterality": record.lesion.laterality,
        "acquired_at": record.acquired_at,
        "accession_number": record.accession_number,
        "source_ae": record.source_ae,
        "outcome": None if record.outcome is None else outcome_to_json(record.outcome),
        "supersedes": record.supersedes,
    }
