"""The accepted objects, each in exactly one state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, or_, select, update

from dermanode.domain.identifiers import UID, Digest
from dermanode.errors import UnknownSubject
from dermanode.ledger.arrivals import record_arrivals
from dermanode.ledger.case_rows import is_of_series
from dermanode.ledger.database import Database
from dermanode.ledger.history import object_subject, write_events
from dermanode.ledger.patients import as_present
from dermanode.ledger.records import MORE_MAY_COME, Arrival, Event, Header, ObjectState, Receipt, SeriesKey, StoredObject
from dermanode.ledger.tables import case_objects, objects

IDS_AT_ONCE = 500
"""Row ids in one statement: databases limit how many a statement may carry."""

_SET_HEADER = (
    update(objects)
    .where(objects.c.id == bindparam("object_id"))
    .values(
        {
            name: bindparam(name)
            for name in (
                "study_instance_uid",
                "series_instance_uid",
                "modality",
                "patient_id",
                "issuer_of_patient_id",
                "accession_number",
                "body_site",
                "laterality",
                "tracking_uid",
                "tracking_id",
                "acquired_at",
                "is_image",
            )
        }
    )
)


class Objects:
    """Records and finds objects. Each call is one transaction."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock

    def record(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """Receipts in the order of the arrivals, once all of them are on disk.

        The same UID with the same bytes is counted as a duplicate, whatever became of the first; with other bytes both are
        kept, the later one in quarantine.
        """
        return self._database.write(lambda transaction: record_arrivals(transaction, arrivals)) if arrivals else []

    def unread(self, limit: int) -> list[StoredObject]:
        """Waiting objects whose header was not read yet, oldest first."""
        where = (objects.c.state == ObjectState.WAITING.value) & objects.c.series_instance_uid.is_(None)
        query = select(objects).where(where).order_by(objects.c.id).limit(limit)
        return self._database.read(lambda transaction: [stored_object(row) for row in transaction.execute(query)])

    def set_headers(self, headers: Mapping[int, Header]) -> None:
        """Keeps what was read from the objects of these ids. A patient whom the hospital has merged counts as the one merged into.

        Earlier images of their series that were too few for any pipeline wait again, together with them.
        """
        if headers:
            self._database.write(lambda transaction: self._set_headers(transaction, headers))

    def _set_headers(self, transaction: Connection, headers: Mapping[int, Header]) -> None:
        kept = as_present(transaction, headers)
        transaction.execute(_SET_HEADER, [_header_values(object_id, header) for object_id, header in kept.items()])
        now = self._clock()
        read = _uids(transaction, headers)
        news = [Event(now, object_subject(uid), "header_read", f"Its header was read: {_kind(kept[number])}.") for number, uid in read]
        merged = "It came under a patient whom the hospital has merged into another: it is of that patient."
        news += [Event(now, object_subject(uid), "patient_merged", merged) for number, uid in read if kept[number] != headers[number]]
        write_events(transaction, news)
        _release_too_few(transaction, kept.values(), now)

    def ignore(self, ids: Collection[int], reason: str) -> None:
        """Sets waiting objects aside that no pipeline wants; others stay as they are."""
        self._set_aside(ids, ObjectState.IGNORED, reason)

    def quarantine(self, ids: Collection[int], reason: str) -> None:
        """Sets waiting objects, or those of a case, aside that cannot be used; others stay as they are."""
        self._set_aside(ids, ObjectState.QUARANTINED, reason)

    def _set_aside(self, ids: Collection[int], state: ObjectState, reason: str) -> None:
        if ids:
            self._database.write(lambda transaction: set_aside(transaction, dict.fromkeys(ids, reason), state, self._clock()))

    def find(self, sop_instance_uid: str) -> list[StoredObject]:
        """Everything that came under that UID, in the order of arrival; empty when nothing did."""
        query = select(objects).where(objects.c.sop_instance_uid == sop_instance_uid).order_by(objects.c.id)
        return self._database.read(lambda transaction: [stored_object(row) for row in transaction.execute(query)])

    def is_recorded(self, path: str) -> bool:
        """Whether an accepted object lies at that path of the spool; what does not was never acknowledged."""
        query = select(objects.c.id).where(objects.c.digest == PurePosixPath(path).stem, objects.c.path == path).limit(1)
        return self._database.read(lambda transaction: transaction.execute(query).first()) is not None

    def get(self, object_id: int) -> StoredObject:
        """The object of that row. Raises `UnknownSubject`."""
        query = select(objects).where(objects.c.id == object_id)
        row = self._database.read(lambda transaction: transaction.execute(query).one_or_none())
        if row is None:
            raise UnknownSubject(str(object_id))
        return stored_object(row)

    def of_case(self, case_id: str) -> list[StoredObject]:
        """The objects that a case was opened with, in the order of arrival, those since quarantined included."""
        query = select(objects).join(case_objects).where(case_objects.c.case_id == case_id).order_by(objects.c.id)
        return self._database.read(lambda transaction: [stored_object(row) for row in transaction.execute(query)])

    def waiting(self, key: SeriesKey) -> list[StoredObject]:
        """The waiting objects of a series, in the order of arrival."""
        query = select(objects).where(is_of_series(objects, key), objects.c.state == ObjectState.WAITING.value).order_by(objects.c.id)
        return self._database.read(lambda transaction: [stored_object(row) for row in transaction.execute(query)])

    def recent(self, limit: int, state: ObjectState | None = None) -> list[StoredObject]:
        """The last that came, newest first."""
        query = select(objects).order_by(objects.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(objects.c.state == state.value)
        return self._database.read(lambda transaction: [stored_object(row) for row in transaction.execute(query)])

    def counts(self) -> Mapping[ObjectState, int]:
        """How many objects are in each state; every state is named."""
        return self._database.read(count_by_state)

    def other_patients(self, key: SeriesKey) -> list[str]:
        """Other patient ids under the same Series Instance UID: a device that mixes patients."""
        is_other = or_(objects.c.patient_id != key.patient_id, objects.c.issuer_of_patient_id != key.issuer_of_patient_id)
        query = (
            select(objects.c.patient_id)
            .distinct()
            .where(objects.c.series_instance_uid == key.series_instance_uid, is_other)
            .order_by(objects.c.patient_id)
        )
        return self._database.read(lambda transaction: list(transaction.scalars(query)))


def set_aside(transaction: Connection, reasons: Mapping[int, str], state: ObjectState, now: datetime) -> None:
    """Moves objects into quarantine or among the ignored, with an event each; what is set aside or purged already stays as it is."""
    movable = [ObjectState.WAITING.value]
    if state is ObjectState.QUARANTINED:
        movable.append(ObjectState.IN_CASE.value)
    query = select(objects.c.id, objects.c.sop_instance_uid).where(objects.c.state.in_(movable)).with_for_update()
    rows = [row for some in chunks(list(reasons)) for row in transaction.execute(query.where(objects.c.id.in_(some)))]
    if not rows:
        return
    transaction.execute(
        update(objects).where(objects.c.id == bindparam("object_id")).values(state=state.value, reason=bindparam("why")),
        [{"object_id": row.id, "why": reasons[row.id]} for row in rows],
    )
    write_events(transaction, [Event(now, object_subject(row.sop_instance_uid), state.value, reasons[row.id]) for row in rows])


def _release_too_few(transaction: Connection, joined: Iterable[Header], now: datetime) -> None:
    keys = {
        SeriesKey(header.study_instance_uid, header.series_instance_uid, header.patient_id, header.issuer_of_patient_id)
        for header in joined
        if header.is_image
    }
    is_too_few = (objects.c.state == ObjectState.IGNORED.value) & objects.c.reason.endswith(MORE_MAY_COME, autoescape=True)
    for key in keys:
        query = select(objects.c.id, objects.c.sop_instance_uid).where(is_of_series(objects, key), is_too_few).with_for_update()
        rows = transaction.execute(query).all()
        for some in chunks([row.id for row in rows]):
            transaction.execute(update(objects).where(objects.c.id.in_(some)).values(state=ObjectState.WAITING.value, reason=""))
        words = "More of its series came: it waits with it."
        write_events(transaction, [Event(now, object_subject(row.sop_instance_uid), "released", words) for row in rows])


def count_by_state(transaction: Connection) -> Mapping[ObjectState, int]:
    query = select(objects.c.state, func.count()).group_by(objects.c.state)
    found = {ObjectState(state): count for state, count in transaction.execute(query)}
    return {state: found.get(state, 0) for state in ObjectState}


def chunks(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    """The ids in parts that one statement can carry."""
    return (ids[start : start + IDS_AT_ONCE] for start in range(0, len(ids), IDS_AT_ONCE))


def stored_object(row: Row[Any]) -> StoredObject:
    """The object of a row of the table."""
    arrival = Arrival(
        sop_instance_uid=UID(row.sop_instance_uid),
        sop_class_uid=UID(row.sop_class_uid),
        transfer_syntax_uid=UID(row.transfer_syntax_uid),
        digest=Digest(row.digest),
        size_bytes=row.size_bytes,
        path=row.path,
        association=row.association,
        calling_ae=row.calling_ae,
        called_ae=row.called_ae,
        source_address=row.source_address,
        received_at=row.received_at,
    )
    return StoredObject(row.id, arrival, ObjectState(row.state), row.reason, row.duplicates, _header(row))


def _header(row: Row[Any]) -> Header | None:
    if row.series_instance_uid is None:
        return None
    return Header(
        study_instance_uid=UID(row.study_instance_uid),
        series_instance_uid=UID(row.series_instance_uid),
        modality=row.modality,
        patient_id=row.patient_id,
        issuer_of_patient_id=row.issuer_of_patient_id,
        accession_number=row.accession_number,
        body_site=row.body_site,
        laterality=row.laterality or "",
        tracking_uid=None if row.tracking_uid is None else UID(row.tracking_uid),
        tracking_id=row.tracking_id,
        acquired_at=row.acquired_at,
        is_image=row.is_image,
    )


def _header_values(object_id: int, header: Header) -> dict[str, object]:
    return {
        "object_id": object_id,
        "study_instance_uid": str(header.study_instance_uid),
        "series_instance_uid": str(header.series_instance_uid),
        "modality": header.modality,
        "patient_id": header.patient_id,
        "issuer_of_patient_id": header.issuer_of_patient_id,
        "accession_number": header.accession_number,
        "body_site": header.body_site,
        "laterality": header.laterality,
        "tracking_uid": None if header.tracking_uid is None else str(header.tracking_uid),
        "tracking_id": header.tracking_id,
        "acquired_at": header.acquired_at,
        "is_image": header.is_image,
    }


def _kind(header: Header) -> str:
    what = "an image" if header.is_image else "no image"
    return f"{what} of modality {header.modality or 'unknown'}, series {header.series_instance_uid}, study {header.study_instance_uid}"


def _uids(transaction: Connection, ids: Collection[int]) -> list[tuple[int, str]]:
    query = select(objects.c.id, objects.c.sop_instance_uid)
    return [
        (row.id, row.sop_instance_uid) for some in chunks(list(ids)) for row in transaction.execute(query.where(objects.c.id.in_(some)))
    ]
