"""The pixels of one DICOM file, decoded when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermanode.dicom.codecs import CodecError, Decoded, decode_frame, native_samples
from dermanode.dicom.colour import to_rgb
from dermanode.dicom.layout import LAYOUT_TAGS, Layout, read_layout
from dermanode.dicom.profile import in_srgb
from dermanode.dicom.scan import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Scan, scanned
from dermanode.domain.series import RGB
from dermanode.errors import UnreadableObject

_NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED})
_ICC_PROFILE = 0x00282000
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True, slots=True)
class DicomPixels:
    """The source pixels of a view: a `PixelSource` over a DICOM file."""

    path: Path

    def decode(self, longest_side_px: int | None = None) -> RGB:
        """The pixels as RGB, rows x columns x 3.

        With `longest_side_px`, JPEG is scaled by its codec (n/8 of its size) and everything else by averaging whole blocks,
        so that the longer side is not below it. Raises `UnreadableObject` with a reason for a person.
        """
        subject = str(self.path)
        with scanned(self.path, LAYOUT_TAGS | {_ICC_PROFILE}, with_pixels=True) as scan:
            layout = read_layout(scan.elements, subject)
            try:
                rgb = to_rgb(_samples(scan, layout, longest_side_px), layout, scan.elements)
            except CodecError as error:
                raise UnreadableObject(subject, str(error)) from error
            except MemoryError as error:
                raise UnreadableObject(subject, "it needs more memory than there is") from error
            icc_profile = scan.elements.bytes(_ICC_PROFILE) if layout.samples == 3 else b""
        reduced = _reduced(rgb, longest_side_px)
        return in_srgb(reduced, icc_profile) if icc_profile else reduced


def _samples(scan: Scan, layout: Layout, longest_side_px: int | None) -> Decoded:
    pixels = scan.pixels
    if pixels is None:
        raise CodecError("it has no pixel data")
    if not pixels.is_integer:
        raise CodecError("its pixel data are floating point numbers, no photograph")
    if pixels.length is None:
        return _unpacked(decode_frame(scan.transfer_syntax, _frame(scan, pixels.offset), layout, longest_side_px), layout)
    if scan.transfer_syntax not in _NATIVE:
        raise CodecError(f"its transfer syntax {scan.transfer_syntax} is compressed, but its pixel data are not encapsulated")
    is_little = scan.transfer_syntax != EXPLICIT_BIG
    data = scan.body[pixels.offset : pixels.offset + pixels.length]
    samples = native_samples(data, layout, is_little_endian=is_little, is_swapped=not is_little and pixels.vr == "OW")
    is_decoded_already = layout.photometric == "YBR_FULL_422" and len(data) >= layout.rows * layout.columns * 3 * layout.bits_allocated // 8
    return _unpacked(Decoded(samples, True if is_decoded_already else None), layout)


def _unpacked(decoded: Decoded, layout: Layout) -> Decoded:
    """The stored bits alone, sign extended: what lies above the high bit may be an overlay (PS3.5 8.1.1)."""
    samples = decoded.samples
    bits = layout.bits_stored
    if samples.dtype.kind != "u" or (bits == layout.bits_allocated and not layout.is_signed) or samples.dtype.itemsize * 8 < bits:
        return decoded
    wide: NDArray[np.int64] = samples.astype(np.int64)
    if layout.high_bit >= bits and samples.dtype.itemsize * 8 > layout.high_bit:
        wide >>= layout.high_bit + 1 - bits
    wide &= (1 << bits) - 1
    if layout.is_signed:
        wide -= (wide >> (bits - 1)) << bits
    return Decoded(wide.astype(np.int32 if layout.is_signed else samples.dtype), decoded.is_rgb)


def _frame(scan: Scan, at: int) -> bytes:
    """The bytes of the only frame: every fragment after the basic offset table (PS3.5 A.4)."""
    body, fragments = scan.body, []
    while at + 8 <= len(body):
        tag, length = body[at : at + 4], int.from_bytes(body[at + 4 : at + 8], "little")
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM:
            raise CodecError("its encapsulated pixel data are damaged")
        if length > len(body) - at - 8:
            raise CodecError("the file ends within its pixel data")
        fragments.append(body[at + 8 : at + 8 + length])
        at += 8 + length
    if len(fragments) < 2:
        raise CodecError("its encapsulated pixel data hold no frame")
    return fragments[1] if len(fragments) == 2 else b"".join(fragments[1:])


def _reduced(rgb: RGB, longest_side_px: int | None) -> RGB:
    factor = max(rgb.shape[:2]) // longest_side_px if longest_side_px and longest_side_px > 0 else 1
    if factor < 2:
        return rgb
    reduced: RGB = np.asarray(Image.fromarray(rgb).reduce(factor))
    return reduced
