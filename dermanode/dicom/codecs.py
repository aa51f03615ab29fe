"""Decoders of compressed frames, by transfer syntax: bytes in, samples out.

The codecs are called directly, not through pydicom: they are given the frame alone, so a wrong tag cannot change what they
decode, and the colour they decoded is known. JPEG is scaled while it is decoded, in its own DCT domain.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from dermanode.dicom.jpeg import declared_rgb, jpeg_frame
from dermanode.dicom.layout import Layout

_BELOW_4 = "1.2.840.10008.1.2.4"
_STREAM_START, _STREAM_SIZE, _STREAM_STYLE = b"\xff\x4f", b"\xff\x51", b"\xff\x52"


class CodecError(ValueError):
    """A frame that its codec cannot decode; the text is the reason, without the subject."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The samples of one frame."""

    samples: NDArray[np.generic]
    """Rows x columns (one component) or rows x columns x 3."""
    is_rgb: bool | None
    """What the codec knows about three components; None: the header's Photometric Interpretation has to say it."""


def decode_frame(transfer_syntax: str, frame: bytes, layout: Layout, longest_side_px: int | None) -> Decoded:
    """Decodes one frame; only JPEG with 8 bits heeds `longest_side_px`. Raises `CodecError`."""
    decoder = _DECODERS.get(transfer_syntax)
    if decoder is None:
        raise CodecError(f"its transfer syntax {transfer_syntax} is not supported")
    name, decode = decoder
    try:
        decoded = decode(frame, layout, longest_side_px)
    except CodecError:
        raise
    # The codecs' own errors descend from RuntimeError (imagecodecs) or ValueError (simplejpeg).
    except (RuntimeError, ValueError, TypeError, MemoryError, zlib.error) as error:
        raise CodecError(f"its {name} data cannot be decoded ({_words(error)})") from error
    _check(decoded.samples, layout)
    return decoded


def _words(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


def _check(samples: NDArray[np.generic], layout: Layout) -> None:
    components = samples.shape[2] if samples.ndim == 3 else 1
    if components not in (1, 3):
        raise CodecError(f"it holds {components} colour components")
    if components != layout.samples:
        raise CodecError(f"it holds {components} colour components, its header says {layout.samples}")


def _same_size(rows: int, columns: int, layout: Layout) -> None:
    if (rows, columns) != (layout.rows, layout.columns):
        raise CodecError(f"its frame has {columns} x {rows} pixels, its header says {layout.columns} x {layout.rows}")


def _jpeg(frame: bytes, layout: Layout, longest_side_px: int | None) -> Decoded:
    info = jpeg_frame(frame)
    _same_size(info.rows, info.columns, layout)
    if info.components == 4:
        raise CodecError("it is a CMYK photograph")
    if info.process not in (0, 1, 2) or info.precision != 8:
        is_rgb = None if info.process == 3 else _jpeg_is_rgb(info.is_rgb, layout)
        return Decoded(imagecodecs.jpeg8_decode(frame), True if is_rgb is False else is_rgb)
    if info.components == 3 and info.is_rgb is None and _jpeg_is_rgb(None, layout):
        frame = declared_rgb(frame)
    # A palette's indices must not be averaged.
    side = longest_side_px if layout.photometric != "PALETTE COLOR" else None
    smallest = {"min_width" if layout.columns >= layout.rows else "min_height": min(side, max(layout.rows, layout.columns))} if side else {}
    colorspace = "GRAY" if info.components == 1 else "RGB"
    try:
        samples = simplejpeg.decode_jpeg(frame, colorspace, **smallest)
    except ValueError as error:
        # Bytes between the markers harm nothing; a stream that ends early would lose half a lesion.
        if "extraneous" not in str(error):
            raise
        samples = simplejpeg.decode_jpeg(frame, colorspace, strict=False, **smallest)
    return Decoded(samples[:, :, 0] if info.components == 1 else samples, True)


def _jpeg_is_rgb(markers_say: bool | None, layout: Layout) -> bool:
    """Whether a JPEG's components are RGB: its markers know best, then the header's tag (OHIF issue 2934 is the reverse)."""
    return layout.photometric == "RGB" if markers_say is None else markers_say


def _jpeg_ls(frame: bytes, layout: Layout, _: int | None) -> Decoded:
    return Decoded(_sized(imagecodecs.jpegls_decode(frame), layout), None)


def _jpeg_2000(frame: bytes, layout: Layout, _: int | None) -> Decoded:
    stream = frame[max(frame.find(_STREAM_START), 0) :]
    size = stream.find(_STREAM_SIZE, 0, 256)
    if size >= 0:
        # T.800 A.5.1: Xsiz, Ysiz and their offsets.
        right, bottom, left, top = (int.from_bytes(stream[size + at : size + at + 4], "big") for at in (6, 10, 14, 18))
        _same_size(bottom - top, right - left, layout)
    style = stream.find(_STREAM_STYLE, 0, 4096)
    # T.800 A.6.1: the component transform, undone by the codec, so that its output is RGB whatever the tag says.
    is_transformed = style >= 0 and stream[style + 8 : style + 9] == b"\x01"
    samples = _sized(imagecodecs.jpeg2k_decode(frame), layout)
    return Decoded(samples, True if is_transformed or layout.photometric in ("YBR_RCT", "YBR_ICT") else None)


def _jpeg_xl(frame: bytes, layout: Layout, _: int | None) -> Decoded:
    return Decoded(_sized(imagecodecs.jpegxl_decode(frame), layout), True)


def _rle(frame: bytes, layout: Layout, _: int | None) -> Decoded:
    """RLE Lossless (PS3.5 G): for each sample of a pixel, one run-length coded plane a byte, the highest byte first.

    In Python on purpose: the compiled decoders at hand (imagecodecs, pylibjpeg-rle) were seen to end the process on damaged data.
    """
    count, *offsets = struct.unpack_from("<16I", frame.ljust(64, b"\0"))
    width = layout.bits_allocated // 8
    if layout.bits_allocated == 1 or count != layout.samples * width or count > 15:
        raise CodecError(f"it has {count} RLE segments for {layout.samples} samples of {layout.bits_allocated} bits")
    size = layout.rows * layout.columns
    ends = [*offsets[1:count], len(frame)]
    planes = [_unpacked_bits(frame[start:end], size) for start, end in zip(offsets[:count], ends, strict=True)]
    wide = np.frombuffer(b"".join(planes), np.uint8).reshape(layout.samples, width, layout.rows, layout.columns)
    samples = np.ascontiguousarray(np.moveaxis(wide, (0, 1), (2, 3))).view(f">u{width}")[..., 0]
    return Decoded(samples[:, :, 0] if layout.samples == 1 else samples, None)


def _unpacked_bits(segment: bytes, size: int) -> bytes:
    """One segment's runs and literals, `size` bytes of them (PS3.5 G.3.2)."""
    plane, at, end = bytearray(), 0, len(segment)
    while len(plane) < size:
        if at >= end:
            raise CodecError("its RLE data end early")
        run = segment[at]
        if run < 128:
            plane += segment[at + 1 : at + 2 + run]
            at += run + 2
        elif run > 128:
            plane += segment[at + 1 : at + 2] * (257 - run)
            at += 2
        else:
            at += 1
    return bytes(plane[:size])


def _deflated(frame: bytes, layout: Layout, _: int | None) -> Decoded:
    """Deflated Image Frame Compression (PS3.5 A.4.13): one raw deflate stream a frame."""
    needed = layout.rows * layout.columns * layout.samples * layout.bits_allocated // 8
    return Decoded(native_samples(zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, needed), layout), None)


