"""What the gate asks of a Secondary Capture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from pydicom import Dataset


def reasons(dataset: Dataset, source_of: Callable[[str], Dataset | None]) -> Iterator[str]:
    """Why a picture made of photographs must not leave: it passes for one, hides what it was made of, or lacks pixels."""
    kind = [str(value) for value in dataset.get("ImageType") or ()]
    if kind[:2] != ["DERIVED", "SECONDARY"]:
        yield f"ImageType begins with {'/'.join(kind[:2]) or 'nothing'}: what is made of a photograph must be DERIVED and SECONDARY."
    if "Manufacturer" not in dataset:
        # General Equipment is optional in this IOD; in a result it is not.
        yield "Manufacturer (type 2) is absent."
    if not dataset.get("DerivationDescription"):
        yield "DerivationDescription is absent: it is not said what the picture shows."
    shown = [source_of(str(item.get("ReferencedSOPInstanceUID", ""))) for item in dataset.get("SourceImageSequence") or ()]
    if not shown or None in shown:
        yield "SourceImageSequence must name the source images, and no others."
    for source in filter(None, shown):
        if source.get("BurnedInAnnotation") == "YES" and dataset.get("BurnedInAnnotation") != "YES":
            yield "BurnedInAnnotation must be YES, as in the source image that is shown."
    if (have := len(dataset.get("PixelData", b""))) != (need := _native_length(dataset)):
        yield f"PixelData has {have} bytes, but Rows, Columns and SamplesPerPixel need {need}."


def _native_length(dataset: Dataset) -> int:
    """How many bytes native pixels have; the length is even (PS3.5 8.1.1)."""
    values = math.prod(int(dataset.get(keyword) or 0) for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"))
    length = values * int(dataset.get("NumberOfFrames") or 1) // 8
    return length + length % 2
