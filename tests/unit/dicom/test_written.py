"""What is written once is what pydicom would have written each time."""

from __future__ import annotations

from io import BytesIO

import pytest
from highdicom.sr import CodedConcept
from pydicom import Dataset, dcmread
from pydicom.charset import convert_encodings
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dermanode.dicom.written import WrittenOnce


def with_codes(character_set: str | None, meaning: str) -> Dataset:
    dataset = Dataset()
    if character_set:
        dataset.SpecificCharacterSet = character_set
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    dataset.ContentSequence = [Dataset(), Dataset()]
    for item in dataset.ContentSequence:
        item.ConceptNameCodeSequence = [CodedConcept("1", "99X", meaning)]
        item.TextValue = meaning
    dataset.AnatomicRegionSequence = [CodedConcept("1", "99X", meaning), CodedConcept("2", "99X", meaning)]
    dataset.PixelRepresentation = 1
    dataset.ModalityLUTSequence = [Dataset()]
    dataset.ModalityLUTSequence[0].LUTDescriptor = [4, -2, 8]  # `US or SS`
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def written(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("character_set", "meaning"),
    [(None, "Skin lesion"), ("ISO_IR 100", "Läsion"), ("ISO_IR 192", "皮膚病変"), ("GB18030", "皮肤"), ("ISO_IR 144", "Кожа")],
)
def test_a_settled_object_is_written_in_the_bytes_that_it_had_before(character_set: str | None, meaning: str) -> None:
    before = written(with_codes(character_set, meaning))
    settled = with_codes(character_set, meaning)
    once = WrittenOnce(list(convert_encodings(character_set)))
    once.settle(settled)
    assert written(settled) == before
    # What was written for one object serves the next.
    another = with_codes(character_set, meaning)
    once.settle(another)
    assert written(another) == before
    assert dcmread(BytesIO(before)).ContentSequence[1].ConceptNameCodeSequence[0].CodeMeaning == meaning


def test_codes_of_one_value_and_other_words_stay_apart() -> None:
    once = WrittenOnce(["iso8859"])
    for meaning in ("Nevus", "Naevus"):
        dataset = with_codes(None, meaning)
        once.settle(dataset)
        assert dcmread(BytesIO(written(dataset))).ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning == meaning
