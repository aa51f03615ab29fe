"""What the node holds and gives out again: received objects that are neither purged nor quarantined, and results that passed the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, union_all

from dermanode.domain.identifiers import UID, Digest
from dermanode.ledger.database import Database
from dermanode.ledger.records import ObjectState
from dermanode.ledger.tables import cases, objects, results

_SHOWN = tuple(state.value for state in (ObjectState.WAITING, ObjectState.IN_CASE, ObjectState.IGNORED))


@dataclass(frozen=True, slots=True)
class ServedObject:
    """One object that can be given out."""

    sop_instance_uid: UID
    sop_class_uid: UID
    study_instance_uid: UID
    series_instance_uid: UID | None
    """None for results: their own header says it."""
    patient_id: str
    """By the hospital's last word, where patients were merged."""
    digest: Digest
    size_bytes: int
    path: str
    """Relative to the spool, or to the results folder."""
    is_result: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What narrows a search by columns of the ledger: what does not fit is left out, and what is found may still not fit."""

    studies: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    patient_id: str = ""
    """With the wildcards `*` and `?`."""
    accession_number: str = ""
    """With the wildcards `*` and `?`."""


class Served:
    """Searches the objects that may be given out. Each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(self, wanted: Wanted, limit: int, offset: int) -> list[UID]:
        """The studies that may fit, those with the newest objects first."""
        received = select(objects.c.study_instance_uid.label("study"), func.max(objects.c.received_at).label("at")).where(
            *_received(), *_narrowed(wanted, objects)
        )
        if wanted.series:
            received = received.where(objects.c.series_instance_uid.in_(wanted.series))
        if wanted.instances:
            received = received.where(objects.c.sop_instance_uid.in_(wanted.instances))
        made = select(cases.c.study_instance_uid.label("study"), func.max(cases.c.opened_at).label("at")).join_from(results, cases)
        made = made.where(*_made(), *_narrowed(wanted, cases))
        if wanted.instances:
            made = made.where(results.c.sop_instance_uid.in_(wanted.instances))
        both = union_all(received.group_by(objects.c.study_instance_uid), made.group_by(cases.c.study_instance_uid)).subquery()
        query = select(both.c.study).group_by(both.c.study).order_by(func.max(both.c.at).desc(), both.c.study).limit(limit).offset(offset)
        return self._database.read(lambda transaction: [UID(study) for study in transaction.scalars(query)])

    def of_studies(self, studies: Sequence[UID], instance: UID | None = None) -> Mapping[UID, tuple[ServedObject, ...]]:
        """Their objects, or that one of them, what was received first; each SOP Instance UID once."""
        uids = [str(study) for study in studies]
        received = select(objects).where(*_received(), objects.c.study_instance_uid.in_(uids)).order_by(objects.c.id)
        made = (
            select(results, cases.c.study_instance_uid, cases.c.patient_id)
            .join_from(results, cases)
            .where(*_made(), cases.c.study_instance_uid.in_(uids))
            .order_by(results.c.id)
        )
        if instance is not None:
            received = received.where(objects.c.sop_instance_uid == str(instance))
            made = made.where(results.c.sop_instance_uid == str(instance))
        found: dict[UID, dict[str, ServedObject]] = {study: {} for study in studies}
        rows = self._database.read(
            lambda transaction: (
                [_received_object(row) for row in transaction.execute(received)] + [_result(row) for row in transaction.execute(made)]
            )
        )
        for one in rows:
            # A result that a PACS has sent back is the same object.
            found[one.study_instance_uid].setdefault(str(one.sop_instance_uid), one)
        return {study: tuple(of_study.values()) for study, of_study in found.items()}


def _received() -> tuple[ColumnElement[bool], ...]:
    return (objects.c.state.in_(_SHOWN), objects.c.study_instance_uid.is_not(None))


def _made() -> tuple[ColumnElement[bool], ...]:
    return (results.c.passed_gate.is_(True), results.c.sop_instance_uid.is_not(None), results.c.sop_class_uid.is_not(None))


def _narrowed(wanted: Wanted, table: Any) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if wanted.studies:
        where.append(table.c.study_instance_uid.in_(wanted.studies))
    for column, pattern in ((table.c.patient_id, wanted.patient_id), (table.c.accession_number, wanted.accession_number)):
        if pattern and ("*" in pattern or "?" in pattern):
            where.append(column.like(_like(pattern), escape="\\"))
        elif pattern:
            where.append(column == pattern)
    return where


def _like(pattern: str) -> str:
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


def _received_object(row: Row[Any]) -> ServedObject:
    return ServedObject(
        UID(row.sop_instance_uid),
        UID(row.sop_class_uid),
        UID(row.study_instance_uid),
        UID(row.series_instance_uid),
        row.patient_id or "",
        Digest(row.digest),
        row.size_bytes,
        row.path,
        False,
    )


def _result(row: Row[Any]) -> ServedObject:
    return ServedObject(
        UID(row.sop_instance_uid),
        UID(row.sop_class_uid),
        UID(row.study_instance_uid),
        None,
        row.patient_id,
        Digest(row.digest),
        row.size_bytes,
        row.path,
        True,
    )
