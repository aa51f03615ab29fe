"""What a source can do wrong while it is fetched from, and what becomes of the request."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import Dataset

from dermanode.config import Retry
from dermanode.ledger.fetch_query import FetchQuery
from dermanode.ledger.records import FetchState, ObjectState
from dermanode.testing.false_pacs import FalsePacs, FalseWeb
from dermanode.testing.fetching import FetchingNode, fetching_node
from dermanode.testing.worked_cases import photograph

OWN = [photograph(number, 24, 32, study="mishaps") for number in range(1, 5)]
SERIES = str(OWN[0].SeriesInstanceUID)
STRANGER = photograph(1, 24, 32, study="mishaps of another")
STRANGER.PatientID, STRANGER.AccessionNumber = "P-9999", "A-99"
QUERY = {"accession_number": "A-17"}

False_ = FalsePacs | FalseWeb


@pytest.fixture(params=["get", "web"])
def pacs(request: pytest.FixtureRequest) -> Iterator[False_]:
    with FalsePacs([*OWN, STRANGER]) if request.param == "get" else FalseWeb([*OWN, STRANGER]) as running:
        yield running


@pytest.fixture
def node(pacs: False_, tmp_path: Path) -> Iterator[FetchingNode]:
    with fetching_node(tmp_path, {"pacs": pacs.source()}) as running:
        yield running


def uids(instances: list[Dataset]) -> list[str]:
    return sorted(str(one.SOPInstanceUID) for one in instances)


def test_a_well_behaved_source_gives_all(pacs: False_, node: FetchingNode) -> None:
    fetch = node.fetch(**QUERY)
    assert (fetch.state, fetch.objects, fetch.attempts) == (FetchState.DONE, 4, 1), fetch.words
    assert fetch.words == "4 objects came; whole: 1 of 1 series."
    assert node.uids() == uids(OWN)
    (count,) = {node.fetchers.count(one.header.series_instance_uid) for one in node.stored() if one.header}
    assert count is not None
    assert (count.source, count.objects) == ("pacs", 4)


def test_half_of_a_series_is_a_failure_and_only_the_rest_is_fetched_then(pacs: False_, node: FetchingNode) -> None:
    pacs.manners.gives_at_most = 2
    fetch = node.fetch(**QUERY)
    assert (fetch.state, fetch.objects, fetch.attempts) == (FetchState.DONE, 4, 2), fetch.words
    assert fetch.words == "2 objects came; whole: 1 of 1 series."
    assert [one.duplicates for one in node.stored()] == [0] * 4
    rest = {uid for asked in pacs.manners.retrieved for uid in asked}
    assert len(rest) == 2


def test_objects_that_never_come_are_given_up_in_words(pacs: False_, node: FetchingNode) -> None:
    pacs.manners.gives_at_most = 0
    fetch = node.fetch(**QUERY)
    assert (fetch.state, fetch.attempts, fetch.objects) == (FetchState.FAILED, 3, 0)
    assert f"of series {SERIES} 0 of 4 objects came" in fetch.words
    assert fetch.words.endswith("Given up after 3 attempts.")


def test_a_source_that_counts_more_than_it_names_is_not_believed(pacs: False_, node: FetchingNode) -> None:
    pacs.manners.states = 5
    fetch = node.fetch(**QUERY)
    assert (fetch.state, fetch.objects) == (FetchState.FAILED, 4)
    assert f"of series {SERIES} it counts 5 objects and names 4" in fetch.words


def test_what_came_before_a_source_broke_off_stays_and_nothing_half(pacs: False_, node: FetchingNode) -> None:
    pacs.manners.aborts_after = 2
    fetch = node.fetch(attempts=1, **QUERY)
    assert fetch.state in (FetchState.PENDING, FetchState.RUNNING)
    assert fetch.objects == 2
    pacs.manners.aborts_after = None
    fetch = node.ended(fetch.id)
    assert (fetch.state, fetch.objects) == (FetchState.DONE, 4), fetch.words
    assert node.uids() == uids(OWN)
    assert list((node.spool.root / "incoming").iterdir()) == []


def test_another_patients_object_is_not_taken_and_the_request_ends(pacs: False_, node: FetchingNode) -> None:
    pacs.manners.gives_instead = STRANGER
    fetch = node.fetch(**QUERY)
    assert (fetch.state, fetch.attempts) == (FetchState.FAILED, 1)
    assert "another patient's" in fetch.words, fetch.words
    assert "P-" not in fetch.words
    assert str(STRANGER.SOPInstanceUID) not in node.uids()


def test_answers_that_do_not_match_the_question_are_left_out(pacs: False_, node: FetchingNode) -> None:
    pacs.manners.believes_anything = True
    fetch = node.fetch(accession_number="A-99")
    assert fetch.state is FetchState.DONE, fetch.words
    assert "Left out, because the accession number is not the one that was asked for: 1 study." in fetch.words
    assert node.uids() == uids([STRANGER])


def test_a_source_that_does_not_say_the_issuer_is_not_believed_to_mean_it(pacs: False_, node: FetchingNode) -> None:
    pacs.manners.believes_anything = True
    for one in pacs.instances:
        one.IssuerOfPatientID = ""
    try:
        fetch = node.fetch(patient_id="P-4711", issuer_of_patient_id="CLINIC")
    finally:
        for one in pacs.instances:
            one.IssuerOfPatientID = "CLINIC"
    assert node.uids() == []
    assert "because the issuer of the patient id is not the one" in fetch.words


def test_a_node_that_is_stopped_goes_on_after_its_restart(pacs: False_, tmp_path: Path) -> None:
    pacs.manners.may_give.clear()
    with fetching_node(tmp_path / "same", {"pacs": pacs.source()}) as node:
        fetch = node.ledger.fetches.ask("pacs", FetchQuery.parse(**QUERY), asked_by="test", now=datetime.now(UTC))
        node.fetchers.wake()
        deadline = time.monotonic() + 30
        while not pacs.manners.retrieved and time.monotonic() < deadline:
            time.sleep(0.02)
        assert node.ledger.fetches.get(fetch.id).state is FetchState.RUNNING
        pacs.manners.may_give.set()
    with fetching_node(tmp_path / "same", {"pacs": pacs.source()}) as again:
        ended = again.ended(fetch.id)
        assert ended.state is FetchState.DONE, ended.words
        assert again.uids() == uids(OWN)


def test_a_full_disk_is_said_and_the_request_tried_again(pacs: False_, tmp_path: Path) -> None:
    with fetching_node(tmp_path, {"pacs": pacs.source()}, minimum_free_mib=10**9) as node:
        fetch = node.fetch(attempts=1, **QUERY)
        assert "The disk is almost full" in fetch.words
        assert node.uids() == []


def test_a_dead_source_holds_up_nobody(pacs: False_, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        dead = {"ae_title": "DEAD", "host": "127.0.0.1", "port": silent.getsockname()[1], "timeout_s": 60.0}
        with fetching_node(tmp_path, {"dead": dead, "pacs": pacs.source()}, retry=Retry(attempts=1)) as node:
            waits = node.ledger.fetches.ask("dead", FetchQuery.parse(**QUERY), asked_by="test", now=datetime.now(UTC))
            node.fetchers.wake()
            assert node.fetch(**QUERY).state is FetchState.DONE
            assert not node.ledger.fetches.get(waits.id).is_over
            connection, _ = silent.accept()
            connection.close()  # now it is dead indeed
            ended = node.ended(waits.id)
            assert ended.state is FetchState.FAILED
            assert ended.words == "dead could not be asked: it does not answer. Given up after 1 attempts."


def test_a_pacs_that_does_not_know_us_is_said_at_once_with_the_cure(tmp_path: Path) -> None:
    with FalsePacs(OWN, knows=("SOMEBODY",)) as pacs, fetching_node(tmp_path, {"pacs": pacs.source()}) as node:
        fetch = node.fetch(**QUERY)
        assert (fetch.state, fetch.attempts) == (FetchState.FAILED, 1)
        assert "it does not know our AE title DERMANODE: enter it there" in fetch.words


def test_a_pacs_that_does_not_know_where_to_move_to_is_said_at_once_with_the_cure(tmp_path: Path) -> None:
    with FalsePacs(OWN) as pacs, fetching_node(tmp_path, {"pacs": pacs.source("move")}) as node:
        fetch = node.fetch(**QUERY)
        assert (fetch.state, fetch.attempts) == (FetchState.FAILED, 1)
        assert "it does not know where DERMANODE is" in fetch.words


def test_objects_moved_to_us_are_seen_to_have_arrived(tmp_path: Path) -> None:
    with FalsePacs(OWN) as pacs, fetching_node(tmp_path, {"pacs": pacs.source("move")}) as node:
        pacs.destinations["DERMANODE"] = ("127.0.0.1", node.scp.port)
        pacs.manners.gives_at_most = 2
        fetch = node.fetch(**QUERY)
        assert (fetch.state, fetch.objects, fetch.attempts) == (FetchState.DONE, 4, 2), fetch.words
        assert node.uids() == uids(OWN)


def test_sub_operations_that_fail_are_counted_in_words(tmp_path: Path) -> None:
    with FalsePacs(OWN) as pacs, fetching_node(tmp_path, {"pacs": pacs.source("move")}, minimum_free_mib=10**9) as node:
        pacs.destinations["DERMANODE"] = ("127.0.0.1", node.scp.port)
        fetch = node.fetch(attempts=1, **QUERY)
        assert f"of series {SERIES} 0 of 4 objects came: it does not send all to DERMANODE" in fetch.words
        assert "4 failed" in fetch.words


def test_another_patients_object_that_was_moved_to_us_goes_to_quarantine(tmp_path: Path) -> None:
    impostor = photograph(1, 24, 32, study="mishaps")  # its UIDs are those that were asked for
    impostor.PatientID = "P-9999"
    with FalsePacs(OWN) as pacs, fetching_node(tmp_path, {"pacs": pacs.source("move")}) as node:
        pacs.destinations["DERMANODE"] = ("127.0.0.1", node.scp.port)
        pacs.manners.gives_instead = impostor
        fetch = node.fetch(**QUERY)
        assert (fetch.state, fetch.attempts) == (FetchState.FAILED, 1), fetch.words
        assert "1 object of another patient" in fetch.words
        assert [one.state for one in node.stored() if one.header and one.header.patient_id == "P-9999"] == [ObjectState.QUARANTINED]


@pytest.fixture
def web() -> Iterator[FalseWeb]:
    with FalseWeb([*OWN, STRANGER]) as running:
        yield running


def test_results_in_small_pages_are_all_found(web: FalseWeb, tmp_path: Path) -> None:
    web.manners.page = 1
    with fetching_node(tmp_path, {"pacs": web.source()}) as node:
        fetch = node.fetch(**QUERY)
        assert (fetch.state, fetch.objects) == (FetchState.DONE, 4), fetch.words


def test_every_transfer_syntax_is_asked_for_with_the_token(web: FalseWeb, tmp_path: Path) -> None:
    with fetching_node(tmp_path, {"pacs": web.source(token="secret")}) as node:
        node.fetch(**QUERY)
    (retrieval,) = [headers for path, headers in web.requests if path.endswith(SERIES)]
    assert retrieval["accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'
    assert {headers["authorization"] for _, headers in web.requests} == {"Bearer secret"}


@pytest.mark.parametrize(("status", "attempts", "words"), [(401, 1, "check the user, the password or the token"), (503, 3, "HTTP 503")])
def test_an_http_status_is_said(web: FalseWeb, tmp_path: Path, status: int, attempts: int, words: str) -> None:
    web.manners.status = status
    with fetching_node(tmp_path, {"pacs": web.source()}) as node:
        fetch = node.fetch(**QUERY)
        assert (fetch.state, fetch.attempts) == (FetchState.FAILED, attempts)
        assert words in fetch.words


def test_an_answer_that_is_no_dicom_is_said(web: FalseWeb, tmp_path: Path) -> None:
    web.manners.wado_type = "text/html"
    with fetching_node(tmp_path, {"pacs": web.source()}) as node:
        fetch = node.fetch(attempts=1, **QUERY)
        assert "it answers with text/html, not with DICOM files" in fetch.words


def test_a_patient_id_is_written_into_the_address_as_it_is(web: FalseWeb, tmp_path: Path) -> None:
    odd = photograph(1, 24, 32, study="odd id")
    odd.PatientID = "Ä&b=c/d#1 %"
    web.instances.append(odd)
    with fetching_node(tmp_path, {"pacs": web.source()}) as node:
        fetch = node.fetch(patient_id="Ä&b=c/d#1 %")
        assert (fetch.state, node.uids()) == (FetchState.DONE, uids([odd])), fetch.words
