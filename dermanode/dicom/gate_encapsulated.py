"""What the gate asks of an Encapsulated PDF."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset

from dermanode.dicom.encapsulated import HEAD, MIME_TYPE, TAIL


def reasons(dataset: Dataset) -> Iterator[str]:
    """Why a document must not leave: no PDF, cut off, of no image, without a title, or one that hides whose it is."""
    if dataset.get("MIMETypeOfEncapsulatedDocument") != MIME_TYPE:
        yield f"MIMETypeOfEncapsulatedDocument is {dataset.get('MIMETypeOfEncapsulatedDocument')}, not {MIME_TYPE}."
    if not dataset.get("SourceInstanceSequence"):
        yield "SourceInstanceSequence names no image: it is unknown of what the document is."
    if "research" not in str(dataset.get("DocumentTitle", "")).lower():
        yield "DocumentTitle does not say that it is research."
    if dataset.get("BurnedInAnnotation") != "YES":
        yield "BurnedInAnnotation must be YES: the document names the patient."
    document = bytes(dataset.get("EncapsulatedDocument") or b"")
    length = int(dataset.get("EncapsulatedDocumentLength") or len(document))
    if not length <= len(document) <= length + 1:
        yield f"EncapsulatedDocumentLength is {length}, but EncapsulatedDocument has {len(document)} bytes."
    elif not document.startswith(HEAD) or TAIL not in document[max(0, length - 1024) : length]:
        yield "EncapsulatedDocument is no whole PDF."
