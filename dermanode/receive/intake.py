"""The intake: one object from its first byte to the status that its sender is told. Both lanes end here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from dermanode.domain.identifiers import UID
from dermanode.errors import DermaNodeError, IdentifierError, SpoolError
from dermanode.ledger.records import Arrival
from dermanode.ledger.spool import Buffer, IncomingFile, Spool
from dermanode.receive.committer import Committer
from dermanode.receive.part10 import file_head

log = structlog.get_logger(__name__)

# PS3.4 B.2.3
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CLASS_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends."""

    association: str
    calling_ae: str
    called_ae: str
    source_address: str


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What a C-STORE request says about its object; texts, not yet believed."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    quarantine_reason: str = ""
    """Why the object is kept in quarantine from the start; '' for all that a sender says."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A DIMSE status, and a comment for the sender's log, at most 64 characters."""

    status: int
    comment: str = ""


class StoreRefused(DermaNodeError):
    """An object that is not taken; its answer says why."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(answer.comment)


class Intake:
    """Takes objects in: into the spool, then into the ledger, then acknowledged."""

    def __init__(
        self,
        spool: Spool,
        committer: Committer,
        *,
        minimum_free_mib: int,
        clock: Callable[[], datetime],
        on_stored: Callable[[], None],
    ) -> None:
        self._spool, self._committer, self._minimum_free_mib, self._clock, self._on_stored = (
            spool,
            committer,
            minimum_free_mib,
            clock,
            on_stored,
        )

    def begin(self, request: StoreRequest, caller: Caller) -> Reception:
        """A reception for this request; one that is to be refused takes its data and answers at its end."""
        return Reception(self, request, caller)

    def open(self, request: StoreRequest) -> tuple[UID, UID, UID, IncomingFile]:
        """Class, instance, transfer syntax and a file with its head written. Raises `StoreRefused`, OSError, `SpoolError`."""
        instance = _parse(request.sop_instance_uid, CANNOT_UNDERSTAND, "Affected SOP Instance UID")
        sop_class = _parse(request.sop_class_uid, CLASS_MISMATCH, "Affected SOP Class UID")
        syntax = _parse(request.transfer_syntax_uid, CANNOT_UNDERSTAND, "Transfer Syntax UID")
        if self._spool.free_mib() < self._minimum_free_mib:
            raise StoreRefused(Answer(OUT_OF_RESOURCES, "The disk is almost full"))
        file = self._spool.create(self._clock().date())
        try:
            file.write([file_head(sop_class, instance, syntax)])
        except OSError:
            file.discard()
            raise
        return sop_class, instance, syntax, file

    def keep(self, sop_class: UID, instance: UID, syntax: UID, file: IncomingFile, caller: Caller, reason: str = "") -> Answer:
        """Makes the file durable and records it; returns when both are on disk. Raises OSError, `LedgerError`."""
        settled = file.settle()
        file.sync()
        arrival = Arrival(
            sop_instance_uid=instance,
            sop_class_uid=sop_class,
            transfer_syntax_uid=syntax,
            digest=settled.digest,
            size_bytes=settled.size_bytes,
            path=settled.path,
            association=caller.association,
            calling_ae=caller.calling_ae,
            called_ae=caller.called_ae,
            source_address=caller.source_address,
            received_at=self._clock(),
            quarantine_reason=reason,
        )
        # Stored, duplicate or conflict: the ledger keeps all three, so the sender has done its part.
        receipt = self._committer.record(arrival)
        file.finish()
        log.debug("object_received", association=caller.association, sop_instance_uid=str(instance), receipt=receipt.kind.value)
        self._on_stored()
        return Answer(SUCCESS)


class Reception:
    """One object on its way in. What goes wrong does not raise: the rest of its data is passed over, and `finish` answers."""

    def __init__(self, intake: Intake, request: StoreRequest, caller: Caller) -> None:
        self._intake, self._caller, self._reason = intake, caller, request.quarantine_reason
        self._file: IncomingFile | None = None
        self._refusal: Answer | None = None
        try:
            self._sop_class, self._instance, self._syntax, self._file = intake.open(request)
        except (StoreRefused, SpoolError, OSError) as error:
            self._refuse(error)

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Takes more of the data set."""
        if self._file is None:
            return
        try:
            self._file.write(buffers)
        except OSError as error:
            self._refuse(error)

    def finish(self) -> Answer:
        """The status, once it is true."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                return self._intake.keep(self._sop_class, self._instance, self._syntax, file, self._caller, self._reason)
            except Exception as error:  # noqa: BLE001  the DIMSE handler's wall: its sender is told
                file.close()  # the row may be there or not: the next start looks
                self._refuse(error)
        assert self._refusal is not None
        return self._refusal

    def abandon(self) -> None:
        """The data end here, unfinished: nothing remains."""
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _refuse(self, error: Exception) -> None:
        if isinstance(error, StoreRefused):
            self._refusal = error.answer
        elif not isinstance(error, (OSError, SpoolError)):
            self._refusal = Answer(OUT_OF_RESOURCES, "The ledger does not answer: send again later")
        else:
            self._refusal = Answer(OUT_OF_RESOURCES, "The object could not be written: send again later")
        log.warning(
            "object_refused",
            association=self._caller.association,
            calling_ae=self._caller.calling_ae,
            status=f"{self._refusal.status:#06x}",
            reason=str(error),
        )
        self.abandon()


def _parse(text: str, status: int, name: str) -> UID:
    if not text:
        raise StoreRefused(Answer(status, f"{name} is missing"))
    try:
        return UID(text)
    except IdentifierError as error:
        raise StoreRefused(Answer(status, f"{name} is no UID")) from error
