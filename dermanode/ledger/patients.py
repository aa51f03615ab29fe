"""Who the patients are by the hospital's last word: what they are called, and which identities are one person.

The rows of objects and cases always bear the present identity: a merge moves those that are here, and what comes later under a former
identity is moved as it comes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, column, insert, select, table, update

from dermanode.domain.series import Patient
from dermanode.errors import MessageRefused
from dermanode.ledger.database import Database
from dermanode.ledger.history import case_subject, write_events
from dermanode.ledger.records import Event, Header, SeriesKey
from dermanode.ledger.said import Identity, PatientSaid
from dermanode.ledger.tables import cases, patients

_IDS_AT_ONCE = 500
_LONGEST_CHAIN = 100
_THE_LEDGER: Select[Any] = select(column("version_num")).select_from(table("alembic_version"))
"""One row that is always there: who sorts objects by patient holds it together, who merges patients holds it alone."""


class Patients:
    """Tells who a patient is. Each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, key: SeriesKey) -> Patient | None:
        """The patient of a series by the hospital's last word; None where it said nothing. What it did not state is empty."""
        return self._database.read(lambda transaction: _patient(transaction, Identity(key.patient_id, key.issuer_of_patient_id)))

    def present(self, identity: Identity) -> Identity:
        """Under which identity that one counts now: itself, unless it was merged."""
        return self._database.read(lambda transaction: present(transaction, [identity])[identity])


def present(transaction: Connection, identities: Iterable[Identity]) -> dict[Identity, Identity]:
    """Under which identity each counts now: the end of its chain of merges."""
    at = {identity: identity for identity in identities if identity.patient_id}
    alone = {identity: identity for identity in identities if not identity.patient_id}
    for _ in range(_LONGEST_CHAIN):
        steps = _merged(transaction, set(at.values()))
        if not steps:
            break
        at = {identity: steps.get(now, now) for identity, now in at.items()}
    return {**alone, **at}


def chain(transaction: Connection, identity: Identity) -> list[Identity]:
    """The identity, what it was merged into, what that was merged into, and so on."""
    found = [identity]
    while len(found) < _LONGEST_CHAIN and (step := _merged(transaction, found[-1:]).get(found[-1])) is not None:
        found.append(step)
    return found


def _merged(transaction: Connection, identities: Collection[Identity]) -> dict[Identity, Identity]:
    """Those that were merged, with what into."""
    ids = sorted({identity.patient_id for identity in identities})
    found: dict[Identity, Identity] = {}
    for start in range(0, len(ids), _IDS_AT_ONCE):
        where = and_(patients.c.patient_id.in_(ids[start : start + _IDS_AT_ONCE]), patients.c.merged_into != "")
        for row in transaction.execute(select(patients).where(where)):
            found[Identity(row.patient_id, row.issuer_of_patient_id)] = Identity(row.merged_into, row.merged_into_issuer)
    return found


def hold_identities(transaction: Connection, *, alone: bool) -> None:
    """Keeps merges out until the end of the transaction; `alone`, others who sort by patient too. SQLite has one writer anyway."""
    transaction.execute(_THE_LEDGER.with_for_update(read=not alone)).all()


def as_present(transaction: Connection, headers: Mapping[int, Header]) -> dict[int, Header]:
    """The headers of objects, each with the present identity of its patient; no merge comes between until the transaction ends."""
    hold_identities(transaction, alone=False)
    now = present(transaction, {Identity(header.patient_id, header.issuer_of_patient_id) for header in headers.values()})
    found = {}
    for object_id, header in headers.items():
        identity = now[Identity(header.patient_id, header.issuer_of_patient_id)]
        found[object_id] = replace(header, patient_id=identity.patient_id, issuer_of_patient_id=identity.issuer)
    return found


def note_patient(transaction: Connection, said: PatientSaid, kind: str, now: datetime) -> str:
    """Keeps what was said of a patient, with a line for each of the cases that it is news for. Returns what was done, in words."""
    stated = {name: value for name in ("name", "birth_date", "sex") if (value := getattr(said, name))}
    news: dict[str, None] = {}
    for identity in said.identities:
        row = transaction.execute(select(patients).where(is_of(patients, identity)).with_for_update()).one_or_none()
        if row is None:
            add_patient(transaction, identity, now, **stated)
            changed = list(stated)
        else:
            changed = [name for name, value in stated.items() if getattr(row, name) != value]
            if changed:
                transaction.execute(update(patients).where(patients.c.id == row.id).values(**stated, changed_at=now))
        if changed and (row is None or not row.merged_into):
            news.update(dict.fromkeys(changed))
            words = f"The hospital stated the patient's {_listed(changed)} ({kind})."
            tell_cases(transaction, identity, "patient_updated", words, now)
    return f"Noted of the patient: {_listed(news)}." if news else "Nothing about the patient is new."


def add_patient(transaction: Connection, identity: Identity, now: datetime, **stated: str) -> None:
    """A row for an identity that has none."""
    plain = dict.fromkeys(("name", "birth_date", "sex", "merged_into", "merged_into_issuer"), "")
    names = {"patient_id": identity.patient_id, "issuer_of_patient_id": identity.issuer}
    transaction.execute(insert(patients).values(**{**plain, **stated}, **names, changed_at=now))


def is_of(rows: Table, identity: Identity) -> ColumnElement[bool]:
    """Rows of exactly that patient id of that issuer."""
    return and_(rows.c.patient_id == identity.patient_id, rows.c.issuer_of_patient_id == identity.issuer)


def check_id(identity: Identity, place: str) -> None:
    """Raises `MessageRefused` for an id that no table holds whole."""
    if max(len(identity.patient_id), len(identity.issuer)) > 255:
        raise MessageRefused("a patient id or its assigning authority is longer than 255 characters", code="102", place=place)


def tell_cases(transaction: Connection, identity: Identity, kind: str, words: str, now: datetime) -> None:
    """A line for each case of that patient."""
    ids = transaction.scalars(select(cases.c.id).where(is_of(cases, identity)).order_by(cases.c.id)).all()
    write_events(transaction, [Event(now, case_subject(case_id), kind, words) for case_id in ids])


def _patient(transaction: Connection, identity: Identity) -> Patient | None:
    row = transaction.execute(select(patients).where(is_of(patients, identity))).one_or_none()
    merged = formerly(transaction, identity)
    if row is None and not merged:
        return None
    return Patient(
        patient_id=identity.patient_id,
        issuer=identity.issuer,
        name=row.name if row is not None else "",
        birth_date=_date(row.birth_date) if row is not None else None,
        sex=row.sex if row is not None else "",
        formerly=tuple((former.patient_id, former.issuer) for former in merged),
    )


def formerly(transaction: Connection, identity: Identity) -> tuple[Identity, ...]:
    """Every identity that was merged into that one, straight or through others."""
    found: list[Identity] = []
    latest = [identity]
    while latest and identity.patient_id:
        ids = sorted({one.patient_id for one in latest})
        rows = transaction.execute(select(patients).where(patients.c.merged_into.in_(ids)).order_by(patients.c.id)).all()
        into = {Identity(row.patient_id, row.issuer_of_patient_id): Identity(row.merged_into, row.merged_into_issuer) for row in rows}
        latest = [former for former, target in into.items() if target in latest and former not in found]
        found += latest
    return tuple(found)


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date() if text else None
    except ValueError:
        return None


def _listed(names: Collection[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)
