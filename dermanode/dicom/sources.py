"""The images that a case was made of, as their files describe them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import pydicom
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.uid import VLPhotographicImageStorage

from dermanode.dicom.charset import decode_text
from dermanode.dicom.iods import identity_keywords
from dermanode.dicom.repertoire import Repertoire
from dermanode.domain import Case, Patient, View
from dermanode.errors import EncodingError, UnreadableObject

_MUST_AGREE = ("PatientID", "IssuerOfPatientID", "StudyInstanceUID")


STAND_IN_CLASS = VLPhotographicImageStorage
"""The class under which highdicom is told of a source: it looks classes up in tables, knows not all of them, and wants of some (of several
frames) what a photograph has not. `SourceImages.name` puts the true class back."""
_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"})


@runtime_checkable
class HasFile(Protocol):
    """A pixel source that lies in a DICOM file."""

    @property
    def path(self) -> Path: ...


PYDICOM_RAISES = (
    OSError,
    EOFError,
    InvalidDicomError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    struct.error,
)
"""What pydicom raises on an object that is not as it should be: it has no error of its own for that, and parses values late."""


@dataclass(frozen=True, eq=False)
class SourceImage:
    """One view and the header of its file."""

    view: View
    header: Dataset = field(repr=False)
    """Without pixel data; its values are parsed only where they are asked for."""

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """(between rows, between columns) at the lesion, None where the image does not say."""
        return self.view.geometry.pixel_spacing_mm


@dataclass(frozen=True, eq=False)
class SourceImages:
    """All images of a case: at least one, all of one patient and one study."""

    images: tuple[SourceImage, ...]
    patient: Patient | None = None
    """Whom they are of by the hospital's last word."""

    @classmethod
    def of(cls, case: Case) -> SourceImages:
        """Reads the headers behind the case's views.

        Raises `EncodingError` when a file is missing or is not the view it should be, and when two files are of different
        patients or studies: results for a mixture cannot be made.
        """
        if not case.series.views:
            raise EncodingError(f"Case {case.id} has no view: there is nothing its results could refer to.")
        sources = cls(tuple(_read(case, view) for view in case.series.views), case.series.patient)
        sources._check_is_of_one_patient(case)
        return sources

    @cached_property
    def first(self) -> SourceImage:
        """The image whose patient and study the results have: the first, but for those that bear an identity which was merged since."""
        here = () if self.patient is None else (self.patient.patient_id.strip(), self.patient.issuer.strip())
        return next((image for image in self.images if identity_of(image.header) == here), self.images[0])

    @cached_property
    def repertoire(self) -> Repertoire:
        """The characters that the results may use."""
        return Repertoire.of(self.first.header.get("SpecificCharacterSet"))

    def image(self, sop_instance_uid: str) -> SourceImage:
        """The source of that SOP Instance UID. Raises `EncodingError`."""
        for image in self.images:
            if image.view.sop_instance_uid == sop_instance_uid:
                return image
        raise EncodingError(f"A finding refers to the image {sop_instance_uid}, which is not in the case.")

    def __iter__(self) -> Iterator[SourceImage]:
        return iter(self.images)

    def stamp(self, dataset: Dataset) -> None:
        """Gives a result the patient and the study of its sources, text in the very bytes in which it came.

        Raises `EncodingError` when the result already names another study.
        """
        header = self.first.header
        study, own = str(dataset.get("StudyInstanceUID", "")), _text(header, "StudyInstanceUID")
        if study and study != own:
            raise EncodingError(f"A result of study {study} cannot be given the patient of study {own}.")
        for keyword, is_needed in identity_keywords().items():
            tag = keyword_dict[keyword]
            if tag in dataset:
                del dataset[tag]
            if tag in header:
                dataset[tag] = _as_written(header, tag)
            elif is_needed:
                dataset.add_new(tag, dictionary_VR(tag), None)
        if "SpecificCharacterSet" in dataset:
            del dataset.SpecificCharacterSet
        if header.get("SpecificCharacterSet"):
            dataset.SpecificCharacterSet = header.SpecificCharacterSet

    def name(self, dataset: Dataset) -> None:
        """Gives every reference to a source image the SOP class that the image has."""
        classes = {str(image.view.sop_instance_uid): image.view.sop_class_uid for image in self.images}
        _name(dataset, classes)

    def _check_is_of_one_patient(self, case: Case) -> None:
        merged = merged_identities(case.series.patient)
        for image in self.images:
            for keyword in ("StudyInstanceUID",) if identity_of(image.header) in merged else _MUST_AGREE:
                here, first = raw_value(image.header, keyword), raw_value(self.first.header, keyword)
                if here != first:
                    raise EncodingError(
                        f"Case {case.id} mixes patients or studies: {keyword} of {image.view.sop_instance_uid} differs from that of "
                        f"{self.first.view.sop_instance_uid}. Nothing was encoded; separate the images at their source."
                    )
        if _text(self.first.header, "StudyInstanceUID") != case.series.study_instance_uid:
            raise EncodingError(f"Case {case.id} is of study {case.series.study_instance_uid}, but its files are not.")
        if identity_of(self.first.header) not in merged and _text(self.first.header, "PatientID") != case.series.patient.patient_id.strip():
            raise EncodingError(f"Case {case.id} and the files behind its views name different patients: PatientID differs.")


