"""An earlier visit from its Structured Report: who, which lesion, when, and what was found (PS3.16 TID 1500)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from dermanode.dicom import concepts, maker
from dermanode.dicom.content import CONTENT, Item
from dermanode.dicom.elements import Elements
from dermanode.dicom.moments import first_moment
from dermanode.dicom.read_measurements import TRACKING_ID, classification_of, features_of, numbers_of, risk_of
from dermanode.dicom.scan import scan
from dermanode.dicom.tracking import stated_by_source
from dermanode.domain import UID, Finding, LesionKey, Outcome, Patient, StageReport, StageStatus
from dermanode.domain.codes import Code
from dermanode.errors import UnreadableObject

REPORT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR",
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR",
    "1.2.840.10008.5.1.4.1.1.88.35": "Extensible SR",
}
"""The kinds of document that TID 1500 is written in."""
LARGEST_BYTES = 4 << 20
"""Ours have some 100 kB; the tree of a larger one takes memory that its numbers are not worth."""

_SOP_CLASS, _SOP_INSTANCE, _MANUFACTURER, _MODEL = 0x00080016, 0x00080018, 0x00080070, 0x00081090
_STUDY_DATE, _STUDY_TIME, _CONTENT_DATE, _CONTENT_TIME = 0x00080020, 0x00080030, 0x00080023, 0x00080033
_TIMEZONE_OFFSET, _PATIENT_ID, _ISSUER = 0x00080201, 0x00100020, 0x00100021
_EVIDENCE, _PREDECESSORS = 0x0040A375, 0x0040A360
_SERIES, _SERIES_UID = 0x00081115, 0x0020000E
_INSTANCES, _REFERENCED_INSTANCE = 0x00081199, 0x00081155
_WANTED = frozenset(
    {_SOP_CLASS, _SOP_INSTANCE, _MANUFACTURER, _MODEL, _STUDY_DATE, _STUDY_TIME, _CONTENT_DATE, _CONTENT_TIME}
    | {_TIMEZONE_OFFSET, _PATIENT_ID, _ISSUER, _EVIDENCE, _PREDECESSORS, CONTENT, 0x0040A043}
)

_GROUP = Code("125007", "DCM", "Measurement Group")
_TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
_FINDING_SITES = (Code("363698007", "SCT", "Finding Site"), Code("G-C0E3", "SRT", "Finding Site"))
_LATERALITIES = (Code("272741003", "SCT", "Laterality"), Code("G-C171", "SRT", "Laterality"))


@dataclass(frozen=True, slots=True)
class ReportedLesion:
    """One lesion of a report."""

    key: LesionKey
    """As the source of the photographs said it: names made up for the report are not in it."""
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class EarlierReport:
    """A report as a visit."""

    sop_instance_uid: UID
    patient_id: str
    issuer: str
    acquired_at: datetime | None
    """When the photographs were taken; the study's date where the report does not say it. UTC."""
    reported_at: datetime | None
    """When the report was made."""
    source_series: frozenset[UID]
    """The series of the photographs."""
    predecessors: frozenset[UID]
    """The reports that it replaces."""
    lesions: tuple[ReportedLesion, ...]
    """None where nothing was measured."""


def read_report(content: bytes, subject: str) -> EarlierReport:
    """The report in a DICOM file. What it does not say, or says in no way that is known, is left out.

    Raises `UnreadableObject`, in which `subject` names it, for what is no imaging measurement report, and for no other reason.
    """
    if len(content) > LARGEST_BYTES:
        raise UnreadableObject(subject, f"it has {len(content) >> 20} MiB, and more than {LARGEST_BYTES >> 20} are not read")
    found = scan(content, _WANTED, subject)
    header, root = found.elements, Item(found.elements)
    uid = header.uid(_SOP_INSTANCE)
    if uid is None:
        raise UnreadableObject(subject, "it has no SOP Instance UID")
    if header.text(_SOP_CLASS) not in REPORT_CLASSES or not root.is_named(concepts.IMAGING_MEASUREMENT_REPORT):
        raise UnreadableObject(subject, "it is no imaging measurement report (TID 1500)")
    entries = _library(root)
    series = _series_of(header, {image for entry in entries if (image := entry.instance) is not None})
    patient = Patient(patient_id=header.text(_PATIENT_ID), issuer=header.text(_ISSUER))
    return EarlierReport(
        sop_instance_uid=uid,
        patient_id=patient.patient_id,
        issuer=patient.issuer,
        acquired_at=first_moment(entries, header) or header.moment(_STUDY_DATE, _STUDY_TIME),
        reported_at=header.moment(_CONTENT_DATE, _CONTENT_TIME),
        source_series=series,
        predecessors=frozenset(uid for uid, _ in _referenced(header, _PREDECESSORS)),
        lesions=tuple(_lesion(groups, uid, patient, series, root, header) for groups in _by_lesion(root)),
    )


