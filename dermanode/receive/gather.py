"""A gatherer: does once, for all who wait, what costs the same for one as for many."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from dermanode.errors import DermaNodeError

Item = TypeVar("Item")
Result = TypeVar("Result")


class GathererStopped(DermaNodeError):
    """Nobody works on it any more: the node is being stopped."""

    def __init__(self) -> None:
        super().__init__("The node is being stopped: send it again.")


class Pending(Generic[Result]):
    """A result to come, for one thread to wait for: a bare lock, which costs a fraction of a `Future`."""

    __slots__ = ("_error", "_lock", "_result")

    def __init__(self) -> None:
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def result(self, timeout_s: float = -1) -> Result:
        """Waits for it. Raises what the work raised, and TimeoutError after a timeout that is not negative."""
        if not self._lock.acquire(timeout=timeout_s):
            raise TimeoutError("The work is not done.")
        self._lock.release()
        if self._error is not None:
            raise self._error
        return self._result

    def settle(self, result: Result) -> None:
        self._result = result
        self._lock.release()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._lock.release()


class Gatherer(Generic[Item, Result]):
    """One thread that works on whatever has gathered since its last round.

    `work` gets the items in their order and returns a result for each. When it raises one of `common`, everyone who waits gets
    that error; with any other error the items are worked on one by one, so that one's fault is its own.
    """

    def __init__(
        self, name: str, work: Callable[[Sequence[Item]], Sequence[Result]], common: tuple[type[Exception], ...], most_at_once: int = 256
    ) -> None:
        self._work, self._common, self._most_at_once = work, common, most_at_once
        self._queue: queue.SimpleQueue[tuple[Item, Pending[Result]] | None] = queue.SimpleQueue()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends when what is queued is done."""
        self._queue.put(None)
        self._thread.join()

    def submit(self, item: Item) -> Pending[Result]:
        """The result, once the round that holds the item is over; after `stop` it raises `GathererStopped`."""
        pending: Pending[Result] = Pending()
        self._queue.put((item, pending))
        if self._is_over:  # put after the thread has looked for the last time
            self._fail_the_rest()
        return pending

    def _run(self) -> None:
        try:
            self._work_until_stopped()
        finally:
            self._is_over = True
            self._fail_the_rest()

    def _fail_the_rest(self) -> None:
        """Lets nobody wait for ever."""
        while True:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                return
            if waiting is not None:
                waiting[1].fail(GathererStopped())

    def _work_until_stopped(self) -> None:
        is_stopping = False
        while not is_stopping:
            gathered = [self._queue.get()]
            while len(gathered) < self._most_at_once:
                try:
                    gathered.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            is_stopping = None in gathered
            batch = [one for one in gathered if one is not None]
            if batch:
                self._round(batch)

    def _round(self, batch: Sequence[tuple[Item, Pending[Result]]]) -> None:
        try:
            settled = list(zip(batch, self._work([item for item, _ in batch]), strict=True))
        except Exception as error:  # noqa: BLE001  the error goes to those who wait, behind their own wall
            if len(batch) > 1 and not isinstance(error, self._common):
                for one in batch:
                    self._round([one])
                return
            for _, pending in batch:
                pending.fail(error)
        else:
            for (_, pending), result in settled:
                pending.settle(result)
