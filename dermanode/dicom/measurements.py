"""The report's measurement groups: the lesion in numbers, its outline, and where its masks are (PS3.16 TID 1410, 1501)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import numpy as np
from highdicom import sr
from pydicom.uid import SegmentationStorage

from dermanode.dicom import concepts
from dermanode.dicom.capture import named_maps
from dermanode.dicom.coding import coded
from dermanode.dicom.outline import outline
from dermanode.dicom.result import ResultContext
from dermanode.dicom.seg import SEGMENT_NUMBER, segmentation_uid
from dermanode.dicom.sources import STAND_IN_CLASS
from dermanode.dicom.tracking import tracking_of
from dermanode.dicom.uids import derive_uid
from dermanode.domain import Algorithm, Case, Measurement, Progression, RiskTerm, ViewMask
from dermanode.domain.codes import MORPHOLOGICALLY_ABNORMAL_STRUCTURE, NO_UNITS, PERCENT, SKIN_LESION, Code, private
from dermanode.errors import EncodingError

CONTAINS = sr.RelationshipTypeValues.CONTAINS
HAS_CONCEPT_MOD = sr.RelationshipTypeValues.HAS_CONCEPT_MOD
HAS_PROPERTIES = sr.RelationshipTypeValues.HAS_PROPERTIES


def groups(context: ResultContext, *, has_segmentations: bool) -> list[sr.Template]:
    """The measurement groups of a case.

    With an outline: one planar group on the best view that holds every number, and one planar group for each SEG. Without: one
    group without a region, or none when there is nothing to say. The kinds are never mixed, because validators (PixelMed) judge
    all groups of a report by the kind of one.
    """
    case = context.case
    numbers = list(_numbers(context))
    evaluations = list(_evaluations(context))
    best = best_mask(case)
    polygon = outline(best.mask) if best is not None else None
    if best is None or polygon is None:
        if not numbers and not evaluations:
            return []
        return [
            sr.MeasurementsAndQualitativeEvaluations(
                **_subject(context, _first_algorithm(case)),
                source_images=[_measured(context, view.sop_instance_uid, sr.SourceImageForMeasurementGroup) for view in case.series.views],
                measurements=numbers or None,
                qualitative_evaluations=evaluations or None,
            )
        ]
    assert case.segmentation is not None
    algorithm = case.segmentation.algorithm
    region = sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=polygon,
        source_image=_measured(context, best.sop_instance_uid, sr.SourceImageForRegion),
    )
    made: list[sr.Template] = [
        sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            **_subject(context, algorithm),
            referenced_region=region,
            measurements=numbers or None,
            qualitative_evaluations=evaluations or None,
        )
    ]
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


def number(context: ResultContext, measurement: Measurement, algorithm: Algorithm | None, finding: Code | None = None) -> sr.Measurement:
    """One NUM item with its key, derivation, view and algorithm; `finding` says what a probability is of.

    The key stands in it as Tracking Identifier, with a UID that the same number of the same lesion has at every visit: by it the number
    is known again where another visit's report is read, whatever its code. Raises `EncodingError` for a value that is no finite number.
    """
    if not math.isfinite(measurement.value):
        by = f" of {algorithm.name}" if algorithm else ""
        raise EncodingError(f"{measurement.key}{by} is {measurement.value}: a report holds finite numbers only.")
    repertoire = context.sources.repertoire
    images = None
    if any(image.view.sop_instance_uid == measurement.view_uid for image in context.sources):
        images = [_measured(context, str(measurement.view_uid), sr.SourceImageForMeasurement)]
    template = sr.Measurement(
        name=coded(measurement.concept, repertoire),
        value=float(measurement.value),
        unit=coded(measurement.unit, repertoire),
        tracking_identifier=_known_by(context, measurement.key) if measurement.key else None,
        derivation=coded(measurement.derivation, repertoire) if measurement.derivation else None,
        referenced_images=images,
        algorithm_id=identification(context, algorithm) if algorithm else None,
    )
    extra: list[sr.ContentItem] = []
    if finding is not None:
        extra.append(sr.CodeContentItem(coded(concepts.FINDING, repertoire), coded(finding, repertoire), HAS_CONCEPT_MOD))
    item = template[0]
    ends = _interval(context, measurement)
    children = [*extra, *item.get("ContentSequence", ()), *([ends] if ends else [])]
    if children:
        item.ContentSequence = sr.ContentSequence(children)
    return template


def _known_by(context: ResultContext, key: str) -> sr.TrackingIdentifier:
    lesion = tracking_of(context.case.series)
    return sr.TrackingIdentifier(uid=derive_uid("measurement", lesion.uid, key), identifier=context.fit(key, None))


def _interval(context: ResultContext, measurement: Measurement) -> sr.ContainerContentItem | None:
    """The 90 % interval as a property of its value: a container with its lower and its upper end, in the value's unit."""
    ends = interval(measurement)
    if ends is None:
        return None
    repertoire = context.sources.repertoire
    # TID 310 has the reach of an uncertainty (CID 225), but neither its ends nor its coverage, and PixelMed takes every number right
    # below a number for one that it was inferred from.
    container = sr.ContainerContentItem(coded(concepts.INTERVAL, repertoire), relationship_type=HAS_PROPERTIES)
    unit = coded(measurement.unit, repertoire)
    container.ContentSequence = sr.ContentSequence(
        sr.NumContentItem(coded(concept, repertoire), float(end), unit, relationship_type=CONTAINS)
        for concept, end in zip((concepts.LOWER_END, concepts.UPPER_END), ends, strict=True)
    )
    return container


