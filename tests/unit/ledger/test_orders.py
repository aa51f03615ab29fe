"""Which order a case answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dermanode.ledger.ledger import Ledger
from dermanode.ledger.said import Identity, MergeSaid, MessageHead, OrderSaid, Verdict

from .conftest import Maker

SAID = OrderSaid(
    number="placer 77^HIS",
    identities=(Identity("P1"),),
    control="NW",
    is_cancelled=False,
    placer_number="77",
    filler_number="F9",
    accession_number="A1",
    procedure_code="DERM",
    procedure_words="Dermoscopy",
    requester="House^Gregory",
)


@pytest.fixture
def order(ledger: Ledger, make: Maker):  # type: ignore[no-untyped-def]
    count = iter(range(1000))

    def say(**changes: object) -> Verdict:
        head = MessageHead(sender="HIS|HOSP", control_id=f"o{next(count)}", kind="ORM^O01", digest="d" * 64)
        return ledger.messages.do(head, [replace(SAID, **changes)], make.now)  # type: ignore[arg-type]

    return say


def test_order_is_found_by_accession_number_and_patient(ledger: Ledger, make: Maker, order) -> None:  # type: ignore[no-untyped-def]
    order()
    match = ledger.orders.for_case(make.opened(ledger, range(1, 2), accession_number="A1"))
    assert match.order is not None
    assert (match.order.placer_number, match.order.filler_number, match.order.requester) == ("77", "F9", "House^Gregory")
    assert match.words == "It answers an order, found by its accession number and patient."


def test_order_is_found_by_study_where_the_images_have_no_accession_number(ledger: Ledger, make: Maker, order) -> None:  # type: ignore[no-untyped-def]
    order(study_instance_uid=str(make.study), identities=(Identity("P1", "HOSP"),))
    match = ledger.orders.for_case(make.opened(ledger, range(1, 2)))
    assert match.order is not None
    assert match.order.accession_number == "A1"


@pytest.mark.parametrize("study", ["", "2.25.1000"])
def test_order_of_another_patient_never_matches(ledger: Ledger, make: Maker, order, study: str) -> None:  # type: ignore[no-untyped-def]
    order(identities=(Identity("P2"),), study_instance_uid=study)
    match = ledger.orders.for_case(make.opened(ledger, range(1, 2), accession_number="A1"))
    assert (match.order, match.is_mismatch) == (None, True)
    assert match.words == "An order with its numbers is there, but of another patient: it is not used."


def test_accession_number_of_an_authority_does_not_match_images_without_issuer(ledger: Ledger, make: Maker, order) -> None:  # type: ignore[no-untyped-def]
    order(identities=(Identity("P1", "HOSP"),))
    match = ledger.orders.for_case(make.opened(ledger, range(1, 2), accession_number="A1"))
    assert (match.order, match.is_mismatch) == (None, True)
    assert "hl7.default_issuer" in match.words


def test_order_follows_its_patient_through_a_merge(ledger: Ledger, make: Maker, order) -> None:  # type: ignore[no-untyped-def]
    order(identities=(Identity("P0"),))
    record = make.opened(ledger, range(1, 2), accession_number="A1")
    assert ledger.orders.for_case(record).order is None
    head = MessageHead(sender="HIS|HOSP", control_id="m1", kind="ADT^A40", digest="d" * 64)
    ledger.messages.do(head, [MergeSaid(pairs=((Identity("P0"), Identity("P1")),), kind="ADT^A40")], make.now)
    assert ledger.orders.for_case(record).order is not None


def test_later_message_of_an_order_changes_it_and_a_cancelled_one_is_said_to_be(ledger: Ledger, make: Maker, order) -> None:  # type: ignore[no-untyped-def]
    order(accession_number="")
    assert order(control="XO", filler_number="", procedure_words="Dermoscopy, eight views").words == "The order was brought up to date."
    assert order(control="CA", is_cancelled=True, procedure_words="").words == "The order was cancelled."
    match = ledger.orders.for_case(make.opened(ledger, range(1, 2), accession_number="A1"))
    assert match.order is not None
    assert (match.order.filler_number, match.order.procedure_words) == ("F9", "Dermoscopy, eight views")
    assert match.words.endswith("The hospital has cancelled it.")


def test_order_number_of_another_patient_is_refused(order) -> None:  # type: ignore[no-untyped-def]
    order()
    verdict = order(identities=(Identity("P2"),))
    assert (verdict.answer, verdict.error, verdict.place) == ("AE", "204", "PID^1^3")


def test_of_several_orders_only_what_they_agree_on_is_told(ledger: Ledger, make: Maker, order) -> None:  # type: ignore[no-untyped-def]
    order()
    order(number="placer 78^HIS", placer_number="78")
    order(number="placer 79^HIS", placer_number="79", accession_number="A1", is_cancelled=True, control="CA", requester="Nobody")
    match = ledger.orders.for_case(make.opened(ledger, range(1, 2), accession_number="A1"))
    assert match.order is not None
    assert (match.order.placer_number, match.order.accession_number, match.order.requester) == ("", "A1", "House^Gregory")
    assert match.words.startswith("2 orders fit")


def test_case_without_order_says_nothing(ledger: Ledger, make: Maker) -> None:
    match = ledger.orders.for_case(make.opened(ledger, range(1, 2), accession_number="A1"))
    assert (match.order, match.words, match.is_mismatch) == (None, "", False)
