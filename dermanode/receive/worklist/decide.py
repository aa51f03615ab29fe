"""How a procedure step goes on, by what the ledger knows of its input: a pure decision."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dermanode.ledger.records import CaseState, DeliveryState, FetchState
from dermanode.ledger.steps import SeriesFacts


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done but to say how far it is."""

    words: str
    percent: int
    case_id: str | None = None


@dataclass(frozen=True, slots=True)
class Fetch:
    """These series are not here, and are to be fetched."""

    series: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Complete:
    """The work is done: these cases have ended, and a PACS has their results."""

    cases: tuple[SeriesFacts, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """The work cannot be done."""

    reason: str
    case_id: str | None = None


Decision = Wait | Fetch | Complete | Cancel


def decide(facts: Sequence[SeriesFacts], *, archives: Collection[str], can_fetch: bool, waited_s: float, input_wait_s: float) -> Decision:
    """`archives` are the destinations to which results have to come before a step is completed; `waited_s` counts from the claim."""
    if not facts:
        return Cancel("The step names no input.")
    if any(one.is_of_another_patient for one in facts):
        return Cancel("Its input is of another patient than the step names. Correct one of them, and schedule the step anew.")
    return _input(facts, can_fetch, waited_s, input_wait_s) or _work(facts) or _delivery(facts, archives)


def _input(facts: Sequence[SeriesFacts], can_fetch: bool, waited_s: float, input_wait_s: float) -> Decision | None:
    missing = [one for one in facts if not one.is_here]
    if not missing:
        return None
    for one in missing:
        if one.fetch is FetchState.FAILED:
            return Cancel(f"Its input could not be fetched: {one.fetch_words}")
        if one.fetch is FetchState.DONE:
            return Cancel(f"The source does not have all of its input: {one.fetch_words}")
    if can_fetch:
        unasked = tuple(one.series_instance_uid for one in missing if one.fetch is None)
        return Fetch(unasked) if unasked else Wait("Its input is being fetched.", 0)
    if waited_s >= input_wait_s:
        return Cancel(f"Its input did not come within {input_wait_s:g} s.")
    return Wait("It waits for its input.", 0)


def _work(facts: Sequence[SeriesFacts]) -> Decision | None:
    for one in facts:
        if one.case_state is CaseState.FAILED and not one.has_waiting:
            return Cancel(f"The analysis failed: {one.reason}", one.case_id)
    for one in facts:
        if one.has_waiting or (one.case_id is None and not one.set_aside):
            return Wait("Its input is here and waits for its series to be complete.", 10, one.case_id)
        if one.case_state is CaseState.RUNNING:
            return Wait(f"Case {one.case_id} is being worked on.", 50, one.case_id)
        if one.case_id is not None and one.case_state is not CaseState.FINISHED:
            return Wait(f"Case {one.case_id} waits for a worker.", 25, one.case_id)
    if all(one.case_id is None for one in facts):
        return Cancel(f"Its input is not analysed here: {facts[0].set_aside}")
    return None


def _delivery(facts: Sequence[SeriesFacts], archives: Collection[str]) -> Decision:
    finished = tuple(one for one in facts if one.case_id is not None)
    for one in finished:
        for sent in one.deliveries:
            if sent.destination in archives and sent.state is DeliveryState.DEAD:
                return Cancel(f"The results could not be delivered to {sent.destination}: {sent.error}", one.case_id)
    for one in finished:
        for sent in one.deliveries:
            if sent.destination in archives and not sent.state.is_acknowledged:
                return Wait(f"The results are on their way to {sent.destination}.", 90, one.case_id)
    names = ", ".join(str(one.case_id) for one in finished)
    return Complete(finished, f"Done by {names}.")
