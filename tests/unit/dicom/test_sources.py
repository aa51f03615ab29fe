from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.charset import convert_encodings
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from dermanode.dicom.sources import SourceImages, raw_value
from dermanode.domain import UID
from dermanode.errors import EncodingError
from dermanode.testing import worked_cases


def stamped(photograph: Dataset, folder: Path) -> Dataset:
    """A result that was given the identity of a photograph, written and read back."""
    sources = SourceImages.of(worked_cases.case_of([photograph], folder))
    result = Dataset()
    result.SOPClassUID, result.SOPInstanceUID = photograph.SOPClassUID, "1.2.3"
    sources.stamp(result)
    buffer = BytesIO()
    result.save_as(buffer, implicit_vr=False, little_endian=True)
    return pydicom.dcmread(BytesIO(buffer.getvalue()), force=True)


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        (None, b"Doe^Jane"),
        ("ISO_IR 100", "Müller^Jörg".encode("latin_1")),
        ("ISO_IR 192", "山田^太郎".encode()),
        (["", "ISO 2022 IR 87"], b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"),
        ("GB18030", "王^小东".encode("gb18030")),
        ("GB18030", "Wang^XiaoDong=王^小东=".encode("gb18030")),
    ],
    ids=["none", "Latin-1", "UTF-8", "Japanese", "Chinese", "an empty last component"],
)
def test_a_name_keeps_its_bytes_and_its_character_set(terms: Any, name: bytes, tmp_path: Path, make_objects: Any) -> None:
    photograph = worked_cases.photograph(1)
    photograph.PatientName = "x"
    del photograph.SpecificCharacterSet
    if terms is not None:
        photograph.SpecificCharacterSet = terms
    element = pydicom.dataelem.RawDataElement(pydicom.tag.Tag(0x00100010), "PN", len(name), name + b" " * (len(name) % 2), 0, False, True)
    photograph[0x00100010] = element
    # Else pydicom would parse the name and write it anew.
    correct_ambiguous_vr(photograph, True)
    photograph.set_original_encoding(False, True, convert_encodings(terms) if terms else None)
    made = make_objects(worked_cases.worked([photograph], tmp_path))
    buffer = BytesIO()
    made.objects[-1].dataset.save_as(buffer, enforce_file_format=True)
    result = pydicom.dcmread(BytesIO(buffer.getvalue()))
    assert raw_value(result, "PatientName") == name
    assert result.get("SpecificCharacterSet") == photograph.get("SpecificCharacterSet")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_identity_is_the_same_from_every_transfer_syntax(syntax: str, tmp_path: Path) -> None:
    photograph = worked_cases.photograph(1)
    photograph.PregnancyStatus = 4
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", "Röntgen"
    photograph.ProcedureCodeSequence = [code]
    if syntax == ExplicitVRBigEndian:
        photograph["PixelData"].VR = "OB"
    photograph.file_meta.TransferSyntaxUID = syntax
    result = stamped(photograph, tmp_path)
    assert result.PatientName == "Müller^Jörg"
    assert result.PregnancyStatus == 4
    assert result.StudyDescription == "Dermoscopy, back"
    assert result.ProcedureCodeSequence[0].CodeMeaning == "Röntgen"


def test_what_the_source_lacks_and_the_standard_wants_is_there_and_empty(tmp_path: Path) -> None:
    photograph = worked_cases.photograph(1)
    for keyword in ("PatientName", "PatientSex", "StudyID", "ReferringPhysicianName"):
        del photograph[keyword]
    result = stamped(photograph, tmp_path)
    assert [result[k].is_empty for k in ("PatientName", "PatientSex", "StudyID", "ReferringPhysicianName")] == [True] * 4


def test_a_value_of_another_patient_is_not_left_in_the_result(tmp_path: Path) -> None:
    sources = SourceImages.of(worked_cases.case_of([worked_cases.photograph(1)], tmp_path))
    result = Dataset()
    result.PatientComments = "of somebody else"
    sources.stamp(result)
    assert "PatientComments" not in result


@pytest.mark.parametrize("keyword", ["PatientID", "IssuerOfPatientID", "StudyInstanceUID"])
def test_images_of_two_patients_or_studies_make_no_results(keyword: str, tmp_path: Path) -> None:
    one, other = worked_cases.photograph(1), worked_cases.photograph(2)
    setattr(other, keyword, "1.2.3.4")
    with pytest.raises(EncodingError, match=keyword):
        SourceImages.of(worked_cases.case_of([one, other], tmp_path))


def test_a_case_of_another_patient_than_its_files_makes_no_results(tmp_path: Path) -> None:
    case = worked_cases.case_of([worked_cases.photograph(1)], tmp_path)
    stranger = replace(case, series=replace(case.series, patient=replace(case.series.patient, patient_id="P-1")))
    with pytest.raises(EncodingError, match="PatientID"):
        SourceImages.of(stranger)


def test_a_result_of_another_study_is_not_stamped(tmp_path: Path) -> None:
    sources = SourceImages.of(worked_cases.case_of([worked_cases.photograph(1)], tmp_path))
    result = Dataset()
    result.StudyInstanceUID = "1.2.3"
    with pytest.raises(EncodingError, match="given the patient of study"):
        sources.stamp(result)


def test_a_file_that_holds_another_object_is_refused(tmp_path: Path) -> None:
    case = worked_cases.case_of([worked_cases.photograph(1)], tmp_path)
    view = replace(case.series.views[0], sop_instance_uid=UID("1.2.3"))
    with pytest.raises(EncodingError, match="another object"):
        SourceImages.of(replace(case, series=replace(case.series, views=(view,))))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    case = worked_cases.case_of([worked_cases.photograph(1)], tmp_path)
    next(tmp_path.iterdir()).unlink()
    with pytest.raises(EncodingError, match="cannot be read again"):
        SourceImages.of(case)
