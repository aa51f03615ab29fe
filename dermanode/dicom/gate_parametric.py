"""What the gate asks of a Parametric Map."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from highdicom.pm import ParametricMap
from numpy.typing import NDArray
from pydicom import Dataset

from dermanode.dicom.sources import PYDICOM_RAISES

_NEEDED_GROUPS = ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence", "RealWorldValueMappingSequence")


def reasons(dataset: Dataset) -> Iterator[str]:
    """Why a map must not leave: values that are no numbers or lie beyond what is mapped, no unit, no quantity, no plane."""
    groups = [*dataset.get("SharedFunctionalGroupsSequence", ()), *dataset.get("PerFrameFunctionalGroupsSequence", ())]
    for keyword in _NEEDED_GROUPS:
        if not any(group.get(keyword) for group in groups):
            yield f"{keyword} is neither in the shared nor in the per-frame functional groups."
    need = 4 * int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0) * int(dataset.get("NumberOfFrames") or 1)
    data = bytes(dataset.get("FloatPixelData") or b"")
    if len(data) != need:
        yield f"FloatPixelData has {len(data)} bytes, but Rows, Columns and NumberOfFrames need {need}."
        return
    values: NDArray[np.float32] = np.frombuffer(data, "<f4")
    if not np.isfinite(values).all():
        yield "FloatPixelData holds numbers that are not finite."
        return
    padding = dataset.get("FloatPixelPaddingValue")
    known = values if padding is None else values[values != np.float32(padding)]
    if not known.size:
        yield "FloatPixelData holds padding only."
        return
    for group in groups:
        for mapping in group.get("RealWorldValueMappingSequence", ()):
            yield from _mapping(mapping, float(known.min()), float(known.max()))
    try:
        ParametricMap.from_dataset(dataset, copy=False)
    except PYDICOM_RAISES as problem:
        yield f"FloatPixelData cannot be read as a parametric map: {problem}."


def _mapping(mapping: Dataset, lowest: float, highest: float) -> Iterator[str]:
    if not mapping.get("MeasurementUnitsCodeSequence"):
        yield "MeasurementUnitsCodeSequence of RealWorldValueMappingSequence is absent: it is unknown what the values are in."
    if not mapping.get("QuantityDefinitionSequence"):
        yield "QuantityDefinitionSequence of RealWorldValueMappingSequence is absent: it is unknown what the values are."
    first, last = mapping.get("DoubleFloatRealWorldValueFirstValueMapped"), mapping.get("DoubleFloatRealWorldValueLastValueMapped")
    if first is None or last is None or lowest < float(first) or highest > float(last):
        yield f"RealWorldValueMappingSequence maps {first} to {last}, but FloatPixelData goes from {lowest} to {highest}."
