"""The report's numbers: what a measurement, a probability or a part of the risk becomes as a NUM item (PS3.16 TID 300, 1419)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from highdicom import sr

from dermanode.dicom import concepts
from dermanode.dicom.capture import named_maps
from dermanode.dicom.coding import coded
from dermanode.dicom.result import ResultContext
from dermanode.dicom.sources import STAND_IN_CLASS
from dermanode.dicom.tracking import tracking_of
from dermanode.dicom.trust import trust_in
from dermanode.dicom.uids import derive_uid
from dermanode.domain import Algorithm, Case, Measurement, RiskTerm
from dermanode.domain.codes import NO_UNITS, PERCENT, Code
from dermanode.domain.sizes import is_repeated, keys_of
from dermanode.errors import EncodingError

CONTAINS = sr.RelationshipTypeValues.CONTAINS
HAS_CONCEPT_MOD = sr.RelationshipTypeValues.HAS_CONCEPT_MOD
HAS_PROPERTIES = sr.RelationshipTypeValues.HAS_PROPERTIES
INFERRED_FROM = sr.RelationshipTypeValues.INFERRED_FROM

_SHOWN = 5
"""So many numbers of a group lie over the image in OHIF."""
_FOREMOST = ("volume_mm3", "max_height_mm", "area_mm2", "long_axis_mm", "short_axis_mm", "area_px", "long_axis_px", "perimeter_mm")
"""What a reader follows from visit to visit, the most telling first: the size in millimetres."""


def numbers_of(context: ResultContext) -> Iterator[sr.Measurement]:
    """Every number of the case, in the order in which viewers cut them off.

    First the lesion's size, as far as it was measured, and as the fifth at the latest the risk score, which sums up the rest: what a
    viewer shows of a group should answer 'how large?' and 'how urgent?'. Then the other features, the surface and how far it is to be
    trusted, changes and trends, classes, and of what the risk score is made.
    """
    case = context.case
    first, others = in_order(case)
    for measurement, algorithm in first:
        yield number(context, measurement, algorithm)
    if (risk := case.risk) and math.isfinite(risk.score):
        score = Measurement(key="risk", concept=concepts.RISK_SCORE, value=risk.score, unit=NO_UNITS)
        yield number(context, score, risk.algorithm)
    for measurement, algorithm in others:
        yield number(context, measurement, algorithm)
    if classification := case.classification:
        for share in (*classification.diagnosis, *classification.groups):
            if not math.isfinite(share.probability):
                continue
            percent = Measurement(key=share.label, concept=concepts.PROBABILITY, value=100.0 * share.probability, unit=PERCENT)
            yield number(context, percent, classification.algorithm, finding=share.concept)
    yield from _heat_inside(context)
    if risk and math.isfinite(risk.score):
        for term in risk.terms:
            if math.isfinite(term.contribution):
                yield _risk_part(context, term, risk.algorithm)


def in_order(case: Case) -> tuple[list[tuple[Measurement, Algorithm]], list[tuple[Measurement, Algorithm]]]:
    """The finite measurements, changes and trends of a case: those that stand before the risk score, and those after it."""
    measured = list(_measured(case))
    rank = {key: place for place, key in enumerate(_FOREMOST)}
    first = sorted((one for one in measured if one[0].key in rank and not one[0].view_uid), key=lambda one: rank[one[0].key])
    first = first[: _SHOWN - 1]
    return first, [one for one in measured if all(one[0] is not shown for shown, _ in first)]


def number(
    context: ResultContext,
    measurement: Measurement,
    algorithm: Algorithm | None,
    finding: Code | None = None,
    made_of: tuple[Measurement, ...] = (),
) -> sr.Measurement:
    """One NUM item with its key, derivation, view, interval and algorithm.

    The key stands in it as Tracking Identifier, with a UID that the same number of the same lesion has at every visit: by it the number
    is known again where another visit's report is read, whatever its code. `finding` says what a probability is of, `made_of` are the
    numbers that it was computed from. Raises `EncodingError` for a value that is no finite number.
    """
    if not math.isfinite(measurement.value):
        by = f" of {algorithm.name}" if algorithm else ""
        raise EncodingError(f"{measurement.key}{by} is {measurement.value}: a report holds finite numbers only.")
    repertoire = context.sources.repertoire
    images = None
    if any(image.view.sop_instance_uid == measurement.view_uid for image in context.sources):
        images = [source(context, str(measurement.view_uid), sr.SourceImageForMeasurement)]
    template = sr.Measurement(
        name=coded(measurement.concept, repertoire),
        value=float(measurement.value),
        unit=coded(measurement.unit, repertoire),
        tracking_identifier=_known_by(context, measurement.key) if measurement.key else None,
        derivation=coded(measurement.derivation, repertoire) if measurement.derivation else None,
        referenced_images=images,
    )
    item = template[0]
    children: list[sr.ContentItem] = []
    if finding is not None:
        children.append(sr.CodeContentItem(coded(concepts.FINDING, repertoire), coded(finding, repertoire), HAS_CONCEPT_MOD))
    children.extend(item.get("ContentSequence", ()))
    children.extend(identification(context, algorithm) if algorithm else ())
    children.extend(_plain(context, part, INFERRED_FROM) for part in made_of)
    if ends := interval(measurement):
        children.append(_interval(context, ends, measurement.unit))
    if children:
        item.ContentSequence = children  # highdicom makes a sequence of its own of whatever it is given
    return template


def _known_by(context: ResultContext, key: str) -> sr.TrackingIdentifier:
    lesion = tracking_of(context.case.series)
    return sr.TrackingIdentifier(uid=derive_uid("measurement", lesion.uid, key), identifier=context.fit(key, None))


def interval(measurement: Measurement) -> tuple[float, float] | None:
    """The ends of the 90 % interval, where both are known and finite."""
    lower, upper = measurement.lower, measurement.upper
    if lower is None or upper is None or not (math.isfinite(lower) and math.isfinite(upper)):
        return None
    return lower, upper


def identification(context: ResultContext, algorithm: Algorithm) -> sr.AlgorithmIdentification:
    """TID 4019: who computed it, with the bundle and the weights' digest as parameters. Made once: every number has it."""
    known = context.identifications
    if algorithm not in known:
        known[algorithm] = _identification(context, algorithm)
    return known[algorithm]


