"""The hospital merges two patients: cases, objects, lesions and what comes later are the one's."""

from __future__ import annotations

from datetime import datetime

import pytest
from sqlalchemy import update

from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CaseState, DeliveryState, ObjectState
from dermanode.ledger.said import Deed, Identity, MergeSaid, MessageHead, PatientSaid, Verdict
from dermanode.ledger.tables import objects

from .conftest import Maker

A, B, C = Identity("P1"), Identity("P2"), Identity("P3")


class Hospital:
    """Says things under control ids that count on."""

    def __init__(self, ledger: Ledger, now: datetime) -> None:
        self._ledger, self._now, self._count = ledger, now, 0

    def says(self, *deeds: Deed) -> Verdict:
        self._count += 1
        head = MessageHead(sender="HIS|HOSP", control_id=str(self._count), kind="ADT^A40", digest="d" * 64)
        return self._ledger.messages.do(head, deeds, self._now)

    def merges(self, former: Identity, into: Identity) -> Verdict:
        return self.says(MergeSaid(pairs=((former, into),), kind="ADT^A40"))


@pytest.fixture
def hospital(ledger: Ledger, make: Maker) -> Hospital:
    return Hospital(ledger, make.later(60))


def kinds(ledger: Ledger, case_id: str) -> list[str]:
    return [event.kind for event in ledger.history.of(f"case:{case_id}")]


