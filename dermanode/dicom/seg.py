"""Segmentation objects: the lesion's mask, one object for each view (PS3.3 A.51).

Photographs have no frame of reference, and a SEG of several such images is invalid; hence one object a view, all in one series. The
binary form is the one that viewers show; the fractional one and the label map are made where somebody asks for them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation as SegmentationObject
from highdicom.seg import SegmentDescription
from pydicom import Dataset

from dermanode.dicom import equipment
from dermanode.dicom.coding import coded
from dermanode.dicom.overlay import laid_on
from dermanode.dicom.plane import planar
from dermanode.dicom.result import ResultContext
from dermanode.dicom.tracking import tracking_of
from dermanode.domain import UID, Algorithm, LesionProbability, Segmentation, ViewMask
from dermanode.domain.codes import MORPHOLOGICALLY_ABNORMAL_STRUCTURE, SKIN_LESION
from dermanode.errors import EncodingError

KIND = "SEG"
FRACTIONAL = "SEG_FRACTIONAL"
LABELMAP = "SEG_LABELMAP"
Form = Literal["SEG", "SEG_FRACTIONAL", "SEG_LABELMAP"]
FORMS: tuple[Form, ...] = ("SEG", "SEG_FRACTIONAL", "SEG_LABELMAP")
SEGMENT_NUMBER = 1
LESION_COLOUR = CIELabColor(l_star=62.0, a_star=60.0, b_star=40.0)
_MOST = 255
_TYPES = {KIND: "BINARY", FRACTIONAL: "FRACTIONAL", LABELMAP: "LABELMAP"}
_SERIES = {KIND: "segmentation", FRACTIONAL: "lesion probability", LABELMAP: "label map"}


def segmentation_uid(context: ResultContext, view_uid: str, form: Form = "SEG") -> UID:
    """The SOP Instance UID of the SEG of that view."""
    return context.uid("instance", form, view_uid)


def why_not_fractional(segmentation: Segmentation) -> str | None:
    """Why there is nothing to make fractional segmentations of, in words; None when there is."""
    if all(mask.probability is None for mask in segmentation.masks):
        return f"{segmentation.algorithm.name} gives outlines without the probabilities that they were cut from"
    return None


def encode_segmentations(context: ResultContext, segmentation: Segmentation, form: Form = "SEG") -> list[tuple[ViewMask, Dataset]]:
    """Each mask with its SEG, empty masks included: 'looked for and not found' is a result.

    Of the fractional form only those with a probability. Raises `EncodingError` for a mask whose shape is not that of its view, and for
    two masks of one view.
    """
    views = [mask.sop_instance_uid for mask in segmentation.masks]
    if len(set(views)) != len(views):
        raise EncodingError(f"{segmentation.algorithm.name} gave more than one mask for a view.")
    masks = [mask for mask in segmentation.masks if form != FRACTIONAL or mask.probability is not None]
    return [(mask, _encode(context, segmentation.algorithm, mask, form, number)) for number, mask in enumerate(masks, start=1)]


def _encode(context: ResultContext, algorithm: Algorithm, mask: ViewMask, form: Form, number: int) -> Dataset:
    source = context.sources.image(mask.sop_instance_uid)
    view = source.view
    if mask.mask.shape != (view.rows, view.columns):
        raise EncodingError(
            f"The mask of {view.sop_instance_uid} has {mask.mask.shape[0]} x {mask.mask.shape[1]} pixels, "
            f"its image {view.rows} x {view.columns}: the plugin must return it at source resolution."
        )
    description = "Outline of the skin lesion" if form != FRACTIONAL else "Probability of skin lesion"
    if form != FRACTIONAL and not mask.mask.any():
        description = "No lesion found in this view"
    elif source.spacing_mm is None:
        description = f"{description}; pixel spacing unknown"
    seg = SegmentationObject(
        source_images=[planar(source)],
        pixel_array=mask.mask.astype(np.uint8)[None],  # a copy: highdicom writes into it
        segmentation_type=_TYPES[form],
        fractional_type="PROBABILITY",  # heeded by the fractional form only
        max_fractional_value=_MOST,
        segment_descriptions=[_segment(context, algorithm)],
        series_instance_uid=context.series_uid(form),
        series_number=context.series_number(form),
        sop_instance_uid=segmentation_uid(context, view.sop_instance_uid, form),
        instance_number=number,
        manufacturer=equipment.MANUFACTURER,
        manufacturer_model_name=equipment.MODEL,
        software_versions=equipment.software_version(),
        device_serial_number=equipment.SERIAL_NUMBER,
        content_description=description,
        content_label="LESION",
        omit_empty_frames=False,
    )
    if form == FRACTIONAL and mask.probability is not None:
        seg.PixelData = _levels(mask.probability, (view.rows, view.columns))
    _make_repeatable(seg, context, form, view.sop_instance_uid)
    context.sources.name(seg)
    # PatientOrientation is 2C without a patient-relative orientation; ours is image-local, so it is given and empty.
    seg.PatientOrientation = None
    context.place(seg, form, _SERIES[form])
    return seg


def _levels(probability: LesionProbability, size: tuple[int, int]) -> bytes:
    """The probability over the whole view, as bytes from 0 to `_MOST`."""
    # Not through highdicom: it sorts all values to see which there are, which takes seconds for twelve megapixels.
    shares = laid_on(probability.values, probability.to_source, size, size)
    data = (_MOST * shares + 0.5).astype(np.uint8).tobytes()
    return data + b"\0" * (len(data) % 2)


def _segment(context: ResultContext, algorithm: Algorithm) -> SegmentDescription:
    repertoire = context.sources.repertoire
    lesion = tracking_of(context.case.series)
    site = context.case.series.body_site
    return SegmentDescription(
        segment_number=SEGMENT_NUMBER,
        segment_label="Lesion",
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


def _make_repeatable(seg: Dataset, context: ResultContext, form: Form, view_uid: str) -> None:
    """Replaces the one UID that highdicom draws at random."""
    names = () if form == KIND else (form,)
    organization = context.uid("dimension organization", *names, view_uid)
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
