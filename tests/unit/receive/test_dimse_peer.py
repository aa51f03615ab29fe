"""Answers of a source are left to who waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dermanode.config import Source
from dermanode.domain.identifiers import AETitle
from dermanode.errors import SourceUnavailable
from dermanode.receive.dimse_peer import DimsePeer, DimseSearch, find_context
from dermanode.testing.false_pacs import FalsePacs
from dermanode.testing.worked_cases import photograph

OWN = [photograph(number, 24, 32, study="peer") for number in range(1, 4)]


def test_an_answer_that_comes_while_nobody_waits_is_not_thrown_away() -> None:
    with FalsePacs(OWN) as pacs:
        peer = DimsePeer("pacs", Source.model_validate(pacs.source()), AETitle("DERMANODE"))
        with peer.association([find_context()]) as association:
            answer = (1, "an answer")  # as pynetdicom queues it
            association.dimse.msg_queue.put(answer)
            time.sleep(0.1)  # its own thread looks every millisecond
            assert association.dimse.get_msg(block=True) == answer


def test_searches_that_follow_one_another_at_once_find_everything() -> None:
    with FalsePacs(OWN) as pacs:
        peer = DimsePeer("pacs", Source.model_validate(pacs.source()), AETitle("DERMANODE"))
        with peer.association([find_context()]) as association:
            search = DimseSearch(peer, association)
            study, series = str(OWN[0].StudyInstanceUID), str(OWN[0].SeriesInstanceUID)
            assert {len(search.instances(study, series)) for _ in range(20)} == {3}


def test_source_that_breaks_off_at_the_first_question_is_told_with_the_cure() -> None:
    entity = AE(ae_title="ORTHANC")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)

    def break_off(event: evt.Event) -> Iterator[tuple[int, None]]:
        event.assoc.abort(block=False)
        yield 0x0000, None

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, break_off)])
    try:
        source = Source(ae_title=AETitle("ORTHANC"), host="127.0.0.1", port=server.server_address[1], timeout_s=5)
        peer = DimsePeer("pacs", source, AETitle("DERMANODE"))
        cure = "enter DERMANODE with this node's address there"
        with pytest.raises(SourceUnavailable, match=cure), peer.association([find_context()]) as association:
            DimseSearch(peer, association).studies({"PatientID": "P1"})
    finally:
        entity.shutdown()
