"""The name under which a lesion is followed from visit to visit (PS3.3 Tracking ID, Tracking UID)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dermanode.dicom.uids import derive_uid
from dermanode.domain import UID, LesionKey, Patient, Series

NAMELESS = "Lesion"
"""Stands where a source gives no Tracking ID, which a report must have."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """A lesion's identifier for people and its unique identifier."""

    identifier: str
    uid: UID


def tracking_of(series: Series) -> Tracking:
    """The source's own Tracking ID and UID; what it lacks is derived.

    Without a Tracking UID, the same Tracking ID of the same patient at the same site gives the same UID at every visit.
    Without either, the lesion is known by its series alone.
    """
    if series.tracking_uid:
        return Tracking(series.tracking_id or NAMELESS, series.tracking_uid)
    if series.tracking_id and series.patient.patient_id:
        site = series.body_site.value if series.body_site else ""
        return Tracking(series.tracking_id, _uid_of_id(series.patient, series.tracking_id, site))
    return Tracking(series.tracking_id or NAMELESS, _uid_of_series(series.series_instance_uid))


def stated_by_source(identifier: str, uid: UID | None, patient: Patient, site: str, series: Iterable[UID]) -> LesionKey:
    """`tracking_of` backwards: what the source itself said of the lesion, from what a report says and the series that it is about.

    A name that was made up for the report names nothing: it must not bring two lesions together, nor keep two visits apart.
    """
    derived = {_uid_of_id(patient, identifier, site), *map(_uid_of_series, series)}
    tracking_id = identifier if identifier != NAMELESS else None
    return LesionKey(uid if uid not in derived else None, tracking_id or None, site or None)


def _uid_of_id(patient: Patient, tracking_id: str, site: str) -> UID:
    return derive_uid("lesion", patient.issuer, patient.patient_id, tracking_id, site)


def _uid_of_series(series_uid: UID) -> UID:
    return derive_uid("lesion of series", series_uid)
