"""From decoded samples to what an eye would see: 8 bit RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_color_lut

from dermanode.dicom.codecs import CodecError, Decoded
from dermanode.dicom.elements import Elements
from dermanode.dicom.layout import PALETTE_TAGS, Layout
from dermanode.domain.series import RGB


def to_rgb(decoded: Decoded, layout: Layout, elements: Elements) -> RGB:
    """The samples as sRGB, rows x columns x 3, contiguous. Raises `CodecError` for a broken palette.

    Grey values go through the header's rescale and window (PS3.3 C.11.2.1.2.1) where it has one, else the whole range of the
    bits stored becomes 0 to 255; colours with more than 8 bits lose the lowest. MONOCHROME1 is turned round.
    """
    samples = decoded.samples
    if layout.photometric == "PALETTE COLOR":
        return _palette(samples, elements)
    if samples.ndim == 2:
        grey = _grey(samples, layout)
        return np.repeat(grey[:, :, None], 3, axis=2)
    eight = _eight_bits(samples, layout)
    is_rgb = decoded.is_rgb if decoded.is_rgb is not None else layout.photometric not in ("YBR_FULL", "YBR_FULL_422")
    return np.ascontiguousarray(eight) if is_rgb else _from_ybr(eight)


def _from_ybr(samples: NDArray[np.uint8]) -> RGB:
    """Full range YCbCr to RGB (PS3.3 C.7.6.3.1.2, ITU-R BT.601)."""
    luma, blue, red = (samples[:, :, n].astype(np.float32) for n in range(3))
    blue -= 128
    red -= 128
    return _bytes(np.stack((luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue), axis=2))


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(values).clip(0, 255).astype(np.uint8)
    return rounded


def _eight_bits(samples: NDArray[Any], layout: Layout) -> NDArray[np.uint8]:
    bits = layout.bits_stored
    if samples.dtype == np.uint8 and bits >= 8:
        return samples
    return _bytes(samples // 2 ** (bits - 8) if bits > 8 else samples * (255.0 / (2**bits - 1)))


def _grey(samples: NDArray[np.generic], layout: Layout) -> NDArray[np.uint8]:
    bits = layout.bits_stored
    if layout.window is None:
        values = samples.astype(np.float32)
        low = -(2.0 ** (bits - 1)) if layout.is_signed else 0.0
        scaled = (values - low) * (255.0 / (2.0**bits - 1))
    else:
        center, width = layout.window
        values = samples.astype(np.float32) * layout.rescale[0] + layout.rescale[1]
        scaled = ((values - (center - 0.5)) / max(width - 1.0, 1e-6) + 0.5) * 255.0
    grey = _bytes(scaled)
    return 255 - grey if layout.photometric == "MONOCHROME1" else grey


def _palette(indices: NDArray[np.generic], elements: Elements) -> RGB:
    """Looks indices up in the object's own palette, segmented or plain (PS3.3 C.7.9)."""
    tables = Dataset()
    for tag in sorted(PALETTE_TAGS & elements.raw.keys()):
        values = elements.bytes(tag)
        words = np.frombuffer(values[: len(values) // 2 * 2], "<u2" if elements.is_little_endian else ">u2")
        if tag < 0x00281200:
            tables.add_new(tag, "US", [int(word) for word in words])
        else:
            tables.add_new(tag, "OW", words.astype("<u2").tobytes())
    try:
        colours = apply_color_lut(indices, tables)
    # pydicom has no error of its own for a palette that contradicts itself.
    except (ValueError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        raise CodecError(f"its palette cannot be used ({error})") from error
    return _bytes((colours // 256 if colours.dtype == np.uint16 else colours)[:, :, :3])
