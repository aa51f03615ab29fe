"""Which files of a case a destination gets: only what passed the gate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from dermanode.config import (
    Destination,
    DicomwebDestination,
    DimseDestination,
    FhirDestination,
    FolderDestination,
    MllpDestination,
)
from dermanode.domain import ProducedObject

NAMED_KINDS = frozenset({"SEG", "SEG_FRACTIONAL", "SEG_LABELMAP", "SURFACE_SEG", "STL", "SC", "OVERLAY", "PMAP", "SR", "PDF", "KOS"})
"""Kinds of DICOM objects that `send` can name; every other DICOM object is OTHER."""


def oru_name(destination: str) -> str:
    """The name of the HL7 file that is made for a destination."""
    return f"oru-{destination}.hl7"


def bundle_name(destination: str, number: int = 1) -> str:
    """The name of the FHIR file that is made for a destination; of several transactions, `number` counts from 1."""
    # No destination's name has a dot in it: the second file for `ehr` is not the first one for another
    return f"fhir-{destination}.json" if number == 1 else f"fhir-{destination}.{number}.json"


def is_bundle_for(destination: str, file_name: str) -> bool:
    """Whether a file holds a transaction for that destination."""
    return re.fullmatch(rf"fhir-{re.escape(destination)}(\.\d+)?\.json", file_name) is not None


def rejection_name(destination: str) -> str:
    """The name of the rejection note that is made for a destination."""
    return f"kos-{destination}.dcm"


def select(name: str, destination: Destination, objects: Sequence[ProducedObject]) -> tuple[str, ...]:
    """The paths, relative to the results folder, in the order in which the objects were made; empty when there is nothing for it."""
    return tuple(made.path for made in objects if made.passed_gate and _is_wanted(name, destination, made))


def _is_wanted(name: str, destination: Destination, made: ProducedObject) -> bool:
    file_name = PurePosixPath(made.path).name
    match destination:
        case MllpDestination():
            return made.kind == "HL7" and file_name == oru_name(name)
        case FhirDestination():
            return made.kind == "FHIR" and is_bundle_for(name, file_name)
        case FolderDestination() if made.kind in ("HL7", "FHIR"):
            return made.kind in destination.send and (file_name == oru_name(name) or is_bundle_for(name, file_name))
        case DimseDestination() | DicomwebDestination() | FolderDestination():
            if made.sop_instance_uid is None or (made.kind == "KOS" and file_name != rejection_name(name)):
                return False
            return (made.kind if made.kind in NAMED_KINDS else "OTHER") in destination.send
    return False
