from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from dermanode.config import Retry, Settings
from dermanode.deliver.destination import Destination, Package
from dermanode.deliver.outbox import Outbox, wait_s
from dermanode.errors import DeliveryRefused, DestinationUnavailable
from dermanode.ledger.records import DeliveryState

PENDING, DELIVERED, DEAD = DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.DEAD


class Fake:
    """A destination that does what the test says at each try."""

    def __init__(self, *steps: Callable[[], str]) -> None:
        self.steps = list(steps)
        self.packages: list[Package] = []

    def deliver(self, package: Package) -> str:
        self.packages.append(package)
        return self.steps.pop(0)() if self.steps else "taken"


def raising(error: Exception) -> Callable[[], str]:
    def step() -> str:
        raise error

    return step


def away(name: str = "a") -> Callable[[], str]:
    return raising(DestinationUnavailable(name, "gone fishing"))


@pytest.fixture
def results_dir(tmp_path: Path) -> Path:
    (tmp_path / "case-1").mkdir()
    (tmp_path / "case-1" / "sr.dcm").write_bytes(b"SR")
    return tmp_path


@contextmanager
def running(deliveries: Any, results_dir: Path, roads: Mapping[str, Destination], **retry: Any) -> Iterator[Outbox]:
    retry = {"first_s": 0.01, "longest_s": 0.05, "attempts": 4, **retry}
    named = {name: {"type": "folder", "path": "/nowhere", "retry": retry} for name in roads}
    outbox = Outbox(deliveries, Settings.model_validate({"destinations": named}), results_dir, poll_s=0.02, destinations=roads)
    outbox.start()
    try:
        yield outbox
    finally:
        outbox.stop()


def test_delivery_is_sent_and_its_receipt_kept(deliveries: Any, results_dir: Path) -> None:
    number, road = deliveries.add("a", "case-1/sr.dcm"), Fake()
    with running(deliveries, results_dir, {"a": road}):
        row = deliveries.wait_until(number, lambda d: d.state is DELIVERED)
    assert (row.receipt, row.attempts) == ("taken", 1)
    assert road.packages == [Package("case-1", (results_dir / "case-1" / "sr.dcm",))]


def test_new_delivery_goes_at_once_after_a_wake_up(deliveries: Any, results_dir: Path) -> None:
    roads = {"a": Fake()}
    settings = Settings.model_validate({"destinations": {"a": {"type": "folder", "path": "/nowhere"}}})
    outbox = Outbox(deliveries, settings, results_dir, poll_s=600, destinations=roads)
    outbox.start()
    number = deliveries.add("a", "case-1/sr.dcm")
    outbox.wake()
    deliveries.wait_until(number, lambda d: d.state is DELIVERED)
    outbox.stop()


def test_absent_destination_is_tried_again_until_it_answers(deliveries: Any, results_dir: Path) -> None:
    number = deliveries.add("a", "case-1/sr.dcm")
    with running(deliveries, results_dir, {"a": Fake(away(), away())}):
        assert deliveries.wait_until(number, lambda d: d.state is DELIVERED).attempts == 3


@pytest.mark.parametrize(("longest_s", "least_s"), [(900.0, 120.0), (50.0, 50.0)])
def test_destination_that_names_a_time_is_not_asked_before_it_nor_later_than_the_longest_wait(
    deliveries: Any, results_dir: Path, longest_s: float, least_s: float
) -> None:
    number = deliveries.add("a", "case-1/sr.dcm")
    busy = raising(DestinationUnavailable("a", "busy", retry_after_s=120.0))
    before = datetime.now(UTC)
    with running(deliveries, results_dir, {"a": Fake(busy)}, longest_s=longest_s):
        row = deliveries.wait_until(number, lambda d: d.last_error == "busy")
    assert least_s <= (row.next_at - before).total_seconds() < least_s + 30


def test_delivery_is_buried_after_its_last_try(deliveries: Any, results_dir: Path) -> None:
    number = deliveries.add("a", "case-1/sr.dcm")
    with running(deliveries, results_dir, {"a": Fake(*[away()] * 9)}):
        row = deliveries.wait_until(number, lambda d: d.state is DEAD)
    assert row.attempts == 4
    assert row.last_error == "gone fishing (try 4 of 4, the last)"


def test_refused_delivery_is_buried_at_once(deliveries: Any, results_dir: Path) -> None:
    number = deliveries.add("a", "case-1/sr.dcm")
    with running(deliveries, results_dir, {"a": Fake(raising(DeliveryRefused("a", "not for me")))}):
        row = deliveries.wait_until(number, lambda d: d.state is DEAD)
    assert (row.attempts, row.last_error) == (1, "not for me")


def test_missing_result_is_buried_with_the_cure(deliveries: Any, results_dir: Path) -> None:
    number = deliveries.add("a", "case-1/gone.dcm")
    with running(deliveries, results_dir, {"a": Fake()}):
        row = deliveries.wait_until(number, lambda d: d.state is DEAD)
    assert row.last_error == "the result gone.dcm is missing: run the case again"


def test_hanging_destination_holds_up_no_other(deliveries: Any, results_dir: Path) -> None:
    gate = threading.Event()
    hanging = Fake(lambda: "late" if gate.wait(60) else "never")
    first, second = deliveries.add("a", "case-1/sr.dcm"), deliveries.add("b", "case-1/sr.dcm")
    with running(deliveries, results_dir, {"a": hanging, "b": Fake()}):
        deliveries.wait_until(second, lambda d: d.state is DELIVERED)
        assert deliveries.rows[first].state is DeliveryState.SENDING
        gate.set()
        assert deliveries.wait_until(first, lambda d: d.state is DELIVERED).receipt == "late"


def test_success_is_recorded_once_the_ledger_answers_again(deliveries: Any, results_dir: Path) -> None:
    def take() -> str:
        deliveries.outages = 3
        return "taken"

    number, road = deliveries.add("a", "case-1/sr.dcm"), Fake(take)
    with running(deliveries, results_dir, {"a": road}):
        deliveries.wait_until(number, lambda d: d.state is DELIVERED)
    assert len(road.packages) == 1


def test_defect_is_loud_and_the_destination_goes_on(deliveries: Any, results_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: Queue[type[BaseException]] = Queue()
    monkeypatch.setattr(threading, "excepthook", lambda args: heard.put(args.exc_type))
    number = deliveries.add("a", "case-1/sr.dcm")
    with running(deliveries, results_dir, {"a": Fake(raising(ZeroDivisionError()))}):
        row = deliveries.wait_until(number, lambda d: d.state is DELIVERED)
    assert row.attempts == 2
    assert "defect" in row.last_error
    # The next thread may have delivered before the one that failed is reported.
    assert heard.get(timeout=30) is ZeroDivisionError


def test_stopped_outbox_leaves_no_thread_and_claims_nothing(deliveries: Any, results_dir: Path) -> None:
    with running(deliveries, results_dir, {"a": Fake()}):
        pass
    number = deliveries.add("a", "case-1/sr.dcm")
    assert not [t for t in threading.enumerate() if t.name == "outbox-a"]
    assert deliveries.rows[number].state is PENDING


@pytest.mark.parametrize(("tries", "wait"), [(1, 5.0), (2, 10.0), (3, 20.0), (8, 640.0), (9, 900.0), (19, 900.0), (20, None)])
def test_wait_doubles_up_to_the_longest_and_ends_with_the_tries(tries: int, wait: float | None) -> None:
    assert wait_s(Retry(), tries) == wait
