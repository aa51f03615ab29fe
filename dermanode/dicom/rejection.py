"""Rejection notes: a Key Object Selection that names what a later revision replaces (IHE Imaging Object Change Management).

A PACS that knows IOCM hides what the note names. One that does not keeps the note like any other document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from highdicom import sr
from pydicom import Dataset
from pydicom.uid import (
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dermanode.dicom import concepts
from dermanode.dicom.coding import coded
from dermanode.dicom.references import Instance, evidence, instance_reference
from dermanode.dicom.result import ResultContext
from dermanode.dicom.uids import LABEL_MAP_SEGMENTATION
from dermanode.domain import UID

KIND = "KOS"
# Of the four reasons of IOCM (IHE RAD-66) this one alone says something true. The earlier result is of lesser quality: it knows
# fewer images. Nobody is harmed by it (113037), it is of the right patient and order (113038), and no time has run out (113039). A PACS
# may go on showing it to who looks after quality.
TITLE = concepts.REJECTED_FOR_QUALITY
_IMAGES = frozenset({SegmentationStorage, LABEL_MAP_SEGMENTATION, SecondaryCaptureImageStorage, ParametricMapStorage})
"""Results that are images; the others are named as composite objects."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """What one destination is told to hide."""

    destination: str
    replaced: tuple[Instance, ...]
    """Results of the earlier revision that it got; at least one."""


def rejection_uid(context: ResultContext, destination: str) -> UID:
    """The SOP Instance UID of the note for that destination."""
    return context.uid("instance", KIND, destination)


def encode_rejection(context: ResultContext, rejection: Rejection, number: int) -> Dataset:
    """The note on one destination's objects. They are of the case's study: another one cannot be changed from here."""
    note = Dataset()
    note.SOPClassUID, note.SOPInstanceUID = KeyObjectSelectionDocumentStorage, rejection_uid(context, rejection.destination)
    note.Modality = "KO"
    note.InstanceNumber = number
    note.ReferencedPerformedProcedureStepSequence = []
    note.CurrentRequestedProcedureEvidenceSequence = evidence(rejection.replaced)
    for element in _content(context, rejection.replaced):
        note.add(element)
    context.place(note, KIND, "replaced results")
    return note


def _content(context: ResultContext, replaced: Sequence[Instance]) -> Dataset:
    """PS3.16 TID 2010."""
    repertoire = context.sources.repertoire
    content = Dataset()
    for element in sr.ContainerContentItem(coded(TITLE, repertoire), template_id="2010"):
        content.add(element)
    words = f"Superseded by revision {context.case.revision} of the same analysis, which knows all images of the series."
    said = sr.TextContentItem(
        coded(concepts.KEY_OBJECT_DESCRIPTION, repertoire), context.fit(words, None), sr.RelationshipTypeValues.CONTAINS
    )
    content.ContentSequence = [said, *map(_named, replaced)]
    return content


def _named(instance: Instance) -> Dataset:
    # Not highdicom's items: they insist on a concept name, and TID 2010 has none here.
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE" if instance.sop_class_uid in _IMAGES else "COMPOSITE"
    item.ReferencedSOPSequence = [instance_reference(instance.sop_class_uid, instance.sop_instance_uid)]
    return item
