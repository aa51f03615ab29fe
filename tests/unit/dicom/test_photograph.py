"""Photographs become instances: bytes kept where they can be, refused in words where they cannot."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from dermanode.dicom.photograph import make_instances
from dermanode.dicom.pixels import DicomPixels
from dermanode.dicom.read import read_series
from dermanode.domain import UID, Code
from dermanode.errors import PhotographError

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    rng = np.random.default_rng(4)
    return np.asarray(Image.fromarray(rng.integers(40, 220, (5, 7, 3), dtype=np.uint8)).resize((95, 63), Image.Resampling.BICUBIC))


def _saved(path: Path, photo: NDArray[Any], mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(photo)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def _made(*photos: Path, **identity: Any) -> list[Dataset]:
    return make_instances(photos, **{"patient_id": "P1", "made_at": NOW, **identity})


def _pixels(instance: Dataset, folder: Path) -> NDArray[np.uint8]:
    dcmwrite(folder / "made.dcm", instance, enforce_file_format=True)
    return DicomPixels(folder / "made.dcm").decode()


def test_baseline_jpeg_is_kept_byte_for_byte(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    path = _saved(tmp_path / "a.jpg", photo, quality=90)
    instance = _made(path)[0]
    frame = next(generate_frames(instance.PixelData, number_of_frames=1))

    assert instance.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert frame.rstrip(b"\0") == path.read_bytes().rstrip(b"\0")
    assert (instance.Rows, instance.Columns, instance.PhotometricInterpretation) == (63, 95, "YBR_FULL_422")
    assert (instance.LossyImageCompression, instance.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert np.array_equal(_pixels(instance, tmp_path), np.asarray(Image.open(path)))


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.png", None, {}),
        ("a.tiff", None, {}),
        ("a.bmp", None, {}),
        ("a.png", "RGBA", {}),
        ("a.png", "P", {}),
        ("a.png", "L", {}),
        ("a.png", "1", {}),
        ("a.jpg", None, {"progressive": True}),
        ("a.jpg", "CMYK", {}),
        ("a.jpg", "L", {}),
    ],
)
def test_every_kind_of_file_gives_its_picture(
    tmp_path: Path, photo: NDArray[np.uint8], name: str, mode: str | None, options: dict[str, Any]
) -> None:
    path = _saved(tmp_path / name, photo, mode, **options)
    assert np.array_equal(_pixels(_made(path)[0], tmp_path), np.asarray(Image.open(path).convert("RGB")))


def test_what_jpeg_once_lost_is_still_declared(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    progressive, png = _saved(tmp_path / "a.jpg", photo, progressive=True), _saved(tmp_path / "b.png", photo)
    first, second = _made(progressive, png)

    assert first.file_meta.TransferSyntaxUID == second.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (first.LossyImageCompression, second.LossyImageCompression) == ("01", "00")


def test_sixteen_bits_are_scaled_not_cut(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 64 * 32).reshape(32, 64).astype(np.uint16)
    seen = _pixels(_made(_saved(tmp_path / "a.png", deep))[0], tmp_path)
    assert np.abs(seen[:, :, 0].astype(int) - deep // 256).max() <= 1


def test_photograph_stands_upright(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = _saved(tmp_path / "a.jpg", photo, quality=95, exif=exif)
    instance = _made(path)[0]

    assert (instance.Rows, instance.Columns) == (95, 63)
    assert np.array_equal(_pixels(instance, tmp_path), np.rot90(np.asarray(Image.open(path)), -1))


def test_exif_says_when_it_was_taken_else_the_import(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2025:06:01 10:11:12"
    dated, undated = _saved(tmp_path / "a.jpg", photo, exif=exif), _saved(tmp_path / "b.jpg", photo)
    made_at = datetime(2026, 3, 2, 9, 30, tzinfo=timezone(timedelta(hours=1)))
    instances = _made(dated, undated, made_at=made_at)
    files = [tmp_path / f"{number}.dcm" for number in (1, 2)]
    for file, instance in zip(files, instances, strict=True):
        dcmwrite(file, instance, enforce_file_format=True)
    series = read_series(files)

    assert [view.acquired_at for view in series.views] == [
        datetime(2025, 6, 1, 9, 11, 12, tzinfo=UTC),
        datetime(2026, 3, 2, 8, 30, tzinfo=UTC),
    ]
    assert series.study_date == datetime(2025, 6, 1).date()


def test_same_import_makes_the_same_instances(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    paths = [_saved(tmp_path / name, photo) for name in ("a.png", "b.png")]

    def written() -> list[bytes]:
        streams = [io.BytesIO() for _ in paths]
        for stream, instance in zip(streams, _made(*paths), strict=True):
            dcmwrite(stream, instance, enforce_file_format=True)
        return [stream.getvalue() for stream in streams]

    first, again = written(), written()
    assert first == again
    assert len(set(first)) == 2


@pytest.mark.parametrize(
    "change", [{"patient_id": "P2"}, {"made_at": NOW + timedelta(days=1)}, {"sop_class": "photographic"}, {"pixel_spacing_mm": 0.02}]
)
def test_another_identity_makes_other_instances(tmp_path: Path, photo: NDArray[np.uint8], change: dict[str, Any]) -> None:
    path = _saved(tmp_path / "a.png", photo)
    assert _made(path)[0].SOPInstanceUID != _made(path, **change)[0].SOPInstanceUID


def test_instances_say_what_the_importer_knows(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    path = _saved(tmp_path / "a.jpg", photo)
    site = Code("66643007", "SCT", "Skin of back")
    known = {"study_uid": UID("1.2.3"), "series_uid": UID("1.2.4"), "accession_number": "A1", "laterality": "L", "tracking_id": "L1"}
    instance = _made(path, patient_name="Müller^Änne", body_site=site, pixel_spacing_mm=0.02, **known)[0]
    dcmwrite(tmp_path / "a.dcm", instance, enforce_file_format=True)
    series = read_series([tmp_path / "a.dcm"])

    assert (series.study_instance_uid, series.series_instance_uid, series.accession_number) == ("1.2.3", "1.2.4", "A1")
    assert (series.patient.patient_id, series.patient.name) == ("P1", "Müller^Änne")
    assert (series.body_site, series.laterality, series.tracking_id) == (site, "L", "L1")
    assert series.modality == "DMS"
    assert series.views[0].geometry.pixel_spacing_mm == (0.02, 0.02)


def test_clinical_photographs_are_vl_photographic(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    instance = _made(_saved(tmp_path / "a.jpg", photo), sop_class="photographic")[0]

    assert (instance.SOPClassUID, instance.Modality) == ("1.2.840.10008.5.1.4.1.1.77.1.4", "XC")
    assert "ContactMethod" not in instance


def test_colour_profile_is_kept(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name in ("a.jpg", "b.png"):
        instance = _made(_saved(tmp_path / name, photo, icc_profile=profile))[0]
        dcmwrite(tmp_path / "a.dcm", instance, enforce_file_format=True)
        assert dcmread(tmp_path / "a.dcm").ICCProfile.rstrip(b"\0") == profile.rstrip(b"\0")


def test_what_is_no_photograph_is_refused_with_the_cure(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    whole = _saved(tmp_path / "whole.jpg", photo).read_bytes()
    png = _saved(tmp_path / "whole.png", photo).read_bytes()
    for name, data, words in [
        ("notes.txt", b"hello", "is no photograph"),
        ("empty.jpg", b"", "is no photograph"),
        ("cut.jpg", whole[: len(whole) // 2], "is damaged"),
        ("cut.png", png[: len(png) // 2], "is damaged"),
    ]:
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(PhotographError, match=words) as caught:
            _made(path)
        assert name in str(caught.value)
        assert "Save it again as JPEG or PNG." in str(caught.value)


def test_several_pages_are_refused(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    image = Image.fromarray(photo)
    image.save(tmp_path / "a.tiff", save_all=True, append_images=[image])
    with pytest.raises(PhotographError, match="holds 2 pictures"):
        _made(tmp_path / "a.tiff")


@pytest.mark.parametrize("change", [{"patient_id": "A\\B"}, {"patient_name": "x" * 65}, {"pixel_spacing_mm": 0.0}, {"patient_id": "a\nb"}])
def test_identity_that_dicom_cannot_hold_is_refused(tmp_path: Path, photo: NDArray[np.uint8], change: dict[str, Any]) -> None:
    with pytest.raises(PhotographError, match="cannot be"):
        _made(_saved(tmp_path / "a.jpg", photo), **change)


def test_no_photographs_are_refused() -> None:
    with pytest.raises(PhotographError, match="no photographs"):
        _made()


def test_missing_photograph_is_named(tmp_path: Path) -> None:
    with pytest.raises(PhotographError, match=r"none\.jpg cannot be opened"):
        _made(tmp_path / "none.jpg")
