"""What the hospital says of patients and orders, as frozen values: messages become these, and the ledger does them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """A patient id with who gave it out. Two that differ in either are two people until the hospital merges them."""

    patient_id: str
    issuer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientSaid:
    """Who a patient is. What is empty was not stated, and leaves what was known."""

    identities: tuple[Identity, ...]
    """All that the message speaks for: at least one."""
    name: str = ""
    """As DICOM writes it: `Family^Given`."""
    birth_date: str = ""
    """YYYYMMDD."""
    sex: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeSaid:
    """Identities that are another's from now on: (former, present) pairs, in the order in which they were said."""

    pairs: tuple[tuple[Identity, Identity], ...]
    kind: str
    """The message's, such as `ADT^A40`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSaid:
    """An order as a message has it. What is empty was not stated, and leaves what was known."""

    number: str
    """By which later messages of the same order find it."""
    identities: tuple[Identity, ...]
    control: str
    """ORC-1."""
    is_cancelled: bool
    placer_number: str = ""
    filler_number: str = ""
    accession_number: str = ""
    study_instance_uid: str = ""
    procedure_code: str = ""
    procedure_words: str = ""
    requester: str = ""


Deed = PatientSaid | MergeSaid | OrderSaid


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageHead:
    """What tells a message from all others, and that it is the same one again."""

    sender: str
    """MSH-3 and MSH-4."""
    control_id: str
    """MSH-10."""
    kind: str
    """MSH-9: `ADT^A40`."""
    digest: str
    """SHA-256 of its content but for MSH-7, which a sender may write anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a message, as its acknowledgement says it."""

    answer: str
    """MSA-1: AA, AE or AR."""
    words: str
    """A sentence that names no patient."""
    error: str = "0"
    """Of HL7 table 0357."""
    place: str = ""
    """Where: `PID^1^3`."""
    is_repeated: bool = False
    """The message came before and was done then."""


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message as the ledger keeps it."""

    head: MessageHead
    verdict: Verdict
    received_at: datetime
