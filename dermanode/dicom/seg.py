"""Segmentation objects: the lesion's mask, one object for each view (PS3.3 A.51).

Photographs have no frame of reference, and a SEG of several such images is invalid; hence one object a view, all in one series.
"""

from __future__ import annotations

from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation as SegmentationObject
from highdicom.seg import SegmentDescription
from pydicom import Dataset
from pydicom.valuerep import DS

from dermanode.dicom import equipment
from dermanode.dicom.coding import coded
from dermanode.dicom.result import ResultContext
from dermanode.dicom.sources import STAND_IN_CLASS, SourceImage
from dermanode.dicom.tracking import tracking_of
from dermanode.dicom.uids import derive_uid
from dermanode.domain import UID, Algorithm, Segmentation, ViewMask
from dermanode.domain.codes import MORPHOLOGICALLY_ABNORMAL_STRUCTURE, SKIN_LESION
from dermanode.errors import EncodingError

KIND = "SEG"
SEGMENT_NUMBER = 1
LESION_COLOUR = CIELabColor(l_star=62.0, a_star=60.0, b_star=40.0)


def segmentation_uid(context: ResultContext, view_uid: str) -> UID:
    """The SOP Instance UID of the SEG of that view."""
    return context.uid("instance", KIND, view_uid)


def frame_of_reference_uid(view_uid: str) -> UID:
    """The image-local frame of reference of a photograph: pixels times spacing, nothing anatomic."""
    return derive_uid("image frame of reference", view_uid)


def encode_segmentations(context: ResultContext, segmentation: Segmentation) -> list[Dataset]:
    """One binary SEG for each mask, empty masks included: 'looked for and not found' is a result.

    Raises `EncodingError` for a mask whose shape is not that of its view, and for two masks of one view.
    """
    views = [mask.sop_instance_uid for mask in segmentation.masks]
    if len(set(views)) != len(views):
        raise EncodingError(f"{segmentation.algorithm.name} gave more than one mask for a view.")
    return [_encode(context, segmentation.algorithm, mask, number) for number, mask in enumerate(segmentation.masks, start=1)]


def _encode(context: ResultContext, algorithm: Algorithm, mask: ViewMask, number: int) -> Dataset:
    source = context.sources.image(mask.sop_instance_uid)
    view = source.view
    if mask.mask.shape != (view.rows, view.columns):
        raise EncodingError(
            f"The mask of {view.sop_instance_uid} has {mask.mask.shape[0]} x {mask.mask.shape[1]} pixels, "
            f"its image {view.rows} x {view.columns}: the plugin must return it at source resolution."
        )
    label, description = "Lesion", "Outline of the skin lesion"
    if not mask.mask.any():
        description = "No lesion found in this view"
    elif source.spacing_mm is None:
        description = "Outline of the skin lesion; pixel spacing unknown"
    seg = SegmentationObject(
        source_images=[_planar(source)],
        pixel_array=mask.mask.astype("uint8")[None],
        segmentation_type="BINARY",
        segment_descriptions=[_segment(context, algorithm, label)],
        series_instance_uid=context.series_uid(KIND),
        series_number=context.series_number(KIND),
        sop_instance_uid=segmentation_uid(context, view.sop_instance_uid),
        instance_number=number,
        manufacturer=equipment.MANUFACTURER,
        manufacturer_model_name=equipment.MODEL,
        software_versions=equipment.software_version(),
        device_serial_number=equipment.SERIAL_NUMBER,
        content_description=description,
        content_label="LESION",
        omit_empty_frames=False,
    )
    _make_repeatable(seg, context, view.sop_instance_uid)
    context.sources.name(seg)
    # PatientOrientation is 2C without a patient-relative orientation; ours is image-local, so it is given and empty.
    seg.PatientOrientation = None
    context.place(seg, KIND, "segmentation")
    return seg


def _segment(context: ResultContext, algorithm: Algorithm, label: str) -> SegmentDescription:
    repertoire = context.sources.repertoire
    lesion = tracking_of(context.case.series)
    site = context.case.series.body_site
    return SegmentDescription(
        segment_number=SEGMENT_NUMBER,
        segment_label=label,
        segmented_property_category=coded(MORPHOLOGICALLY_ABNORMAL_STRUCTURE, repertoire),
        segmented_property_type=coded(SKIN_LESION, repertoire),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=context.fit(algorithm.name),
            family=coded(algorithm.family, repertoire),
            version=context.fit(algorithm.version),
            source=context.fit(algorithm.manufacturer),
        ),
        tracking_id=context.fit(lesion.identifier),
        tracking_uid=lesion.uid,
        anatomic_regions=[coded(site, repertoire)] if site else None,
        display_color=LESION_COLOUR,
    )


def _planar(source: SourceImage) -> Dataset:
    """The source as highdicom wants it: no patient, which is stamped on afterwards, and an image-local plane."""
    header, view = source.header, source.view
    planar = Dataset()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        setattr(planar, keyword, str(header[keyword].value))
    planar.SOPClassUID, planar.SOPInstanceUID = STAND_IN_CLASS, view.sop_instance_uid
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(planar, keyword, None)
    planar.Rows, planar.Columns = view.rows, view.columns
    planar.FrameOfReferenceUID = frame_of_reference_uid(view.sop_instance_uid)
    planar.PositionReferenceIndicator = ""
    planar.ImagePositionPatient = [0, 0, 0]
    planar.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    planar.SliceThickness = 1
    planar.PixelSpacing = [_decimal(mm) for mm in source.spacing_mm or (1.0, 1.0)]
    if str(header.get("LossyImageCompression", "") or "") == "01":
        planar.LossyImageCompression = "01"
        for keyword, nominal in (("LossyImageCompressionRatio", "1"), ("LossyImageCompressionMethod", "ISO_10918_1")):
            value = header.get(keyword)
            setattr(planar, keyword, value if value not in (None, "") else nominal)
    return planar


def _decimal(number: float) -> DS:
    return DS(number, auto_format=True)


def _make_repeatable(seg: Dataset, context: ResultContext, view_uid: str) -> None:
    """Replaces the one UID that highdicom draws at random."""
    organization = context.uid("dimension organization", view_uid)
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
