"""What the gate asks of a Segmentation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from highdicom.seg import Segmentation
from numpy.typing import NDArray
from pydicom import Dataset

from dermanode.dicom.sources import PYDICOM_RAISES

_NEEDED_GROUPS = ("FrameContentSequence", "DerivationImageSequence", "PlaneOrientationSequence")
"""The last one, because OHIF shows no segmentation without it."""
_OF_SEGMENTS = ("SegmentIdentificationSequence",)
"""Needed where a frame is of one segment: in a label map it is of all (PS3.3 A.51.5)."""


def reasons(dataset: Dataset, source_of: Callable[[str], Dataset | None]) -> Iterator[str]:
    """Why a SEG must not leave: another size than its image, pixels that cannot be decoded, an empty mask that is not called empty."""
    derived = _source_uids(dataset)
    if not derived:
        yield "SourceImageSequence names no image: it is unknown what was segmented."
    for uid in derived:
        source = source_of(uid)
        if source is None:
            yield f"SourceImageSequence names {uid}, which is no source image of this case."
            continue
        for keyword in ("Rows", "Columns"):
            if dataset.get(keyword) != source.get(keyword):
                yield f"{keyword} is {dataset.get(keyword)}, but {source.get(keyword)} in the source image {uid}."
    groups = _functional_groups(dataset)
    is_label_map = dataset.get("SegmentationType") == "LABELMAP"
    for keyword in _NEEDED_GROUPS if is_label_map else (*_NEEDED_GROUPS, *_OF_SEGMENTS):
        if not any(group.get(keyword) for group in groups):
            yield f"{keyword} is neither in the shared nor in the per-frame functional groups."
    if (have := len(dataset.get("PixelData", b""))) != (need := _native_length(dataset)):
        yield f"PixelData has {have} bytes, but Rows, Columns and NumberOfFrames need {need}."
        return
    try:
        pixels = np.asarray(dataset.pixel_array)
    except PYDICOM_RAISES as problem:
        yield f"PixelData cannot be decoded: {problem}."
        return
    if dataset.get("SegmentationType") == "FRACTIONAL":
        yield from _fractional(dataset, pixels)
    else:
        yield from _emptiness(dataset, pixels)
    for segment in dataset.get("SegmentSequence", ()):
        # PS3.3 C.8.20.4: number 0 of a label map is the background, which nothing found.
        if segment.get("SegmentNumber") != 0 and not segment.get("SegmentationAlgorithmIdentificationSequence"):
            yield "SegmentationAlgorithmIdentificationSequence is absent from a segment."
    try:
        Segmentation.from_dataset(dataset, copy=False)
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError) as problem:
        yield f"SegmentSequence cannot be read as a segmentation: {problem}."


def _emptiness(dataset: Dataset, pixels: NDArray[np.generic]) -> Iterator[str]:
    says_empty = "no lesion" in str(dataset.get("ContentDescription", "")).lower()
    if not pixels.any() and not says_empty:
        yield "PixelData is empty, and ContentDescription does not say that no lesion was found."
    if pixels.any() and says_empty:
        yield "ContentDescription says that no lesion was found, but PixelData is not empty."
    numbers = {int(segment.get("SegmentNumber", 0)) for segment in dataset.get("SegmentSequence", ())}
    if dataset.get("SegmentationType") == "LABELMAP" and not set(np.unique(pixels).tolist()) <= {0, *numbers}:
        yield "PixelData holds labels of segments that SegmentSequence does not name."


def _fractional(dataset: Dataset, pixels: NDArray[np.generic]) -> Iterator[str]:
    if dataset.get("SegmentationFractionalType") != "PROBABILITY":
        yield "SegmentationFractionalType must be PROBABILITY: that is what the method gives."
    most = dataset.get("MaximumFractionalValue")
    if not most or int(pixels.max(initial=0)) > int(most):
        yield f"MaximumFractionalValue is {most}, but PixelData goes up to {pixels.max(initial=0)}."


def _native_length(dataset: Dataset) -> int:
    """How many bytes native pixels have; bits are packed over the frames' borders (PS3.5 8.1.1), and the length is even."""
    bits = math.prod(int(dataset.get(k) or 0) for k in ("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "SamplesPerPixel"))
    return (bits + 7) // 8 + (bits + 7) // 8 % 2


def _functional_groups(dataset: Dataset) -> list[Dataset]:
    return [*dataset.get("SharedFunctionalGroupsSequence", ()), *dataset.get("PerFrameFunctionalGroupsSequence", ())]


def _source_uids(dataset: Dataset) -> set[str]:
    return {
        str(image.ReferencedSOPInstanceUID)
        for group in _functional_groups(dataset)
        for derivation in group.get("DerivationImageSequence", ())
        for image in derivation.get("SourceImageSequence", ())
    }