def interval(measurement: Measurement) -> tuple[float, float] | None:
    """The ends of the 90 % interval, where both are known and finite."""
    lower, upper = measurement.lower, measurement.upper
    if lower is None or upper is None or not (math.isfinite(lower) and math.isfinite(upper)):
        return None
    return lower, upper


def identification(context: ResultContext, algorithm: Algorithm) -> sr.AlgorithmIdentification:
    """TID 4019: who computed it, with the bundle and the weights' digest as parameters."""
    parameters = [f"bundle {algorithm.bundle}"] if algorithm.bundle else []
    parameters += [f"weights SHA-256 {algorithm.weights_digest}"] if algorithm.weights_digest else []
    return sr.AlgorithmIdentification(
        name=context.fit(algorithm.name, None),
        version=context.fit(algorithm.version, None),
        parameters=[context.fit(text, None) for text in parameters] or None,
        manufacturer=context.fit(algorithm.manufacturer, None),
        family=coded(algorithm.family, context.sources.repertoire),
    )


def risk_term(term: RiskTerm) -> Measurement:
    """A part of the risk score as a number of its own, under a private code made of the part's name."""
    name = re.sub(r"[^A-Z0-9]", "", term.name.upper())
    value = f"RISK-{name}" if 0 < len(name) <= 11 else f"RISK-{sha256(term.name.encode()).hexdigest()[:10].upper()}"
    concept = private(value, f"Contribution to the risk score: {term.name}")
    return Measurement(key=f"risk_{term.name}", concept=concept, value=term.contribution, unit=NO_UNITS)


def _numbers(context: ResultContext) -> Iterator[sr.Measurement]:
    """In the order in which viewers cut them off: the lesion's features, its surface, its change, classes, risk."""
    case = context.case
    seen: set[tuple[str, str | None]] = set()
    measured = (
        *((m, case.features.algorithm) for m in (case.features.measurements if case.features else ()) if case.features),
        *((m, case.surface.algorithm) for m in (case.surface.measurements if case.surface else ()) if case.surface),
        *((m, case.progression.algorithm) for m in _compared(case.progression) if case.progression),
    )
    for measurement, algorithm in measured:
        name = (measurement.key, measurement.view_uid)
        if name not in seen and math.isfinite(measurement.value):
            seen.add(name)
            yield number(context, measurement, algorithm)
    if classification := case.classification:
        for share in (*classification.diagnosis, *classification.groups):
            if not math.isfinite(share.probability):
                continue
            percent = Measurement(key=share.label, concept=concepts.PROBABILITY, value=100.0 * share.probability, unit=PERCENT)
            yield number(context, percent, classification.algorithm, finding=share.concept)
    yield from _heat_inside(context)
    if (risk := case.risk) and math.isfinite(risk.score):
        score = Measurement(key="risk", concept=concepts.RISK_SCORE, value=risk.score, unit=NO_UNITS)
        yield number(context, score, risk.algorithm)
        for term in filter(lambda part: math.isfinite(part.contribution), risk.terms):
            yield number(context, risk_term(term), risk.algorithm)


def _compared(progression: Progression | None) -> tuple[Measurement, ...]:
    return (*progression.changes, *progression.trends) if progression else ()


def _heat_inside(context: ResultContext) -> Iterator[sr.Measurement]:
    for _, found, heat_map in named_maps(context.case):
        if heat_map.share_inside is not None:
            percent, view = 100.0 * heat_map.share_inside, heat_map.sop_instance_uid
            share = Measurement(key="heat_inside", concept=concepts.HEAT_INSIDE, value=percent, unit=PERCENT, view_uid=view)
            yield number(context, share, found.algorithm, finding=found.explained.concept)


def _evaluations(context: ResultContext) -> Iterator[sr.QualitativeEvaluation]:
    repertoire = context.sources.repertoire
    if classification := context.case.classification:
        yield sr.QualitativeEvaluation(coded(concepts.MOST_PROBABLE_CLASS, repertoire), coded(classification.top.concept, repertoire))
    if risk := context.case.risk:
        level = concepts.RISK_LEVELS.get(risk.level) or private(risk.level.upper()[:16], f"{risk.level} risk")
        yield sr.QualitativeEvaluation(coded(concepts.RISK_LEVEL, repertoire), coded(level, repertoire))


def _segment_group(context: ResultContext, mask: ViewMask, algorithm: Algorithm) -> sr.Template:
    segment = sr.ReferencedSegmentationFrame(
        sop_class_uid=SegmentationStorage,
        sop_instance_uid=segmentation_uid(context, mask.sop_instance_uid),
        frame_number=1,
        segment_number=SEGMENT_NUMBER,
        source_image=_measured(context, mask.sop_instance_uid, sr.SourceImageForSegmentation),
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


def _measured(context: ResultContext, view_uid: str, reference: Callable[[str, str], Any]) -> Any:
    return reference(STAND_IN_CLASS, context.sources.image(view_uid).view.sop_instance_uid)


def _first_algorithm(case: Case) -> Algorithm | None:
    finding = case.features or case.classification or case.risk
    return finding.algorithm if finding else None
