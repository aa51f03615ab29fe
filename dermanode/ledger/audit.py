"""The proof of conservation: every accepted object in exactly one state, every file whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blake3 import blake3
from sqlalchemy import Connection, Row, Select, func, or_, select

from dermanode.ledger.case_rows import is_same_series
from dermanode.ledger.database import Database
from dermanode.ledger.records import Audit, CaseState, ObjectState
from dermanode.ledger.spool import Spool
from dermanode.ledger.tables import case_objects, cases, objects

MOST_PROBLEMS = 1000
"""Sentences in one audit: a spool that is not mounted would give one for every object."""
_ROWS_AT_ONCE = 2000


def audit(database: Database, spool: Spool | None, *, deep: bool) -> Audit:
    """Counts, looks for contradictions among the rows, and with a spool looks at every file.

    `deep` hashes the files again. The rows are seen at one moment; a file is looked at after its row, and files only
    ever come before their rows, so a node at work does no harm.
    """
    accepted, by_state, problems = database.read(_rows)
    if spool is not None:
        problems.extend(_files(database, spool, deep=deep))
    if len(problems) > MOST_PROBLEMS:
        more = len(problems) - MOST_PROBLEMS
        problems = [*problems[:MOST_PROBLEMS], f"{more} more problems are not listed."]
    return Audit(accepted, by_state, tuple(problems))


def _rows(transaction: Connection) -> tuple[int, tuple[tuple[ObjectState, int], ...], list[str]]:
    accepted = transaction.scalar(select(func.count()).select_from(objects)) or 0
    found: dict[str, int] = {row.state: row.objects for row in transaction.execute(_BY_STATE)}
    by_state = tuple((state, found.get(state.value, 0)) for state in ObjectState)
    problems = []
    if sum(count for _, count in by_state) != accepted:
        unknown = ", ".join(sorted(set(found) - {state.value for state in ObjectState}))
        problems.append(f"{accepted} objects were accepted, but the states add up to another number ({unknown}). Restore the ledger.")
    for query, words in _CONTRADICTIONS:
        problems.extend(words.format(*row) for row in transaction.execute(query))
    return accepted, by_state, problems


_BY_STATE = select(objects.c.state, func.count().label("objects")).group_by(objects.c.state)
_uid = objects.c.sop_instance_uid
_membership = case_objects.c.object_id == objects.c.id
_has_case = select(case_objects.c.case_id).where(_membership).correlate(objects).exists()
_members = select(_uid, cases.c.id).select_from(objects.join(case_objects).join(cases))
_set_aside = (ObjectState.IGNORED.value, ObjectState.QUARANTINED.value, ObjectState.PURGED.value)

_CONTRADICTIONS: tuple[tuple[Select[Any], str], ...] = (
    (
        select(_uid).where(objects.c.state == ObjectState.IN_CASE.value, ~_has_case),
        "Object {0} is marked as in a case, but is in none. Send its series again, or restore the ledger from a backup.",
    ),
    (
        select(_uid).where(objects.c.state == ObjectState.WAITING.value, _has_case),
        "Object {0} is marked as waiting, but is in a case already. Restore the ledger from a backup.",
    ),
    (
        _members.where(~is_same_series(objects, cases)),
        "Object {0} is in case {1}, but is of another patient or series. Do not use the results of {1}; look at the device that sent it.",
    ),
    (
        select(_uid).where(
            objects.c.state == ObjectState.WAITING.value,
            objects.c.series_instance_uid.is_not(None),
            or_(objects.c.study_instance_uid.is_(None), objects.c.patient_id.is_(None), objects.c.issuer_of_patient_id.is_(None)),
        ),
        "Object {0} waits with half a header, so it is of no series. Restore the ledger from a backup.",
    ),
    (
        select(_uid, objects.c.state).where(objects.c.state.in_(_set_aside), objects.c.reason == ""),
        "Object {0} is {1} without a reason. See its history with `dermanode explain {0}`.",
    ),
    (
        select(cases.c.id).where(~select(case_objects.c.object_id).where(case_objects.c.case_id == cases.c.id).correlate(cases).exists()),
        "Case {0} has no objects. Restore the ledger from a backup.",
    ),
    (
        select(cases.c.id, cases.c.state).where(
            cases.c.state.in_((CaseState.FINISHED.value, CaseState.FAILED.value)), cases.c.outcome.is_(None)
        ),
        "Case {0} is {1}, but nothing tells how it ended. Run it again with `dermanode cases retry {0}`.",
    ),
)


def _files(database: Database, spool: Spool, *, deep: bool) -> Iterator[str]:
    """One sentence for each file that is not as its row says. Purged objects have no file to look for."""
    last = 0
    while True:
        query = (
            select(objects.c.id, _uid, objects.c.path, objects.c.size_bytes, objects.c.digest)
            .where(objects.c.id > last, objects.c.state != ObjectState.PURGED.value)
            .order_by(objects.c.id)
            .limit(_ROWS_AT_ONCE)
        )
        # mypy cannot infer a lambda whose default binds a loop variable.
        rows = database.read(lambda transaction, query=query: transaction.execute(query).all())  # type: ignore[misc]
        if not rows:
            return
        for row in rows:
            problem = _file_problem(row, spool.path(row.path), deep=deep)
            if problem:
                yield problem
        last = rows[-1].id


def _file_problem(row: Row[Any], file: Path, *, deep: bool) -> str:
    try:
        size = file.stat().st_size
        if size != row.size_bytes:
            return (
                f"The file {row.path} of object {row.sop_instance_uid} has {size} bytes instead of {row.size_bytes}. "
                "Restore it from a backup, or send the object again."
            )
        if deep and _digest(file) != row.digest:
            return (
                f"The file {row.path} of object {row.sop_instance_uid} is not what was received: its digest differs. "
                "Check the disk, and restore the file from a backup."
            )
    except FileNotFoundError:
        return f"The file {row.path} of object {row.sop_instance_uid} is missing. Restore it from a backup, or send the object again."
    except OSError as error:
        return f"The file {row.path} of object {row.sop_instance_uid} cannot be read: {error.strerror}. Check the disk and its rights."
    return ""


def _digest(file: Path) -> str:
    hasher = blake3()
    hasher.update_mmap(file)
    return hasher.hexdigest()
