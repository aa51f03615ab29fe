"""A request to fetch outlives the process that asked, and the one that works on it."""

from __future__ import annotations

import pytest

from dermanode.domain.identifiers import UID
from dermanode.errors import UnknownSubject
from dermanode.ledger.fetch_query import FetchQuery
from dermanode.ledger.fetches import Fetch
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import FetchState

from .conftest import Maker

QUERY = FetchQuery.parse(accession_number="A1")


def asked(ledger: Ledger, make: Maker, source: str = "pacs") -> Fetch:
    return ledger.fetches.ask(source, QUERY, asked_by="test", now=make.now)


def test_what_was_asked_for_is_pending_and_due_at_once(ledger: Ledger, make: Maker) -> None:
    fetch = asked(ledger, make)
    assert (fetch.state, fetch.query, fetch.attempts, fetch.next_at) == (FetchState.PENDING, QUERY, 0, make.now)
    assert ledger.fetches.recent(5) == [fetch]


def test_only_requests_of_the_source_are_handed_out_and_each_once(ledger: Ledger, make: Maker) -> None:
    asked(ledger, make, "other")
    mine = asked(ledger, make)
    claimed = ledger.fetches.claim("pacs", make.now)
    assert claimed is not None
    assert (claimed.id, claimed.state, claimed.attempts) == (mine.id, FetchState.RUNNING, 1)
    assert ledger.fetches.claim("pacs", make.now) is None


def test_a_postponed_request_is_not_due_before_its_time_and_counts_what_came(ledger: Ledger, make: Maker) -> None:
    fetch = asked(ledger, make)
    ledger.fetches.claim("pacs", make.now)
    ledger.fetches.postponed(fetch.id, 4, "4 of 8 came.", make.later(10), make.now)
    assert ledger.fetches.claim("pacs", make.later(9)) is None
    assert ledger.fetches.claim("pacs", make.later(10)) is not None
    ledger.fetches.done(fetch.id, 4, "4 objects came.", make.later(11))
    ended = ledger.fetches.get(fetch.id)
    assert (ended.state, ended.objects, ended.attempts, ended.words, ended.is_over) == (FetchState.DONE, 8, 2, "4 objects came.", True)


def test_an_ended_request_cannot_end_again(ledger: Ledger, make: Maker) -> None:
    fetch = asked(ledger, make)
    ledger.fetches.claim("pacs", make.now)
    ledger.fetches.failed(fetch.id, 0, "It refused.", make.now)
    ledger.fetches.done(fetch.id, 8, "8 objects came.", make.now)
    assert ledger.fetches.get(fetch.id).state is FetchState.FAILED


def test_what_a_dead_process_was_fetching_is_due_again_and_the_attempt_does_not_count(ledger: Ledger, make: Maker) -> None:
    fetch = asked(ledger, make)
    ledger.fetches.claim("pacs", make.now)
    assert ledger.fetches.release_running("other", make.later(1)) == 0
    assert ledger.fetches.release_running("pacs", make.later(1)) == 1
    again = ledger.fetches.claim("pacs", make.later(1))
    assert again is not None
    assert (again.id, again.attempts) == (fetch.id, 1)


def test_its_story_is_in_the_audit_trail(ledger: Ledger, make: Maker) -> None:
    fetch = asked(ledger, make)
    ledger.fetches.claim("pacs", make.now)
    ledger.fetches.done(fetch.id, 8, "8 objects came.", make.now)
    assert [event.kind for event in ledger.history.of(f"fetch:{fetch.id}")] == ["fetch_asked", "fetch_started", "fetch_done"]


def test_how_many_stand_before_a_request_is_counted(ledger: Ledger, make: Maker) -> None:
    first, second = asked(ledger, make), asked(ledger, make)
    asked(ledger, make, "other")
    assert [ledger.fetches.open_before(one.id) for one in (first, second)] == [0, 1]


def test_a_request_that_does_not_exist_is_said(ledger: Ledger) -> None:
    with pytest.raises(UnknownSubject):
        ledger.fetches.get(7)


def test_what_was_received_and_what_was_made_here_is_known(ledger: Ledger, make: Maker) -> None:
    case = make.finished(ledger, range(1, 4))
    assert case.id
    uids = [make.uid(number) for number in (1, 3, 9, 777)] + [UID(f"2.25.9{number}") for number in range(1000)]
    assert ledger.holdings.received(uids) == {make.uid(1), make.uid(3)}
    assert ledger.holdings.made_here(uids) == {make.uid(777)}
