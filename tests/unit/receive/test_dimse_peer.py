"""Answers of a source are left to who waits for them."""

from __future__ import annotations

import time

from dermanode.config import Source
from dermanode.domain.identifiers import AETitle
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
