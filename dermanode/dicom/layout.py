"""How the samples of one image are laid out, as its header says it (PS3.3 C.7.6.3)."""

from __future__ import annotations

from dataclasses import dataclass

from dermanode.dicom.elements import Elements
from dermanode.errors import UnreadableObject

_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES, _ROWS, _COLUMNS = 0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011
_ALLOCATED, _STORED, _HIGH_BIT, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_CENTER, _WIDTH, _INTERCEPT, _SLOPE = 0x00281050, 0x00281051, 0x00281052, 0x00281053
PALETTE_TAGS = (
    frozenset(range(0x00281101, 0x00281104)) | frozenset(range(0x00281201, 0x00281204)) | frozenset(range(0x00281221, 0x00281224))
)
LAYOUT_TAGS = (
    frozenset({_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES, _ROWS, _COLUMNS, _ALLOCATED, _STORED, _HIGH_BIT, _SIGNED})
    | {_CENTER, _WIDTH, _INTERCEPT, _SLOPE}
    | PALETTE_TAGS
)
MOST_PIXELS = 1 << 27
"""Larger images are refused: a header of 65535 x 65535 must not take the worker's memory."""
_PHOTOMETRICS = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "XYB"})


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows, columns and samples of one image."""

    rows: int
    columns: int
    samples: int
    """A pixel: 1 or 3."""
    photometric: str
    is_planar: bool
    """Colour by plane, not by pixel; counts for native data only."""
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    window: tuple[float, float] | None
    """(centre, width) in rescaled values."""
    rescale: tuple[float, float]
    """(slope, intercept)."""


def read_layout(elements: Elements, subject: str) -> Layout:
    """The layout that the header states. Raises `UnreadableObject` for one that cannot be or is not supported."""

    def refuse(reason: str) -> UnreadableObject:
        return UnreadableObject(subject, reason)

    rows, columns = elements.unsigned(_ROWS), elements.unsigned(_COLUMNS)
    if not rows or not columns or rows < 0 or columns < 0:
        raise refuse("it has no rows or columns")
    if rows * columns > MOST_PIXELS:
        raise refuse(f"it has {columns} x {rows} pixels, more than a photograph can have")
    frames = elements.integer(_FRAMES) or 1
    if frames != 1:
        raise refuse(f"it has {frames} frames; only single photographs are supported")
    samples = elements.unsigned(_SAMPLES) or 1
    photometric = elements.text(_PHOTOMETRIC).upper() or ("RGB" if samples == 3 else "MONOCHROME2")
    if photometric not in _PHOTOMETRICS:
        raise refuse(f"its Photometric Interpretation {photometric[:16]!r} is not supported")
    if samples != (1 if photometric in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR") else 3):
        raise refuse(f"it states {samples} samples per pixel, which does not go with {photometric}")
    allocated = elements.unsigned(_ALLOCATED) or 8
    if allocated not in (1, 8, 16, 32):
        raise refuse(f"its {allocated} bits per sample are not supported")
    stored = elements.unsigned(_STORED) or allocated
    if not 1 <= stored <= allocated:
        raise refuse(f"it stores {stored} bits in {allocated}")
    high_bit = elements.unsigned(_HIGH_BIT)
    center, width = elements.number(_CENTER), elements.number(_WIDTH)
    slope = elements.number(_SLOPE)
    return Layout(
        rows=rows,
        columns=columns,
        samples=samples,
        photometric=photometric,
        is_planar=elements.unsigned(_PLANAR) == 1,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit if high_bit is not None and stored - 1 <= high_bit < allocated else stored - 1,
        is_signed=elements.unsigned(_SIGNED) == 1,
        window=(center, width) if center is not None and width is not None and width >= 1 else None,
        rescale=(slope or 1.0, elements.number(_INTERCEPT) or 0.0),
    )
