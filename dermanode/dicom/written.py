"""What is written once for all objects of a case: pydicom writes each element anew, and takes a third of the time of making them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from highdicom.sr import CodedConcept
from pydicom import DataElement, Dataset
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr, write_dataset

_HEAD_BYTES = 12
"""Tag, VR, two reserved bytes and length of a sequence, in explicit VR (PS3.5 7.1.2)."""


@dataclass(frozen=True, eq=False)
class WrittenOnce:
    """Sequences in the bytes that they have in every object of a case, explicit VR little endian."""

    encodings: list[str]
    """Of the objects' character set, as Python calls them."""
    _codes: dict[Hashable, RawDataElement] = field(default_factory=dict, init=False, repr=False)

    def sequence(self, element: DataElement) -> RawDataElement:
        """The sequence, written: pydicom copies it as it is."""
        alone = Dataset()
        alone.add(element)
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = True, False
        write_dataset(stream, alone, parent_encoding=self.encodings)
        value = stream.getvalue()[_HEAD_BYTES:]
        return RawDataElement(element.tag, "SQ", len(value), value, 0, False, True)

    def settle(self, dataset: Dataset) -> None:
        """Readies an object for being written, once nothing of it changes any more.

        Its codes become bytes, of which a report has several hundred, but few different ones. And pydicom is told at every level that
        raw elements are as they must be written; else it parses text and writes it anew, not always the same, and looks through
        everything below an item for ambiguous VRs before it writes the item.
        """
        if self._settle(dataset):
            correct_ambiguous_vr(dataset, is_little_endian=True)
        character_set = dataset.get("SpecificCharacterSet")
        dataset.set_original_encoding(False, True, convert_encodings(character_set) if character_set else None)

    def _settle(self, dataset: Dataset) -> bool:
        """Whether a VR is ambiguous in it."""
        is_ambiguous = False
        for element in list(dataset.values()):
            if isinstance(element, RawDataElement):
                continue
            if element.VR != "SQ":
                is_ambiguous |= len(element.VR) > 2  # `US or SS`
            elif len(element.value) == 1 and type(element.value[0]) is CodedConcept:
                dataset[element.tag] = self._code(element)
            else:
                for item in element.value:
                    is_ambiguous |= self._settle(item)
                    # What was read from a source knows its character set; what is new has pydicom's own.
                    item.set_original_encoding(False, True, None if item.original_character_set else default_encoding)
        return is_ambiguous

    def _code(self, element: DataElement) -> RawDataElement:
        key = element.tag, *((part.tag, part.value) for part in element.value[0].values())
        if key not in self._codes:
            self._codes[key] = self.sequence(element)
        return self._codes[key]
