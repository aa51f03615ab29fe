"""Decoding: every syntax and colour that a device may send, and what damage looks like."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from dermanode.dicom.jpeg import jpeg_frame
from dermanode.dicom.pixels import DicomPixels
from dermanode.errors import UnreadableObject

BELOW_4 = "1.2.840.10008.1.2.4."


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    """64 x 96 smooth colours."""
    rng = np.random.default_rng(4)
    small = Image.fromarray(rng.integers(40, 220, (5, 7, 3), dtype=np.uint8))
    return np.asarray(small.resize((96, 64), Image.Resampling.BICUBIC))


def _jpeg(photo: NDArray[np.uint8], **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def _file(
    folder: Path, data: bytes, syntax: str, *, rows: int = 64, columns: int = 96, frame: bool = True, **header: object
) -> DicomPixels:
    """A file of that frame; written with the syntaxes that pydicom refuses to write, too."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.7", "1.2.3.4"
    image.Rows, image.Columns = rows, columns
    defaults = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsAllocated": 8, "BitsStored": 8}
    for keyword, value in {**defaults, "HighBit": 7, "PixelRepresentation": 0, **header}.items():
        setattr(image, keyword, value)
    image.PixelData = encapsulate([data]) if frame else data
    image["PixelData"].VR = "OB" if frame or image.BitsAllocated == 8 else "OW"
    image["PixelData"].is_undefined_length = frame
    image.file_meta = FileMetaDataset()
    placeholder = UID(syntax) if not frame else UID(BELOW_4 + "50")
    image.file_meta.TransferSyntaxUID = placeholder
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    path = folder / "image.dcm"
    dcmwrite(path, image, enforce_file_format=True)
    if syntax != placeholder:
        path.write_bytes(_with_syntax(path.read_bytes(), placeholder, syntax))
    return DicomPixels(path)


def _with_syntax(data: bytes, old: str, new: str) -> bytes:
    def element(uid: str) -> bytes:
        value = uid.encode() + b"\0" * (len(uid) % 2)
        return b"\x02\x00\x10\x00UI" + struct.pack("<H", len(value)) + value

    return data.replace(element(old), element(new), 1)


def _ybr(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(rgb).convert("YCbCr"))


def _worst(seen: NDArray[np.uint8], true: NDArray[np.uint8]) -> int:
    assert seen.dtype == np.uint8
    assert seen.shape == true.shape
    return int(np.abs(seen.astype(int) - true.astype(int)).max())


