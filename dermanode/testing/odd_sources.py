"""Photographs as devices send them: photometric interpretations, transfer syntaxes, character sets, gaps, one view to sixteen."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    VLPhotographicImageStorage,
)

from dermanode.dicom.read import read_series
from dermanode.domain import Case, Finding
from dermanode.domain.series import RGB
from dermanode.testing import worked_cases

BELOW_4 = "1.2.840.10008.1.2.4."
Fill = Callable[[Dataset, RGB], None]
"""Puts a photograph into an instance."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """One way to hold the pixels."""

    name: str
    syntax: str
    fill: Fill


def _native(photometric: str, samples: Callable[[RGB], NDArray[np.uint8]], **header: object) -> Fill:
    def fill(image: Dataset, photo: RGB) -> None:
        image.PhotometricInterpretation = photometric
        for keyword, value in header.items():
            setattr(image, keyword, value)
        if image.SamplesPerPixel == 1:
            del image.PlanarConfiguration
        data = np.ascontiguousarray(samples(photo)).tobytes()
        image.PixelData = data + b"\0" * (len(data) % 2)
        image["PixelData"].VR = "OB"

    return fill


def _framed(photometric: str, encode: Callable[[RGB], bytes | bytearray], *, method: str = "", **header: object) -> Fill:
    def fill(image: Dataset, photo: RGB) -> None:
        image.PhotometricInterpretation = photometric
        for keyword, value in header.items():
            setattr(image, keyword, value)
        if image.SamplesPerPixel == 1:
            del image.PlanarConfiguration
        if method:
            image.LossyImageCompression, image.LossyImageCompressionMethod, image.LossyImageCompressionRatio = "01", method, "9.5"
        image.PixelData = encapsulate([bytes(encode(photo))])
        image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True

    return fill


def _grey(photo: RGB) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(photo).convert("L"))


def _ybr(photo: RGB) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(photo).convert("YCbCr"))


def _ybr_422(photo: RGB) -> NDArray[np.uint8]:
    full = _ybr(photo)[:, : photo.shape[1] // 2 * 2]
    pairs = full.reshape(full.shape[0], -1, 2, 3)
    return np.stack([pairs[:, :, 0, 0], pairs[:, :, 1, 0], pairs[:, :, 0, 1], pairs[:, :, 0, 2]], -1)


def _jpeg(photo: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _rle(photo: RGB) -> bytes:
    rows, columns = photo.shape[:2]
    layout = {"samples_per_pixel": 3, "planar_configuration": 0, "bits_allocated": 8, "bits_stored": 8, "pixel_representation": 0}
    encoded: bytes = get_encoder(RLELossless).encode(
        photo, photometric_interpretation="RGB", number_of_frames=1, encoding_plugin="pydicom", rows=rows, columns=columns, **layout
    )
    return encoded


def _palette(image: Dataset, photo: RGB) -> None:
    small = Image.fromarray(photo).quantize(256, dither=Image.Dither.NONE)
    colours = np.asarray((small.getpalette() or [])[:768] + [0] * 768, np.uint16)[:768].reshape(-1, 3)
    image.PhotometricInterpretation, image.SamplesPerPixel = "PALETTE COLOR", 1
    del image.PlanarConfiguration
    for channel, name in enumerate(("Red", "Green", "Blue")):
        setattr(image, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(image, f"{name}PaletteColorLookupTableData", (colours[:, channel] * 257).astype("<u2").tobytes())
    data = np.asarray(small, np.uint8).tobytes()
    image.PixelData = data + b"\0" * (len(data) % 2)
    image["PixelData"].VR = "OB"


def _compressed(number: str, encode: Callable[[RGB], bytes | bytearray], photometric: str = "RGB", method: str = "") -> tuple[str, Fill]:
    return BELOW_4 + number, _framed(photometric, encode, method=method)


PIXELS: tuple[Pixels, ...] = tuple(
    Pixels(name, syntax, fill)
    for name, (syntax, fill) in {
        "RGB explicit": (ExplicitVRLittleEndian, _native("RGB", lambda a: a)),
        "RGB implicit": (ImplicitVRLittleEndian, _native("RGB", lambda a: a)),
        "RGB big endian": (ExplicitVRBigEndian, _native("RGB", lambda a: a)),
        "RGB deflated": (DeflatedExplicitVRLittleEndian, _native("RGB", lambda a: a)),
        "RGB by plane": (ExplicitVRLittleEndian, _native("RGB", lambda a: np.moveaxis(a, 2, 0), PlanarConfiguration=1)),
        "YBR_FULL": (ExplicitVRLittleEndian, _native("YBR_FULL", _ybr)),
        "YBR_FULL_422": (ExplicitVRLittleEndian, _native("YBR_FULL_422", _ybr_422)),
        "MONOCHROME2": (ExplicitVRLittleEndian, _native("MONOCHROME2", _grey, SamplesPerPixel=1)),
        "MONOCHROME1": (ImplicitVRLittleEndian, _native("MONOCHROME1", lambda a: 255 - _grey(a), SamplesPerPixel=1)),
        "PALETTE COLOR": (ExplicitVRLittleEndian, _palette),
        "JPEG baseline": (JPEGBaseline8Bit, _framed("YBR_FULL_422", _jpeg, method="ISO_10918_1")),
        "JPEG grey": (JPEGBaseline8Bit, _framed("MONOCHROME2", lambda a: _jpeg(_grey(a)), method="ISO_10918_1", SamplesPerPixel=1)),
        "JPEG extended": _compressed("51", _jpeg, "YBR_FULL_422", "ISO_10918_1"),
        "JPEG lossless": _compressed("70", lambda a: imagecodecs.jpeg8_encode(a, lossless=True)),
        "JPEG-LS": _compressed("80", lambda a: imagecodecs.jpegls_encode(a)),
        "JPEG-LS near lossless": _compressed("81", lambda a: imagecodecs.jpegls_encode(a, level=2), method="ISO_14495_1"),
        "JPEG 2000 lossless": _compressed("90", lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k"), "YBR_RCT"),
        "JPEG 2000": _compressed("91", lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", level=50), "YBR_ICT", "ISO_15444_1"),
        "JPEG XL": _compressed("110", lambda a: imagecodecs.jpegxl_encode(a, lossless=True)),
        "RLE": (RLELossless, _framed("RGB", _rle)),
        "deflated frame": ("1.2.840.10008.1.2.8.1", _framed("RGB", lambda a: zlib.compress(np.ascontiguousarray(a).tobytes(), wbits=-15))),
    }.items()
)
NAMES: tuple[tuple[str, Sequence[str] | str | None, bytes], ...] = (
    ("none", None, b"Doe^Jane"),
    ("none, UTF-8 bytes", None, "Müller^Jörg".encode()),
    ("Latin-1", "ISO_IR 100", "Müller^Jörg".encode("latin_1")),
    ("Latin-2", "ISO_IR 101", "Dvořák^Jiří".encode("iso8859_2")),
    ("Cyrillic", "ISO_IR 144", "Люкceмбypг".encode("iso8859_5")),
    ("Arabic", "ISO_IR 127", "قباني^لنزار".encode("iso8859_6")),
    ("Greek", "ISO_IR 126", "Διονυσιος".encode("iso8859_7")),
    ("Japanese", ["", "ISO 2022 IR 87"], b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
    ("Korean", ["", "ISO 2022 IR 149"], b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
    ("UTF-8", "ISO_IR 192", "Wang^XiaoDong=王^小东".encode()),
    ("GB18030", "GB18030", "Wang^XiaoDong=王^小东".encode("gb18030")),
)
SPACINGS: tuple[tuple[str, str | None, list[str]], ...] = (
    ("pixel spacing", "PixelSpacing", ["0.05", "0.05"]),
    ("oblong pixels", "PixelSpacing", ["0.05", "0.0498"]),
    ("imager spacing", "ImagerPixelSpacing", ["0.04", "0.04"]),
    ("none", None, []),
    ("spacing of 0", "PixelSpacing", ["0", "0"]),
)
_EMPTY_OR_GONE = ("PatientBirthDate", "PatientSex", "ReferringPhysicianName", "StudyID", "AccessionNumber", "StudyTime", "Laterality")
"""Type 2 attributes; each of them is lost or left empty in some cases."""
VIEWS = (1, 2, 3, 1, 4, 8, 1, 2, 5, 1, 16, 3)
SIZES = ((96, 128), (97, 131), (128, 96), (64, 64), (120, 250))
FINDINGS = ("everything", "closed body", "relative heights", "an empty mask", "no segmentation", "nothing")


@dataclass(frozen=True)
class OddCase:
    """One case, read from its files, with what is odd about it."""

    number: int
    case: Case
    traits: tuple[tuple[str, str], ...]
    """(of what, which): (`pixels`, `RGB by plane`), ..."""


def odd_case(number: int, folder: Path) -> OddCase:
    """The case of that number: the same each time. Its files lie in `folder`; its findings are worked ones, no network takes part."""
    chance = random.Random(number)
    pixels, names, spacing = PIXELS[number % len(PIXELS)], NAMES[number % len(NAMES)], SPACINGS[number % len(SPACINGS)]
    views, (rows, columns) = VIEWS[number % len(VIEWS)], SIZES[chance.randrange(len(SIZES))]
    if pixels.name == "YBR_FULL_422":
        columns -= columns % 2
    is_dermoscopic = chance.random() < 0.6
    gone = tuple(keyword for keyword in _EMPTY_OR_GONE if chance.random() < 0.25)
    emptied = tuple(keyword for keyword in _EMPTY_OR_GONE if keyword not in gone and chance.random() < 0.25)
    tracking = chance.choice(("both", "id only", "none"))
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for view in range(1, views + 1):
        image = worked_cases.photograph(view, rows, columns, spacing_mm=None, study=f"odd {number}")
        _describe(image, names, spacing, is_dermoscopic=is_dermoscopic, tracking=tracking)
        for keyword in (*gone, *emptied):
            if keyword in gone and keyword in image:
                del image[keyword]
            elif keyword in image:
                setattr(image, keyword, None)
        files.append(_write(image, pixels, folder / f"{view}.dcm", seed=number * 100 + view))
    case = Case(id=f"odd-{number}", revision=1, series=read_series(files))
    finding = FINDINGS[(5 * number + number // len(VIEWS)) % len(FINDINGS)]
    traits = (
        ("pixels", pixels.name),
        ("names", names[0]),
        ("spacing", spacing[0]),
        ("views", str(views)),
        ("class", "dermoscopic" if is_dermoscopic else "VL photographic"),
        ("tracking", tracking),
        ("findings", finding),
        ("type 2", "complete" if not (gone or emptied) else "lost or empty"),
    )
    return OddCase(number, replace(case, findings=_findings(case, finding)), traits)


def _describe(
    image: Dataset,
    names: tuple[str, Sequence[str] | str | None, bytes],
    spacing: tuple[str, str | None, list[str]],
    *,
    is_dermoscopic: bool,
    tracking: str,
) -> None:
    _, terms, name = names
    image.PatientID, image.StudyDescription = "P-1", "Dermoscopy"
    del image.SpecificCharacterSet
    if terms is not None:
        image.SpecificCharacterSet = terms
    padded = name + b" " * (len(name) % 2)
    image[0x00100010] = RawDataElement(Tag(0x00100010), "PN", len(padded), padded, 0, False, True)
    if spacing[1]:
        setattr(image, spacing[1], spacing[2])
    if not is_dermoscopic:
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = VLPhotographicImageStorage
        image.Modality = "XC"
    if tracking != "both":
        del image.TrackingUID
    if tracking == "none":
        del image.TrackingID


def _write(image: Dataset, pixels: Pixels, path: Path, seed: int) -> Path:
    pixels.fill(image, _photo(image.Rows, image.Columns, seed))
    syntax = pixels.syntax
    is_writable = syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
    placeholder = syntax if is_writable else JPEGBaseline8Bit
    image.file_meta.TransferSyntaxUID = placeholder
    if syntax == ExplicitVRBigEndian:
        # pydicom keeps the bytes of what was never parsed: nothing here depends on their order but text.
        dcmwrite(path, image, implicit_vr=False, little_endian=False, enforce_file_format=True)
    else:
        dcmwrite(path, image, enforce_file_format=True)
    if syntax != placeholder:
        # pydicom writes none of the newest syntaxes, nor frames that it did not encode itself under some others.
        path.write_bytes(path.read_bytes().replace(_syntax_element(placeholder), _syntax_element(syntax), 1))
    return path


def _syntax_element(uid: str) -> bytes:
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return b"\x02\x00\x10\x00UI" + struct.pack("<H", len(value)) + value


def _photo(rows: int, columns: int, seed: int) -> RGB:
    """Skin with a lesion, smooth enough for every codec."""
    grain = np.random.default_rng(seed).integers(-8, 9, (rows // 8 + 2, columns // 8 + 2, 3))
    picture = np.full((rows, columns, 3), (224, 172, 150), np.int16)
    picture[worked_cases.disc(rows, columns)] = (110, 70, 50)
    picture += np.kron(grain, np.ones((8, 8, 1), np.int16))[:rows, :columns].astype(np.int16)
    return picture.clip(0, 255).astype(np.uint8)


def _findings(case: Case, which: str) -> tuple[Finding, ...]:
    if which == "nothing":
        return ()
    numbers = worked_cases.numbers(case)
    if which == "no segmentation":
        return numbers
    is_scaled = all(view.geometry.pixel_spacing_mm for view in case.series.views)
    empty = frozenset({0}) if which == "an empty mask" else frozenset()
    masks = worked_cases.segmentation(case, empty, has_probability=which != "relative heights")
    surface = worked_cases.metric_surface(case) if which in ("everything", "closed body") else None
    if surface is None or not is_scaled:
        surface = worked_cases.surface(case, lateral_unit="mm" if is_scaled else "px")
    return (masks, surface, *numbers, worked_cases.explanation(case, empty))
