"""Procedure steps in the ledger: a claim is noted before it is made, and what decides its end is read from one view."""

from __future__ import annotations

from typing import Any

from dermanode.domain.identifiers import UID
from dermanode.ledger.fetch_query import FetchQuery
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CaseState, DeliveryState, FetchState, StepState
from dermanode.ledger.steps import SeriesFacts, Step, fetch_asker

STEP = UID("2.25.5000")


def noted(ledger: Ledger, make: Any, *instances: int, series: int = 100) -> Step:
    inputs = [(str(make.study), str(make.uid(series)), tuple(str(make.uid(number)) for number in instances))]
    assert ledger.steps.claiming(
        STEP,
        worklist="ai",
        transaction_uid=UID("2.25.6000"),
        label="Analyse",
        patient_id="P1",
        study_instance_uid=str(make.study),
        inputs=inputs,
        now=make.now,
    )
    step = ledger.steps.get(STEP)
    assert step is not None
    return step


def fact(ledger: Ledger, step: Step) -> SeriesFacts:
    (found,) = ledger.steps.facts(step)
    return found


def test_a_claim_is_noted_once_and_kept_or_forgotten(ledger: Ledger, make: Any) -> None:
    step = noted(ledger, make, 1)
    assert not ledger.steps.claiming(
        STEP, worklist="b", transaction_uid=UID("1.2"), label="", patient_id="", study_instance_uid="", inputs=[], now=make.now
    )
    assert (step.state, ledger.steps.held("ai"), ledger.steps.held("b")) == (StepState.CLAIMING, 1, 0)
    ledger.steps.lost(STEP)
    assert ledger.steps.get(STEP) is None
    noted(ledger, make, 1)
    ledger.steps.claimed(STEP, step.inputs, "Claimed.", make.now)
    ledger.steps.lost(STEP)
    (held,) = ledger.steps.open("ai", make.now)
    assert (held.state, held.transaction_uid) == (StepState.CLAIMED, "2.25.6000")
    ledger.steps.postponed(STEP, "The manager is away.", make.later(10))
    assert ledger.steps.open("ai", make.later(9)) == []
    assert ledger.steps.open("ai", make.later(11))[0].attempts == 1
    ledger.steps.ended(STEP, StepState.COMPLETED, "Done.", make.later(12))
    assert ledger.steps.held("ai") == 0
    assert ledger.steps.counts()[StepState.COMPLETED] == 1
    assert [step.words for step in ledger.steps.recent(5)] == ["Done."]
    ledger.history.add("folder:camera", "photograph_refused", "a.jpg", make.now)
    assert [event.words for event in ledger.history.recent(5, about="folder:")] == ["a.jpg"]
    assert [event.kind for event in ledger.history.of(f"step:{STEP}")] == ["step_claimed", "step_completed"]


def test_input_is_here_when_all_that_is_named_is_here(ledger: Ledger, make: Any) -> None:
    step = noted(ledger, make, 1, 2)
    assert not fact(ledger, step).is_here
    make.waiting(ledger, range(1, 2))
    assert not fact(ledger, step).is_here
    make.waiting(ledger, range(2, 3))
    found = fact(ledger, step)
    assert (found.is_here, found.has_waiting, found.case_id) == (True, True, None)


def test_nothing_is_concluded_of_a_whole_series_while_headers_are_unread(ledger: Ledger, make: Any) -> None:
    step = noted(ledger, make)
    assert not fact(ledger, step).is_here
    (receipt,) = ledger.objects.record([make.arrival(1)])
    found = fact(ledger, step)
    assert (found.is_here, found.has_waiting) == (True, True)
    ledger.objects.set_headers({receipt.object_id: make.header(series=200)})
    assert not fact(ledger, step).is_here


def test_facts_name_the_case_its_end_and_its_deliveries(ledger: Ledger, make: Any) -> None:
    step = noted(ledger, make, 1)
    case = make.finished(ledger, range(1, 2))
    found = fact(ledger, step)
    assert (found.case_id, found.case_state, found.has_waiting) == (case.id, CaseState.FINISHED, False)
    (sent,) = found.deliveries
    assert (sent.destination, sent.state, sent.paths) == ("pacs", DeliveryState.PENDING, (f"{case.id}/seg-1.dcm",))
    assert [(made.path, made.sop_instance_uid) for made in ledger.steps.made(case.id)] == [(f"{case.id}/seg-1.dcm", "2.25.777")]
    ledger.steps.noted(STEP, "Its results are told.", make.now, case.id)
    assert ledger.history.of_case(case.id)[-1].kind == "step_progressed"


def test_what_was_set_aside_says_why_also_when_it_was_never_read(ledger: Ledger, make: Any) -> None:
    step = noted(ledger, make, 1, 2)
    read, unread = ledger.objects.record([make.arrival(1), make.arrival(2)])
    ledger.objects.set_headers({read.object_id: make.header()})
    ledger.objects.ignore([read.object_id], "No pipeline takes it.")
    assert fact(ledger, step).set_aside == ""
    ledger.objects.quarantine([unread.object_id], "It cannot be read.")
    found = fact(ledger, step)
    assert (found.is_here, found.set_aside) == (True, "No pipeline takes it.")


def test_the_last_request_to_fetch_a_series_counts(ledger: Ledger, make: Any) -> None:
    step = noted(ledger, make, 1)
    query = FetchQuery(study_instance_uid=make.study, series_instance_uid=make.uid(100))
    ledger.fetches.ask("archive", query, asked_by="page", now=make.now)
    assert fact(ledger, step).fetch is None
    ledger.fetches.ask("archive", query, asked_by=fetch_asker(STEP), now=make.now)
    assert fact(ledger, step).fetch is FetchState.PENDING