def _name(dataset: Dataset, classes: Mapping[str, str]) -> None:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                if sop_class := classes.get(str(item.get("ReferencedSOPInstanceUID", ""))):
                    item.ReferencedSOPClassUID = sop_class
                _name(item, classes)


def raw_value(dataset: Dataset, keyword: str) -> bytes:
    """A value as its bytes were written, without padding; empty where there is none."""
    element = dataset.get_item(keyword_dict[keyword]) if keyword in dataset else None
    if element is None:
        return b""
    if isinstance(element, RawDataElement):
        return (element.value or b"").strip(b"\0 ")
    return str(element.value if element.value is not None else "").strip("\0 ").encode("utf-8")


def _text(header: Dataset, keyword: str) -> str:
    """A value decoded, while the header keeps its bytes."""
    charsets = header.get("SpecificCharacterSet") or ()
    terms = (charsets,) if isinstance(charsets, str) else tuple(charsets)
    return decode_text(raw_value(header, keyword), terms).replace("\0", "").strip()


def merged_identities(patient: Patient) -> frozenset[tuple[str, str]]:
    """What the images of a patient may bear whom the hospital merged with others: any of these, and nothing else; empty without a merge."""
    return frozenset({(patient.patient_id.strip(), patient.issuer.strip()), *patient.formerly}) if patient.formerly else frozenset()


def identity_of(header: Dataset) -> tuple[str, str]:
    """Patient ID and its issuer, decoded."""
    return _text(header, "PatientID"), _text(header, "IssuerOfPatientID")


def _read(case: Case, view: View) -> SourceImage:
    if not isinstance(view.source, HasFile):
        raise EncodingError(f"View {view.sop_instance_uid} of case {case.id} has no DICOM file behind it, so no result can refer to it.")
    try:
        header = read_header(view.source.path)
    except UnreadableObject as unreadable:
        raise EncodingError(f"The file of view {view.sop_instance_uid} cannot be read again: {unreadable.reason}") from unreadable
    if _text(header, "SOPInstanceUID") != view.sop_instance_uid:
        raise EncodingError(f"The file of view {view.sop_instance_uid} holds another object, or none.")
    return SourceImage(view, header)


def read_header(path: Path) -> Dataset:
    """The header of a file, its values left in their bytes. Raises `UnreadableObject`."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except PYDICOM_RAISES as problem:
        raise UnreadableObject(str(path), f"{type(problem).__name__}: {problem}") from problem


def _as_written(header: Dataset, tag: int) -> DataElement | RawDataElement:
    element = header.get_item(tag)
    if not isinstance(element, RawDataElement):
        return header[tag]
    vr = element.VR if element.VR not in (None, "UN") else dictionary_VR(tag)
    if vr not in _TEXT:
        parsed = header[tag]
        for item in parsed.value if vr == "SQ" else ():
            for _ in item.iterall():
                pass  # what was read from implicit VR must be parsed before it can be written with VRs
        return parsed
    value = element.value or b""
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    return element._replace(VR=vr, value=value, length=len(value), is_implicit_VR=False, is_little_endian=True)
