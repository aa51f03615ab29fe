"""Which files of a case a destination gets: only what passed the gate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from dermanode.config import Destination, DimseDestination, FhirDestination, FolderDestination, MllpDestination
from dermanode.domain import ProducedObject

NAMED_KINDS = frozenset({"SEG", "SURFACE_SEG", "STL", "SC", "SR"})
"""Kinds of DICOM objects that `send` can name; every other DICOM object is OTHER."""


def oru_name(destination: str) -> str:
    """The name of the HL7 file that is made for a destination."""
    return f"oru-{destination}.hl7"


def bundle_name(destination: str) -> str:
    """The name of the FHIR file that is made for a destination."""
    return f"fhir-{destination}.json"


def select(name: str, destination: Destination, objects: Sequence[ProducedObject]) -> tuple[str, ...]:
    """The paths, relative to the results folder, in the order in which the objects were made; empty when there is nothing for it."""
    return tuple(made.path for made in objects if made.passed_gate and _is_wanted(name, destination, made))


def _is_wanted(name: str, destination: Destination, made: ProducedObject) -> bool:
    file_name = PurePosixPath(made.path).name
    match destination:
        case MllpDestination():
            return made.kind == "HL7" and file_name == oru_name(name)
        case FhirDestination():
            return made.kind == "FHIR" and file_name == bundle_name(name)
        case FolderDestination() if made.kind in ("HL7", "FHIR"):
            return made.kind in destination.send and file_name in (oru_name(name), bundle_name(name))
        case DimseDestination() | FolderDestination():
            if made.sop_instance_uid is None:
                return False
            return (made.kind if made.kind in NAMED_KINDS else "OTHER") in destination.send
    return False
