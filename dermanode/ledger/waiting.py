"""The series that wait to become cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from dermanode.domain.identifiers import UID
from dermanode.ledger.records import ObjectState, SeriesKey, WaitingSeries
from dermanode.ledger.tables import objects

_KEY = (objects.c.study_instance_uid, objects.c.series_instance_uid, objects.c.patient_id, objects.c.issuer_of_patient_id)
_FACTS = (
    objects.c.association,
    objects.c.sop_class_uid,
    objects.c.modality,
    objects.c.calling_ae,
    objects.c.called_ae,
    objects.c.body_site,
    objects.c.is_image,
)
# The database folds equal objects into one row, so that a series of hundreds costs no more than one of eight.
_WAITING: Select[Any] = (
    select(
        *_KEY,
        *_FACTS,
        func.count().label("objects"),
        func.min(objects.c.received_at).label("first_at"),
        func.max(objects.c.received_at).label("last_at"),
    )
    .where(objects.c.state == ObjectState.WAITING.value, objects.c.series_instance_uid.is_not(None))
    .group_by(*_KEY, *_FACTS)
)
_waiting = objects.alias()
_IN_CASE: Select[Any] = (
    select(*_KEY, func.count().label("objects"))
    .where(
        objects.c.state == ObjectState.IN_CASE.value,
        objects.c.series_instance_uid.in_(
            select(_waiting.c.series_instance_uid).where(
                _waiting.c.state == ObjectState.WAITING.value, _waiting.c.series_instance_uid.is_not(None)
            )
        ),
    )
    .group_by(*_KEY)
)


def waiting_series(transaction: Connection) -> list[WaitingSeries]:
    """The series with waiting objects whose header was read, the longest waiting first."""
    groups: dict[SeriesKey, list[Row[Any]]] = {}
    for row in transaction.execute(_WAITING):
        groups.setdefault(_key(row), []).append(row)
    if not groups:
        return []
    in_case = {_key(row): row.objects for row in transaction.execute(_IN_CASE)}
    series = [_series(key, rows, in_case.get(key, 0)) for key, rows in groups.items()]
    return sorted(series, key=lambda one: (one.first_at, one.key.series_instance_uid))


def _key(row: Row[Any]) -> SeriesKey:
    return SeriesKey(UID(row.study_instance_uid), UID(row.series_instance_uid), row.patient_id, row.issuer_of_patient_id)


def _series(key: SeriesKey, rows: Sequence[Row[Any]], in_case: int) -> WaitingSeries:
    return WaitingSeries(
        key=key,
        waiting=sum(row.objects for row in rows),
        in_case=in_case,
        first_at=min(row.first_at for row in rows),
        last_at=max(row.last_at for row in rows),
        associations=frozenset(row.association for row in rows),
        sop_classes=frozenset(row.sop_class_uid for row in rows),
        modality=the_one({row.modality for row in rows}) or "",
        calling_aes=frozenset(row.calling_ae for row in rows),
        called_aes=frozenset(row.called_ae for row in rows),
        body_site=the_one({row.body_site for row in rows}) or "",
        is_image=all(row.is_image for row in rows),
    )


def the_one(values: Iterable[str | None]) -> str | None:
    """The one value that the objects which state any agree on; None where they state none or differ."""
    stated = {value for value in values if value}
    return stated.pop() if len(stated) == 1 else None
