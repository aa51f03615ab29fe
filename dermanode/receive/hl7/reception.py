"""What is done with a message that came: read, understood, done in the ledger, answered."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import structlog

from dermanode.config.ways_in import Hl7Listener
from dermanode.errors import MessageRefused
from dermanode.ledger.messages import ACCEPTED, ERROR, REJECTED, refusal
from dermanode.ledger.said import Deed, MessageHead, Verdict
from dermanode.messages.acknowledgement import acknowledgement, nobodys
from dermanode.messages.incoming import Header, Incoming
from dermanode.messages.understood import check_header, deeds

log = structlog.get_logger(__name__)

_ACCEPT = {ACCEPTED: "CA", ERROR: "CA", REJECTED: "CR"}
"""MSA-1 of the accept acknowledgement: what was understood and is on record is accepted, whatever comes of it (2.5.1, 2.9.3.2)."""


class KeptMessages(Protocol):
    """The part of the ledger that does messages: `ledger.messages`."""

    def do(self, head: MessageHead, deeds: Sequence[Deed], now: datetime) -> Verdict: ...

    def note(self, head: MessageHead, verdict: Verdict, now: datetime) -> Verdict: ...


class Reception:
    """Does messages, in any thread, and says how they are answered. Answers are made when the ledger has the message on disk."""

    def __init__(
        self,
        messages: KeptMessages,
        settings: Hl7Listener,
        clock: Callable[[], datetime],
        new_id: Callable[[], str] = lambda: f"DN{secrets.token_hex(9).upper()}",
    ) -> None:
        """`new_id` names our answers: MSH-10."""
        self._messages, self._settings, self._clock, self._new_id = messages, settings, clock, new_id

    def answer(self, content: bytes) -> list[bytes]:
        """The acknowledgements of a message, without framing: none where none is wanted, two in the enhanced mode.

        Raises `LedgerError` when the ledger cannot take it: nothing is done, and nothing may be answered.
        """
        header = Header.of(content)
        if header is None:
            log.warning("hl7_not_understood", reason="no MSH segment", size_bytes=len(content))
            return [self._nobodys("The frame does not begin with an MSH segment.")]
        if header.type in ("ACK", "MCF"):  # an acknowledgement is never acknowledged
            log.debug("hl7_acknowledgement_dropped")
            return []
        if not header.control_id:
            words = "MSH-10 is empty: a message without a control id is not done."
            log.warning("hl7_not_understood", sender=header.sender, reason=words)
            return self._unrecorded(header, Verdict(answer=ERROR, words=words, error="101", place="MSH^1^10"))
        verdict = self._verdict(header, content)
        log.info(
            "hl7_message",
            sender=header.sender,
            kind=header.kind,
            answer=verdict.answer,
            error=verdict.error,
            is_repeated=verdict.is_repeated,
        )
        return self._answers(header, verdict)

    def too_long(self, beginning: bytes) -> list[bytes]:
        """How a message is refused that is not read to its end."""
        header = Header.of(beginning)
        words = f"The message is longer than {self._settings.maximum_message_mib:g} MiB."
        log.warning("hl7_not_understood", reason=words)
        return [self._nobodys(words)] if header is None else self._answers(header, Verdict(answer=REJECTED, words=words, error="207"))

    def failed(self, content: bytes) -> list[bytes]:
        """How a message is answered that an error of ours kept from being done: kept back, it would hold up all that come after it."""
        header = Header.of(content)
        verdict = Verdict(answer=ERROR, words="An error of the node kept it from being done: see its log.", error="207")
        return [] if header is None else self._unrecorded(header, verdict)

    def _unrecorded(self, header: Header, verdict: Verdict) -> list[bytes]:
        """What is not on record is not accepted either."""
        if not header.is_enhanced:
            return self._answers(header, verdict)
        return [self._acknowledgement(header, "CE", verdict)] if _is_wanted(header.accept_mode, is_bad=True) else []

    def _verdict(self, header: Header, content: bytes) -> Verdict:
        digest = hashlib.sha256(content).hexdigest()
        try:
            check_header(header)
            message = Incoming.read(content, header, self._settings.charset)
            digest = message.digest
            if header.processing_id not in self._settings.processing_ids:
                words = f"Its processing id is {header.processing_id}: it was recorded and not done."
                return self._messages.note(_head(header, digest), Verdict(answer=ACCEPTED, words=words), self._clock())
            asked = deeds(message, self._settings)
        except MessageRefused as refused:
            return self._messages.note(_head(header, digest), refusal(refused), self._clock())
        return self._messages.do(_head(header, digest), asked, self._clock())

    def _answers(self, header: Header, verdict: Verdict) -> list[bytes]:
        is_bad = verdict.answer != ACCEPTED
        if not header.is_enhanced:
            return [self._acknowledgement(header, verdict.answer, verdict)]
        accept = _ACCEPT[verdict.answer]
        answers = []
        if _is_wanted(header.accept_mode, is_bad=accept != "CA"):
            answers.append(self._acknowledgement(header, accept, verdict))
        # What was not accepted gets no second answer.
        if accept == "CA" and _is_wanted(header.application_mode, is_bad=is_bad):
            answers.append(self._acknowledgement(header, verdict.answer, verdict))
        return answers

    def _acknowledgement(self, header: Header, code: str, verdict: Verdict) -> bytes:
        return acknowledgement(header, code, verdict, control_id=self._new_id(), now=self._clock())

    def _nobodys(self, words: str) -> bytes:
        return nobodys(words, control_id=self._new_id(), now=self._clock())


def _head(header: Header, digest: str) -> MessageHead:
    return MessageHead(sender=header.sender, control_id=header.control_id, kind=header.kind, digest=digest)


def _is_wanted(mode: str, *, is_bad: bool) -> bool:
    """HL7 table 0155: always, never, on errors, on success; what is not stated is not wanted."""
    return mode == "AL" or (mode == "ER" and is_bad) or (mode == "SU" and not is_bad)
