"""What the gate asks of a Structured Report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from highdicom.sr import Comprehensive3DSR
from pydicom import Dataset

from dermanode.dicom.concepts import RESEARCH_USE

_VALUES = {
    "TEXT": "TextValue",
    "NUM": "MeasuredValueSequence",
    "CODE": "ConceptCodeSequence",
    "UIDREF": "UID",
    "IMAGE": "ReferencedSOPSequence",
    "COMPOSITE": "ReferencedSOPSequence",
    "SCOORD": "GraphicData",
    "CONTAINER": "ContinuityOfContent",
}
"""What holds the value of an item of each value type (PS3.3 C.17.3.2)."""


def reasons(dataset: Dataset, sources: Sequence[Dataset]) -> Iterator[str]:
    """Why a report must not leave: verified by nobody yet called so, no word of research use, evidence that misses what it refers to."""
    for keyword, value in (("VerificationFlag", "UNVERIFIED"), ("PreliminaryFlag", "PRELIMINARY"), ("CompletionFlag", "COMPLETE")):
        if dataset.get(keyword) != value:
            yield f"{keyword} is {dataset.get(keyword)}, but a result that nobody has read must say {value}."
    items = list(_walk(dataset))
    if not any(_code(item) == RESEARCH_USE.value and "research" in str(item.get("TextValue", "")).lower() for item in items):
        yield "ContentSequence has no statement of research use."
    evidence = set(_evidence(dataset))
    for item in items:
        for reference in item.get("ReferencedSOPSequence", ()):
            if str(reference.get("ReferencedSOPInstanceUID", "")) not in evidence:
                uid = reference.get("ReferencedSOPInstanceUID", "an object")
                yield f"CurrentRequestedProcedureEvidenceSequence misses {uid}, to which ContentSequence refers."
    for source in sources:
        if str(source.SOPInstanceUID) not in evidence:
            yield f"CurrentRequestedProcedureEvidenceSequence misses the source image {source.SOPInstanceUID}."
    sizes = {str(source.SOPInstanceUID): (source.get("Rows"), source.get("Columns")) for source in sources}
    for keyword in ("ValueType", "ConceptNameCodeSequence", "ContinuityOfContent", "ContentSequence"):
        if not dataset.get(keyword):
            yield f"{keyword} (type 1) is absent or empty."
    for item in items:
        yield from _value(item)
        if item.get("ValueType") == "NUM":
            yield from _number(item)
        elif item.get("ValueType") == "SCOORD":
            yield from _outline(item, sizes)
    try:
        Comprehensive3DSR.from_dataset(dataset, copy=False)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as problem:
        yield f"ContentSequence cannot be read as a TID 1500 report: {problem}."


def _value(item: Dataset) -> Iterator[str]:
    kind = str(item.get("ValueType", ""))
    if not item.get("RelationshipType"):
        yield f"RelationshipType of a {kind or 'content'} item is absent."
    if keyword := _VALUES.get(kind):
        if not item.get(keyword):
            yield f"{keyword} of the {kind} item {_code(item)} is absent or empty."
    elif not kind:
        yield "ValueType of a content item is absent."


def _number(item: Dataset) -> Iterator[str]:
    for measured in item.get("MeasuredValueSequence", ()):
        values = [measured.get("NumericValue"), measured.get("FloatingPointValue")]
        if values[0] is None:
            yield f"NumericValue of {_code(item)} is absent."
        elif any(value is not None and not math.isfinite(float(value)) for value in values):
            yield f"NumericValue of {_code(item)} is no finite number."
        if not measured.get("MeasurementUnitsCodeSequence"):
            yield f"MeasurementUnitsCodeSequence of {_code(item)} is absent."


def _outline(item: Dataset, sizes: dict[str, tuple[int | None, int | None]]) -> Iterator[str]:
    data = [float(value) for value in item.get("GraphicData") or ()]
    points = list(zip(data[::2], data[1::2], strict=False))
    if item.get("GraphicType") == "POLYLINE" and (len(points) < 4 or points[0] != points[-1]):
        yield "GraphicData of the outline is not closed: its last point must be its first."
    for child in item.get("ContentSequence", ()):
        for reference in child.get("ReferencedSOPSequence", ()):
            rows, columns = sizes.get(str(reference.get("ReferencedSOPInstanceUID", "")), (None, None))
            if rows and columns and any(not (0 <= x <= columns and 0 <= y <= rows) for x, y in points):
                yield f"GraphicData of the outline leaves the image of {columns} x {rows} pixels."


def _walk(dataset: Dataset) -> Iterator[Dataset]:
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from _walk(item)


def _code(item: Dataset) -> str:
    name = item.get("ConceptNameCodeSequence")
    return str(name[0].get("CodeValue", "")) if name else ""


def _evidence(dataset: Dataset) -> Iterator[str]:
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        for study in dataset.get(keyword, ()):
            for series in study.get("ReferencedSeriesSequence", ()):
                for instance in series.get("ReferencedSOPSequence", ()):
                    yield str(instance.ReferencedSOPInstanceUID)
