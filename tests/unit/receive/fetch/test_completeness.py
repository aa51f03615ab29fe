"""A fetched series is complete when all that its source counts is here, and not before."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from dermanode.config import Complete, Match, Pipeline, Retry
from dermanode.ledger.fetch_query import FetchQuery
from dermanode.ledger.records import CaseRecord, FetchState
from dermanode.pipeline.plan import plan
from dermanode.receive.complete import Completion
from dermanode.receive.fetch.counted import FetchedCounts
from dermanode.testing.false_pacs import FalsePacs
from dermanode.testing.fetching import FetchingNode, fetching_node
from dermanode.testing.worked_cases import photograph

OWN = [photograph(number, 24, 32, study="complete") for number in range(1, 5)]
EXPECTS_TWO = Pipeline(name="test", match=Match(modalities=("DMS",)), stages={}, expected_views=2)


def completion(node: FetchingNode, opened: list[CaseRecord]) -> Completion:
    """As the node wires it, with a quiet period that no test waits for."""
    return Completion(
        node.ledger,
        Complete(quiet_s=600),
        [EXPECTS_TWO],
        lambda series: plan(series, [EXPECTS_TWO], {}, {}),
        open_associations=lambda: node.scp.open_associations() | node.fetchers.open_associations(),
        fetched=node.fetchers.count,
        on_opened=opened.append,
    )


def test_a_series_that_is_fetched_whole_is_complete_at_once(tmp_path: Path) -> None:
    opened: list[CaseRecord] = []
    with FalsePacs(OWN) as pacs, fetching_node(tmp_path, {"pacs": pacs.source()}) as node:
        assert node.fetch(accession_number="A-17").state is FetchState.DONE
        node.reader.drain()
        completion(node, opened).step()
    (case,) = opened
    assert (case.evidence.kind, case.evidence.words) == ("source count", "the source pacs counts 4, and 4 are here")


def test_while_the_source_counts_more_it_is_not_complete_though_enough_views_are_here(tmp_path: Path) -> None:
    opened: list[CaseRecord] = []
    with FalsePacs(OWN) as pacs, fetching_node(tmp_path, {"pacs": pacs.source()}, retry=Retry(attempts=3, first_s=1.0)) as node:
        pacs.manners.gives_at_most = 2
        first = node.fetch(accession_number="A-17", attempts=1)
        pacs.manners.may_give.clear()  # the second attempt does not end
        node.reader.drain()
        judge = completion(node, opened)
        assert not node.ledger.fetches.get(first.id).is_over
        judge.step()
        assert opened == []
        pacs.manners.may_give.set()
        assert node.ended(first.id).state is FetchState.DONE
        node.reader.drain()
        judge.step()
    (case,) = opened
    assert case.evidence.words == "the source pacs counts 4, and 4 are here"


def test_counts_of_series_that_have_become_cases_are_forgotten() -> None:
    counts = FetchedCounts()
    series = FetchQuery.parse(series_instance_uid="1.2.3").series_instance_uid
    assert series is not None
    counts.note("pacs", {series: 4})
    assert counts.count(series) is not None
    counts.forget(series)
    assert counts.count(series) is None


def test_a_fetch_names_its_attempt_where_its_objects_are_recorded(tmp_path: Path) -> None:
    with FalsePacs(OWN) as pacs, fetching_node(tmp_path, {"pacs": pacs.source()}) as node:
        fetch = node.ledger.fetches.ask("pacs", FetchQuery.parse(accession_number="A-17"), asked_by="test", now=datetime.now(UTC))
        node.fetchers.wake()
        node.ended(fetch.id)
        (association,) = {one.arrival.association for one in node.stored()}
        (title,) = {one.arrival.calling_ae for one in node.stored()}
        assert (association, title) == (f"fetch {fetch.id}.1 from pacs", "FALSEPACS")
        assert f"(fetch {fetch.id}.1 from pacs)" in node.ledger.explain(str(OWN[0].SOPInstanceUID))[0]