def _library(root: Item) -> tuple[Item, ...]:
    """The photographs in the image library; of other makers, who name its entries otherwise, every image."""
    groups = [group for library in root.named(concepts.IMAGE_LIBRARY) for group in library.children]
    images = tuple(item for group in groups for item in (group, *group.children) if item.value_type == "IMAGE")
    return tuple(image for image in images if image.is_named(concepts.SOURCE)) or images


def _series_of(header: Elements, images: set[UID]) -> frozenset[UID]:
    return frozenset(series for image, series in _referenced(header, _EVIDENCE) if image in images and series is not None)


def _referenced(header: Elements, tag: int) -> Iterator[tuple[UID, UID | None]]:
    """Instances with their series, of an evidence or predecessor sequence."""
    for study in header.items(tag):
        for series in study.items(_SERIES):
            for instance in series.items(_INSTANCES):
                uid = instance.uid(_REFERENCED_INSTANCE)
                if uid is not None:
                    yield uid, series.uid(_SERIES_UID)


def _by_lesion(root: Item) -> list[list[Item]]:
    """The measurement groups, those of one lesion together; a group without a name is of no lesion that could be followed."""
    together: dict[tuple[str, str], list[Item]] = {}
    for measurements in root.named(concepts.IMAGING_MEASUREMENTS):
        for group in measurements.named(_GROUP):
            name, uid = _names(group)
            if name or uid:
                # One lesion has one UID, whatever it is called; without, one name.
                together.setdefault(("uid", uid) if uid else ("name", name), []).append(group)
    return list(together.values())


def _names(group: Item) -> tuple[str, UID | None]:
    identifier, unique = group.child(TRACKING_ID), group.child(_TRACKING_UID)
    return identifier.text if identifier else "", unique.uid if unique else None


def _lesion(groups: Sequence[Item], report: UID, patient: Patient, series: frozenset[UID], root: Item, header: Elements) -> ReportedLesion:
    site, laterality = _site(groups)
    name, uid = _names(groups[0])
    by = header.text(_MANUFACTURER), header.text(_MODEL)
    is_own = by == (maker.MANUFACTURER, maker.MODEL)
    key = stated_by_source(LesionKey(uid, name or None, site or None, laterality), patient, series)
    return ReportedLesion(key, _outcome(groups, report, root, " ".join(filter(None, by)) or "an unnamed maker", is_own))


def _site(groups: Sequence[Item]) -> tuple[str, str]:
    """The code value of the finding site, and the side."""
    for group in groups:
        for site in (item for name in _FINDING_SITES for item in group.named(name)):
            if (code := site.code) is not None:
                sides = (item.code for name in _LATERALITIES for item in site.named(name))
                said = next((side for side in sides if side is not None), None)
                return code.value, next((short for short, one in concepts.LATERALITY.items() if said and one.value == said.value), "")
    return "", ""


def _outcome(groups: Sequence[Item], report: UID, root: Item, by: str, is_own: bool) -> Outcome:
    """What the report says was found; stages of which it says nothing have no report of their own here either."""
    numbers = numbers_of(groups, is_own=is_own)
    features = features_of(numbers, is_own=is_own)
    classification = risk = None
    if is_own:
        sentences = [item for words in root.named(concepts.QUALITATIVE_EVALUATIONS) for item in words.children]
        shares = next((item.text for item in sentences if item.is_named(concepts.CLASS_PROBABILITIES)), "")
        is_strange = any(item.is_named(concepts.ALERT) and "unlike those" in item.text for item in sentences)
        classification = classification_of(numbers, shares, is_in_domain=not is_strange)
        risk = risk_of(numbers, groups)
    source = f"Read from the report {report}" + ("." if is_own else f", made by {by}: only sizes in its standard codes are known here.")
    findings: tuple[Finding | None, ...] = (features, classification, risk)
    return Outcome(
        case_id=report,
        revision=1,
        is_failed=False,
        reports=tuple(
            StageReport(stage=found.stage, status=StageStatus.PERFORMED, algorithm=found.algorithm, remarks=(source,))
            for found in findings
            if found is not None
        ),
        features=features,
        classification=classification,
        risk=risk,
    )
