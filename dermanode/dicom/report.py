"""The Structured Report: everything that was found, and everything that was not (PS3.16 TID 1500, Comprehensive 3D SR)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from highdicom import sr
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage

from dermanode.dicom import concepts, equipment
from dermanode.dicom.capture import capture_uid, named_maps
from dermanode.dicom.coding import coded
from dermanode.dicom.measurements import groups
from dermanode.dicom.moments import ACQUISITION, CONTENT
from dermanode.dicom.references import Instance, evidence
from dermanode.dicom.result import ResultContext, in_zone
from dermanode.dicom.sources import SourceImage, raw_value
from dermanode.dicom.statements import Statement
from dermanode.domain import UID, HeatMaps
from dermanode.domain.codes import DERMOSCOPIC_PHOTOGRAPHY, IMAGING_PROCEDURE, PIXEL, Code

KIND = "SR"
Predecessor = tuple[str, str, str, str]
"""(SOP Class UID, SOP Instance UID, Series Instance UID, Study Instance UID)."""
CONTAINS = sr.RelationshipTypeValues.CONTAINS
HAS_ACQ_CONTEXT = sr.RelationshipTypeValues.HAS_ACQ_CONTEXT
HAS_CONCEPT_MOD = sr.RelationshipTypeValues.HAS_CONCEPT_MOD


def report_uid(context: ResultContext) -> UID:
    """The SOP Instance UID of the case's report."""
    return context.uid("instance", KIND)


def encode_report(
    context: ResultContext, said: Sequence[Statement], results: Sequence[Dataset], predecessor: Predecessor | None = None
) -> Dataset:
    """The report of a case, failed or not.

    `results` are the objects made before: they are evidence beside the source images. The SEGs are referred to by the measurement
    groups, the pictures of heat maps by the image library and by an item that says what they explain. The report is complete,
    preliminary and unverified.
    """
    report = Dataset()
    report.SOPClassUID = Comprehensive3DSRStorage
    report.SOPInstanceUID = report_uid(context)
    report.StudyInstanceUID = context.case.series.study_instance_uid
    report.Modality = "SR"
    report.InstanceNumber = 1
    report.CompletionFlag = "COMPLETE"
    report.VerificationFlag = "UNVERIFIED"
    report.PreliminaryFlag = "PRELIMINARY"
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = [coded(DERMOSCOPIC_PHOTOGRAPHY, context.sources.repertoire)]
    report.CurrentRequestedProcedureEvidenceSequence = evidence(
        [*(Instance.of(image.header) for image in context.sources), *map(Instance.of, results)]
    )
    if predecessor:
        report.PredecessorDocumentsSequence = evidence([Instance(*predecessor)])
    for element in _content(context, said, results):
        report.add(element)
    context.sources.name(report)
    context.place(report, KIND, "report")
    return report


def _content(context: ResultContext, said: Sequence[Statement], results: Sequence[Dataset]) -> Dataset:
    repertoire = context.sources.repertoire
    has_segmentations = any(result.SOPClassUID == SegmentationStorage for result in results)
    shown = list(_shown(context, results))

    def name(code: Code) -> sr.CodedConcept:
        return coded(code, repertoire)

    root = sr.ContainerContentItem(name(concepts.IMAGING_MEASUREMENT_REPORT), template_id="1500")
    root.ContentSequence = sr.ContentSequence()
    root.ContentSequence.extend(sr.LanguageOfContentItemAndDescendants(sr.CodedConcept("en-US", "RFC5646", "English (United States)")))
    root.ContentSequence.extend(_observer())
    root.ContentSequence.append(sr.CodeContentItem(name(concepts.PROCEDURE_REPORTED), name(IMAGING_PROCEDURE), HAS_CONCEPT_MOD))
    root.ContentSequence.append(_image_library(context, [picture for picture, _ in shown]))
    if measured := groups(context, has_segmentations=has_segmentations):
        numbers = sr.ContainerContentItem(name(concepts.IMAGING_MEASUREMENTS), relationship_type=CONTAINS)
        numbers.ContentSequence = [item for group in measured for item in group]
        root.ContentSequence.append(numbers)
    words = sr.ContainerContentItem(name(concepts.QUALITATIVE_EVALUATIONS), relationship_type=CONTAINS)
    words.ContentSequence = [
        *(sr.TextContentItem(name(statement.concept), context.fit(statement.text, None), CONTAINS) for statement in said),
        *(_explanation(context, picture, found) for picture, found in shown),
    ]
    root.ContentSequence.append(words)
    return root


def _observer() -> sr.ObserverContext:
    attributes = sr.DeviceObserverIdentifyingAttributes(
        uid=equipment.node_uid(),
        name=equipment.MODEL,
        manufacturer_name=equipment.MANUFACTURER,
        model_name=equipment.MODEL,
        serial_number=equipment.SERIAL_NUMBER,
    )
    return sr.ObserverContext(sr.CodedConcept("121007", "DCM", "Device"), attributes)


