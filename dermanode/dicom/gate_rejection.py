"""What the gate asks of a rejection note: it makes a PACS hide what it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydicom import Dataset

from dermanode.dicom.references import instances_in
from dermanode.dicom.rejection import TITLE


def reasons(dataset: Dataset, present: Mapping[str, str]) -> Iterator[str]:
    """Why a note must not leave: it would hide a photograph or a present result (`present`, by UID), or names nothing."""
    title = [(name.get("CodeValue"), name.get("CodingSchemeDesignator")) for name in dataset.get("ConceptNameCodeSequence") or ()]
    if title != [(TITLE.value, TITLE.scheme)]:
        yield f"ConceptNameCodeSequence must be ({TITLE.value}, {TITLE.scheme}): nothing else is true of a result that was superseded."
    named = [
        str(reference.get("ReferencedSOPInstanceUID", ""))
        for item in dataset.get("ContentSequence") or ()
        for reference in item.get("ReferencedSOPSequence", ())
    ]
    if not named:
        yield "ContentSequence names no object: there is nothing to reject."
    for uid in named:
        if uid in present:
            yield f"ContentSequence names {uid}, which is a photograph or a result of this revision: it must not be hidden."
    evidence = {one.sop_instance_uid: one.study_uid for one in instances_in(dataset, "CurrentRequestedProcedureEvidenceSequence")}
    if set(named) != set(evidence):
        yield "CurrentRequestedProcedureEvidenceSequence and ContentSequence name different objects."
    for study in set(evidence.values()) - {str(dataset.get("StudyInstanceUID", ""))}:
        yield f"CurrentRequestedProcedureEvidenceSequence names objects of the study {study}: another study must not be changed."
