"""What the earlier revision of a case left in its results folder: its report, and the objects that the new ones replace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pydicom

from dermanode.config import Destination, DicomwebDestination, DimseDestination, FolderDestination
from dermanode.dicom.read import read_header
from dermanode.dicom.references import Instance
from dermanode.dicom.rejection import Rejection
from dermanode.domain import Patient
from dermanode.messages.selection import NAMED_KINDS

REPORT_NAME = "sr.dcm"
_NAMES: Mapping[str, str] = {"SURFACE_SEG": "surface.dcm", "SR": REPORT_NAME}
_KINDS = {name: kind for kind, name in _NAMES.items()}
_UIDS = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"]


def object_name(kind: str, number: int) -> str:
    """The file name of the `number`th object of a kind, counted from 1."""
    return _NAMES[kind] if kind in _NAMES and number == 1 else f"{kind.lower()}-{number}.dcm"


def kind_of(file_name: str) -> str:
    """`object_name` backwards."""
    return _KINDS.get(file_name) or file_name.rpartition("-")[0].upper()


def predecessor(results_dir: Path, case_id: str | None) -> tuple[str, str, str, str] | None:
    """The earlier revision's report: its SOP Class, SOP Instance, Series and Study Instance UID."""
    file = results_dir / case_id / REPORT_NAME if case_id else None
    if file is None or not file.is_file():
        return None
    found = _instance(file)
    return found.sop_class_uid, found.sop_instance_uid, found.series_uid, found.study_uid


def rejections(
    results_dir: Path, case_id: str | None, destinations: Mapping[str, Destination], patient: Patient
) -> tuple[tuple[Rejection, ...], str]:
    """For each destination that wants rejection notes what it got of the earlier revision; and why there are none, where one was wanted.

    Notes are not replaced themselves, nor is what plugins add: its UIDs are theirs. The objects are those that passed the gate.
    """
    wanting = {name: wanted for name, to in destinations.items() if "KOS" in (wanted := _kinds_for(to))}
    if not case_id or not wanting:
        return (), ""
    files = sorted((results_dir / case_id).glob("*.dcm"))
    replaced = [file for file in files if kind_of(file.name) in NAMED_KINDS - {"KOS"}]
    if not replaced:
        return (), "the objects of the earlier revision are no longer here to be named"
    header = read_header(replaced[0])
    if (header.patient_id, header.issuer_of_patient_id) != (patient.patient_id, patient.issuer):
        return (), "the earlier results are under another patient number, and a note under this one would not reach them"
    named = {name: tuple(_instance(file) for file in replaced if kind_of(file.name) in wanted) for name, wanted in wanting.items()}
    return tuple(Rejection(name, instances) for name, instances in named.items() if instances), ""


def _kinds_for(destination: Destination) -> tuple[str, ...]:
    return destination.send if isinstance(destination, DimseDestination | DicomwebDestination | FolderDestination) else ()


def _instance(file: Path) -> Instance:
    return Instance.of(pydicom.dcmread(file, specific_tags=_UIDS))
