"""Objects: the policy for what comes, and the one state each is in."""

from __future__ import annotations

from datetime import datetime
from threading import Thread
from typing import Any

import pytest

from dermanode.domain.identifiers import UID
from dermanode.errors import UnknownSubject
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import ObjectState, ReceiptKind


def kinds(ledger: Ledger, uid: UID) -> list[str]:
    return [event.kind for event in ledger.history.of(f"object:{uid}")]


def test_what_is_recorded_comes_back_equal(ledger: Ledger, make: Any) -> None:
    arrival = make.arrival()
    (receipt,) = ledger.objects.record([arrival])
    assert receipt.kind is ReceiptKind.STORED
    stored = ledger.objects.get(receipt.object_id)
    assert stored.arrival == arrival
    assert (stored.state, stored.reason, stored.duplicates, stored.header) == (ObjectState.WAITING, "", 0, None)
    assert kinds(ledger, arrival.sop_instance_uid) == ["received"]


def test_receipts_have_the_order_of_the_arrivals(ledger: Ledger, make: Any) -> None:
    ledger.objects.record([make.arrival(5)])
    receipts = ledger.objects.record([make.arrival(number) for number in (9, 5, 2, 7)])
    uids = [ledger.objects.get(receipt.object_id).arrival.sop_instance_uid for receipt in receipts]
    assert uids == [make.uid(number) for number in (9, 5, 2, 7)]
    assert [receipt.kind for receipt in receipts] == [ReceiptKind.STORED, ReceiptKind.DUPLICATE, ReceiptKind.STORED, ReceiptKind.STORED]


def test_an_empty_batch_is_no_work(ledger: Ledger) -> None:
    assert ledger.objects.record([]) == []


def test_the_same_content_again_is_counted_and_makes_no_second_row(ledger: Ledger, make: Any) -> None:
    (first,) = ledger.objects.record([make.arrival()])
    (again,) = ledger.objects.record([make.arrival(association="a2")])
    assert again.kind is ReceiptKind.DUPLICATE
    assert again.object_id == first.object_id
    (stored,) = ledger.objects.find(make.uid(1))
    assert (stored.duplicates, stored.arrival.association) == (1, "a1")
    assert kinds(ledger, make.uid(1)) == ["received", "duplicate_received"]


@pytest.mark.parametrize("state", [ObjectState.IGNORED, ObjectState.QUARANTINED])
def test_a_duplicate_of_an_object_set_aside_leaves_it_there(ledger: Ledger, make: Any, state: ObjectState) -> None:
    (receipt,) = ledger.objects.record([make.arrival()])
    set_aside = ledger.objects.ignore if state is ObjectState.IGNORED else ledger.objects.quarantine
    set_aside([receipt.object_id], "A reason.")
    assert ledger.objects.record([make.arrival()])[0].kind is ReceiptKind.DUPLICATE
    stored = ledger.objects.get(receipt.object_id)
    assert (stored.state, stored.duplicates) == (state, 1)


def test_a_duplicate_of_an_object_in_a_case_leaves_it_there(ledger: Ledger, make: Any) -> None:
    make.opened(ledger, range(1, 2))
    assert ledger.objects.record([make.arrival(1)])[0].kind is ReceiptKind.DUPLICATE
    assert ledger.objects.find(make.uid(1))[0].state is ObjectState.IN_CASE


def test_other_content_under_the_same_uid_is_kept_in_quarantine(ledger: Ledger, make: Any) -> None:
    (first,) = ledger.objects.record([make.arrival()])
    (other,) = ledger.objects.record([make.arrival(content="other")])
    assert other.kind is ReceiptKind.CONFLICT
    assert [stored.state for stored in ledger.objects.find(make.uid(1))] == [ObjectState.WAITING, ObjectState.QUARANTINED]
    assert "other content" in ledger.objects.get(other.object_id).reason
    assert ledger.objects.get(first.object_id).reason == ""
    assert kinds(ledger, make.uid(1)) == ["received", "conflict_quarantined"]


def test_one_uid_several_times_in_one_batch(ledger: Ledger, make: Any) -> None:
    batch = [
        make.arrival(),
        make.arrival(),
        make.arrival(content="b"),
        make.arrival(content="b"),
        make.arrival(content="c"),
        make.arrival(),
    ]
    receipts = ledger.objects.record(batch)
    stored, duplicate, conflict = ReceiptKind.STORED, ReceiptKind.DUPLICATE, ReceiptKind.CONFLICT
    assert [receipt.kind for receipt in receipts] == [stored, duplicate, conflict, duplicate, conflict, duplicate]
    assert receipts[1].object_id == receipts[0].object_id == receipts[5].object_id
    assert receipts[3].object_id == receipts[2].object_id
    assert [one.duplicates for one in ledger.objects.find(make.uid(1))] == [2, 1, 0]