def test_lesion_finds_its_prior_across_a_merge(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    first = make.finished(ledger, range(1, 3), series=100, patient="P1")
    second = make.opened(ledger, range(3, 5), series=200, patient="P2", acquired_at=datetime(2026, 11, 22))
    assert ledger.cases.priors(second) == []
    verdict = hospital.merges(A, B)
    assert (verdict.answer, verdict.words) == ("AA", "The patient was merged: 1 case became the other's.")
    assert [prior.id for prior, _ in ledger.cases.priors(second)] == [first.id]
    assert ledger.cases.get(first.id).key.patient_id == "P2"
    assert {case.id for case in ledger.cases.list(10, search="p2")} == {first.id, second.id}
    (merged,) = (event for event in ledger.history.of(f"case:{first.id}") if event.kind == "patient_merged")
    assert "'P1' without an issuer into 'P2' without an issuer (ADT^A40)" in merged.words
    assert ledger.audit(None).problems == ()


def test_image_under_the_former_identity_joins_the_series_under_the_present_one(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    hospital.merges(A, B)
    make.waiting(ledger, range(1, 2), patient="P1")
    make.waiting(ledger, range(2, 3), patient="P2")
    (series,) = ledger.cases.waiting_series()
    assert (series.key.patient_id, series.waiting) == ("P2", 2)
    assert ledger.objects.other_patients(series.key) == []
    assert [event.kind for event in ledger.history.of("object:2.25.1")] == ["received", "header_read", "patient_merged"]
    assert [event.kind for event in ledger.history.of("object:2.25.2")] == ["received", "header_read"]


def test_series_that_waits_under_both_identities_becomes_one(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    make.waiting(ledger, range(1, 2), patient="P1")
    make.waiting(ledger, range(2, 3), patient="P2")
    assert len(ledger.cases.waiting_series()) == 2
    hospital.merges(A, B)
    (series,) = ledger.cases.waiting_series()
    assert (series.key, series.waiting) == (make.key(patient="P2"), 2)


def test_late_image_under_the_former_identity_opens_a_new_revision_of_the_merged_case(
    ledger: Ledger, make: Maker, hospital: Hospital
) -> None:
    first = make.finished(ledger, range(1, 3), patient="P1")
    hospital.merges(A, B)
    make.waiting(ledger, range(3, 4), patient="P1")
    second = ledger.cases.open(make.key(patient="P2"), pipeline="derm", plan=(), evidence=make.evidence(), now=make.later(70))
    assert (second.revision, second.supersedes) == (2, first.id)
    assert len(ledger.objects.of_case(second.id)) == 3
    assert ledger.audit(None).problems == ()


def test_objects_set_aside_for_mixed_patients_wait_again_when_the_patients_are_one(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    from dermanode.ledger.records import MIXED_PATIENTS

    ids = [
        receipt.object_id
        for receipt in (*make.waiting(ledger, range(1, 2), patient="P1"), *make.waiting(ledger, range(2, 3), patient="P2"))
    ]
    ledger.objects.quarantine(ids, MIXED_PATIENTS)
    hospital.merges(C, B)
    assert ledger.cases.waiting_series() == []
    hospital.merges(A, B)
    (series,) = ledger.cases.waiting_series()
    assert series.waiting == 2


def test_chain_of_merges_ends_at_its_last_patient(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    case = make.finished(ledger, range(1, 2), patient="P1")
    hospital.merges(A, B)
    hospital.merges(B, C)
    make.waiting(ledger, range(2, 3), series=200, patient="P1")
    assert ledger.cases.get(case.id).key.patient_id == "P3"
    assert ledger.cases.waiting_series()[0].key.patient_id == "P3"
    assert ledger.patients.present(A) == C
    patient = ledger.patients.of(make.key(patient="P3"))
    assert patient is not None
    assert patient.formerly == (("P2", ""), ("P1", ""))


def test_chain_said_backwards_ends_at_its_last_patient_too(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    hospital.merges(B, C)
    case = make.finished(ledger, range(1, 2), patient="P1")
    hospital.merges(A, B)
    assert ledger.cases.get(case.id).key.patient_id == "P3"


def test_merge_that_comes_again_changes_nothing(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    case = make.finished(ledger, range(1, 2), patient="P1")
    hospital.merges(A, B)
    before = kinds(ledger, case.id)
    assert hospital.merges(A, B).answer == "AA"
    assert kinds(ledger, case.id) == before


@pytest.mark.parametrize(
    ("former", "into", "words"),
    [(A, A, "into itself"), (B, A, "a circle"), (C, A, "a circle"), (A, C, None), (A, Identity("P4"), "another one before")],
)
def test_merges_that_make_no_sense_are_refused_and_nothing_of_their_message_is_done(
    ledger: Ledger, hospital: Hospital, former: Identity, into: Identity, words: str | None
) -> None:
    hospital.merges(A, B)
    hospital.merges(B, C)
    verdict = hospital.says(MergeSaid(pairs=((Identity("P8"), Identity("P9")), (former, into)), kind="ADT^A40"))
    done = ledger.patients.present(Identity("P8")) == Identity("P9")
    assert (verdict.answer == "AA", done) == (words is None, words is None)
    if words:
        assert words in verdict.words
        assert "P1" not in verdict.words


def test_same_number_of_another_issuer_is_another_patient(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    other = make.waiting(ledger, range(1, 2), patient="P1", issuer_of_patient_id="CLINIC")
    hospital.merges(Identity("P1", "HOSP"), Identity("P2", "HOSP"))
    hospital.merges(A, B)
    found = ledger.objects.get(other[0].object_id).header
    assert found is not None
    assert (found.patient_id, found.issuer_of_patient_id) == ("P1", "CLINIC")


def test_case_that_runs_while_its_patient_is_merged_runs_again(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    make.opened(ledger, range(1, 2), patient="P1")
    running = ledger.cases.claim(make.now)
    assert running is not None
    hospital.merges(A, B)
    outcome, due = make.outcome(running), [make.delivery(running)]
    back = ledger.cases.finish(running.id, outcome, due, make.later(70), worked_on_as=running.key)
    assert (back.state, back.attempts, back.outcome) == (CaseState.READY, 0, None)
    assert ledger.deliveries.of_case(running.id) == []
    again = ledger.cases.claim(make.later(71))
    assert again is not None
    assert again.key.patient_id == "P2"
    assert ledger.cases.finish(again.id, outcome, due, make.later(72), worked_on_as=again.key).state is CaseState.FINISHED


@pytest.mark.parametrize("fate", ["waits", "is being sent", "is a dead letter"])
def test_case_whose_results_are_on_their_way_is_told_under_the_present_identity(
    ledger: Ledger, make: Maker, hospital: Hospital, fate: str
) -> None:
    case = make.finished(ledger, range(1, 2), patient="P1")
    if fate != "waits":
        sending = ledger.deliveries.claim("pacs", make.later(10))
        assert sending is not None
        if fate == "is a dead letter":
            ledger.deliveries.buried(sending.id, "AR: unknown patient", make.later(11))
    hospital.merges(A, B)
    assert ledger.deliveries.claim("pacs", make.later(70)) is None
    again = ledger.cases.claim(make.later(71))
    assert again is not None
    assert (again.id, again.key.patient_id) == (case.id, "P2")
    assert "case_released" in kinds(ledger, case.id)
    ledger.cases.finish(again.id, make.outcome(again, content="anew"), [make.delivery(again)], make.later(72), worked_on_as=again.key)
    assert ledger.deliveries.claim("pacs", make.later(73)) is not None


def test_case_that_everybody_was_told_of_does_not_run_again(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    make.finished(ledger, range(1, 2), patient="P1")
    sending = ledger.deliveries.claim("pacs", make.later(10))
    assert sending is not None
    ledger.deliveries.succeeded(sending.id, "ok", make.later(11))
    hospital.merges(A, B)
    assert ledger.cases.claim(make.later(71)) is None


def test_older_revision_that_waits_is_left_to_the_later_one_at_a_merge(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    first = make.finished(ledger, range(1, 2), patient="P1")
    second = make.opened(ledger, range(2, 3), patient="P1")
    hospital.merges(A, B)
    (left,) = ledger.deliveries.of_case(first.id)
    assert left.state is DeliveryState.DELIVERED
    assert left.receipt.startswith("not sent: it names a patient who was merged")
    claimed = ledger.cases.claim(make.later(71))
    assert claimed is not None
    assert claimed.id == second.id
    assert ledger.cases.claim(make.later(71)) is None


def test_case_that_runs_while_merged_gives_way_to_its_later_revision(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    make.opened(ledger, range(1, 2), patient="P1")
    running = ledger.cases.claim(make.now)
    assert running is not None
    hospital.merges(A, B)
    make.waiting(ledger, range(2, 3), patient="P2")
    ledger.cases.open(make.key(patient="P2"), pipeline="derm", plan=(), evidence=make.evidence(), now=make.later(65))
    back = ledger.cases.finish(running.id, make.outcome(running), [make.delivery(running)], make.later(70), worked_on_as=running.key)
    assert back.state is CaseState.SUPERSEDED


def test_cases_of_one_series_that_a_merge_brought_together_share_their_objects_in_the_next_revision(
    ledger: Ledger, make: Maker, hospital: Hospital
) -> None:
    make.finished(ledger, range(1, 2), patient="P1")
    make.finished(ledger, range(2, 3), patient="P2")
    hospital.merges(A, B)
    make.waiting(ledger, range(3, 4), patient="P2")
    case = ledger.cases.open(make.key(patient="P2"), pipeline="derm", plan=(), evidence=make.evidence(), now=make.later(70))
    assert len(ledger.objects.of_case(case.id)) == 3
    assert ledger.audit(None).problems == ()


def test_what_was_set_aside_is_the_present_patients_too(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    (receipt,) = make.waiting(ledger, range(1, 2), patient="P1")
    ledger.objects.ignore([receipt.object_id], "nobody wants it")
    hospital.merges(A, B)
    found = ledger.objects.get(receipt.object_id)
    assert found.header is not None
    assert (found.state, found.header.patient_id) == (ObjectState.IGNORED, "P2")


def test_name_that_changes_is_kept_and_said_on_the_cases(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    case = make.finished(ledger, range(1, 2), patient="P1")
    assert ledger.patients.of(case.key) is None
    said = PatientSaid(identities=(A,), name="Meier^Anna", birth_date="19700102", sex="F")
    assert hospital.says(said).words == "Noted of the patient: name, birth date, sex."
    assert hospital.says(PatientSaid(identities=(A,), name="Schmidt^Anna")).answer == "AA"
    assert hospital.says(PatientSaid(identities=(A,), name="Schmidt^Anna")).words == "Nothing about the patient is new."
    patient = ledger.patients.of(case.key)
    assert patient is not None
    assert (patient.name, patient.birth_date, patient.sex) == ("Schmidt^Anna", datetime(1970, 1, 2).date(), "F")
    told = [event.words for event in ledger.history.of(f"case:{case.id}") if event.kind == "patient_updated"]
    assert told == [
        "The hospital stated the patient's name, birth date, sex (ADT^A40).",
        "The hospital stated the patient's name (ADT^A40).",
    ]


def test_object_that_is_sorted_while_a_merge_is_done_is_not_left_behind(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    """Sorting holds merges out: on servers that let both write at once, an object would stay the former patient's."""
    import threading

    (receipt,) = ledger.objects.record([make.arrival(1)])
    began, merged = threading.Event(), threading.Event()

    def merge() -> None:
        began.wait(30)
        hospital.merges(A, B)
        merged.set()

    thread = threading.Thread(target=merge)
    thread.start()

    def sort(transaction):  # type: ignore[no-untyped-def]
        from dermanode.ledger.patients import as_present

        (header,) = as_present(transaction, {receipt.object_id: make.header(patient="P1")}).values()
        began.set()
        assert not merged.wait(0.3)
        values = {"patient_id": header.patient_id, "issuer_of_patient_id": "", "series_instance_uid": "2.25.100"}
        transaction.execute(update(objects).where(objects.c.id == receipt.object_id).values(**values))

    ledger._database.write(sort)
    thread.join(30)
    with ledger._database.session() as session:
        assert session.scalar(objects.select().with_only_columns(objects.c.patient_id)) == "P2"


def test_owner_of_a_merged_patients_object_goes_by_every_identity(ledger: Ledger, make: Maker, hospital: Hospital) -> None:
    (receipt,) = make.waiting(ledger, range(1, 2), patient="P1")
    assert ledger.holdings.owners([make.uid(1)]) == {receipt.object_id: {("P1", "")}}
    hospital.merges(A, B)
    assert ledger.holdings.owners([make.uid(1)]) == {receipt.object_id: {("P1", ""), ("P2", "")}}
