"""Photographs that no DICOM device made, as a series of DICOM instances."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydicom import Dataset

from dermanode.dicom.picture import read_picture
from dermanode.dicom.uids import derive_uid
from dermanode.dicom.visible import DERMOSCOPIC, PHOTOGRAPHIC, Session, visible_instance
from dermanode.domain import UID, Code
from dermanode.errors import PhotographError


def make_instances(
    photos: Sequence[Path],
    *,
    patient_id: str,
    made_at: datetime,
    patient_name: str = "",
    study_uid: UID | None = None,
    series_uid: UID | None = None,
    sop_class: Literal["dermoscopic", "photographic"] = "dermoscopic",
    accession_number: str = "",
    body_site: Code | None = None,
    laterality: str = "",
    tracking_id: str = "",
    pixel_spacing_mm: float | None = None,
) -> list[Dataset]:
    """The photographs as one series of one lesion, in the order given; each has its file meta information.

    Baseline JPEG is wrapped as it is, without decoding it; everything else becomes plain RGB. A photograph is as old as its EXIF
    says, in the zone of `made_at`; one that does not say it was taken at `made_at`. UIDs are derived from the files' bytes, the
    identity given and those moments, so that the same import makes the same instances. Raises `PhotographError`.
    """
    if not photos:
        raise PhotographError("There are no photographs. Name JPEG, PNG, TIFF or BMP files.")
    for name, value in (("patient ID", patient_id), ("patient name", patient_name), ("accession number", accession_number)):
        if "\\" in value or len(value) > 64 or not (value.isprintable() or not value):
            raise PhotographError(f"The {name} {value[:70]!r} cannot be used: at most 64 printable characters, no backslash.")
    if pixel_spacing_mm is not None and not 0 < pixel_spacing_mm < 10:
        raise PhotographError(f"A pixel spacing of {pixel_spacing_mm:g} mm cannot be: give millimetres per pixel at the lesion.")
    pictures = [read_picture(Path(photo)) for photo in photos]
    moments = [picture.taken_at.replace(tzinfo=made_at.tzinfo) if picture.taken_at else made_at for picture in pictures]
    began_at = min(moments)
    identity = (sop_class, patient_id, patient_name, accession_number, *(picture.digest for picture in pictures), began_at.isoformat())
    study = study_uid or derive_uid("imported study", *identity)
    series = series_uid or derive_uid("imported series", study, *identity)
    session = Session(
        sop_class=DERMOSCOPIC if sop_class == "dermoscopic" else PHOTOGRAPHIC,
        patient_id=patient_id,
        patient_name=patient_name,
        study_uid=study,
        series_uid=series,
        began_at=began_at,
        accession_number=accession_number,
        series_description="Imported photographs",
        body_site=body_site,
        laterality=laterality,
        tracking_id=tracking_id,
        tracking_uid=derive_uid("lesion", patient_id, tracking_id) if tracking_id else None,
    )
    described = (repr(body_site), laterality, tracking_id, repr(pixel_spacing_mm))
    return [
        visible_instance(
            session,
            picture,
            sop_instance_uid=derive_uid("imported instance", series, str(number), *identity, *described),
            number=number,
            acquired_at=moment,
            pixel_spacing_mm=(pixel_spacing_mm, pixel_spacing_mm) if pixel_spacing_mm else None,
        )
        for number, (picture, moment) in enumerate(zip(pictures, moments, strict=True), start=1)
    ]
