"""From files to headers and series: what odd devices send must not break anything."""

from __future__ import annotations

import warnings
import zlib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dermanode.dicom.charset import decode_text
from dermanode.dicom.read import RING_CREATOR, read_header, read_series
from dermanode.domain import UID, AETitle, Code
from dermanode.errors import UnreadableObject

STUDY, SERIES, TRACKING = "1.2.3.1", "1.2.3.2", "1.2.3.9"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _image(**changes: Any) -> Dataset:
    """A 4 x 4 dermoscopic image; a change to None leaves the attribute out."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.7", "1.2.3.4"
    image.StudyInstanceUID, image.SeriesInstanceUID = STUDY, SERIES
    image.PatientID, image.PatientName, image.Modality = "P1", "Doe^Jane", "DMS"
    image.Rows = image.Columns = 4
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    image.PixelData = bytes(48)
    image["PixelData"].VR = "OB"
    for keyword, value in changes.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    return image


def _written(folder: Path, image: Dataset, name: str = "a.dcm", syntax: str = ExplicitVRLittleEndian) -> Path:
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.file_meta.MediaStorageSOPClassUID = image.get("SOPClassUID", "1.2.3")
    image.file_meta.MediaStorageSOPInstanceUID = image.get("SOPInstanceUID", "1.2.3")
    if "PixelData" in image and syntax == ImplicitVRLittleEndian:
        image["PixelData"].VR = "OW"
    path = folder / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(path, image, enforce_file_format=False)
    return path


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_header_is_the_same_in_every_encoding(tmp_path: Path, syntax: str) -> None:
    image = _image(
        AnatomicRegionSequence=[_code("66643007", "SCT", "Skin of back")],
        TrackingUID=TRACKING,
        TrackingID="L1",
        AccessionNumber="A7",
        IssuerOfPatientID="HOSPITAL",
        AcquisitionDateTime="20260302093000.5+0100",
    )
    header = read_header(_written(tmp_path, image, syntax=syntax))

    assert (header.study_instance_uid, header.series_instance_uid, header.modality) == (STUDY, SERIES, "DMS")
    assert (header.patient_id, header.issuer_of_patient_id, header.accession_number) == ("P1", "HOSPITAL", "A7")
    assert (header.body_site, header.tracking_uid, header.tracking_id) == ("66643007", UID(TRACKING), "L1")
    assert header.acquired_at == datetime(2026, 3, 2, 8, 30, 0, 500000, tzinfo=UTC)
    assert header.is_image


def test_header_of_a_deflated_object_is_read(tmp_path: Path) -> None:
    plain = _written(tmp_path, _image())
    data = plain.read_bytes()
    start = data.index(b"\x08\x00\x16\x00")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(data[start:]) + packer.flush()
    head = data[:start].replace(b"\x10\x00UI\x14\x001.2.840.10008.1.2.1\0", b"\x10\x00UI\x16\x001.2.840.10008.1.2.1.99")
    deflated = tmp_path / "deflated.dcm"
    deflated.write_bytes(head + packed)

    assert read_header(deflated).series_instance_uid == SERIES
    assert read_series([deflated]).views[0].pixels().shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"StudyInstanceUID": None}, "it has no Study Instance UID"),
        ({"SeriesInstanceUID": ""}, "it has no Series Instance UID"),
        ({"SeriesInstanceUID": "bad uid"}, "its Series Instance UID 'bad uid' is no UID"),
    ],
)
def test_missing_identity_is_said_in_words(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = _written(tmp_path, _image(**changes))

    with pytest.raises(UnreadableObject) as caught:
        read_header(path)
    assert caught.value.reason == reason
    assert str(path) in str(caught.value)


def test_missing_patient_id_stays_empty(tmp_path: Path) -> None:
    assert read_header(_written(tmp_path, _image(PatientID=None))).patient_id == ""


def test_object_without_pixels_is_no_image(tmp_path: Path) -> None:
    path = _written(tmp_path, _image(PixelData=None))

    assert not read_header(path).is_image
    with pytest.raises(UnreadableObject, match="it is no image"):
        read_series([path])


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "the file is empty"), (b"\xff\xd8\xff\xe0JFIF" * 40, "it is no DICOM object"), (b"hello world" * 100, "it is no DICOM object")],
)
def test_what_is_no_dicom_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "thing"
    path.write_bytes(data)

    with pytest.raises(UnreadableObject, match=reason):
        read_header(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableObject, match="cannot be opened"):
        read_header(tmp_path / "none.dcm")


def test_file_cut_anywhere_never_raises_anything_else(tmp_path: Path) -> None:
    image = _image(AnatomicRegionSequence=[_code("66643007", "SCT", "Skin of back")])
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        data = _written(tmp_path, image, syntax=syntax).read_bytes()
        cut = tmp_path / "cut.dcm"
        for length in range(len(data)):
            cut.write_bytes(data[:length])
            try:
                read_header(cut)
                read_series([cut]).views[0].pixels()
            except UnreadableObject:
                continue


def test_file_with_any_byte_changed_never_raises_anything_else(tmp_path: Path) -> None:
    data = bytearray(_written(tmp_path, _image(AnatomicRegionSequence=[_code("66643007", "SCT", "Skin of back")])).read_bytes())
    changed = tmp_path / "changed.dcm"
    for at in range(128, len(data)):
        before, data[at] = data[at], data[at] ^ 0xFF
        changed.write_bytes(data)
        data[at] = before
        try:
            read_header(changed)
            read_series([changed]).views[0].pixels()
        except UnreadableObject:
            continue


@pytest.mark.parametrize(
    ("charsets", "value", "text"),
    [
        (("ISO_IR 100",), "Müller".encode("latin_1"), "Müller"),
        (("ISO_IR 192",), "Wang^小东".encode(), "Wang^小东"),
        (("GB18030",), "王^小东".encode("gb18030"), "王^小东"),
        (("ISO-IR 100",), "Müller".encode("latin_1"), "Müller"),
        ((), "Müller".encode(), "Müller"),
        (("ISO_IR 999",), "Müller".encode("latin_1"), "Müller"),
        (("ISO_IR 192",), "Müller".encode("latin_1"), "Müller"),
        (("", "ISO 2022 IR 87"), b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
        (("", "ISO 2022 IR 149"), b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong^Gildong=洪^吉洞"),
        (("ISO_IR 192",), b"\xff\xfe\x1b$$$", "ÿþ\x1b$$$"),
    ],
)
def test_text_is_decoded_whatever_its_writer_did(charsets: tuple[str, ...], value: bytes, text: str) -> None:
    assert decode_text(value, charsets).replace("\x1b", "") == text.replace("\x1b", "")


@pytest.mark.parametrize(
    ("changes", "moment"),
    [
        ({"AcquisitionDate": "20260302", "AcquisitionTime": "101112.25"}, datetime(2026, 3, 2, 10, 11, 12, 250000, tzinfo=UTC)),
        ({"AcquisitionDate": "20260302", "AcquisitionTime": "10", "TimezoneOffsetFromUTC": "-0500"}, datetime(2026, 3, 2, 15, tzinfo=UTC)),
        ({"StudyDate": "2026.03.02"}, datetime(2026, 3, 2, tzinfo=UTC)),
        ({"AcquisitionDateTime": "2026"}, datetime(2026, 1, 1, tzinfo=UTC)),
        ({"AcquisitionDateTime": "yesterday", "ContentDate": "20260101"}, datetime(2026, 1, 1, tzinfo=UTC)),
        ({"StudyDate": "20261399"}, None),
        ({"AcquisitionDate": "20260302", "AcquisitionTime": "235960"}, datetime(2026, 3, 2, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_moments_are_read_in_every_spelling(tmp_path: Path, changes: dict[str, str], moment: datetime | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = _written(tmp_path, _image(**changes))

    assert read_header(path).acquired_at == moment


def test_view_carries_the_camera_geometry(tmp_path: Path) -> None:
    image = _image(
        PixelSpacing=["0.02", "0.021"],
        SubjectDistance="150",
        FocalLength="60",
        OpticalMagnificationFactor="10",
        CameraElevationAngle="-65",
        ContactMethod="CONTACT",
        LightSourcePolarization="NON_POLARIZED",
        ViewCodeSequence=[_code("260421001", "SCT", "Left oblique")],
        InstanceNumber="3",
        AcquisitionNumber="2",
    )
    image.private_block(0x0017, "SOMEONE ELSE", create=True).add_new(0x01, "DS", "77")
    image.private_block(0x0017, RING_CREATOR, create=True).add_new(0x01, "DS", "135")
    view = read_series([_written(tmp_path, image)]).views[0]

    assert view.geometry.pixel_spacing_mm == (0.02, 0.021)
    assert view.geometry.spacing_source == "Pixel Spacing"
    assert (view.geometry.subject_distance_mm, view.geometry.focal_length_mm, view.geometry.optical_magnification) == (150, 60, 10)
    assert (view.geometry.elevation_deg, view.geometry.azimuth_deg) == (-65, 135)
    assert (view.geometry.is_contact, view.geometry.is_polarized) == (True, False)
    assert view.view_code == Code("260421001", "SCT", "Left oblique")
    assert (view.number, view.acquisition_number, view.rows, view.columns) == (3, 2, 4, 4)


@pytest.mark.parametrize("spacing", [["0", "0"], ["-1", "1"], ["0.1"], ["inf", "inf"], ["x", "y"]])
def test_spacing_that_cannot_be_is_no_spacing(tmp_path: Path, spacing: list[str]) -> None:
    image = _image()
    image.add_new(0x00280030, "LO", spacing)
    assert read_series([_written(tmp_path, image, syntax=ImplicitVRLittleEndian)]).views[0].geometry.pixel_spacing_mm is None


def test_imager_spacing_serves_where_there_is_no_other(tmp_path: Path) -> None:
    geometry = read_series([_written(tmp_path, _image(ImagerPixelSpacing=["0.03", "0.03"]))]).views[0].geometry

    assert geometry.pixel_spacing_mm == (0.03, 0.03)
    assert geometry.spacing_source == "Imager Pixel Spacing"


def test_distance_in_metres_is_taken_as_such(tmp_path: Path) -> None:
    assert read_series([_written(tmp_path, _image(SubjectDistance="0.15"))]).views[0].geometry.subject_distance_mm == pytest.approx(150)


def test_views_are_ordered_by_acquisition_then_number_then_uid(tmp_path: Path) -> None:
    wanted = [("1.2.9", 1, 5), ("1.2.8", 2, 1), ("1.2.7", 2, 4), ("1.2.5", None, 1), ("1.2.4", None, None), ("1.2.6", None, None)]
    files = []
    for uid, acquisition, number in reversed(wanted):
        numbers = {k: str(v) for k, v in (("AcquisitionNumber", acquisition), ("InstanceNumber", number)) if v is not None}
        files.append(_written(tmp_path, _image(SOPInstanceUID=uid, **numbers), f"{uid}.dcm"))

    assert [view.sop_instance_uid for view in read_series(files).views] == [uid for uid, _, _ in wanted]


def test_series_takes_what_only_one_view_states(tmp_path: Path) -> None:
    bare = _written(tmp_path, _image(SOPInstanceUID="1.2.5", InstanceNumber="1"), "bare.dcm")
    full = _image(
        SOPInstanceUID="1.2.6",
        InstanceNumber="2",
        TrackingUID=TRACKING,
        TrackingID="L1",
        ImageLaterality="L",
        AnatomicRegionSequence=[_code("66643007", "SCT", "Skin of back")],
        AcquisitionDateTime="20260302093000",
    )
    series = read_series([bare, _written(tmp_path, full, "full.dcm")], AETitle("CAMERA"))

    assert (series.tracking_uid, series.tracking_id, series.laterality) == (UID(TRACKING), "L1", "L")
    assert series.body_site == Code("66643007", "SCT", "Skin of back")
    assert series.acquired_at == datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    assert series.source_ae == "CAMERA"


def test_the_side_is_that_of_the_image_before_that_of_the_series(tmp_path: Path) -> None:
    series = read_header(_written(tmp_path, _image(Laterality="L"), "a.dcm")).laterality
    image = read_header(_written(tmp_path, _image(Laterality="L", ImageLaterality="R"), "b.dcm")).laterality
    assert (series, image, read_header(_written(tmp_path, _image(), "c.dcm")).laterality) == ("L", "R", "")


def test_patient_is_read_and_may_be_empty(tmp_path: Path) -> None:
    known = read_series([_written(tmp_path, _image(PatientBirthDate="19700131", PatientSex="F"), "a.dcm")]).patient
    unknown = read_series([_written(tmp_path, _image(PatientID=None, PatientName=None, SOPInstanceUID="1.2.9"), "b.dcm")]).patient

    assert (known.patient_id, known.name, known.birth_date, known.sex) == ("P1", "Doe^Jane", date(1970, 1, 31), "F")
    assert (unknown.patient_id, unknown.name, unknown.birth_date, unknown.sex) == ("", "", None, "")


def test_tracking_uid_that_is_none_is_ignored(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = _written(tmp_path, _image(TrackingUID="lesion-1", TrackingID="L1"))

    assert read_header(path).tracking_uid is None
    assert read_series([path]).tracking_id == "L1"


def test_view_of_another_series_is_refused_by_name(tmp_path: Path) -> None:
    files = [
        _written(tmp_path, _image(SOPInstanceUID=uid, SeriesInstanceUID=series), f"{uid}.dcm")
        for uid, series in (("1.2.5", SERIES), ("1.2.6", "1.2.3.3"))
    ]

    with pytest.raises(UnreadableObject, match=r"1\.2\.6.*belongs to series 1\.2\.3\.3"):
        read_series(files)