def _sized(samples: NDArray[np.generic], layout: Layout) -> NDArray[np.generic]:
    _same_size(samples.shape[0], samples.shape[1], layout)
    return samples[:, :, 0] if samples.ndim == 3 and samples.shape[2] == 1 else samples


def native_samples(data: bytes, layout: Layout, *, is_little_endian: bool = True, is_swapped: bool = False) -> NDArray[np.generic]:
    """The samples of uncompressed pixel data, rows x columns [x 3]. Raises `CodecError` if there are too few.

    `is_swapped`: 8 bit samples in big endian words (OW). Data under YBR_FULL_422 are taken as they are when they hold
    three samples a pixel: then somebody decoded them and left the tag.
    """
    pixels = layout.rows * layout.columns
    if is_swapped and layout.bits_allocated == 8:
        data = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
    if layout.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        return _enough(bits, pixels * layout.samples, layout).reshape(layout.rows, layout.columns, -1)[:, :, 0]
    flat = np.frombuffer(data[: len(data) // (layout.bits_allocated // 8) * (layout.bits_allocated // 8)], _dtype(layout, is_little_endian))
    if layout.photometric == "YBR_FULL_422" and flat.size < pixels * 3:
        # PS3.3 C.7.6.3.1.2: Y Y Cb Cr for each pair of pixels in a row.
        pairs = _enough(flat, pixels * 2, layout).reshape(-1, 4)
        full = np.stack((pairs[:, :2], pairs[:, 2:3].repeat(2, 1), pairs[:, 3:4].repeat(2, 1)), axis=2)
        return full.reshape(layout.rows, layout.columns, 3)
    flat = _enough(flat, pixels * layout.samples, layout)
    if layout.samples == 1:
        return flat.reshape(layout.rows, layout.columns)
    if layout.is_planar:
        return np.moveaxis(flat.reshape(3, layout.rows, layout.columns), 0, 2)
    return flat.reshape(layout.rows, layout.columns, 3)


def _dtype(layout: Layout, is_little_endian: bool) -> np.dtype[np.generic]:
    return np.dtype(f"{'<' if is_little_endian else '>'}u{layout.bits_allocated // 8}")


def _enough(flat: NDArray[np.generic], needed: int, layout: Layout) -> NDArray[np.generic]:
    if flat.size < needed:
        raise CodecError(f"its pixel data hold {flat.size} samples, an image of {layout.columns} x {layout.rows} needs {needed}")
    return flat[:needed]


_Decoder = Callable[[bytes, Layout, int | None], Decoded]
_DECODERS: Mapping[str, tuple[str, _Decoder]] = {
    **{f"{_BELOW_4}.{n}": ("JPEG", _jpeg) for n in (50, 51, 57, 70)},
    **{f"{_BELOW_4}.{n}": ("JPEG-LS", _jpeg_ls) for n in (80, 81)},
    **{f"{_BELOW_4}.{n}": ("JPEG 2000", _jpeg_2000) for n in (90, 91, 201, 202, 203)},
    **{f"{_BELOW_4}.{n}": ("JPEG XL", _jpeg_xl) for n in (110, 111, 112)},
    "1.2.840.10008.1.2.5": ("RLE", _rle),
    "1.2.840.10008.1.2.8.1": ("deflated", _deflated),
}
"""Transfer syntax -> its name for people, and its decoder (standards: PS3.5 A.4)."""
