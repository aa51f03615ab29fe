from __future__ import annotations

import threading

import pytest

from dermanode.deliver.steady import SteadyThread


def test_work_that_raises_is_told_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: heard.append(args.exc_type))
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ZeroDivisionError

    thread = SteadyThread("test", work, threading.Event(), pause_s=0.001)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert (len(tries), heard) == (3, [ZeroDivisionError] * 2)


def test_work_that_raises_while_it_is_stopped_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    stopping = threading.Event()

    def work() -> None:
        stopping.set()
        raise ZeroDivisionError

    thread = SteadyThread("test", work, stopping, pause_s=600)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
