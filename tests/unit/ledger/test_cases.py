"""Cases: revisions, who runs one, and how it ends."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread
from typing import Any

import numpy as np
import pytest

from dermanode.domain.codes import SKIN_LESION, Code
from dermanode.domain.findings import Features, Measurement, Progression, Visit
from dermanode.domain.identifiers import UID
from dermanode.domain.provenance import Algorithm
from dermanode.errors import LedgerError, UnknownSubject
from dermanode.ledger.case_rows import case_id_of
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CaseState, DeliveryState, Evidence, ObjectState


def kinds(ledger: Ledger, case_id: str) -> list[str]:
    return [event.kind for event in ledger.history.of(f"case:{case_id}")]


# --- series that wait


def test_a_series_waits_once_its_headers_are_read(ledger: Ledger, make: Any) -> None:
    ledger.objects.record([make.arrival(9)])
    assert ledger.cases.waiting_series() == []
    make.waiting(ledger, range(1, 4))
    (series,) = ledger.cases.waiting_series()
    assert (series.key, series.waiting, series.in_case) == (make.key(), 3, 0)
    assert (series.first_at, series.last_at) == (make.later(0.001), make.later(0.003))
    assert (series.modality, series.body_site, series.is_image) == ("XC", "39937001", True)
    assert (series.associations, series.calling_aes, series.called_aes) == tuple(
        frozenset({name}) for name in ("a1", "CAMERA", "DERMANODE")
    )
    assert series.sop_classes == {"1.2.840.10008.5.1.4.1.1.77.1.4"}


def test_two_patients_under_one_series_uid_are_two_series(ledger: Ledger, make: Any) -> None:
    make.waiting(ledger, range(1, 3), patient="P1")
    make.waiting(ledger, range(3, 4), patient="p1")
    assert {(series.key.patient_id, series.waiting) for series in ledger.cases.waiting_series()} == {("P1", 2), ("p1", 1)}


def test_a_series_with_one_object_that_is_no_image_is_no_image_series(ledger: Ledger, make: Any) -> None:
    make.waiting(ledger, range(1, 3))
    make.waiting(ledger, range(3, 4), is_image=False, body_site="other")
    (series,) = ledger.cases.waiting_series()
    assert (series.is_image, series.body_site) == (False, "")


def test_a_late_image_waits_beside_those_in_the_case(ledger: Ledger, make: Any) -> None:
    make.opened(ledger, range(1, 4))
    make.waiting(ledger, range(4, 5))
    (series,) = ledger.cases.waiting_series()
    assert (series.waiting, series.in_case) == (1, 3)


# --- opening


def test_an_opened_case_holds_the_waiting_objects(ledger: Ledger, make: Any) -> None:
    case = make.opened(ledger, range(1, 4), accession_number="A1", tracking_uid=UID("2.25.50"))
    assert case == ledger.cases.get(case.id)
    assert case.id == case_id_of(make.key(), 1)
    assert (case.state, case.revision, case.attempts, case.supersedes, case.opened_at) == (CaseState.READY, 1, 0, None, make.now)
    assert (case.accession_number, case.source_ae, case.acquired_at) == ("A1", "CAMERA", datetime(2026, 11, 21, 9, 0))
    assert (case.lesion.tracking_uid, case.lesion.tracking_id, case.lesion.body_site) == ("2.25.50", "lesion 1", "39937001")
    members = ledger.objects.of_case(case.id)
    assert [member.arrival.sop_instance_uid for member in members] == [make.uid(number) for number in (1, 2, 3)]
    assert {member.state for member in members} == {ObjectState.IN_CASE}
    assert ledger.cases.waiting_series() == []
    assert [event.kind for event in ledger.history.of("object:2.25.1")] == ["received", "header_read", "joined_case"]
    assert [event.kind for event in ledger.history.of("series:2.25.100")] == ["case_opened"]


def test_case_ids_are_the_same_everywhere(make: Any) -> None:
    assert case_id_of(make.key(), 1) == "c6373141d5be361-r1"
    assert case_id_of(make.key(), 2) == "c6373141d5be361-r2"
    assert case_id_of(make.key(patient="P2"), 1) != case_id_of(make.key(), 1)


def test_a_late_image_opens_a_new_revision_with_all_objects(ledger: Ledger, make: Any) -> None:
    first = make.finished(ledger, range(1, 4))
    second = make.opened(ledger, range(4, 5))
    assert (second.revision, second.supersedes) == (2, first.id)
    assert len(ledger.objects.of_case(second.id)) == 4
    assert len(ledger.objects.of_case(first.id)) == 3
    assert ledger.cases.get(first.id).state is CaseState.FINISHED
    assert [case.revision for case in ledger.cases.revisions(make.key())] == [1, 2]


def test_a_revision_that_has_not_run_is_superseded(ledger: Ledger, make: Any) -> None:
    first = make.opened(ledger, range(1, 4))
    second = make.opened(ledger, range(4, 5))
    superseded = ledger.cases.get(first.id)
    assert superseded.state is CaseState.SUPERSEDED
    assert "Revision 2" in superseded.reason
    claimed = ledger.cases.claim(make.now)
    assert claimed is not None
    assert claimed.id == second.id
    assert ledger.cases.claim(make.now) is None


def test_a_new_revision_leaves_quarantined_objects_behind(ledger: Ledger, make: Any) -> None:
    first = make.opened(ledger, range(1, 4))
    ledger.cases.claim(make.now)
    ledger.cases.finish(first.id, make.outcome(first, unreadable=(make.uid(2),)), [], make.now)
    second = make.opened(ledger, range(4, 5))
    assert [one.arrival.sop_instance_uid for one in ledger.objects.of_case(second.id)] == [make.uid(number) for number in (1, 3, 4)]


def test_patients_are_never_mixed_in_a_case(ledger: Ledger, make: Any) -> None:
    make.waiting(ledger, range(1, 3), patient="P1")
    other = make.opened(ledger, range(3, 5), patient="P2")
    assert {one.header.patient_id for one in ledger.objects.of_case(other.id) if one.header} == {"P2"}
    assert ledger.objects.find(make.uid(1))[0].state is ObjectState.WAITING


def test_objects_that_name_different_lesions_name_none(ledger: Ledger, make: Any) -> None:
    make.waiting(ledger, range(1, 2), tracking_id="left")
    case = make.opened(ledger, range(2, 3), tracking_id="right")
    assert case.lesion.tracking_id is None


def test_opening_a_series_without_waiting_objects_is_refused(ledger: Ledger, make: Any) -> None:
    make.opened(ledger, range(1, 2))
    with pytest.raises(LedgerError, match=r"2\.25\.100"):
        ledger.cases.open(make.key(), pipeline="derm", plan=(), evidence=Evidence("by hand", "Asked for."), now=make.now)


# --- running


def test_claim_gives_the_oldest_ready_case(ledger: Ledger, make: Any) -> None:
    assert ledger.cases.claim(make.now) is None
    first = make.opened(ledger, range(1, 2))
    make.opened(ledger, range(2, 3), series=101)
    claimed = ledger.cases.claim(make.later(1))
    assert claimed is not None
    assert {claimed.id, getattr(ledger.cases.claim(make.later(1)), "id", None)} == {first.id, case_id_of(make.key(series=101), 1)}
    assert (claimed.state, claimed.attempts, claimed.started_at) == (CaseState.RUNNING, 1, make.later(1))
    assert ledger.cases.claim(make.later(1)) is None


def test_no_case_is_claimed_twice(ledger: Ledger, make: Any) -> None:
    for number in range(12):
        make.opened(ledger, range(number, number + 1), series=100 + number)
    claimed: list[str] = []

    def work() -> None:
        while (case := ledger.cases.claim(make.now)) is not None:
            claimed.append(case.id)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A thread that lost every race may end early, so what is left is claimed here.
    work()
    assert len(claimed) == 12
    assert set(Counter(claimed).values()) == {1}


def test_a_released_case_is_tried_again_and_the_attempt_counts(ledger: Ledger, make: Any) -> None:
    case = make.opened(ledger, range(1, 2))
    ledger.cases.claim(make.now)
    ledger.cases.release(case.id, "Its worker crashed.", make.now)
    assert (ledger.cases.get(case.id).state, ledger.cases.get(case.id).reason) == (CaseState.READY, "Its worker crashed.")
    again = ledger.cases.claim(make.now)
    assert again is not None
    assert again.attempts == 2


def test_a_start_releases_what_a_dead_process_left_and_counts_no_attempt(ledger: Ledger, make: Any) -> None:
    done = make.finished(ledger, range(5, 6), series=105)
    ledger.deliveries.claim("pacs", make.later(3))
    case = make.opened(ledger, range(1, 2))
    ledger.cases.claim(make.now)
    assert ledger.cases.release_running(make.later(9)) == 1
    assert (ledger.cases.get(case.id).state, ledger.cases.get(case.id).attempts) == (CaseState.READY, 0)
    (delivery,) = ledger.deliveries.of_case(done.id)
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 0)
    assert ledger.cases.release_running(make.later(9)) == 0


# --- ending


def test_the_end_of_a_case_is_kept_whole(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 4))
    assert case == ledger.cases.get(case.id)
    assert (case.state, case.finished_at, case.reason) == (CaseState.FINISHED, make.later(2), "")
    assert case.outcome == make.outcome(case)
    (delivery,) = ledger.deliveries.of_case(case.id)
    assert (delivery.destination, delivery.paths, delivery.state, delivery.next_at) == (
        "pacs",
        (f"{case.id}/seg-1.dcm",),
        DeliveryState.PENDING,
        make.later(2),
    )
    assert kinds(ledger, case.id) == ["case_opened", "case_started", "stage_ended", "case_finished", "delivery_planned"]


def test_numbers_that_are_none_survive(ledger: Ledger, make: Any) -> None:
    case = make.opened(ledger, range(1, 2))
    area = Measurement(key="area_mm2", concept=SKIN_LESION, value=math.nan, unit=Code("mm2", "UCUM", "mm2"), upper=math.inf)
    features = Features(algorithm=Algorithm("fuse", "1"), measurements=(area,), absent=(("volume_mm3", "one view: “no scale”"),))
    finished = ledger.cases.finish(case.id, replace(make.outcome(case), features=features), [], make.now)
    assert finished.outcome is not None
    assert finished.outcome.features is not None
    kept = finished.outcome.features
    assert math.isnan(kept.measurements[0].value)
    assert (kept.measurements[0].upper, kept.measurements[0].lower, kept.absent) == (math.inf, None, features.absent)
    assert kept.algorithm == features.algorithm


def test_numbers_of_numpy_are_kept_as_numbers(ledger: Ledger, make: Any) -> None:
    case = make.opened(ledger, range(1, 2))
    area = Measurement(key="area_mm2", concept=SKIN_LESION, value=np.float32(0.5), unit=Code("mm2", "UCUM", "mm2"))  # type: ignore[arg-type]
    features = Features(algorithm=Algorithm("fuse", "1"), measurements=(area,))
    outcome = ledger.cases.finish(case.id, replace(make.outcome(case), features=features), [], make.now).outcome
    assert outcome is not None
    assert outcome.features is not None
    assert outcome.features.value("area_mm2") == 0.5


def test_the_moments_of_earlier_visits_are_kept(ledger: Ledger, make: Any) -> None:
    case = make.opened(ledger, range(1, 2))
    history = (Visit(case_id="c0", acquired_at=make.now, values=()), Visit(case_id="c1", acquired_at=None, values=()))
    progression = Progression(algorithm=Algorithm("progression", "1"), priors=("c0",), changes=(), history=history)
    outcome = ledger.cases.finish(case.id, replace(make.outcome(case), progression=progression), [], make.now).outcome
    assert outcome is not None
    assert outcome.progression is not None
    assert [visit.acquired_at for visit in outcome.progression.history] == [make.now, None]


def test_a_failed_case_says_why_and_is_delivered_all_the_same(ledger: Ledger, make: Any) -> None:
    case = make.opened(ledger, range(1, 2))
    ledger.cases.claim(make.now)
    failed = ledger.cases.finish(case.id, make.outcome(case, is_failed=True), [make.delivery(case)], make.now)
    assert (failed.state, failed.reason) == (CaseState.FAILED, "segment: raised ValueError: no")
    assert ledger.deliveries.claim("pacs", make.now) is not None


def test_a_second_end_changes_nothing(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 4))
    events = ledger.history.recent(100)
    again = ledger.cases.finish(case.id, make.outcome(case, is_failed=True), [make.delivery(case, "other")], make.later(60))
    assert again == case
    assert [delivery.destination for delivery in ledger.deliveries.of_case(case.id)] == ["pacs"]
    assert ledger.history.recent(100) == events


def test_unreadable_views_go_to_quarantine_with_the_reason(ledger: Ledger, make: Any) -> None:
    case = make.opened(ledger, range(1, 4))
    ledger.cases.claim(make.now)
    ledger.cases.finish(case.id, make.outcome(case, unreadable=(make.uid(2),)), [], make.now)
    assert [one.state for one in ledger.objects.of_case(case.id)] == [ObjectState.IN_CASE, ObjectState.QUARANTINED, ObjectState.IN_CASE]
    assert "the JPEG ends early" in ledger.objects.find(make.uid(2))[0].reason
    assert ledger.audit(None).is_clean


# --- trying again by hand


def test_a_case_tried_again_by_hand_counts_its_attempts_anew(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 2))
    reopened = ledger.cases.reopen(case.id, make.later(60))
    assert (reopened.state, reopened.attempts, reopened.finished_at) == (CaseState.READY, 0, None)
    assert ledger.cases.claim(make.later(61)) is not None
    with pytest.raises(LedgerError, match="is running"):
        ledger.cases.reopen(case.id, make.later(62))


def test_the_same_files_are_not_delivered_again(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 2))
    delivery = ledger.deliveries.claim("pacs", make.later(3))
    assert delivery is not None
    ledger.deliveries.succeeded(delivery.id, "0x0000", make.later(4))
    ledger.cases.reopen(case.id, make.later(60))
    ledger.cases.claim(make.later(61))
    ledger.cases.finish(case.id, make.outcome(case), [make.delivery(case)], make.later(62))
    assert ledger.deliveries.claim("pacs", make.later(99)) is None


def test_other_files_of_the_same_case_are_delivered_again(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 2))
    delivery = ledger.deliveries.claim("pacs", make.later(3))
    assert delivery is not None
    ledger.deliveries.succeeded(delivery.id, "0x0000", make.later(4))
    ledger.cases.reopen(case.id, make.later(60))
    ledger.cases.claim(make.later(61))
    ledger.cases.finish(case.id, make.outcome(case, content="y"), [make.delivery(case)], make.later(62))
    again = ledger.deliveries.claim("pacs", make.later(99))
    assert again is not None
    assert (again.id, again.attempts) == (delivery.id, 1)


# --- priors


def visit(make: Any, day: int) -> datetime:
    return datetime(2026, 11, day, 9, 0)


def test_priors_are_the_earlier_visits_of_the_lesion_oldest_first(ledger: Ledger, make: Any) -> None:
    second = make.finished(ledger, range(2, 3), series=102, acquired_at=visit(make, 8))
    first = make.finished(ledger, range(1, 2), series=101, acquired_at=visit(make, 1))
    make.finished(ledger, range(4, 5), series=104, acquired_at=visit(make, 20))
    now = make.opened(ledger, range(3, 4), series=103, acquired_at=visit(make, 15))
    assert [record.id for record, _ in ledger.cases.priors(now)] == [first.id, second.id]
    assert [outcome.case_id for _, outcome in ledger.cases.priors(now)] == [first.id, second.id]


def test_the_same_tracking_id_of_two_patients_is_never_one_lesion(ledger: Ledger, make: Any) -> None:
    tracking = UID("2.25.50")
    make.finished(ledger, range(1, 2), series=101, patient="P2", acquired_at=visit(make, 1), tracking_uid=tracking)
    make.finished(ledger, range(2, 3), series=102, patient="p1", acquired_at=visit(make, 2), tracking_uid=tracking)
    make.waiting(ledger, range(4, 5), series=104, acquired_at=visit(make, 3), tracking_uid=tracking, issuer_of_patient_id="elsewhere")
    other_issuer = replace(make.key(series=104), issuer_of_patient_id="elsewhere")
    case = ledger.cases.open(other_issuer, pipeline="derm", plan=(), evidence=make.evidence(), now=make.now)
    ledger.cases.finish(case.id, make.outcome(case), [], make.now)
    now = make.opened(ledger, range(3, 4), series=103, acquired_at=visit(make, 15), tracking_uid=tracking)
    assert ledger.cases.priors(now) == []


def test_an_empty_patient_id_has_no_priors(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2), series=101, patient="", acquired_at=visit(make, 1))
    now = make.opened(ledger, range(3, 4), series=103, patient="", acquired_at=visit(make, 15))
    assert ledger.cases.priors(now) == []


def test_the_latest_revision_with_an_outcome_is_the_prior(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2), series=101, acquired_at=visit(make, 1))
    second = make.finished(ledger, range(2, 3), series=101, acquired_at=visit(make, 1))
    make.opened(ledger, range(4, 5), series=101, acquired_at=visit(make, 1))
    now = make.opened(ledger, range(3, 4), series=103, acquired_at=visit(make, 15))
    assert [record.id for record, _ in ledger.cases.priors(now)] == [second.id]


@pytest.mark.parametrize(
    ("before", "is_prior"),
    [
        ({"tracking_uid": UID("2.25.50"), "tracking_id": "other", "body_site": "other"}, True),
        ({"tracking_uid": UID("2.25.51")}, False),
        ({"tracking_uid": None}, True),
        ({"tracking_uid": None, "body_site": "other"}, False),
        ({"tracking_uid": None, "tracking_id": "lesion 2"}, False),
        ({"tracking_uid": None, "tracking_id": None}, False),
    ],
)
def test_what_makes_two_visits_one_lesion(ledger: Ledger, make: Any, before: dict[str, object], is_prior: bool) -> None:
    make.finished(ledger, range(1, 2), series=101, acquired_at=visit(make, 1), **before)
    now = make.opened(ledger, range(3, 4), series=103, acquired_at=visit(make, 15), tracking_uid=UID("2.25.50"))
    assert bool(ledger.cases.priors(now)) is is_prior


def test_visits_with_and_without_an_offset_are_put_in_order(ledger: Ledger, make: Any) -> None:
    first = make.finished(ledger, range(1, 2), series=101, acquired_at=datetime(2026, 11, 1, tzinfo=UTC))
    now = make.opened(ledger, range(3, 4), series=103, acquired_at=visit(make, 15))
    assert [record.id for record, _ in ledger.cases.priors(now)] == [first.id]
    timeless = make.opened(ledger, range(5, 6), series=105, acquired_at=None)
    assert ledger.cases.priors(timeless) == []


# --- finding


def test_cases_are_listed_by_state_and_found_by_parts_of_their_names(ledger: Ledger, make: Any) -> None:
    first = make.finished(ledger, range(1, 2), accession_number="ACC-7")
    second = make.opened(ledger, range(2, 3), series=101, patient="Q_9")
    assert {case.id for case in ledger.cases.list(10, 0)} == {first.id, second.id}
    assert len(ledger.cases.list(1, 0)) == 1
    assert ledger.cases.list(1, 0) != ledger.cases.list(1, 1)
    assert [case.id for case in ledger.cases.list(10, 0, state=CaseState.READY)] == [second.id]
    assert [case.id for case in ledger.cases.list(10, 0, search="acc-7")] == [first.id]
    assert [case.id for case in ledger.cases.list(10, 0, search="q_")] == [second.id]
    assert [case.id for case in ledger.cases.list(10, 0, search=first.id[:8])] == [first.id]
    assert ledger.cases.counts() == {**dict.fromkeys(CaseState, 0), CaseState.READY: 1, CaseState.FINISHED: 1}


def test_an_unknown_case_is_named_in_the_error(ledger: Ledger, make: Any) -> None:
    for ask in (ledger.cases.get, lambda name: ledger.cases.reopen(name, make.now), lambda name: ledger.cases.release(name, "", make.now)):
        with pytest.raises(UnknownSubject, match="c0-r1"):
            ask("c0-r1")