def _identification(context: ResultContext, algorithm: Algorithm) -> sr.AlgorithmIdentification:
    parameters = [f"bundle {algorithm.bundle}"] if algorithm.bundle else []
    parameters += [f"weights SHA-256 {algorithm.weights_digest}"] if algorithm.weights_digest else []
    return sr.AlgorithmIdentification(
        name=context.fit(algorithm.name, None),
        version=context.fit(algorithm.version, None),
        parameters=[context.fit(text, None) for text in parameters] or None,
        manufacturer=context.fit(algorithm.manufacturer, None),
        family=coded(algorithm.family, context.sources.repertoire),
    )


def source(context: ResultContext, view_uid: str, reference: Callable[[str, str], Any]) -> Any:
    """A reference to a view, under the class that highdicom is told of."""
    return reference(STAND_IN_CLASS, context.sources.image(view_uid).view.sop_instance_uid)


def _measured(case: Case) -> Iterator[tuple[Measurement, Algorithm]]:
    """The features, the surface's own numbers that they do not repeat, changes and trends: those that are finite."""
    seen: set[tuple[str, str | None]] = set()
    finite = [(measurement, algorithm) for measurement, algorithm in _all_measured(case) if math.isfinite(measurement.value)]
    keys = keys_of(measurement for measurement, _ in finite)
    for measurement, algorithm in finite:
        name = (measurement.key, measurement.view_uid)
        if name not in seen and not is_repeated(measurement, keys):
            seen.add(name)
            yield measurement, algorithm


def _all_measured(case: Case) -> Iterator[tuple[Measurement, Algorithm]]:
    if features := case.features:
        yield from ((measurement, features.algorithm) for measurement in features.measurements)
    if surface := case.surface:
        yield from ((measurement, surface.algorithm) for measurement in (*surface.measurements, *trust_in(surface)))
    if progression := case.progression:
        yield from ((measurement, progression.algorithm) for measurement in (*progression.changes, *progression.trends))
        for pair in case.comparisons:
            yield from ((replace(measurement, view_uid=pair.sop_instance_uid), progression.algorithm) for measurement in pair.measurements)


def _heat_inside(context: ResultContext) -> Iterator[sr.Measurement]:
    for _, found, heat_map in named_maps(context.case):
        if heat_map.share_inside is not None:
            percent, view = 100.0 * heat_map.share_inside, heat_map.sop_instance_uid
            share = Measurement(key="heat_inside", concept=concepts.HEAT_INSIDE, value=percent, unit=PERCENT, view_uid=view)
            yield number(context, share, found.algorithm, finding=found.explained.concept)


def _risk_part(context: ResultContext, term: RiskTerm, algorithm: Algorithm) -> sr.Measurement:
    """What a part adds to the score, inferred from its weight and its value."""
    part = Measurement(key=f"risk_{term.name}", concept=concepts.risk_part(term.name), value=term.contribution, unit=NO_UNITS)
    weight = Measurement(key="weight", concept=concepts.RISK_WEIGHT, value=term.weight, unit=NO_UNITS)
    value = Measurement(key="value", concept=concepts.RISK_VALUE, value=term.value, unit=NO_UNITS)
    return number(context, part, algorithm, made_of=(weight, value))


def _interval(context: ResultContext, ends: tuple[float, float], unit: Code) -> sr.ContainerContentItem:
    """The 90 % interval as a property of its value: a container with its lower and its upper end, in the value's unit."""
    # TID 310 has the reach of an uncertainty (CID 225), but neither its ends nor its coverage, and PixelMed takes every number right
    # below a number for one that it was inferred from.
    container = sr.ContainerContentItem(coded(concepts.INTERVAL, context.sources.repertoire), relationship_type=HAS_PROPERTIES)
    bounds = (
        Measurement(key=name, concept=concept, value=end, unit=unit)
        for name, concept, end in zip(("lower", "upper"), (concepts.LOWER_END, concepts.UPPER_END), ends, strict=True)
    )
    container.ContentSequence = [_plain(context, bound, CONTAINS) for bound in bounds]
    return container


def _plain(context: ResultContext, measurement: Measurement, relationship: sr.RelationshipTypeValues) -> sr.NumContentItem:
    """A NUM item that is a part of another."""
    repertoire = context.sources.repertoire
    name, unit = coded(measurement.concept, repertoire), coded(measurement.unit, repertoire)
    return sr.NumContentItem(name, float(measurement.value), unit, relationship_type=relationship)
