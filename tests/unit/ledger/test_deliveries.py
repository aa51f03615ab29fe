"""Deliveries: each destination on its own, nothing lost and nothing twice."""

from __future__ import annotations

from threading import Thread
from typing import Any

import pytest

from dermanode.errors import UnknownSubject
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Delivery, DeliveryState


def claimed(ledger: Ledger, make: Any, destination: str = "pacs", seconds: float = 10) -> Delivery:
    delivery = ledger.deliveries.claim(destination, make.later(seconds))
    assert delivery is not None
    return delivery


def kinds(ledger: Ledger, delivery: Delivery) -> list[str]:
    return [event.kind for event in ledger.history.of(f"delivery:{delivery.id}")]


def test_a_destination_claims_only_its_own(ledger: Ledger, make: Any) -> None:
    case = make.opened(ledger, range(1, 2))
    ledger.cases.finish(case.id, make.outcome(case), [make.delivery(case, "pacs"), make.delivery(case, "hospital")], make.now)
    delivery = claimed(ledger, make, "hospital")
    assert (delivery.destination, delivery.state, delivery.attempts) == ("hospital", DeliveryState.SENDING, 1)
    assert ledger.deliveries.claim("hospital", make.later(99)) is None
    assert claimed(ledger, make, "pacs").case_id == case.id


def test_the_oldest_due_delivery_comes_first(ledger: Ledger, make: Any) -> None:
    first = make.finished(ledger, range(1, 2))
    second = make.finished(ledger, range(2, 3), series=101)
    assert ledger.deliveries.claim("pacs", make.later(1)) is None
    assert [claimed(ledger, make).case_id for _ in range(2)] == [first.id, second.id]


def test_no_delivery_is_claimed_twice(ledger: Ledger, make: Any) -> None:
    for number in range(8):
        make.finished(ledger, range(number, number + 1), series=100 + number)
    found: list[int] = []

    def work() -> None:
        while (delivery := ledger.deliveries.claim("pacs", make.later(10))) is not None:
            found.append(delivery.id)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work()
    assert len(found) == len(set(found)) == 8


def test_an_acknowledged_delivery_keeps_its_receipt(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2))
    delivery = claimed(ledger, make)
    ledger.deliveries.succeeded(delivery.id, "0x0000 for 1 object", make.later(11))
    done = ledger.deliveries.get(delivery.id)
    assert (done.state, done.receipt, done.delivered_at, done.last_error) == (
        DeliveryState.DELIVERED,
        "0x0000 for 1 object",
        make.later(11),
        "",
    )
    assert kinds(ledger, delivery) == ["sending", "delivered"]


def test_a_postponed_delivery_is_due_only_later(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2))
    delivery = claimed(ledger, make)
    ledger.deliveries.postponed(delivery.id, "connection refused", make.later(60), make.later(11))
    assert ledger.deliveries.claim("pacs", make.later(59)) is None
    again = claimed(ledger, make, seconds=60)
    assert (again.id, again.attempts, again.last_error) == (delivery.id, 2, "connection refused")


def test_a_dead_letter_waits_for_a_person(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 2))
    delivery = claimed(ledger, make)
    ledger.deliveries.buried(delivery.id, "SOP class refused", make.later(11))
    assert ledger.deliveries.claim("pacs", make.later(9999)) is None
    assert [dead.id for dead in ledger.deliveries.list(DeliveryState.DEAD, 10)] == [delivery.id]
    assert ledger.deliveries.retry(case.id, make.later(20)) == 1
    assert claimed(ledger, make, seconds=20).attempts == 1


def test_what_was_delivered_stays_delivered(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 2))
    delivery = claimed(ledger, make)
    ledger.deliveries.succeeded(delivery.id, "ok", make.later(11))
    ledger.deliveries.buried(delivery.id, "late", make.later(12))
    ledger.deliveries.postponed(delivery.id, "late", make.later(13), make.later(12))
    assert ledger.deliveries.retry(case.id, make.later(20)) == 0
    assert ledger.deliveries.get(delivery.id).state is DeliveryState.DELIVERED
    assert kinds(ledger, delivery) == ["sending", "delivered"]


