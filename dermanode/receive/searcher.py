"""A source that is searched: studies, series, instances, by C-FIND or QIDO-RS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pydicom import Dataset

MOST_ANSWERS = 10_000
"""Nobody fetches more at once: a source that answers more was asked too wide a question, or does not end."""

STUDY_KEYS = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyDate", "ModalitiesInStudy")
SERIES_KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances")
INSTANCE_KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


class Searcher(Protocol):
    """A source that is asked, level by level (C-FIND or QIDO-RS). Its errors are `SourceUnavailable`."""

    @property
    def name(self) -> str: ...

    def studies(self, matching: Mapping[str, str]) -> list[Dataset]:
        """Studies with `STUDY_KEYS`, as far as the source knows them. `matching`: values by keyword."""

    def series(self, study: str, matching: Mapping[str, str]) -> list[Dataset]:
        """Series with `SERIES_KEYS`; `study` may be empty, which a source need not understand."""

    def instances(self, study: str, series: str) -> list[Dataset]:
        """The instances of a series with `INSTANCE_KEYS`."""