def test_threads_that_record_the_same_uid_store_it_once(ledger: Ledger, make: Any) -> None:
    receipts: list[ReceiptKind] = []

    def record(content: str) -> None:
        receipts.extend(receipt.kind for receipt in ledger.objects.record([make.arrival(number, content) for number in range(4)]))

    threads = [Thread(target=record, args=(content,)) for content in ("a", "b", "a", "b", "a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = [receipts.count(kind) for kind in (ReceiptKind.STORED, ReceiptKind.CONFLICT, ReceiptKind.DUPLICATE)]
    assert counted == [4, 4, 16]


def test_unread_objects_are_those_that_wait_for_their_header(ledger: Ledger, make: Any) -> None:
    ids = [receipt.object_id for receipt in ledger.objects.record([make.arrival(number) for number in range(1, 6)])]
    ledger.objects.set_headers({ids[0]: make.header()})
    ledger.objects.quarantine([ids[1]], "Its header cannot be read.")
    assert [stored.id for stored in ledger.objects.unread(10)] == ids[2:]
    assert [stored.id for stored in ledger.objects.unread(2)] == ids[2:4]


def test_a_header_comes_back_equal(ledger: Ledger, make: Any) -> None:
    (receipt,) = ledger.objects.record([make.arrival()])
    header = make.header(
        tracking_uid=UID("2.25.5"),
        accession_number="A 1",
        issuer_of_patient_id="Klinikum Süd",
        acquired_at=datetime.fromisoformat("2026-11-20T23:59:59.999999+05:30"),
        is_image=False,
    )
    ledger.objects.set_headers({receipt.object_id: header})
    assert ledger.objects.get(receipt.object_id).header == header
    assert kinds(ledger, make.uid(1)) == ["received", "header_read"]


def test_events_name_no_patient(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 3), patient="SECRET-42")
    assert not [event for event in ledger.history.recent(100) if "SECRET" in event.words + event.subject]


def test_what_devices_write_never_stops_a_batch(ledger: Ledger, make: Any) -> None:
    (one, two) = ledger.objects.record([make.arrival(1, association="x" * 500), make.arrival(2, association="nul \0 lone \ud800")])
    long, other = "9" * 300, "9" * 299 + "8"
    ledger.objects.set_headers({one.object_id: make.header(patient=long), two.object_id: make.header(patient=other)})
    patients = {waiting.key.patient_id for waiting in ledger.cases.waiting_series()}
    assert len(patients) == 2
    assert all(len(patient) <= 255 for patient in patients)


def test_setting_aside_writes_the_reason_once(ledger: Ledger, make: Any) -> None:
    ids = [receipt.object_id for receipt in ledger.objects.record([make.arrival(number) for number in (1, 2)])]
    ledger.objects.ignore(ids, "No pipeline wants modality CT.")
    ledger.objects.quarantine(ids, "Too late.")
    assert {ledger.objects.get(one).reason for one in ids} == {"No pipeline wants modality CT."}
    assert kinds(ledger, make.uid(1)) == ["received", "ignored"]


def test_an_object_in_a_case_is_not_ignored(ledger: Ledger, make: Any) -> None:
    make.opened(ledger, range(1, 2))
    (stored,) = ledger.objects.find(make.uid(1))
    ledger.objects.ignore([stored.id], "No.")
    assert ledger.objects.get(stored.id).state is ObjectState.IN_CASE


def test_counts_name_every_state(ledger: Ledger, make: Any) -> None:
    assert dict(ledger.objects.counts()) == dict.fromkeys(ObjectState, 0)
    make.waiting(ledger, range(1, 4))
    assert ledger.objects.counts()[ObjectState.WAITING] == 3


def test_recent_objects_come_newest_first(ledger: Ledger, make: Any) -> None:
    ids = [receipt.object_id for receipt in ledger.objects.record([make.arrival(number) for number in range(1, 5)])]
    ledger.objects.ignore(ids[:2], "No.")
    assert [stored.id for stored in ledger.objects.recent(3)] == ids[:0:-1]
    assert [stored.id for stored in ledger.objects.recent(3, ObjectState.IGNORED)] == [ids[1], ids[0]]


def test_the_waiting_objects_of_a_series_are_those_of_its_patient(ledger: Ledger, make: Any) -> None:
    make.opened(ledger, range(1, 2))
    ids = [receipt.object_id for receipt in make.waiting(ledger, range(2, 4))]
    make.waiting(ledger, range(4, 5), patient="P2")
    assert [stored.id for stored in ledger.objects.waiting(make.key())] == ids


def test_other_patients_under_a_series_are_named(ledger: Ledger, make: Any) -> None:
    make.waiting(ledger, range(1, 3))
    make.waiting(ledger, range(3, 5), patient="P2")
    assert ledger.objects.other_patients(make.key()) == ["P2"]
    assert ledger.objects.other_patients(make.key(series=101)) == []


def test_an_unknown_object_is_named_in_the_error(ledger: Ledger) -> None:
    with pytest.raises(UnknownSubject, match="4711"):
        ledger.objects.get(4711)
    assert ledger.objects.find("2.25.4711") == []
