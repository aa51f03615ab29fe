"""Promises to keep objects: asked durably, settled once, never for what was sent before."""

from __future__ import annotations

from typing import Any

from dermanode.domain.identifiers import UID
from dermanode.ledger.commitments import MOST_ROUNDS, Settlement
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CommitmentState, Delivery, DeliveryState

SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "2.25.777")


def delivered(ledger: Ledger, make: Any, transaction: str = "1.2.1", seconds: float = 10) -> Delivery:
    delivery = ledger.deliveries.claim("pacs", make.later(seconds))
    assert delivery is not None
    ledger.deliveries.succeeded(delivery.id, "1 object stored", make.later(seconds), commitment=(UID(transaction), "PACS"))
    return delivery


def asked(ledger: Ledger, make: Any, transaction: str = "1.2.1", seconds: float = 11) -> None:
    (request,) = ledger.commitments.due_requests("pacs", make.later(seconds), 300)
    assert (request.transaction_uid, request.peer, request.instances, request.is_asked) == (transaction, "PACS", (SEG,), False)
    ledger.commitments.asked(UID(transaction), make.later(seconds + 60), make.later(seconds))


def test_a_delivery_ends_as_committed_when_all_is_kept(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2))
    delivery = delivered(ledger, make)
    asked(ledger, make)
    assert ledger.commitments.settle(UID("1.2.1"), "PACS", {}, make.later(12)) is Settlement.SETTLED
    found = ledger.deliveries.get(delivery.id)
    assert (found.state, found.committed_at) == (DeliveryState.COMMITTED, make.later(12))
    assert "PACS has promised to keep 1 object." in ledger.history.of(f"delivery:{delivery.id}")[-1].words
    assert ledger.commitments.settle(UID("1.2.1"), "PACS", {SEG[1]: "no such object"}, make.later(13)) is Settlement.KNOWN
    assert ledger.deliveries.get(delivery.id).state is DeliveryState.COMMITTED
    assert any("committed on" in sentence for sentence in ledger.explain(delivery.case_id))


def test_an_object_that_a_report_leaves_out_is_not_taken_for_kept(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2))
    for number in range(1, MOST_ROUNDS + 1):
        delivery = delivered(ledger, make, f"1.2.{number}", 10 * number)
        asked(ledger, make, f"1.2.{number}", 10 * number + 1)
        settled = ledger.commitments.settle(UID(f"1.2.{number}"), "PACS", {}, make.later(10 * number + 2), kept=frozenset({"2.25.1"}))
        assert settled is Settlement.SETTLED
    found = ledger.deliveries.get(delivery.id)
    assert found.state is DeliveryState.DELIVERED
    assert found.receipt.endswith("not committed: PACS did not say of 1 object whether it keeps them, in 3 rounds")


def test_what_is_asked_is_asked_by_one_only_and_again_after_a_crash(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2))
    delivered(ledger, make)
    assert len(ledger.commitments.due_requests("pacs", make.later(11), 300)) == 1
    assert ledger.commitments.due_requests("pacs", make.later(12), 300) == []
    (again,) = ledger.commitments.due_requests("pacs", make.later(400), 300)
    assert (again.transaction_uid, again.attempts, again.is_asked) == ("1.2.1", 1, False)


def test_what_the_destination_lost_is_sent_again_and_at_last_given_up(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2))
    for number in range(1, MOST_ROUNDS + 1):
        delivery = delivered(ledger, make, f"1.2.{number}", 10 * number)
        asked(ledger, make, f"1.2.{number}", 10 * number + 1)
        ledger.commitments.settle(UID(f"1.2.{number}"), "PACS", {SEG[1]: "no such object"}, make.later(10 * number + 2))
        found = ledger.deliveries.get(delivery.id)
        assert found.state is (DeliveryState.DEAD if number == MOST_ROUNDS else DeliveryState.PENDING)
        assert found.last_error == "PACS does not keep 1 object: 2.25.777 (no such object)"
    assert ledger.deliveries.retry(delivery.case_id, make.later(99)) == 1
    delivered(ledger, make, "1.2.9", 100)
    asked(ledger, make, "1.2.9", 101)
    ledger.commitments.settle(UID("1.2.9"), "PACS", {}, make.later(102))
    assert ledger.deliveries.get(delivery.id).state is DeliveryState.COMMITTED


