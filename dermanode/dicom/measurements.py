"""The report's measurement groups: the lesion in numbers, its outline, and where its masks are (PS3.16 TID 1410, 1501)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from highdicom import sr
from pydicom.uid import SegmentationStorage

from dermanode.dicom import concepts
from dermanode.dicom.coding import coded
from dermanode.dicom.numbers import identification, number, numbers_of, source
from dermanode.dicom.result import ResultContext
from dermanode.dicom.seg import SEGMENT_NUMBER, segmentation_uid
from dermanode.dicom.tracking import tracking_of
from dermanode.domain import Algorithm, Case, Measurement, ViewMask
from dermanode.domain.codes import MORPHOLOGICALLY_ABNORMAL_STRUCTURE, PERCENT, SKIN_LESION, Code, private


def groups(context: ResultContext, *, has_segmentations: bool) -> list[sr.Template]:
    """The measurement groups of a case.

    With an outline: one planar group on the best view that holds every number, and one planar group for each SEG. Without: one
    group without a region, or none when there is nothing to say. The kinds are never mixed, because validators (PixelMed) judge
    all groups of a report by the kind of one.
    """
    case = context.case
    numbers = list(numbers_of(context))
    evaluations = list(_evaluations(context))
    best = best_mask(case)
    polygon = context.outline_of(best.sop_instance_uid) if best is not None else None
    if best is None or polygon is None:
        if not numbers and not evaluations:
            return []
        return [
            sr.MeasurementsAndQualitativeEvaluations(
                **_subject(context, _first_algorithm(case)),
                source_images=[source(context, view.sop_instance_uid, sr.SourceImageForMeasurementGroup) for view in case.series.views],
                measurements=numbers or None,
                qualitative_evaluations=evaluations or None,
            )
        ]
    assert case.segmentation is not None
    algorithm = case.segmentation.algorithm
    region = sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=polygon,
        source_image=source(context, best.sop_instance_uid, sr.SourceImageForRegion),
    )
    outlined = sr.PlanarROIMeasurementsAndQualitativeEvaluations(**_subject(context, algorithm), referenced_region=region)
    # Not handed over above: highdicom would walk through each number again to see that it has no region of its own.
    outlined[0].ContentSequence.extend(item for template in (*numbers, *evaluations) for item in template)
    made: list[sr.Template] = [outlined]
    if has_segmentations:
        made.extend(_segment_group(context, mask, algorithm) for mask in _found(case))
    return made


def best_mask(case: Case) -> ViewMask | None:
    """The mask to show: whole before cut off by the border, then the surest, then the largest; None without any lesion."""
    found = _found(case)
    if not found:
        return None
    return max(found, key=lambda m: (not m.touches_border, round(m.confidence, 3), int(np.count_nonzero(m.mask))))


def _found(case: Case) -> list[ViewMask]:
    """The masks that show a lesion; none of another size than its view, so that a plugin's slip never costs the report."""
    sizes = {view.sop_instance_uid: (view.rows, view.columns) for view in case.series.views}
    masks = case.segmentation.masks if case.segmentation else ()
    return [mask for mask in masks if mask.mask.shape == sizes.get(mask.sop_instance_uid) and mask.mask.any()]


def _evaluations(context: ResultContext) -> Iterator[sr.QualitativeEvaluation]:
    if classification := context.case.classification:
        yield _evaluation(context, concepts.MOST_PROBABLE_CLASS, classification.top.concept, classification.algorithm)
    if risk := context.case.risk:
        level = concepts.RISK_LEVELS.get(risk.level) or private(risk.level.upper()[:16], f"{risk.level} risk")
        yield _evaluation(context, concepts.RISK_LEVEL, level, risk.algorithm)


def _evaluation(context: ResultContext, name: Code, value: Code, algorithm: Algorithm) -> sr.QualitativeEvaluation:
    """A finding in words with the algorithm that made it, which is not the one of the group's outline (TID 4019)."""
    repertoire = context.sources.repertoire
    template = sr.QualitativeEvaluation(coded(name, repertoire), coded(value, repertoire))
    template[0].ContentSequence = list(identification(context, algorithm))
    return template


def _segment_group(context: ResultContext, mask: ViewMask, algorithm: Algorithm) -> sr.Template:
    segment = sr.ReferencedSegmentationFrame(
        sop_class_uid=SegmentationStorage,
        sop_instance_uid=segmentation_uid(context, mask.sop_instance_uid),
        frame_number=1,
        segment_number=SEGMENT_NUMBER,
        source_image=source(context, mask.sop_instance_uid, sr.SourceImageForSegmentation),
    )
    # PS3.3 C.18.4: a frame or a segment, not both; highdicom insists on both.
    del segment[0].ReferencedSOPSequence[0].ReferencedFrameNumber
    confidence = Measurement(key="confidence", concept=concepts.SEGMENTATION_CONFIDENCE, value=100.0 * mask.confidence, unit=PERCENT)
    measurements = [number(context, confidence, algorithm)] if math.isfinite(mask.confidence) else None
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        **_subject(context, algorithm), referenced_segment=segment, measurements=measurements
    )


def _subject(context: ResultContext, algorithm: Algorithm | None) -> dict[str, object]:
    repertoire = context.sources.repertoire
    lesion = tracking_of(context.case.series)
    series = context.case.series
    sites = None
    if series.body_site:
        side = concepts.LATERALITY.get(series.laterality)
        sites = [sr.FindingSite(coded(series.body_site, repertoire), laterality=coded(side, repertoire) if side else None)]
    return {
        "tracking_identifier": sr.TrackingIdentifier(uid=lesion.uid, identifier=context.fit(lesion.identifier, None)),
        "finding_category": coded(MORPHOLOGICALLY_ABNORMAL_STRUCTURE, repertoire),
        "finding_type": coded(SKIN_LESION, repertoire),
        "finding_sites": sites,
        "algorithm_id": identification(context, algorithm) if algorithm else None,
    }


def _first_algorithm(case: Case) -> Algorithm | None:
    finding = case.features or case.classification or case.risk
    return finding.algorithm if finding else None
