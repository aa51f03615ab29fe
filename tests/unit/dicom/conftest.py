from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
from pydicom import Dataset

from dermanode.dicom.encode import Encoded, EncodingOrder, encode_case
from dermanode.domain import Case, Outcome
from dermanode.testing import worked_cases

ORDER = EncodingOrder(made_at=datetime(2026, 11, 21, 12, 0, 5), pipeline="dermoscopy-series")


@dataclass(frozen=True)
class Made:
    """A case with everything that was encoded of it."""

    case: Case
    outcome: Outcome
    objects: list[Encoded]

    @property
    def sources(self) -> list[Path]:
        return [view.source.path for view in self.case.series.views]  # type: ignore[attr-defined]

    def datasets(self, kind: str) -> list[Dataset]:
        return [encoded.dataset for encoded in self.objects if encoded.kind == kind]

    def others(self, dataset: Dataset) -> list[Dataset]:
        return [encoded.dataset for encoded in self.objects if encoded.dataset is not dataset]


EVERYTHING = replace(ORDER, kinds=("SEG", "SEG_FRACTIONAL", "SEG_LABELMAP", "SURFACE_SEG", "STL", "SC", "OVERLAY", "PMAP", "PDF", "SR"))


def made_of(case: Case, outcome: Outcome | None = None, order: EncodingOrder = ORDER) -> Made:
    outcome = outcome or worked_cases.outcome_of(case)
    return Made(case, outcome, encode_case(case, outcome, order, worked_cases.SMALL_PDF if "PDF" in order.kinds else None))


@pytest.fixture(scope="session")
def make_objects() -> object:
    """Encodes a case, with the order of these tests."""
    return made_of


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A case of two views in which every stage found something. Tests copy what they want to break."""
    photographs = [worked_cases.photograph(number) for number in (1, 2)]
    return made_of(worked_cases.worked(photographs, tmp_path_factory.mktemp("made")))


@pytest.fixture(scope="session")
def solid(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A case of three views with a closed surface in mm, of a lesion that is followed."""
    photographs = [worked_cases.photograph(number) for number in (1, 2, 3)]
    return made_of(worked_cases.worked(photographs, tmp_path_factory.mktemp("solid"), is_metric=True))


@pytest.fixture(scope="session")
def all_kinds() -> EncodingOrder:
    """Everything that can be ordered of a first revision."""
    return EVERYTHING


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Every kind of object of a case of three views, in the second of which no lesion was found."""
    photographs = [worked_cases.photograph(number) for number in (1, 2, 3)]
    folder = tmp_path_factory.mktemp("everything")
    case = worked_cases.worked(photographs, folder, is_metric=True, has_probability=True, empty=frozenset({1}))
    return made_of(case, None, EVERYTHING)
