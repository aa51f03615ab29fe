"""What the gate asks of an Encapsulated STL; validators of the IOD do not look into the document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SurfaceSegmentationStorage

from dermanode.dicom.stl import FACET, HEAD_BYTES, MIME_TYPE


def reasons(dataset: Dataset, others: Sequence[Dataset]) -> Iterator[str]:
    """Why a model must not leave: not in mm, not of this case's frame, of no image, a document that is no closed body."""
    if dataset.get("MIMETypeOfEncapsulatedDocument") != MIME_TYPE:
        yield f"MIMETypeOfEncapsulatedDocument is {dataset.get('MIMETypeOfEncapsulatedDocument')}, not {MIME_TYPE}."
    units = [(unit.get("CodeValue"), unit.get("CodingSchemeDesignator")) for unit in dataset.get("MeasurementUnitsCodeSequence") or ()]
    if units != [("mm", "UCUM")]:
        yield "MeasurementUnitsCodeSequence must say mm (UCUM), and nothing else."
    if not dataset.get("SourceInstanceSequence"):
        yield "SourceInstanceSequence names no image: it is unknown of what the model is."
    for other in others:
        if other.SOPClassUID == SurfaceSegmentationStorage and other.get("FrameOfReferenceUID") != dataset.get("FrameOfReferenceUID"):
            yield "FrameOfReferenceUID differs from that of the Surface Segmentation, which is of the same surface."
    document = bytes(dataset.get("EncapsulatedDocument") or b"")
    length = int(dataset.get("EncapsulatedDocumentLength") or len(document))
    if not length <= len(document) <= length + 1:
        yield f"EncapsulatedDocumentLength is {length}, but EncapsulatedDocument has {len(document)} bytes."
        return
    yield from _body(document[:length])


def _body(stl: bytes) -> Iterator[str]:
    if stl[:5].lower() == b"solid":
        yield "EncapsulatedDocument begins with 'solid', by which readers take a binary STL for text."
    count = int.from_bytes(stl[HEAD_BYTES - 4 : HEAD_BYTES], "little")
    if count == 0 or len(stl) != HEAD_BYTES + count * FACET.itemsize:
        yield f"EncapsulatedDocument has {len(stl)} bytes, but {count} triangles need {HEAD_BYTES + count * FACET.itemsize}."
        return
    corners: NDArray[np.float32] = np.frombuffer(stl, FACET, offset=HEAD_BYTES)["corners"]
    if not np.isfinite(corners).all():
        yield "EncapsulatedDocument holds corners that are no finite numbers."
        return
    if not _is_watertight(corners):
        yield "EncapsulatedDocument is no closed body: an edge has not as many triangles on its one side as on its other."
    elif _volume(corners) <= 0:
        yield "EncapsulatedDocument is turned inside out: its triangles face inwards."


def _is_watertight(corners: NDArray[np.float32]) -> bool:
    """Whether every edge is run along as often in one direction as in the other. Corners are the same where their coordinates are."""
    # A number for each point, axis by axis: sorting three lists of numbers is much quicker than one list of points.
    number: NDArray[np.int64] = np.zeros(corners.size // 3, np.int64)
    for axis in range(3):
        values, place = np.unique(corners[..., axis].ravel(), return_inverse=True)
        number = number * len(values) + place
    points, index = np.unique(number, return_inverse=True)
    triangles: NDArray[np.int64] = index.reshape(-1, 3).astype(np.int64)
    if (triangles == np.roll(triangles, 1, axis=1)).any():
        return False  # a triangle with two equal corners is an edge
    start, end = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    size = len(points)
    return bool(np.array_equal(np.sort(start * size + end), np.sort(end * size + start)))


def _volume(corners: NDArray[np.float32]) -> float:
    """In mm3, by the divergence theorem; negative where the triangles face inwards."""
    a, b, c = (corners[:, number].astype(np.float64) - corners[0, 0] for number in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c))) / 6