def _shown(context: ResultContext, results: Sequence[Dataset]) -> Iterator[tuple[Dataset, HeatMaps]]:
    """Each picture of a heat map, and what it explains."""
    made = {str(result.SOPInstanceUID): result for result in results}
    for number, found, heat_map in named_maps(context.case):
        if picture := made.get(capture_uid(context, number, heat_map.sop_instance_uid)):
            yield picture, found


def _explanation(context: ResultContext, picture: Dataset, found: HeatMaps) -> sr.ImageContentItem:
    """The picture under the name of what its colours are, with the class that they explain and the method."""
    repertoire = context.sources.repertoire
    item = sr.ImageContentItem(coded(found.concept, repertoire), picture.SOPClassUID, picture.SOPInstanceUID, relationship_type=CONTAINS)
    explained, method = coded(found.explained.concept, repertoire), context.fit(found.method, None)
    item.ContentSequence = [
        sr.CodeContentItem(coded(concepts.FINDING, repertoire), explained, HAS_CONCEPT_MOD),
        sr.TextContentItem(coded(concepts.EXPLANATION, repertoire), method, HAS_CONCEPT_MOD),
    ]
    return item


def _image_library(context: ResultContext, pictures: Sequence[Dataset]) -> sr.ContainerContentItem:
    """TID 1600, written here: highdicom's own has no coded modality for dermoscopic photographs.

    The photographs are one group, the pictures made of them another.
    """
    entries = [[_source_entry(context, image) for image in context.sources], [_derived_entry(context, one) for one in pictures]]
    repertoire = context.sources.repertoire
    library = sr.ContainerContentItem(coded(concepts.IMAGE_LIBRARY, repertoire), relationship_type=CONTAINS)
    library.ContentSequence = sr.ContentSequence()
    for some in filter(None, entries):
        group = sr.ContainerContentItem(coded(concepts.IMAGE_LIBRARY_GROUP, repertoire), relationship_type=CONTAINS)
        group.ContentSequence = some
        library.ContentSequence.append(group)
    return library


def _source_entry(context: ResultContext, image: SourceImage) -> sr.ImageContentItem:
    repertoire = context.sources.repertoire
    view = image.view
    entry = sr.ImageContentItem(coded(concepts.SOURCE, repertoire), view.sop_class_uid, view.sop_instance_uid, relationship_type=CONTAINS)
    entry.ContentSequence = [*_modality(context, image), *_taken(context, image), *_size(context, view.rows, view.columns)]
    return entry


def _taken(context: ResultContext, image: SourceImage) -> list[sr.ContentItem]:
    """Date and time of one photograph, in the zone of the report.

    None where the photograph states neither that of its acquisition nor of its content: then it is as old as its study, whose date every
    report has.
    """
    stated = ((ACQUISITION, ("AcquisitionDateTime", "AcquisitionDate")), (CONTENT, ("ContentDate",)))
    names = next((names for names, keywords in stated if any(raw_value(image.header, keyword) for keyword in keywords)), None)
    taken = image.view.acquired_at
    if taken is None or names is None:
        return []
    shown = in_zone(taken, str(context.sources.first.header.get("TimezoneOffsetFromUTC", "") or ""))
    day, time = (coded(name, context.sources.repertoire) for name in names)
    return [
        sr.DateContentItem(day, shown.strftime("%Y%m%d"), HAS_ACQ_CONTEXT),
        sr.TimeContentItem(time, shown.strftime("%H%M%S.%f"), HAS_ACQ_CONTEXT),
    ]


def _derived_entry(context: ResultContext, picture: Dataset) -> sr.ImageContentItem:
    name = coded(concepts.DERIVED, context.sources.repertoire)
    entry = sr.ImageContentItem(name, picture.SOPClassUID, picture.SOPInstanceUID, relationship_type=CONTAINS)
    entry.ContentSequence = _size(context, picture.Rows, picture.Columns)
    return entry


def _size(context: ResultContext, rows: int, columns: int) -> list[sr.NumContentItem]:
    repertoire = context.sources.repertoire
    pixels = coded(PIXEL, repertoire)
    return [
        sr.NumContentItem(coded(concepts.PIXEL_DATA_ROWS, repertoire), rows, pixels, None, HAS_ACQ_CONTEXT),
        sr.NumContentItem(coded(concepts.PIXEL_DATA_COLUMNS, repertoire), columns, pixels, None, HAS_ACQ_CONTEXT),
    ]


def _modality(context: ResultContext, image: SourceImage) -> list[sr.CodeContentItem]:
    """The coded modality, where CID 29 of 2022 has it.

    Dermoscopy (DMS) joined that context group later; the item is optional, and validators and readers in the field refuse what they
    do not find in it.
    """
    repertoire = context.sources.repertoire
    modality = concepts.MODALITIES.get(str(image.header.get("Modality", "")))
    return [sr.CodeContentItem(coded(concepts.MODALITY, repertoire), coded(modality, repertoire), HAS_ACQ_CONTEXT)] if modality else []
