"""From DICOM files to the domain: headers for the ledger, series for the pipeline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dermanode.dicom.elements import Elements
from dermanode.dicom.pixels import DicomPixels
from dermanode.dicom.scan import Scan, scanned
from dermanode.domain import UID, AETitle, CameraGeometry, Patient, Series, View
from dermanode.errors import IdentifierError, UnreadableObject
from dermanode.ledger.records import Header

__all__ = ["DicomPixels", "read_header", "read_series"]

_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_STUDY_DATE = 0x00080020
_ACQUISITION_DATETIME, _TIMEZONE_OFFSET = 0x0008002A, 0x00080201
_MOMENTS = ((0x00080022, 0x00080032), (0x00080023, 0x00080033), (0x00080021, 0x00080031), (_STUDY_DATE, 0x00080030))
"""Dates with their times, best first: acquisition, content, series, study."""
_ACCESSION_NUMBER, _MODALITY, _MANUFACTURER = 0x00080050, 0x00080060, 0x00080070
_ANATOMIC_REGION = 0x00082218
_PATIENT_NAME, _PATIENT_ID, _ISSUER, _BIRTH_DATE, _SEX = 0x00100010, 0x00100020, 0x00100021, 0x00100030, 0x00100040
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_ACQUISITION_NUMBER, _INSTANCE_NUMBER = 0x00200012, 0x00200013
_LATERALITIES = (0x00200062, 0x00200060)
_ROWS, _COLUMNS = 0x00280010, 0x00280011
_TRACKING_ID, _TRACKING_UID = 0x00620020, 0x00620021
_SPACINGS = (
    (0x00280030, "Pixel Spacing"),
    (0x00181164, "Imager Pixel Spacing"),
    (0x00182010, "Nominal Scanned Pixel Spacing"),
)
_SUBJECT_DISTANCE, _FOCAL_LENGTH, _ELEVATION = 0x00160026, 0x00160029, 0x00160035
_POLARIZATION, _CONTACT_METHOD, _MAGNIFICATION = 0x00161001, 0x00161003, 0x00161005
_VIEW_CODE = 0x00540220

RING_CREATOR = "DERMANODE RING"
"""Private creator of group 0017 under which a ring rig states the nominal azimuth (0017,xx01) DS, in degrees.