def test_a_retry_may_name_one_destination(ledger: Ledger, make: Any) -> None:
    case = make.opened(ledger, range(1, 2))
    ledger.cases.finish(case.id, make.outcome(case), [make.delivery(case, "pacs"), make.delivery(case, "hospital")], make.now)
    for destination in ("pacs", "hospital"):
        ledger.deliveries.buried(claimed(ledger, make, destination).id, "no", make.now)
    assert ledger.deliveries.retry(case.id, make.later(20), destination="pacs") == 1
    assert {one.destination: one.state for one in ledger.deliveries.of_case(case.id)} == {
        "pacs": DeliveryState.PENDING,
        "hospital": DeliveryState.DEAD,
    }
    assert ledger.deliveries.counts_by_destination()["hospital"][DeliveryState.DEAD] == 1
    assert ledger.deliveries.counts() == {**dict.fromkeys(DeliveryState, 0), DeliveryState.PENDING: 1, DeliveryState.DEAD: 1}


def test_an_error_with_braces_is_only_words(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2))
    delivery = claimed(ledger, make)
    ledger.deliveries.buried(delivery.id, '{"error": "{0}"}', make.later(11))
    assert ledger.deliveries.get(delivery.id).last_error == '{"error": "{0}"}'


def test_unknown_names_are_named_in_the_error(ledger: Ledger, make: Any) -> None:
    with pytest.raises(UnknownSubject, match="delivery:9"):
        ledger.deliveries.succeeded(9, "", make.now)
    with pytest.raises(UnknownSubject, match="c0-r1"):
        ledger.deliveries.retry("c0-r1", make.now)


def late_image(ledger: Ledger, make: Any, number: int) -> Any:
    return make.finished(ledger, range(number, number + 1))


def test_an_older_revision_is_not_sent_after_a_later_one(ledger: Ledger, make: Any) -> None:
    first = make.finished(ledger, range(1, 2))
    postponed = claimed(ledger, make)
    assert postponed.case_id == first.id
    ledger.deliveries.postponed(postponed.id, "no answer", make.later(60), make.later(11))
    second = late_image(ledger, make, 2)
    later = claimed(ledger, make, seconds=20)
    assert later.case_id == second.id
    ledger.deliveries.succeeded(later.id, "ok", make.later(21))
    assert ledger.deliveries.claim("pacs", make.later(60)) is None
    outdated = ledger.deliveries.get(postponed.id)
    assert (outdated.state, outdated.receipt) == (DeliveryState.DELIVERED, "not sent: revision 2 was delivered before it")
    assert kinds(ledger, outdated)[-1] == "delivery_outdated"


def test_a_revision_that_ended_last_is_not_sent_after_a_later_one(ledger: Ledger, make: Any) -> None:
    first = make.opened(ledger, range(1, 2))
    ledger.cases.claim(make.now)
    second = late_image(ledger, make, 2)
    assert claimed(ledger, make).case_id == second.id
    ledger.cases.finish(first.id, make.outcome(first), [make.delivery(first)], make.later(3))
    assert ledger.deliveries.claim("pacs", make.later(30)) is None
    assert [one.receipt for one in ledger.deliveries.of_case(first.id)] == ["not sent: revision 2 was delivered before it"]


def test_an_older_revision_goes_where_the_later_one_was_refused(ledger: Ledger, make: Any) -> None:
    first = make.finished(ledger, range(1, 2))
    postponed = claimed(ledger, make)
    ledger.deliveries.postponed(postponed.id, "no answer", make.later(60), make.later(11))
    late_image(ledger, make, 2)
    ledger.deliveries.buried(claimed(ledger, make, seconds=20).id, "refused", make.later(21))
    assert claimed(ledger, make, seconds=60).case_id == first.id


def test_what_a_case_made_waits_while_it_is_run_again(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 2))
    ledger.cases.reopen(case.id, make.later(5))
    assert ledger.deliveries.claim("pacs", make.later(10)) is None
    ledger.cases.claim(make.later(11))
    assert ledger.deliveries.claim("pacs", make.later(12)) is None
    ledger.cases.finish(case.id, make.outcome(case, content="anew"), [make.delivery(case)], make.later(13))
    assert claimed(ledger, make, seconds=14).case_id == case.id
