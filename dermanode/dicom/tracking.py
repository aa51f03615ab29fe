"""The name under which a lesion is followed from visit to visit (PS3.3 Tracking ID, Tracking UID)."""

from __future__ import annotations

from dataclasses import dataclass

from dermanode.dicom.uids import derive_uid
from dermanode.domain import UID, Series


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
        return Tracking(series.tracking_id or "Lesion", series.tracking_uid)
    patient = series.patient
    if series.tracking_id and patient.patient_id:
        site = series.body_site.value if series.body_site else ""
        return Tracking(series.tracking_id, derive_uid("lesion", patient.issuer, patient.patient_id, series.tracking_id, site))
    return Tracking(series.tracking_id or "Lesion", derive_uid("lesion of series", series.series_instance_uid))
