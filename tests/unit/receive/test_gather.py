from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from dermanode.errors import LedgerUnavailable
from dermanode.receive.gather import Gatherer, GathererStopped


def test_what_gathers_during_a_round_is_done_in_the_next_one() -> None:
    gate, rounds = threading.Event(), list[list[int]]()

    def work(items: Sequence[int]) -> list[int]:
        rounds.append(list(items))
        assert gate.wait(30)
        return [item * 2 for item in items]

    gatherer = Gatherer("test", work, ())
    first = gatherer.submit(1)
    gatherer.start()
    while not rounds:
        pass
    futures = [first, *(gatherer.submit(item) for item in (2, 3, 4))]
    gate.set()
    assert [future.result(30) for future in futures] == [2, 4, 6, 8]
    assert rounds == [[1], [2, 3, 4]]
    gatherer.stop()


def test_an_error_that_concerns_everybody_is_given_to_everybody() -> None:
    calls = 0

    def work(items: Sequence[int]) -> list[int]:
        nonlocal calls
        calls += 1
        raise LedgerUnavailable("down")

    gatherer = Gatherer("test", work, (LedgerUnavailable,))
    futures = [gatherer.submit(item) for item in range(3)]
    gatherer.start()
    for future in futures:
        with pytest.raises(LedgerUnavailable):
            future.result(30)
    assert calls == 1
    gatherer.stop()


def test_one_items_fault_is_its_own() -> None:
    def work(items: Sequence[int]) -> list[int]:
        return [10 // item for item in items]

    gatherer = Gatherer("test", work, (LedgerUnavailable,))
    futures = [gatherer.submit(item) for item in (5, 0, 2)]
    gatherer.start()
    assert futures[0].result(30) == 2
    with pytest.raises(ZeroDivisionError):
        futures[1].result(30)
    assert futures[2].result(30) == 5
    gatherer.stop()


def test_stopping_finishes_what_is_queued() -> None:
    gatherer: Gatherer[int, int] = Gatherer("test", list, ())
    futures = [gatherer.submit(item) for item in range(10)]
    gatherer.start()
    gatherer.stop()
    assert [future.result(0) for future in futures] == list(range(10))


def test_what_comes_after_the_stop_is_refused_at_once() -> None:
    gatherer: Gatherer[int, int] = Gatherer("test", list, ())
    gatherer.start()
    gatherer.stop()
    with pytest.raises(GathererStopped):
        gatherer.submit(1).result(10)


def test_work_that_forgets_an_item_lets_nobody_wait() -> None:
    gatherer: Gatherer[int, int] = Gatherer("test", lambda items: list(items)[1:], ())
    pending = [gatherer.submit(item) for item in range(2)]
    gatherer.start()
    for one in pending:
        with pytest.raises(ValueError, match="shorter"):
            one.result(10)
    gatherer.stop()
