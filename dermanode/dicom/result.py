"""What every result object has: its place in the study, its maker, its date, its file's head."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import cached_property

from highdicom.sr import AlgorithmIdentification
from pydicom import Dataset
from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dermanode.dicom import equipment
from dermanode.dicom.coding import private_scheme
from dermanode.dicom.outline import Polygon, outline
from dermanode.dicom.sources import SourceImages
from dermanode.dicom.uids import derive_uid
from dermanode.dicom.written import WrittenOnce
from dermanode.domain import UID, Algorithm, Case
from dermanode.domain.series import RGB

SERIES_NUMBERS = {
    "SEG": 1,
    "SURFACE_SEG": 2,
    "SR": 3,
    "SC": 4,
    "STL": 5,
    "OVERLAY": 6,
    "PMAP": 7,
    "PMAP_SALIENCY": 8,
    "PDF": 9,
    "KOS": 10,
    "SEG_FRACTIONAL": 11,
    "SEG_LABELMAP": 12,
}
_NUMBERS_A_REVISION = 20


@dataclass(frozen=True, eq=False)
class ResultContext:
    """What all objects of one case revision share."""

    case: Case
    sources: SourceImages
    algorithms: tuple[Algorithm, ...]
    made_at: datetime
    series_description: str
    fingerprint: str
    """The node's version, the pipeline and every algorithm that took part: it enters each UID."""
    identifications: dict[Algorithm, AlgorithmIdentification] = field(default_factory=dict, init=False, repr=False)
    """The items that name an algorithm in a report, once made."""
    photographs: dict[str, RGB] = field(default_factory=dict, init=False, repr=False)
    """The views as pictures show them, once decoded; by SOP Instance UID."""
    _outlines: dict[str, Polygon | None] = field(default_factory=dict, init=False, repr=False)

    def uid(self, *names: str) -> UID:
        """A UID of this case revision: the same work always gets the same one."""
        return derive_uid(self.case.id, str(self.case.revision), self.fingerprint, *names)

    def fit(self, text: str, longest: int | None = 64) -> str:
        """The text in characters that the source's character set has."""
        return self.sources.repertoire.fit(text, longest)

    def outline_of(self, view_uid: str) -> Polygon | None:
        """The lesion's outline in that view, found once for all objects; None where it has none, or a mask of another size."""
        if view_uid not in self._outlines:
            self._outlines[view_uid] = self._outline(view_uid)
        return self._outlines[view_uid]

    def _outline(self, view_uid: str) -> Polygon | None:
        mask = self.case.segmentation.mask(view_uid) if self.case.segmentation else None
        view = self.sources.image(view_uid).view
        return outline(mask.mask) if mask is not None and mask.mask.shape == (view.rows, view.columns) else None

    @cached_property
    def _moment(self) -> datetime:
        return in_zone(self.made_at, str(self.sources.first.header.get("TimezoneOffsetFromUTC", "") or ""))

    @cached_property
    def _equipment(self) -> RawDataElement:
        """Contributing Equipment Sequence as its bytes: it is the same in every object, and a quarter of most of them."""
        alone = Dataset()
        alone.ContributingEquipmentSequence = equipment.contributions(self.algorithms, self._moment, self.sources.repertoire)
        return self._written.sequence(alone["ContributingEquipmentSequence"])

    @cached_property
    def _written(self) -> WrittenOnce:
        return WrittenOnce(convert_encodings(self.sources.first.header.get("SpecificCharacterSet") or None))

    def series_uid(self, kind: str) -> UID:
        return self.uid("series", kind)

    def series_number(self, kind: str) -> int:
        """9001, 9002, 9003 for the first revision, 9021... for the next: no device numbers its series so high."""
        return 9000 + _NUMBERS_A_REVISION * (self.case.revision - 1) + SERIES_NUMBERS[kind]

    def place(self, dataset: Dataset, kind: str, what: str) -> None:
        """Completes a result: patient, study, series, equipment, times and file meta information.

        Nothing is left of what a library put there from the clock or at random. Raises `EncodingError`.
        """
        self.sources.stamp(dataset)
        header = self.sources.first.header
        made_at = self._moment
        day, time = made_at.strftime("%Y%m%d"), made_at.strftime("%H%M%S.%f")
        dataset.SeriesInstanceUID = self.series_uid(kind)
        dataset.SeriesNumber = self.series_number(kind)
        dataset.SeriesDescription = self.fit(f"{self.series_description} {what}".strip())
        dataset.SeriesDate, dataset.SeriesTime = day, time
        dataset.ContentDate, dataset.ContentTime = day, time
        dataset.InstanceCreationDate, dataset.InstanceCreationTime = day, time
        dataset.ContentQualification = "RESEARCH"
        dataset.Manufacturer = equipment.MANUFACTURER
        dataset.ManufacturerModelName = equipment.MODEL
        dataset.DeviceSerialNumber = equipment.SERIAL_NUMBER
        dataset.SoftwareVersions = equipment.software_version()
        if self.algorithms:
            dataset[self._equipment.tag] = self._equipment
        dataset.CodingSchemeIdentificationSequence = [private_scheme()]
        if "TimezoneOffsetFromUTC" in header:
            dataset.TimezoneOffsetFromUTC = header.TimezoneOffsetFromUTC
        self._written.settle(dataset)
        dataset.file_meta = _file_meta(dataset)
        dataset.preamble = b"\0" * 128


def in_zone(moment: datetime, offset: str) -> datetime:
    """The moment as the source's clock shows it: every time of an object is of one zone (PS3.3 C.12.1.1.8)."""
    written = re.fullmatch(r"([+-])(\d{2})(\d{2})", offset.strip())
    if moment.tzinfo is None:
        return moment
    if not written:
        return moment.astimezone(UTC)
    ahead = timedelta(hours=int(written[2]), minutes=int(written[3]))
    return moment.astimezone(timezone(-ahead if written[1] == "-" else ahead))


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = equipment.IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = f"DERMANODE_{equipment.software_version()}"[:16]
    return meta