def test_a_destination_that_never_reports_keeps_its_delivery_as_delivered(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2))
    for number in range(1, MOST_ROUNDS + 1):
        delivery = delivered(ledger, make, f"1.2.{number}", 100 * number)
        asked(ledger, make, f"1.2.{number}", 100 * number + 1)
        (late,) = ledger.commitments.due_requests("pacs", make.later(100 * number + 70), 300)
        assert late.is_asked
        ledger.commitments.unanswered(late.transaction_uid, "no report", make.later(100 * number + 71))
    found = ledger.deliveries.get(delivery.id)
    assert (found.state, found.receipt) == (DeliveryState.DELIVERED, "1 object stored; not committed: no report, in 3 rounds")


def test_a_report_on_what_was_sent_before_does_not_speak_for_what_is_sent_now(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2))
    delivered(ledger, make)
    asked(ledger, make)
    ledger.commitments.unanswered(UID("1.2.1"), "no report", make.later(80))
    delivery = delivered(ledger, make, "1.2.2", 90)
    assert ledger.commitments.settle(UID("1.2.1"), "PACS", {}, make.later(91)) is Settlement.KNOWN
    assert ledger.deliveries.get(delivery.id).state is DeliveryState.DELIVERED


def test_another_peer_settles_nothing_and_nobody_knows_a_foreign_transaction(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2))
    delivery = delivered(ledger, make)
    assert ledger.commitments.settle(UID("1.2.1"), "OTHER", {}, make.later(12)) is Settlement.FOREIGN
    assert ledger.commitments.settle(UID("1.2.99"), "PACS", {}, make.later(12)) is Settlement.UNKNOWN
    assert ledger.deliveries.get(delivery.id).state is DeliveryState.DELIVERED


def test_a_destination_that_cannot_commit_is_named_in_the_receipt(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2))
    delivery = delivered(ledger, make)
    ledger.commitments.declined(UID("1.2.1"), "storage commitment is not offered", make.later(12))
    found = ledger.deliveries.get(delivery.id)
    assert (found.state, found.receipt) == (DeliveryState.DELIVERED, "1 object stored; storage commitment is not offered")


def test_a_committed_delivery_of_the_same_files_is_not_sent_again(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 2))
    delivery = delivered(ledger, make)
    ledger.commitments.settle(UID("1.2.1"), "PACS", {}, make.later(12))
    ledger.cases.reopen(case.id, make.later(20))
    ledger.cases.claim(make.later(21))
    ledger.cases.finish(case.id, make.outcome(case), [make.delivery(case)], make.later(22))
    assert ledger.deliveries.get(delivery.id).state is DeliveryState.COMMITTED
    ledger.cases.reopen(case.id, make.later(30))
    ledger.cases.finish(case.id, make.outcome(case, content="other"), [make.delivery(case)], make.later(32))
    found = ledger.deliveries.get(delivery.id)
    assert (found.state, found.committed_at) == (DeliveryState.PENDING, None)
    assert ledger.commitments.settle(UID("1.2.1"), "PACS", {}, make.later(33)) is Settlement.UNKNOWN


def test_a_senders_request_is_kept_until_it_was_told(ledger: Ledger, make: Any) -> None:
    assert ledger.commitments.accept(UID("1.2.5"), "CAMERA", [SEG], "127.0.0.1", make.later(0))
    assert not ledger.commitments.accept(UID("1.2.5"), "CAMERA", [(SEG[0], "1.2.3")], "127.0.0.1", make.later(0))
    (request,) = ledger.commitments.due_reports(make.later(1), 300)
    assert (request.peer, request.instances, request.attempts) == ("CAMERA", (SEG,), 0)
    ledger.commitments.postponed(UID("1.2.5"), "", make.later(20))
    assert ledger.commitments.due_reports(make.later(19), 300) == []
    assert ledger.commitments.due_reports(make.later(21), 300)[0].attempts == 1
    ledger.commitments.reported(UID("1.2.5"), CommitmentState.COMMITTED, "told", make.later(22))
    assert ledger.commitments.due_reports(make.later(9999), 300) == []
    assert ledger.commitments.counts()[CommitmentState.COMMITTED] == 1
    assert ledger.commitments.accept(UID("1.2.5"), "CAMERA", [SEG], "127.0.0.1", make.later(30))
    assert len(ledger.commitments.due_reports(make.later(31), 300)) == 1
