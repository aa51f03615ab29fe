"""The frames of one object: as they are stored, or decoded to native samples."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.encaps import get_frame

from dermanode.dicom.codecs import CodecError, decode_frame, native_samples
from dermanode.dicom.elements import Elements
from dermanode.dicom.layout import LAYOUT_TAGS, Layout, read_layout
from dermanode.dicom.scan import EXPLICIT_BIG, EXPLICIT_LITTLE, PixelElement, Scan, scanned
from dermanode.errors import UnreadableObject

_FRAMES = 0x00280008
_MOST_FRAMES = 1 << 20


@dataclass(frozen=True, slots=True)
class NativeFrame:
    """One decoded frame."""

    content: bytes
    """Little endian, colour by pixel."""
    photometric: str
    """What its samples mean now."""


@contextmanager
def frames_of(path: Path) -> Iterator[Frames]:
    """The frames of a file, until the context ends. Raises `UnreadableObject` for one without pixels."""
    with scanned(path, LAYOUT_TAGS, with_pixels=True) as scan:
        if scan.pixels is None:
            raise UnreadableObject(path.name, "it has no pixel data")
        yield Frames(scan, scan.pixels)


class Frames:
    """Gives one frame after the other; none but the one asked for is in memory."""

    def __init__(self, scan: Scan, pixels: PixelElement) -> None:
        self._scan, self._pixels = scan, pixels
        self.transfer_syntax = scan.transfer_syntax
        count = scan.elements.integer(_FRAMES) or 1
        self.count = count if 0 < count <= _MOST_FRAMES else 1

    @property
    def is_encapsulated(self) -> bool:
        return self._pixels.length is None

    def stored(self, number: int) -> bytes:
        """Frame `number`, from 1, as it lies in the file; native ones in little endian. Raises `UnreadableObject`."""
        if not self.is_encapsulated:
            return self._native(number)
        body = self._scan.body
        stream = BytesIO(body) if isinstance(body, bytes) else body
        stream.seek(self._pixels.offset)
        try:
            frame: bytes = get_frame(stream, number - 1, number_of_frames=self.count)
        except (ValueError, EOFError, struct.error) as error:
            raise UnreadableObject("the object", f"its frame {number} cannot be found") from error
        return frame

    def decoded(self, number: int) -> NativeFrame:
        """Frame `number`, from 1. Raises `UnreadableObject` where it cannot be decoded."""
        layout = self._layout()
        if not self.is_encapsulated:
            return NativeFrame(self._native(number), layout.photometric)
        try:
            decoded = decode_frame(self.transfer_syntax, self.stored(number), layout, None)
        except CodecError as error:
            raise UnreadableObject("the object", str(error)) from error
        samples = decoded.samples.astype(f"<{'i' if decoded.samples.dtype.kind == 'i' else 'u'}{max(1, layout.bits_allocated // 8)}")
        photometric = layout.photometric
        if layout.samples == 3:
            photometric = "RGB" if decoded.is_rgb else photometric.replace("_422", "")
        return NativeFrame(np.ascontiguousarray(samples).tobytes(), photometric)

    def _layout(self) -> Layout:
        elements = self._scan.elements
        single = {tag: raw for tag, raw in elements.raw.items() if tag != _FRAMES}
        return read_layout(Elements(single, elements.is_little_endian, elements.charsets), "the object")

    def _native(self, number: int) -> bytes:
        layout, pixels = self._layout(), self._pixels
        assert pixels.length is not None
        per_pixel = 2 if layout.photometric == "YBR_FULL_422" else layout.samples
        bits = layout.rows * layout.columns * per_pixel * layout.bits_allocated
        if not pixels.is_integer:
            bits = layout.rows * layout.columns * (64 if pixels.vr == "OD" else 32)
        first, last = bits * (number - 1), bits * number
        if last > pixels.length * 8:
            raise UnreadableObject("the object", f"its pixel data end before frame {number}")
        content = bytes(self._scan.body[pixels.offset + first // 8 : pixels.offset + (last + 7) // 8])
        if bits % 8:  # PS3.5 8.1.1: frames of single bits follow one another without padding
            unpacked = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")[first % 8 : first % 8 + bits]
            return np.packbits(unpacked, bitorder="little").tobytes()
        if self.transfer_syntax == EXPLICIT_BIG and layout.bits_allocated >= 8 and pixels.is_integer:
            samples = native_samples(content, layout, is_little_endian=False, is_swapped=pixels.vr == "OW")
            return np.ascontiguousarray(samples).astype(samples.dtype.newbyteorder("<")).tobytes()
        return content

    @property
    def syntax_of_stored(self) -> str:
        """The transfer syntax that `stored` frames have."""
        return self.transfer_syntax if self.is_encapsulated else EXPLICIT_LITTLE