@pytest.mark.parametrize(
    ("syntax", "encode", "tolerance"),
    [
        (BELOW_4 + "50", _jpeg, 14),
        (BELOW_4 + "51", _jpeg, 14),
        (BELOW_4 + "57", lambda a: imagecodecs.jpeg8_encode(a, lossless=True), 0),
        (BELOW_4 + "70", lambda a: imagecodecs.jpeg8_encode(a, lossless=True), 0),
        (BELOW_4 + "80", lambda a: imagecodecs.jpegls_encode(a), 0),
        (BELOW_4 + "81", lambda a: imagecodecs.jpegls_encode(a, level=2), 2),
        (BELOW_4 + "90", lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k"), 0),
        (BELOW_4 + "91", lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", level=50), 6),
        (BELOW_4 + "110", lambda a: imagecodecs.jpegxl_encode(a, lossless=True), 0),
        (BELOW_4 + "112", lambda a: imagecodecs.jpegxl_encode(a, lossless=True), 0),
        ("1.2.840.10008.1.2.8.1", lambda a: zlib.compress(a.tobytes(), wbits=-15), 0),
    ],
)
def test_every_compressed_syntax_gives_the_photograph(tmp_path, photo, syntax, encode, tolerance) -> None:
    assert _worst(_file(tmp_path, bytes(encode(photo)), syntax).decode(), photo) <= tolerance


def test_rle_gives_the_photograph(tmp_path, photo) -> None:
    from pydicom.pixels import get_encoder

    options = {
        "planar_configuration": 0,
        "rows": 64,
        "columns": 96,
        "samples_per_pixel": 3,
        "bits_allocated": 8,
        "bits_stored": 8,
        "pixel_representation": 0,
    }
    data = get_encoder(RLELossless).encode(
        photo, photometric_interpretation="RGB", number_of_frames=1, encoding_plugin="pydicom", **options
    )
    assert _worst(_file(tmp_path, data, RLELossless).decode(), photo) == 0


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("planar", [0, 1])
def test_native_colour_is_read_by_pixel_and_by_plane(tmp_path, photo, syntax, planar) -> None:
    samples = np.moveaxis(photo, 2, 0) if planar else photo
    pixels = _file(tmp_path, np.ascontiguousarray(samples).tobytes(), syntax, frame=False, PlanarConfiguration=planar)
    assert _worst(pixels.decode(), photo) == 0


def test_big_endian_words_are_read(tmp_path) -> None:
    grey = np.arange(64 * 96, dtype=np.uint16).reshape(64, 96)
    header = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 13, "HighBit": 12}
    pixels = _file(tmp_path, grey.astype(">u2").tobytes(), ExplicitVRBigEndian, frame=False, **header)
    assert _worst(pixels.decode()[:, :, 0], np.rint(grey * (255 / 8191)).astype(np.uint8)) == 0


def test_native_ybr_becomes_rgb(tmp_path, photo) -> None:
    pixels = _file(tmp_path, _ybr(photo).tobytes(), ExplicitVRLittleEndian, frame=False, PhotometricInterpretation="YBR_FULL")
    assert _worst(pixels.decode(), photo) <= 3


def test_native_ybr_422_becomes_rgb(tmp_path, photo) -> None:
    ybr = _ybr(photo)
    pairs = np.stack((ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]), axis=2)
    pixels = _file(tmp_path, pairs.tobytes(), ExplicitVRLittleEndian, frame=False, PhotometricInterpretation="YBR_FULL_422")
    assert np.abs(pixels.decode().astype(int) - photo).mean() < 3


def test_full_size_data_labelled_422_were_decoded_already(tmp_path, photo) -> None:
    """A gateway decoded the JPEG and left its label (OHIF issue 2934)."""
    pixels = _file(tmp_path, photo.tobytes(), ExplicitVRLittleEndian, frame=False, PhotometricInterpretation="YBR_FULL_422")
    assert _worst(pixels.decode(), photo) == 0


