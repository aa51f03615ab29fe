"""Who made a result: this node, and the algorithms that contributed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pydicom import Dataset

import dermanode
from dermanode.dicom.coding import coded
from dermanode.dicom.maker import MANUFACTURER as MANUFACTURER
from dermanode.dicom.maker import MODEL as MODEL
from dermanode.dicom.repertoire import Repertoire
from dermanode.dicom.uids import derive_uid
from dermanode.domain import UID, Algorithm, Case, Outcome
from dermanode.domain.codes import private

SERIAL_NUMBER = "1"
IMPLEMENTATION_CLASS_UID = derive_uid("dermanode", "implementation class")
PROCESSING_ALGORITHM = private("PROCALG", "Processing Algorithm")


def software_version() -> str:
    return dermanode.__version__


def node_uid() -> UID:
    """Names this kind and version of node as a device."""
    return derive_uid("device", MODEL, software_version())


def device_uid(algorithm: Algorithm) -> UID:
    """Names an algorithm as a device: another at every retraining, because the weights' digest is a part of it."""
    return derive_uid("device", algorithm.manufacturer, algorithm.name, algorithm.version, algorithm.weights_digest or "")


def algorithms(case: Case, outcome: Outcome) -> tuple[Algorithm, ...]:
    """Every algorithm that found something or tried to, once each, in the order of the chain."""
    named: Iterable[Algorithm | None] = (
        *(finding.algorithm for finding in case.findings),
        *(report.algorithm for report in outcome.reports),
    )
    return tuple(dict.fromkeys(algorithm for algorithm in named if algorithm is not None))


def contributions(used: Sequence[Algorithm], made_at: datetime, repertoire: Repertoire) -> list[Dataset]:
    """The items of Contributing Equipment Sequence (0018,A001): one for each algorithm (IHE AI Results)."""
    items = []
    for algorithm in used:
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [coded(PROCESSING_ALGORITHM, repertoire)]
        item.Manufacturer = repertoire.fit(algorithm.manufacturer, 64)
        item.ManufacturerModelName = repertoire.fit(algorithm.name, 64)
        versions = [algorithm.version] + ([algorithm.bundle] if algorithm.bundle else [])
        item.SoftwareVersions = [repertoire.fit(version, 64) for version in versions]
        item.DeviceUID = device_uid(algorithm)
        item.ContributionDateTime = made_at.strftime("%Y%m%d%H%M%S.%f")
        if algorithm.weights_digest:
            item.ContributionDescription = repertoire.fit(f"Weights SHA-256 {algorithm.weights_digest}", 1024)
        items.append(item)
    return items
