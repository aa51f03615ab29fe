"""The story of any name, in sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dermanode.errors import UnknownSubject
from dermanode.ledger.ledger import Ledger


def test_an_object_just_received(ledger: Ledger, make: Any) -> None:
    ledger.objects.record([make.arrival()])
    received, stored, header, state = ledger.explain("2.25.1")
    assert received == "Object 2.25.1 was received on 2026-11-21 09:30:15 UTC from CAMERA at 127.0.0.1 (a1), called as DERMANODE."
    assert stored.startswith("Its 550000 bytes were stored as they came in ")
    assert (header, state) == ("Its header was not read yet.", "It waits for its series to be complete.")


def test_the_whole_story_of_an_object(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 4))
    delivery = ledger.deliveries.claim("pacs", make.later(3))
    assert delivery is not None
    ledger.deliveries.succeeded(delivery.id, "Status 0x0000 for 1 object.", make.later(4))
    ledger.objects.record([make.arrival(1)])
    story = "\n".join(ledger.explain("2.25.1"))
    told = [
        "was received on",
        "It is an image of modality XC, series 2.25.100.",
        "It came 1 more time with the same content",
        "It is in a case.",
        f"Case {case.id} was opened on 2026-11-21 09:30:15 UTC as revision 1 of series 2.25.100, with 3 objects, for pipeline derm.",
        "complete by quiet period: No object came for 20 s.",
        "Plan: segment: acme-segment 1.0 serves it.",
        "It finished on 2026-11-21 09:30:17 UTC, at the first attempt.",
        "Stage segment was performed by acme-segment 1.0 in 0.50 s.",
        f"Made SEG (Lesion outline) 2.25.777 as {case.id}/seg-1.dcm. It passed the output gate.",
        "Delivery of 1 file to pacs: acknowledged on 2026-11-21 09:30:19 UTC. Status 0x0000 for 1 object.",
    ]
    places = [story.index(words) for words in told]
    assert places == sorted(places)
    assert "P1" not in story


def test_a_produced_object_names_its_case_and_where_it_went(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 4))
    story = ledger.explain("2.25.777")
    assert story[0].startswith(f"Object 2.25.777 was made here: SEG (Lesion outline), from case {case.id}, revision 1 of series 2.25.100")
    assert story[1:3] == ["It rests on the work of acme-segment 1.0.", "It passed the output gate."]
    assert story[3].startswith("Delivery of 1 file to pacs: due on ")


def test_what_the_gate_refused_says_why(ledger: Ledger, make: Any) -> None:
    case = make.opened(ledger, range(1, 2))
    outcome = make.outcome(case)
    refused = replace(outcome.objects[0], passed_gate=False, reasons=("(0008,0018) is missing", "no frames"))
    ledger.cases.finish(case.id, replace(outcome, objects=(refused,)), [], make.now)
    assert "The output gate refused it: (0008,0018) is missing; no frames." in ledger.explain("2.25.777")


def test_a_series_tells_of_all_its_revisions(ledger: Ledger, make: Any) -> None:
    first = make.opened(ledger, range(1, 3))
    second = make.opened(ledger, range(3, 4))
    make.waiting(ledger, range(4, 5))
    story = "\n".join(ledger.explain("2.25.100"))
    assert "Series 2.25.100 has 4 objects (1 waiting, 3 in case)" in story
    assert "It was superseded. Revision 2 was opened before this one ran." in story
    assert f"It follows {first.id}." in story
    assert ledger.explain(second.id)[0].startswith(f"Case {second.id} was opened")


def test_ignored_and_quarantined_objects_say_why(ledger: Ledger, make: Any) -> None:
    ids = [receipt.object_id for receipt in ledger.objects.record([make.arrival(number) for number in (1, 2)])]
    ledger.objects.ignore(ids[:1], "No pipeline wants modality CT.")
    ledger.objects.quarantine(ids[1:], "Its header ends early.")
    assert "It is ignored: No pipeline wants modality CT." in ledger.explain("2.25.1")
    assert "It is in quarantine: Its header ends early." in ledger.explain("2.25.2")


def test_a_failed_case_and_a_dead_letter_say_why(ledger: Ledger, make: Any) -> None:
    case = make.opened(ledger, range(1, 2))
    ledger.cases.claim(make.now)
    ledger.cases.finish(case.id, make.outcome(case, is_failed=True), [make.delivery(case)], make.now)
    delivery = ledger.deliveries.claim("pacs", make.now)
    assert delivery is not None
    ledger.deliveries.buried(delivery.id, "SOP class refused.", make.now)
    story = "\n".join(ledger.explain(case.id))
    assert "It failed on 2026-11-21 09:30:15 UTC, at the first attempt. segment: raised ValueError: no" in story
    assert f"given up after 1 attempt. SOP class refused. Try again with `dermanode cases retry {case.id}`." in story


def test_a_name_that_nothing_has_is_refused(ledger: Ledger) -> None:
    with pytest.raises(UnknownSubject, match=r"9\.9\.9"):
        ledger.explain("9.9.9")