@pytest.mark.parametrize("label", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_colour_of_a_jpeg_is_what_its_markers_say(tmp_path, photo, label) -> None:
    """Pillow writes JFIF, so YCbCr: whatever the label, the picture is the same."""
    assert _worst(_file(tmp_path, _jpeg(photo), BELOW_4 + "50", PhotometricInterpretation=label).decode(), photo) <= 14


def test_label_decides_where_a_jpeg_has_no_markers(tmp_path, photo) -> None:
    rgb = _jpeg(photo, keep_rgb=True, subsampling=0)
    assert jpeg_frame(rgb).is_rgb
    at = rgb.index(b"\xff\xee")
    bare = bytearray(rgb[:at] + rgb[at + 2 + int.from_bytes(rgb[at + 2 : at + 4], "big") :])
    for marker, first, stride in ((b"\xff\xc0", 10, 3), (b"\xff\xda", 5, 2)):
        start = bare.index(marker)
        for component in range(3):
            bare[start + first + stride * component] = component + 1
    assert jpeg_frame(bytes(bare)).is_rgb is None

    assert _worst(_file(tmp_path, bytes(bare), BELOW_4 + "50").decode(), photo) <= 14
    assert _worst(_file(tmp_path, bytes(bare), BELOW_4 + "50", PhotometricInterpretation="YBR_FULL").decode(), photo) > 30


@pytest.mark.parametrize(("asked", "side"), [(None, 960), (2000, 960), (960, 960), (500, 600), (480, 480), (100, 120), (50, 60)])
def test_jpeg_is_scaled_by_its_codec(tmp_path, photo, asked, side) -> None:
    large = np.asarray(Image.fromarray(photo).resize((960, 640)))
    seen = _file(tmp_path, _jpeg(large), BELOW_4 + "50", rows=640, columns=960).decode(asked)
    assert seen.shape == (side * 2 // 3, side, 3)


@pytest.mark.parametrize(("asked", "side"), [(None, 96), (96, 96), (60, 96), (48, 48), (30, 32)])
def test_other_pictures_are_scaled_by_whole_blocks(tmp_path, photo, asked, side) -> None:
    seen = _file(tmp_path, photo.tobytes(), ExplicitVRLittleEndian, frame=False).decode(asked)
    assert max(seen.shape) == side
    assert abs(int(seen.mean()) - int(photo.mean())) <= 1


GREY = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
DEEP = {**GREY, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}


@pytest.mark.parametrize(
    ("header", "value", "grey"),
    [
        (GREY, 100, 100),
        ({**GREY, "PhotometricInterpretation": "MONOCHROME1"}, 100, 155),
        (DEEP, 4095, 255),
        (DEEP, 2048, 128),
        (DEEP, 0xF000, 0),
        ({**DEEP, "PixelRepresentation": 1}, 0x0800, 0),
        ({**DEEP, "PixelRepresentation": 1}, 0x07FF, 255),
        ({**DEEP, "BitsStored": 12, "HighBit": 15}, 0xFFF0, 255),
        ({**DEEP, "WindowCenter": "1000", "WindowWidth": "200"}, 1000, 128),
        ({**DEEP, "WindowCenter": "1000", "WindowWidth": "200"}, 1200, 255),
        ({**DEEP, "WindowCenter": "0", "WindowWidth": "200", "RescaleSlope": "1", "RescaleIntercept": "-1000"}, 1000, 128),
    ],
)
def test_grey_values_become_bytes(tmp_path, header, value, grey) -> None:
    kind = "<u2" if header.get("BitsAllocated") == 16 else "u1"
    data = np.full((64, 96), value, kind).tobytes()
    seen = _file(tmp_path, data, ExplicitVRLittleEndian, frame=False, **header).decode()
    assert seen.shape == (64, 96, 3)
    assert set(seen.ravel()) == {grey}


def test_deep_colours_lose_their_lowest_bits(tmp_path) -> None:
    header = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}
    seen = _file(tmp_path, np.full((64, 96, 3), 0x8040, "<u2").tobytes(), ExplicitVRLittleEndian, frame=False, **header).decode()
    assert set(seen.ravel()) == {0x80}


def test_palette_is_looked_up(tmp_path) -> None:
    header: dict[str, object] = {"SamplesPerPixel": 1, "PhotometricInterpretation": "PALETTE COLOR"}
    for colour, table in (("Red", [0, 65535, 0]), ("Green", [0, 0, 65535]), ("Blue", [32768, 0, 0])):
        header[f"{colour}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        header[f"{colour}PaletteColorLookupTableData"] = np.array(table, "<u2").tobytes()
    indices = (np.arange(64 * 96) % 3).astype(np.uint8)
    seen = _file(tmp_path, indices.tobytes(), ExplicitVRLittleEndian, frame=False, **header).decode()
    assert seen.reshape(-1, 3)[:3].tolist() == [[0, 0, 128], [255, 0, 0], [0, 255, 0]]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"NumberOfFrames": "5"}, "it has 5 frames; only single photographs are supported"),
        ({"PhotometricInterpretation": "HSV"}, "Photometric Interpretation 'HSV' is not supported"),
        ({"SamplesPerPixel": 1}, "1 samples per pixel, which does not go with RGB"),
        ({"BitsAllocated": 12}, "12 bits per sample are not supported"),
        ({"Rows": 65535, "Columns": 65535}, "more than a photograph can have"),
        ({"Rows": 65}, "an image of 96 x 65 needs 18720"),
        ({"SamplesPerPixel": 1, "PhotometricInterpretation": "PALETTE COLOR"}, "its palette cannot be used"),
    ],
)
def test_what_cannot_be_decoded_is_said_in_words(tmp_path, photo, header, reason) -> None:
    with pytest.raises(UnreadableObject, match=reason):
        _file(tmp_path, photo.tobytes(), ExplicitVRLittleEndian, frame=False, **header).decode()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "JPEG data cannot be decoded"),
        (lambda data: b"\x12\x34" + data[2:], "it does not start like a JPEG"),
        (lambda data: data[:8], "JPEG"),
    ],
)
def test_damaged_jpeg_is_said_in_words(tmp_path, photo, damage, reason) -> None:
    with pytest.raises(UnreadableObject, match=reason):
        _file(tmp_path, damage(_jpeg(photo)), BELOW_4 + "50").decode(32)


