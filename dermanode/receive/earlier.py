"""Which of the reports that others hold are earlier visits of a case's lesion. Decided purely; who asked writes the reasons down."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from dermanode.dicom.read_report import EarlierReport, ReportedLesion
from dermanode.domain import UID
from dermanode.ledger.priors import is_same_lesion, moment
from dermanode.ledger.records import CaseRecord
from dermanode.pipeline.wire import EarlierVisit


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a pile of reports holds."""

    visits: tuple[EarlierVisit, ...]
    """Oldest first."""
    skipped: tuple[tuple[UID, str], ...]
    """(SOP Instance UID, reason) of every report that is none of them."""
    too_old: int = 0
    """How many visits were left out because there are enough later ones."""


def earlier_visits(
    reports: Iterable[EarlierReport], record: CaseRecord, known: Collection[UID], most: int, formerly: Collection[tuple[str, str]] = ()
) -> Earlier:
    """The latest `most` visits of the same lesion of the same patient before this case, one for each series of photographs.

    Whose a report is, is read from the report itself, never believed of a query. `known` are series whose visits the ledger has,
    `formerly` the (patient id, issuer) that the hospital has merged into the patient.
    """
    skipped: list[tuple[UID, str]] = []
    of_patient: list[EarlierReport] = []
    for report in {report.sop_instance_uid: report for report in reports}.values():
        if is_of_patient(report, record) or (report.patient_id, report.issuer) in formerly:
            of_patient.append(report)
        else:
            skipped.append((report.sop_instance_uid, "it is of another patient, or of another issuer's"))
    replaced = dict(_replaced(of_patient))
    latest: dict[frozenset[UID] | UID, tuple[EarlierReport, ReportedLesion]] = {}
    for report in sorted(of_patient, key=_reported):
        lesion, reason = _lesion(report, record, known)
        reason = replaced.get(report.sop_instance_uid, reason)
        if lesion is None or reason:
            skipped.append((report.sop_instance_uid, reason))
            continue
        visit = report.source_series or report.sop_instance_uid
        if visit in latest:
            skipped.append((latest[visit][0].sop_instance_uid, "a later report is of the same photographs"))
        latest[visit] = report, lesion
    found = sorted(latest.values(), key=lambda pair: (_taken(pair[0]), pair[0].sop_instance_uid))
    too_old = found[:-most]
    skipped += [(report.sop_instance_uid, f"there are {most} later ones") for report, _ in too_old]
    return Earlier(
        tuple(
            EarlierVisit(case_id=report.sop_instance_uid, acquired_at=report.acquired_at, outcome=lesion.outcome)
            for report, lesion in found[-most:]
        ),
        tuple(skipped),
        len(too_old),
    )


def is_of_patient(report: EarlierReport, record: CaseRecord) -> bool:
    """Patient ID and issuer are both equal; an empty patient id is no identity."""
    key = record.key
    return bool(key.patient_id) and (report.patient_id, report.issuer) == (key.patient_id, key.issuer_of_patient_id)


def _replaced(reports: Iterable[EarlierReport]) -> Iterator[tuple[UID, str]]:
    """Each report that a later revision of the same series replaces."""
    by_uid = {report.sop_instance_uid: report for report in reports}
    for report in by_uid.values():
        for uid in report.predecessors:
            if uid in by_uid and uid != report.sop_instance_uid and by_uid[uid].source_series & report.source_series:
                yield uid, "a later report replaces it"


def _lesion(report: EarlierReport, record: CaseRecord, known: Collection[UID]) -> tuple[ReportedLesion | None, str]:
    """The case's lesion in the report, or why it is of no use."""
    taken = record.acquired_at
    if record.key.series_instance_uid in report.source_series:
        return None, "it is of the very photographs of this case"
    if not report.source_series.isdisjoint(known):
        return None, "the ledger knows that visit"
    if report.acquired_at is None or taken is None:
        return None, "when its photographs were taken is not known"
    if moment(report.acquired_at) >= moment(taken):
        return None, "its photographs are not earlier than those of this case"
    lesion = next((lesion for lesion in report.lesions if is_same_lesion(record.lesion, lesion.key)), None)
    if lesion is None:
        return None, "it is of another lesion"
    found = lesion.outcome
    if found.features is None and found.classification is None and found.risk is None:
        return None, "it has no number that is known here"
    return lesion, ""


def _reported(report: EarlierReport) -> tuple[float, UID]:
    return (moment(report.reported_at).timestamp() if report.reported_at else 0.0, report.sop_instance_uid)


def _taken(report: EarlierReport) -> float:
    return moment(report.acquired_at).timestamp() if report.acquired_at else 0.0
