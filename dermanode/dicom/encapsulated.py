"""The Encapsulated PDF: the report for people, inside the study (PS3.3 A.45.1)."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from dermanode.dicom import concepts
from dermanode.dicom.coding import coded
from dermanode.dicom.references import instance_reference
from dermanode.dicom.result import ResultContext
from dermanode.dicom.tracking import tracking_of
from dermanode.domain import UID
from dermanode.errors import EncodingError

KIND = "PDF"
MIME_TYPE = "application/pdf"
HEAD, TAIL = b"%PDF-", b"%%EOF"
"""By which a PDF begins, and ends but for blanks (ISO 32000-1, 7.5)."""


def pdf_uid(context: ResultContext) -> UID:
    """The SOP Instance UID of the case's document."""
    return context.uid("instance", KIND)


def encode_pdf(context: ResultContext, document: bytes) -> Dataset:
    """The document as an Encapsulated PDF that names every photograph of the case. Raises `EncodingError` for bytes that are no PDF."""
    if not document.startswith(HEAD) or TAIL not in document[-1024:]:
        raise EncodingError("The report for people is no whole PDF: it was not encapsulated.")
    repertoire = context.sources.repertoire
    lesion = tracking_of(context.case.series)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = EncapsulatedPDFStorage, pdf_uid(context)
    dataset.Modality, dataset.ConversionType = "DOC", "WSD"  # PS3.3 C.8.6.1: made by a workstation
    dataset.InstanceNumber = 1
    dataset.AcquisitionDateTime = None
    # PS3.3 C.24.2: whether the pages name the patient, and these do.
    dataset.BurnedInAnnotation = "YES"
    dataset.DocumentTitle = context.fit(f"Report on {lesion.identifier}, research use", 1024)
    dataset.ConceptNameCodeSequence = [coded(concepts.IMAGING_MEASUREMENT_REPORT, repertoire)]
    # Not of this IOD: a standard extended class (PS3.2 7.3), as in the STL. Follow-up finds lesions by it.
    dataset.TrackingID, dataset.TrackingUID = context.fit(lesion.identifier), lesion.uid
    if context.case.series.laterality not in ("L", "R", "B", "U"):
        dataset.Laterality = None
    else:
        dataset.ImageLaterality = context.case.series.laterality
    dataset.SourceInstanceSequence = [
        instance_reference(image.view.sop_class_uid, image.view.sop_instance_uid) for image in context.sources
    ]
    dataset.MIMETypeOfEncapsulatedDocument = MIME_TYPE
    dataset.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    dataset.EncapsulatedDocumentLength = len(document)
    context.place(dataset, KIND, "report for people")
    return dataset
