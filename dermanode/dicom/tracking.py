"""The name under which a lesion is followed from visit to visit (PS3.3 Tracking ID, Tracking UID)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

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

    Without a Tracking UID, the same Tracking ID of the same patient at the same site and side gives the same UID at every visit.
    Without either, the lesion is known by its series alone.
    """
    if series.tracking_uid:
        return Tracking(series.tracking_id or NAMELESS, series.tracking_uid)
    if series.tracking_id and series.patient.patient_id:
        site = series.body_site.value if series.body_site else ""
        return Tracking(series.tracking_id, _uid_of_id(series.patient, series.tracking_id, site, series.laterality))
    return Tracking(series.tracking_id or NAMELESS, _uid_of_series(series.series_instance_uid))


def stated_by_source(stated: LesionKey, patient: Patient, series: Iterable[UID]) -> LesionKey:
    """`tracking_of` backwards: what the source itself said of the lesion, from what a report says and the series that it is about.

    A name that was made up for the report names nothing: it must not bring two lesions together, nor keep two visits apart.
    """
    name, site = stated.tracking_id or "", stated.body_site or ""
    # Without the side, as it was made before left and right were told apart.
    derived = {_uid_of_id(patient, name, site, side) for side in ("", stated.laterality)} | set(map(_uid_of_series, series))
    return replace(
        stated,
        tracking_uid=stated.tracking_uid if stated.tracking_uid not in derived else None,
        tracking_id=name if name and name != NAMELESS else None,
    )


def _uid_of_id(patient: Patient, tracking_id: str, site: str, laterality: str) -> UID:
    side = (laterality,) if laterality in ("L", "R") else ()
    return derive_uid("lesion", patient.issuer, patient.patient_id, tracking_id, site, *side)


def _uid_of_series(series_uid: UID) -> UID:
    return derive_uid("lesion of series", series_uid)
