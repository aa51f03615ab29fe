"""A message is done once and answered as often as it comes."""

from __future__ import annotations

from dataclasses import replace

from dermanode.ledger.ledger import Ledger
from dermanode.ledger.said import Identity, MessageHead, PatientSaid, Verdict

from .conftest import Maker

HEAD = MessageHead(sender="HIS|HOSP", control_id="1", kind="ADT^A08", digest="a" * 64)
SAID = PatientSaid(identities=(Identity("P1"),), name="Meier^Anna")


def test_same_message_is_answered_as_before_and_done_once(ledger: Ledger, make: Maker) -> None:
    first = ledger.messages.do(HEAD, [SAID], make.now)
    changed = replace(SAID, name="Other^Anna")
    second = ledger.messages.do(HEAD, [changed], make.later(1))
    assert second == replace(first, is_repeated=True)
    patient = ledger.patients.of(make.key())
    assert patient is not None
    assert patient.name == "Meier^Anna"
    assert len(ledger.messages.recent(10)) == 1


def test_other_content_under_a_control_id_that_was_used_before_is_another_message(ledger: Ledger, make: Maker) -> None:
    ledger.messages.do(HEAD, [SAID], make.now)
    other = replace(HEAD, kind="ADT^A31", digest="b" * 64)
    verdict = ledger.messages.do(other, [replace(SAID, name="Other^Anna")], make.later(1))
    assert (verdict.answer, verdict.is_repeated) == ("AA", False)
    patient = ledger.patients.of(make.key())
    assert patient is not None
    assert patient.name == "Other^Anna"
    assert ledger.messages.do(other, [], make.later(2)).is_repeated
    assert [record.head.kind for record in ledger.messages.recent(10)] == ["ADT^A31"]


def test_same_control_id_of_another_sender_is_another_message(ledger: Ledger, make: Maker) -> None:
    ledger.messages.do(HEAD, [SAID], make.now)
    other = ledger.messages.do(replace(HEAD, sender="LAB|HOSP"), [replace(SAID, name="Other^Anna")], make.later(1))
    assert (other.answer, other.is_repeated) == ("AA", False)


def test_refused_message_may_come_again_corrected(ledger: Ledger, make: Maker) -> None:
    ledger.messages.note(HEAD, Verdict(answer="AE", words="PID-3 is missing.", error="101", place="PID^1^3"), make.now)
    assert ledger.messages.do(replace(HEAD, digest="b" * 64), [SAID], make.later(1)).answer == "AA"
    (record,) = ledger.messages.recent(10)
    assert (record.verdict.answer, record.verdict.error) == ("AA", "0")


def test_messages_are_counted_and_forgotten(ledger: Ledger, make: Maker) -> None:
    ledger.messages.do(HEAD, [SAID], make.now)
    ledger.messages.note(replace(HEAD, control_id="2", kind="MDM^T02"), Verdict(answer="AR", words="No.", error="200"), make.later(5))
    assert ledger.messages.counts() == {("ADT^A08", "AA"): 1, ("MDM^T02", "AR"): 1}
    assert ledger.messages.forget(make.later(3)) == 1
    assert [record.head.control_id for record in ledger.messages.recent(10)] == ["2"]
