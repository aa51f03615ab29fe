"""The output gate: what an object must be before it may leave the node.

It judges bytes, not intentions: an object is written, read back and held against the standard and against the images it was made of.
Every reason is a sentence that names the attribute.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    EncapsulatedSTLStorage,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    SurfaceSegmentationStorage,
)

from dermanode.dicom import (
    gate_capture,
    gate_content,
    gate_encapsulated,
    gate_parametric,
    gate_rejection,
    gate_report,
    gate_segmentation,
    gate_stl,
    gate_surface,
    iods,
)
from dermanode.dicom.sources import PYDICOM_RAISES, identity_of, raw_value, read_header
from dermanode.dicom.uids import LABEL_MAP_SEGMENTATION
from dermanode.errors import UnreadableObject

RESULT_CLASSES = frozenset(
    {
        SegmentationStorage,
        LABEL_MAP_SEGMENTATION,
        SurfaceSegmentationStorage,
        EncapsulatedSTLStorage,
        EncapsulatedPDFStorage,
        SecondaryCaptureImageStorage,
        ParametricMapStorage,
        Comprehensive3DSRStorage,
        KeyObjectSelectionDocumentStorage,
    }
)
_SAME_IN_ALL = ("PatientID", "IssuerOfPatientID", "StudyInstanceUID")
_REFERS_ELSEWHERE = frozenset({"PredecessorDocumentsSequence", "ReferencedPerformedProcedureStepSequence", "ReferencedRequestSequence"})


@dataclass(frozen=True, eq=False)
class Known:
    """The objects that a result may refer to."""

    sources: tuple[Dataset, ...]
    """Headers of the source images."""
    others: tuple[Dataset, ...] | None
    """The other results of the case; None when the caller has not said which there are."""
    classes: dict[str, str] = field(init=False)
    """SOP Class UID by SOP Instance UID."""

    def __post_init__(self) -> None:
        named = (*self.sources, *(self.others or ()))
        object.__setattr__(self, "classes", {str(d.SOPInstanceUID): str(d.SOPClassUID) for d in named})

    def without(self, other: Dataset) -> Known:
        """The same for that result, which is none of its own others."""
        return Known(self.sources, tuple(one for one in self.others or () if one is not other))

    def source(self, sop_instance_uid: str) -> Dataset | None:
        return next((s for s in self.sources if str(s.SOPInstanceUID) == sop_instance_uid), None)


def check(
    encoded: Dataset | Path,
    sources: Sequence[Path],
    others: Sequence[Dataset | Path] | None = None,
    *,
    merged: Collection[tuple[str, str]] = (),
) -> tuple[str, ...]:
    """The reasons why an object must not leave; empty when it may.

    `sources` are the files of the images it was made of, `others` the other results of the case. Where `others` is not given,
    references to results are not followed. `merged` are identities (patient id, issuer) that the hospital has made one: sources may bear
    several of them, and the object has that of one. Raises nothing for a bad object; a source file that cannot be read is a reason too.
    """
    try:
        written = encoded.read_bytes() if isinstance(encoded, Path) else _bytes(encoded)
    except PYDICOM_RAISES as problem:
        return (f"The object cannot be written as DICOM: {_first_line(problem)}",)
    try:
        known = Known(tuple(map(read_header, sources)), None if others is None else tuple(map(_other, others)))
    except (UnreadableObject, AttributeError) as problem:
        return (f"A source image or another result cannot be read to compare with: {problem}",)
    return _verdict(written, known, merged)


def check_all(files: Sequence[Path], sources: Sequence[Path], *, merged: Collection[tuple[str, str]] = ()) -> list[tuple[str, ...]]:
    """What `check` says of each file with the rest of them as its others; each header is read once."""
    try:
        headers = tuple(map(read_header, files))
        known = Known(tuple(map(read_header, sources)), headers)
    except (UnreadableObject, AttributeError):
        # One that cannot be read is a reason against all, and is named by each.
        return [check(file, sources, [other for other in files if other is not file], merged=merged) for file in files]
    return [_verdict(file.read_bytes(), known.without(header), merged) for file, header in zip(files, headers, strict=True)]


def _verdict(written: bytes, known: Known, merged: Collection[tuple[str, str]]) -> tuple[str, ...]:
    try:
        dataset = pydicom.dcmread(BytesIO(written))
    except PYDICOM_RAISES as problem:
        return (f"The object cannot be read back: {_first_line(problem)}",)
    try:
        if dataset.get("SOPClassUID") == Comprehensive3DSRStorage:
            gate_content.leave_one_of_each(dataset)
        return tuple(dict.fromkeys(_reasons(dataset, known, merged)))
    except PYDICOM_RAISES as problem:
        # pydicom parses values late: what it cannot parse shows itself here.
        return (f"The object holds a value that cannot be parsed: {_first_line(problem)}",)


def _reasons(dataset: Dataset, known: Known, merged: Collection[tuple[str, str]]) -> Iterator[str]:
    yield from _file(dataset)
    if "SOPClassUID" not in dataset or "SOPInstanceUID" not in dataset:
        return
    sop_class = str(dataset.SOPClassUID)
    if iods.is_known(sop_class):
        for path in iods.missing(dataset, sop_class):
            yield f"{path}."
    yield from _identity(dataset, known.sources, merged)
    if sop_class == KeyObjectSelectionDocumentStorage:
        # What it names is of an earlier revision, and none of this one.
        yield from gate_rejection.reasons(dataset, known.classes)
        return
    yield from _references(dataset, known)
    if sop_class in (SegmentationStorage, LABEL_MAP_SEGMENTATION):
        yield from gate_segmentation.reasons(dataset, known.source)
    elif sop_class == SurfaceSegmentationStorage:
        yield from gate_surface.reasons(dataset)
    elif sop_class == EncapsulatedSTLStorage:
        yield from gate_stl.reasons(dataset, known.others or ())
    elif sop_class == EncapsulatedPDFStorage:
        yield from gate_encapsulated.reasons(dataset)
    elif sop_class == ParametricMapStorage:
        yield from gate_parametric.reasons(dataset)
    elif sop_class == SecondaryCaptureImageStorage:
        yield from gate_capture.reasons(dataset, known.source)
    elif sop_class == Comprehensive3DSRStorage:
        yield from gate_report.reasons(dataset, known.sources)


def _file(dataset: Dataset) -> Iterator[str]:
    for keyword, meta in (("SOPClassUID", "MediaStorageSOPClassUID"), ("SOPInstanceUID", "MediaStorageSOPInstanceUID")):
        if keyword not in dataset or not dataset[keyword].value:
            yield f"{keyword} (type 1) is absent."
        elif dataset.file_meta.get(meta) != dataset[keyword].value:
            yield f"{meta} of the file differs from {keyword} of the object."


def _identity(dataset: Dataset, sources: Sequence[Dataset], merged: Collection[tuple[str, str]]) -> Iterator[str]:
    if not sources:
        yield "No source image was given: PatientID cannot be compared."
        return
    is_merged = identity_of(dataset) in merged
    of_others = [source for source in sources if not (is_merged and identity_of(source) in merged)]
    for keyword in _SAME_IN_ALL:
        held_against = sources if keyword == "StudyInstanceUID" else of_others
        if any(raw_value(dataset, keyword) != raw_value(source, keyword) for source in held_against):
            yield f"{keyword} differs from that of a source image."
    # A device may describe the study differently from image to image; the result has it from one of them.
    fewest: tuple[str, ...] | None = None
    for source in sources:
        different = tuple(_different(dataset, source))
        if fewest is None or len(different) < len(fewest):
            fewest = different
        if not fewest:
            break
    for keyword in fewest or ():
        yield f"{keyword} differs from the source image's."
    if any(str(dataset.get("SeriesInstanceUID", "")) == str(source.get("SeriesInstanceUID", "")) for source in sources):
        yield "SeriesInstanceUID is that of the source images: results need a series of their own."
    if any(str(dataset.SOPInstanceUID) == str(source.SOPInstanceUID) for source in sources):
        yield "SOPInstanceUID is that of a source image."


def _different(dataset: Dataset, source: Dataset) -> Iterator[str]:
    for keyword in ("SpecificCharacterSet", *iods.identity_keywords()):
        tag = keyword_dict[keyword]
        # Text is compared in its bytes, so no element may be parsed to find out what it is.
        if dictionary_VR(tag) == "SQ":
            same = (tag in dataset) == (tag in source) and (tag not in source or dataset[tag].value == source[tag].value)
        elif keyword == "SpecificCharacterSet":
            same = (dataset.get(keyword) or None) == (source.get(keyword) or None)
        else:
            same = raw_value(dataset, keyword) == raw_value(source, keyword)
        if not same:
            yield keyword


def _references(dataset: Dataset, known: Known) -> Iterator[str]:
    for keyword, sop_class, instance in references(dataset):
        expected = known.classes.get(instance)
        if expected is None and (known.others is not None or sop_class not in RESULT_CLASSES):
            yield f"ReferencedSOPInstanceUID {instance} in {keyword} is neither a source image nor a result of this case."
        elif expected is not None and expected != sop_class:
            yield f"ReferencedSOPClassUID of {instance} in {keyword} is {sop_class}, but the object's is {expected}."


def references(dataset: Dataset, inside: str = "the object") -> Iterator[tuple[str, str, str]]:
    """(sequence, SOP Class UID, SOP Instance UID) of every object referred to, except what the source's study or an earlier report is."""
    if inside != "the object" and "ReferencedSOPInstanceUID" in dataset:
        yield inside, str(dataset.get("ReferencedSOPClassUID", "")), str(dataset.ReferencedSOPInstanceUID)
    for element in dataset:
        if element.VR == "SQ" and element.keyword not in _REFERS_ELSEWHERE and element.keyword not in iods.identity_keywords():
            for item in element.value or ():
                yield from references(item, element.keyword or str(element.tag))


def _first_line(problem: Exception) -> str:
    # pydicom chains tracebacks into its messages: a reason is for people.
    lines = str(problem).splitlines() or [""]
    return f"{type(problem).__name__}: {lines[0]}"


def _bytes(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _other(other: Dataset | Path) -> Dataset:
    return read_header(other) if isinstance(other, Path) else other
