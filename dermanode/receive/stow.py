"""The way in over the web: the objects of a STOW-RS request (PS3.18 10.5), streamed into the spool as C-STORE's are."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import structlog

from dermanode.domain.identifiers import UID
from dermanode.errors import DermaNodeError
from dermanode.receive.intake import CANNOT_UNDERSTAND, Caller, Intake, Reception, StoreRequest
from dermanode.receive.multipart import MalformedMultipart, PartReader
from dermanode.receive.stow_part import StowedPart, StowPart

log = structlog.get_logger(__name__)

MOST_PENDING = 16
"""Parts of one request that wait for the disk while the next ones come: their commits are made together."""


class StowClosed(DermaNodeError):
    """The node starts or stops: the request is to be sent again."""


class Stow:
    """Takes STOW-RS requests in while it is open; a request is to the rest of the node what an association is.

    `on_release(association)` is called after each request, from its thread.
    """

    def __init__(self, intake: Intake, called_ae: str, on_release: Callable[[str], None] = lambda _association: None) -> None:
        self._intake, self._called_ae, self._on_release = intake, called_ae, on_release
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._uploads: dict[str, Upload] = {}

    def start(self) -> None:
        """From here on requests are taken: the intake is open."""
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="stow")

    def stop(self) -> None:
        """Takes no more, not of open requests either; returns when what is being made durable is, and its senders may be told."""
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown()

    def open_associations(self) -> frozenset[str]:
        """The requests that may still bring objects."""
        with self._lock:
            return frozenset(self._uploads)

    def begin(self, boundary: bytes, *, user: str, address: str, study: UID | None) -> Upload:
        """An upload, to be finished or abandoned. `study`: the only one whose objects are taken. Raises `StowClosed`."""
        association = f"STOW-RS {uuid.uuid4().hex}" + (f" of {user}" if user else "")
        upload = Upload(self, boundary, Caller(association, "STOW-RS", self._called_ae, address), study)
        with self._lock:
            self._require_open()
            self._uploads[association] = upload
        return upload

    def begin_object(self, request: StoreRequest, caller: Caller) -> Reception:
        """Raises `StowClosed`."""
        with self._lock:
            self._require_open()
        return self._intake.begin(request, caller)

    def keep(self, reception: Reception, part: StowedPart) -> Future[StowedPart]:
        """What becomes of a part that is whole, once that is true. Raises `StowClosed`."""
        with self._lock:
            return self._require_open().submit(_kept, reception, part)

    def release(self, association: str) -> None:
        """The request brings no more; said again, it is not heard."""
        with self._lock:
            upload = self._uploads.pop(association, None)
        if upload is not None:
            self._on_release(association)

    def _require_open(self) -> ThreadPoolExecutor:
        if self._threads is None:
            raise StowClosed("The node starts or stops: send the objects again.")
        return self._threads


def _kept(reception: Reception, part: StowedPart) -> StowedPart:
    answer = reception.finish()
    return replace(part, status=answer.status, words=answer.comment)


class Upload:
    """One request; used by one thread at a time. Memory does not grow with what is sent."""

    def __init__(self, stow: Stow, boundary: bytes, caller: Caller, study: UID | None) -> None:
        self._stow, self.caller, self._study = stow, caller, study
        self._reader = PartReader(boundary, self)
        self._part: StowPart | None = None
        self._pending: deque[Future[StowedPart]] = deque()
        self._parts: list[StowedPart] = []

    def feed(self, data: bytes) -> None:
        """Takes more of the body. Raises `MalformedMultipart` and `StowClosed`."""
        self._reader.write(data)

    def finish(self) -> tuple[StowedPart, ...]:
        """What became of the parts, in their order, at the end of the body. Raises `MalformedMultipart` and `StowClosed`.

        A body that is cut short within a later part tells so of that part.
        """
        try:
            self._reader.finish()
        except MalformedMultipart as error:
            return self.give_up(error)
        self._await(0)
        self._stow.release(self.caller.association)
        return tuple(self._parts)

    def give_up(self, error: MalformedMultipart) -> tuple[StowedPart, ...]:
        """What became of the parts before the one in which the body broke off. Raises the error where there are none."""
        broken = self._part.broken(str(error)) if self._part is not None else StowedPart(CANNOT_UNDERSTAND, str(error))
        self.abandon()
        if not self._parts:
            raise error
        return (*self._parts, broken)

    def abandon(self) -> None:
        """No more comes; what was whole stays stored."""
        if self._part is not None:
            self._part.abandon()
            self._part = None
            log.warning("object_broke_off", association=self.caller.association, calling_ae=self.caller.calling_ae)
        self._await(0)
        self._stow.release(self.caller.association)

    def begin(self, content_type: str) -> None:
        """A part begins."""
        self._part = StowPart(self._stow, self.caller, self._study, content_type)

    def write(self, data: memoryview) -> None:
        """More of the part at hand."""
        assert self._part is not None, "the reader begins a part before it writes"
        self._part.write(data)

    def end(self) -> None:
        """The part at hand is whole."""
        assert self._part is not None, "the reader begins a part before it ends it"
        part, self._part = self._part, None
        self._pending.append(part.end())
        self._await(MOST_PENDING)

    def _await(self, most: int) -> None:
        while len(self._pending) > most:
            self._parts.append(self._pending.popleft().result())