@pytest.mark.parametrize("number", ["57", "70", "80", "90", "201", "110"])
def test_rubbish_is_said_in_words(tmp_path, number) -> None:
    rubbish = np.random.default_rng(1).integers(0, 256, 500, dtype=np.uint8).tobytes()
    with pytest.raises(UnreadableObject, match="cannot be decoded"):
        _file(tmp_path, rubbish, BELOW_4 + number).decode()


def test_frame_of_another_size_is_refused(tmp_path, photo) -> None:
    for data, number in ((_jpeg(photo), "50"), (imagecodecs.jpeg2k_encode(photo, codecformat="j2k"), "90")):
        with pytest.raises(UnreadableObject, match="frame has 96 x 64 pixels, its header says 96 x 32"):
            _file(tmp_path, bytes(data), BELOW_4 + number, rows=32).decode()


def test_unknown_syntax_is_refused(tmp_path, photo) -> None:
    with pytest.raises(UnreadableObject, match=r"1\.2\.3\.4\.5 is not supported"):
        _file(tmp_path, _jpeg(photo), "1.2.3.4.5").decode()


def test_file_that_ends_within_its_pixels_is_refused(tmp_path, photo) -> None:
    pixels = _file(tmp_path, _jpeg(photo), BELOW_4 + "50")
    pixels.path.write_bytes(pixels.path.read_bytes()[:-200])
    with pytest.raises(UnreadableObject, match="the file ends within its pixel data"):
        pixels.decode()


def test_frame_in_several_fragments_is_joined(tmp_path, photo) -> None:
    data = _jpeg(photo)
    pixels = _file(tmp_path, data, BELOW_4 + "50")
    whole = pixels.path.read_bytes()
    start = whole.index(data) - 8
    half = len(data) // 4 * 2
    parts = [data[:half], data[half:] + b"\0" * (len(data) % 2)]
    items = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(part)) + part for part in parts)
    pixels.path.write_bytes(whole[:start] + items + b"\xfe\xff\xdd\xe0\0\0\0\0")
    assert _worst(pixels.decode(), photo) <= 14


def test_colours_of_another_profile_become_srgb(tmp_path, photo) -> None:
    plain = _file(tmp_path, photo.tobytes(), ExplicitVRLittleEndian, frame=False).decode()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = _file(tmp_path, photo.tobytes(), ExplicitVRLittleEndian, frame=False, ICCProfile=srgb).decode()
    # The same profile with the first colorants of red and green exchanged is another device.
    other = srgb.replace(b"s\0R\0G\0B", b"x\0R\0G\0B").replace(b"rXYZ", b"tXYZ").replace(b"gXYZ", b"rXYZ").replace(b"tXYZ", b"gXYZ")
    changed = _file(tmp_path, photo.tobytes(), ExplicitVRLittleEndian, frame=False, ICCProfile=other).decode()

    assert np.array_equal(same, plain)
    assert _worst(np.ascontiguousarray(changed[:, :, [1, 0, 2]]), plain) <= 3


def test_damaged_profile_changes_nothing(tmp_path, photo) -> None:
    seen = _file(tmp_path, photo.tobytes(), ExplicitVRLittleEndian, frame=False, ICCProfile=b"rubbish" * 40).decode()
    assert np.array_equal(seen, photo)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack("<16I", 3, 64, 66, 68, *[0] * 12) + b"\xff\x01" * 3, "its RLE data end early"),
        (struct.pack("<16I", 9, *[64] * 9, *[0] * 6), "it has 9 RLE segments for 3 samples of 8 bits"),
        (struct.pack("<16I", 3, 4000000000, 64, 64, *[0] * 12), "its RLE data end early"),
        (b"\x03\x00", "end early|RLE segments"),
    ],
)
def test_damaged_rle_is_said_in_words(tmp_path, data, reason) -> None:
    with pytest.raises(UnreadableObject, match=reason):
        _file(tmp_path, data, RLELossless).decode()
