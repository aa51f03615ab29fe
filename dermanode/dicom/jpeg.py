"""What a JPEG stream says about itself in its markers (ITU-T T.81 B, T.871, T.872)."""

from __future__ import annotations

from dataclasses import dataclass

_START, _END, _SCAN, _JFIF, _ADOBE = 0xD8, 0xD9, 0xDA, 0xE0, 0xEE
_METADATA = frozenset({0xE1, 0xED})
"""APP1: EXIF and XMP. APP13: IPTC."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xDA)})
_APP14_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""An Adobe segment with transform 0: the components are RGB."""


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """One JPEG image, as its own markers describe it."""

    process: int
    """n of the SOFn marker: 0 baseline, 1 extended, 2 progressive, 3 lossless."""
    precision: int
    """Bits a sample."""
    rows: int
    columns: int
    component_ids: tuple[int, ...]
    has_jfif: bool
    adobe_transform: int | None
    """0 RGB or CMYK, 1 YCbCr, 2 YCCK; None without an Adobe segment."""

    @property
    def components(self) -> int:
        return len(self.component_ids)

    @property
    def is_rgb(self) -> bool | None:
        """Whether three components are RGB and not YCbCr; None where the stream does not say it."""
        if self.has_jfif:
            return False
        if self.adobe_transform is not None:
            return self.adobe_transform == 0
        return True if self.component_ids == (ord("R"), ord("G"), ord("B")) else None


def jpeg_frame(data: bytes) -> JpegFrame:
    """Reads the markers up to the first scan. Raises ValueError with the reason where they make no sense."""
    if data[:2] != b"\xff\xd8":
        raise ValueError("it does not start like a JPEG")
    at, has_jfif, adobe, frame = 2, False, None, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("its JPEG markers are damaged")
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:
            if marker == _END:
                break
            at += 1 if marker == 0xFF else 2
            continue
        if marker == _SCAN:
            break
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2:
            raise ValueError("it ends within its JPEG markers")
        if marker == _JFIF and body.startswith(b"JFIF\0"):
            has_jfif = True
        elif marker == _ADOBE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        elif marker in _FRAMES and len(body) >= 6 + 3 * body[5]:
            rows, columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            frame = (marker - 0xC0, body[0], rows, columns, tuple(body[6 + 3 * n] for n in range(body[5])))
        at += 2 + length
    if frame is None:
        raise ValueError("it has no JPEG frame header")
    return JpegFrame(*frame, has_jfif, adobe)


def without_metadata(data: bytes) -> bytes:
    """The same picture, its compressed data untouched, without EXIF, XMP and IPTC segments and without what lies behind its end.

    These say where it was taken and by whom, and hold smaller copies of it. Raises ValueError where the markers make no sense.
    """
    parts, at = [data[:2]], 2
    while at + 4 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF:
            raise ValueError("its JPEG markers are damaged")
        if marker == _END:
            break
        if marker == 0xFF or marker in _ALONE:
            parts.append(data[at : at + (1 if marker == 0xFF else 2)])
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN:
            end = _end_of_scan(data, end)
        if marker not in _METADATA:
            parts.append(data[at:end])
        at = end
    return b"".join([*parts, b"\xff\xd9"])


def _end_of_scan(data: bytes, at: int) -> int:
    """Where the next marker stands behind compressed data: 0xFF is stuffed with 0 there, and restarts are part of them (T.81 B.1.1.5)."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        if data[at + 1] != 0 and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2
    return len(data)


def declared_rgb(data: bytes) -> bytes:
    """The same stream with a segment that says that its components are RGB, for decoders that look there."""
    return data[:2] + _APP14_RGB + data[2:]