No standard attribute of a still image holds it (PS3.3 knows the elevation only).
"""
_RING_BLOCKS = range(0x10, 0x20)

_SORTING = frozenset(
    {_SOP_INSTANCE, _ACQUISITION_DATETIME, _TIMEZONE_OFFSET, *(tag for pair in _MOMENTS for tag in pair), _ACCESSION_NUMBER, _MODALITY}
    | {_ANATOMIC_REGION, *_LATERALITIES, _PATIENT_ID, _ISSUER, _STUDY, _SERIES, _ROWS, _COLUMNS, _TRACKING_ID, _TRACKING_UID}
)
_VIEWING = (
    _SORTING
    | {_SOP_CLASS, _MANUFACTURER, _PATIENT_NAME, _BIRTH_DATE, _SEX, _ACQUISITION_NUMBER, _INSTANCE_NUMBER}
    | {tag for tag, _ in _SPACINGS}
    | {_SUBJECT_DISTANCE, _FOCAL_LENGTH, _ELEVATION, _POLARIZATION, _CONTACT_METHOD, _MAGNIFICATION, _VIEW_CODE}
    | {0x00170000 | block for block in _RING_BLOCKS}
    | {0x00170001 | block << 8 for block in _RING_BLOCKS}
)


def read_header(path: Path) -> Header:
    """The values by which an object is sorted into a series; pixel data are not touched.

    A missing Patient ID stays ''. Raises `UnreadableObject` for what is no DICOM or names no study or series.
    """
    with scanned(path, _SORTING) as scan:
        elements = scan.elements
        site = elements.code(_ANATOMIC_REGION)
        return Header(
            study_instance_uid=_required_uid(scan, _STUDY, "Study Instance UID", path),
            series_instance_uid=_required_uid(scan, _SERIES, "Series Instance UID", path),
            modality=elements.text(_MODALITY),
            patient_id=elements.text(_PATIENT_ID),
            issuer_of_patient_id=elements.text(_ISSUER),
            accession_number=elements.text(_ACCESSION_NUMBER),
            body_site=site.value if site else "",
            laterality=_laterality(elements),
            tracking_uid=elements.uid(_TRACKING_UID),
            tracking_id=elements.text(_TRACKING_ID) or None,
            acquired_at=_acquired_at(elements),
            is_image=scan.pixels is not None and scan.pixels.is_integer and _size(elements) is not None,
        )


def read_series(files: Sequence[Path], source_ae: AETitle | None = None) -> Series:
    """The series that the files are, its views in the order of acquisition; their pixels are decoded when asked for.

    What only some of the files state (site, tracking identifiers) is taken from the first view that states it.
    Raises `UnreadableObject` naming the file whose header cannot be used or belongs to another series.
    """
    if not files:
        raise UnreadableObject("the series", "it has no files")
    read = sorted((_read_view(Path(path)) for path in files), key=lambda found: _order(found[0]))
    views = tuple(view for view, _, _ in read)
    headers = [elements for _, elements, _ in read]
    first, keys = headers[0], [key for _, _, key in read]
    for view, key in zip(views, keys, strict=True):
        if key != keys[0]:
            raise UnreadableObject(view.sop_instance_uid, f"it belongs to series {key[1]}, the other views to {keys[0][1]}")
    moments = [view.acquired_at for view in views if view.acquired_at]
    return Series(
        study_instance_uid=keys[0][0],
        series_instance_uid=keys[0][1],
        patient=Patient(
            patient_id=first.text(_PATIENT_ID),
            issuer=first.text(_ISSUER),
            name=first.text(_PATIENT_NAME),
            birth_date=first.date(_BIRTH_DATE),
            sex=first.text(_SEX),
        ),
        modality=first.text(_MODALITY),
        views=views,
        accession_number=first.text(_ACCESSION_NUMBER),
        study_date=first.date(_STUDY_DATE),
        acquired_at=min(moments, default=None),
        body_site=next((code for e in headers if (code := e.code(_ANATOMIC_REGION))), None),
        laterality=next((side for e in headers if (side := _laterality(e))), ""),
        tracking_id=next((name for e in headers if (name := e.text(_TRACKING_ID))), None),
        tracking_uid=next((uid for e in headers if (uid := e.uid(_TRACKING_UID))), None),
        source_ae=source_ae,
        manufacturer=first.text(_MANUFACTURER),
    )


def _read_view(path: Path) -> tuple[View, Elements, tuple[UID, UID]]:
    with scanned(path, _VIEWING) as scan:
        elements = scan.elements
        size = _size(elements)
        if size is None or scan.pixels is None:
            raise UnreadableObject(str(path), "it is no image: it has no rows, columns or pixel data")
        view = View(
            sop_instance_uid=_required_uid(scan, _SOP_INSTANCE, "SOP Instance UID", path, meta_tag=0x00020003),
            sop_class_uid=_required_uid(scan, _SOP_CLASS, "SOP Class UID", path, meta_tag=0x00020002),
            rows=size[0],
            columns=size[1],
            source=DicomPixels(path),
            number=elements.integer(_INSTANCE_NUMBER),
            acquisition_number=elements.integer(_ACQUISITION_NUMBER),
            acquired_at=_acquired_at(elements),
            geometry=_geometry(elements),
            view_code=elements.code(_VIEW_CODE),
        )
        key = (_required_uid(scan, _STUDY, "Study Instance UID", path), _required_uid(scan, _SERIES, "Series Instance UID", path))
        return view, elements, key


def _laterality(elements: Elements) -> str:
    return next((side for tag in _LATERALITIES if (side := elements.text(tag))), "")


def _order(view: View) -> tuple[float, float, str]:
    return (
        math.inf if view.acquisition_number is None else view.acquisition_number,
        math.inf if view.number is None else view.number,
        view.sop_instance_uid,
    )


def _required_uid(scan: Scan, tag: int, name: str, path: Path, *, meta_tag: int | None = None) -> UID:
    text = scan.elements.text(tag) or (scan.meta.text(meta_tag) if meta_tag else "")
    if not text:
        raise UnreadableObject(str(path), f"it has no {name}")
    try:
        return UID(text)
    except IdentifierError as error:
        raise UnreadableObject(str(path), f"its {name} {text[:80]!r} is no UID") from error


def _size(elements: Elements) -> tuple[int, int] | None:
    rows, columns = elements.unsigned(_ROWS), elements.unsigned(_COLUMNS)
    return (rows, columns) if rows and columns and rows > 0 and columns > 0 else None


def _acquired_at(elements: Elements) -> datetime | None:
    exact = elements.datetime(_ACQUISITION_DATETIME)
    return exact or next((at for pair in _MOMENTS if (at := elements.moment(*pair))), None)


def _geometry(elements: Elements) -> CameraGeometry:
    spacing, spacing_source = _spacing(elements)
    contact, polarization = elements.text(_CONTACT_METHOD), elements.text(_POLARIZATION)
    return CameraGeometry(
        pixel_spacing_mm=spacing,
        spacing_source=spacing_source,
        subject_distance_mm=_subject_distance_mm(elements),
        focal_length_mm=_positive(elements.number(_FOCAL_LENGTH)),
        optical_magnification=_positive(elements.number(_MAGNIFICATION)),
        elevation_deg=elements.number(_ELEVATION),
        azimuth_deg=_azimuth_deg(elements),
        is_contact={"CONTACT": True, "NON_CONTACT": False}.get(contact),
        is_polarized={"POLARIZED": True, "NON_POLARIZED": False}.get(polarization),
    )


def _spacing(elements: Elements) -> tuple[tuple[float, float] | None, str | None]:
    for tag, name in _SPACINGS:
        values = elements.numbers(tag)
        if len(values) == 2 and min(values) > 0:
            return (values[0], values[1]), name
    return None, None


def _subject_distance_mm(elements: Elements) -> float | None:
    """Below 3 the number can only be metres, as EXIF has it: no camera stands 3 mm or 3 m from a lesion."""
    distance = _positive(elements.number(_SUBJECT_DISTANCE))
    return distance * 1000 if distance is not None and distance < 3 else distance


def _azimuth_deg(elements: Elements) -> float | None:
    for block in _RING_BLOCKS:
        if elements.text(0x00170000 | block) == RING_CREATOR:
            return elements.number(0x00170001 | block << 8)
    return None


def _positive(number: float | None) -> float | None:
    return number if number is not None and number > 0 else None
