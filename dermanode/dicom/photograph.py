"""Photographs that no DICOM device made, as a series of DICOM instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import Literal

from pydicom import Dataset

from dermanode.dicom.maker import MANUFACTURER
from dermanode.dicom.picture import Picture, read_picture
from dermanode.dicom.uids import derive_uid
from dermanode.dicom.visible import DERMOSCOPIC, PHOTOGRAPHIC, Session, visible_instance
from dermanode.domain import UID, Code
from dermanode.errors import IdentifierError, PhotographError

SopClass = Literal["dermoscopic", "photographic"]
_MODEL = "Photograph import"
_LONGEST = 64
"""Characters of an LO (PS3.5 6.2)."""


@dataclass(frozen=True, slots=True)
class Particulars:
    """What is known of one photograph beside its pixels; '' and None where it is not."""

    patient_id: str = ""
    issuer: str = ""
    patient_name: str = ""
    """As DICOM's PN: `Family^Given`."""
    birth_date: date | None = None
    sex: str = ""
    accession_number: str = ""
    study: str = ""
    """A Study Instance UID, or a name under which a patient's photographs belong together."""
    series: str = ""
    """A Series Instance UID, or a name within the study."""
    lesion: str = ""
    """The Tracking ID."""
    body_site: Code | None = None
    laterality: str = ""
    view: int | None = None
    pixel_spacing_mm: float | None = None
    is_polarized: bool | None = None
    is_contact: bool | None = None
    acquired_at: datetime | None = None
    """As somebody states it; the photograph's own EXIF is not asked here."""


def make_instance(picture: Picture, particulars: Particulars, acquired_at: datetime, sop_class: SopClass = "dermoscopic") -> Dataset:
    """One photograph as an instance of the series to which it belongs, whoever comes first; with its file meta information.

    A patient's photographs of one study (by name, by accession number, else of one day) and one lesion are one series. One that
    names neither series nor lesion is a series of its own: two lesions must never be taken for two views of one. UIDs are derived
    from the bytes and the particulars alone, so that the same photograph always makes the same instance. Raises `PhotographError`.
    """
    for name, value in (
        ("patient ID", particulars.patient_id),
        ("issuer", particulars.issuer),
        ("patient name", particulars.patient_name),
        ("lesion", particulars.lesion),
    ):
        _check_text(name, value)
    _check_text("accession number", particulars.accession_number, 16)
    patient = (particulars.patient_id, particulars.issuer)
    day = f"{acquired_at:%Y-%m-%d}"
    occasion = particulars.study or particulars.accession_number or day
    # Without a patient nothing belongs together: two people's photographs would share a study.
    alone = () if particulars.patient_id else (picture.digest,)
    study = _uid_in(particulars.study) or derive_uid("folder study", *patient, occasion, *alone)
    group = particulars.series or particulars.lesion or picture.digest
    series = _uid_in(particulars.series) or derive_uid("folder series", study, *patient, group, day)
    issued = (particulars.issuer,) if particulars.issuer else ()
    session = Session(
        sop_class=DERMOSCOPIC if sop_class == "dermoscopic" else PHOTOGRAPHIC,
        patient_id=particulars.patient_id,
        patient_name=particulars.patient_name,
        study_uid=study,
        series_uid=series,
        began_at=acquired_at,
        is_time_known=False,
        issuer_of_patient_id=particulars.issuer,
        birth_date=particulars.birth_date,
        sex=particulars.sex,
        accession_number=particulars.accession_number,
        series_description=particulars.lesion and f"Photographs of {particulars.lesion}"[:_LONGEST],
        body_site=particulars.body_site,
        laterality=particulars.laterality,
        tracking_id=particulars.lesion,
        tracking_uid=derive_uid("lesion", particulars.patient_id, particulars.lesion, *issued, *alone) if particulars.lesion else None,
        manufacturer=picture.make or MANUFACTURER,
        model=picture.model or _MODEL,
    )
    return visible_instance(
        session,
        picture,
        sop_instance_uid=instance_uid(picture.digest, particulars, sop_class),
        number=particulars.view,
        acquired_at=acquired_at,
        pixel_spacing_mm=(particulars.pixel_spacing_mm, particulars.pixel_spacing_mm) if particulars.pixel_spacing_mm else None,
        is_polarized=particulars.is_polarized,
        is_contact=particulars.is_contact,
    )


def instance_uid(digest: str, particulars: Particulars, sop_class: SopClass) -> UID:
    """The SOP Instance UID of a photograph: the same for the same bytes, of which the same is said, whenever they come."""
    # Only what is said enters, by its name: fields to come change no UID.
    said = [f"{field.name}={value!s}" for field in fields(particulars) if (value := getattr(particulars, field.name)) not in ("", None)]
    return derive_uid("folder instance", digest, sop_class, *said)


def _uid_in(text: str) -> UID | None:
    """The UID that a text is; a plain number is a name."""
    try:
        return UID(text) if text.count(".") >= 2 else None
    except IdentifierError:
        return None


def _check_text(name: str, value: str, longest: int = _LONGEST) -> None:
    if "\\" in value or len(value) > longest or not (value.isprintable() or not value):
        raise PhotographError(f"The {name} {value[:70]!r} cannot be used: at most {longest} printable characters, no backslash.")


def make_instances(
    photos: Sequence[Path],
    *,
    patient_id: str,
    made_at: datetime,
    patient_name: str = "",
    study_uid: UID | None = None,
    series_uid: UID | None = None,
    sop_class: SopClass = "dermoscopic",
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
        _check_text(name, value)
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
        manufacturer=pictures[0].make or MANUFACTURER,
        model=pictures[0].model or _MODEL,
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
