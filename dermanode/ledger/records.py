"""What the ledger remembers, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dermanode.domain.identifiers import UID, Digest
from dermanode.domain.outcome import Outcome
from dermanode.domain.series import LesionKey


class ObjectState(StrEnum):
    """The one state of every accepted object. `audit` proves that there is no sixth."""

    WAITING = "waiting"
    IN_CASE = "in case"
    IGNORED = "ignored"
    QUARANTINED = "quarantined"
    PURGED = "purged"


MIXED_PATIENTS = (
    "Objects of another patient came under the same Series Instance UID: the sender has mixed two patients. "
    "Correct them at the source and send them under UIDs of their own."
)
"""Why objects are in quarantine that wait again when the hospital merges the two patients."""


MORE_MAY_COME = "It is looked at again when more of its series comes."
"""The end of the reason for which images are ignored that wait again when further ones join them."""


class ReceiptKind(StrEnum):
    STORED = "stored"
    DUPLICATE = "duplicate"
    """Same SOP Instance UID, same bytes: acknowledged and counted."""
    CONFLICT = "conflict"
    """Same SOP Instance UID, other bytes: both are kept, the later one in quarantine."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An object that lies in the spool and is to be recorded."""

    sop_instance_uid: UID
    sop_class_uid: UID
    transfer_syntax_uid: UID
    digest: Digest
    size_bytes: int
    path: str
    """Relative to the spool."""
    association: str
    """Names the association (or the request) that brought it."""
    calling_ae: str
    called_ae: str
    source_address: str
    received_at: datetime
    """UTC."""
    quarantine_reason: str = ""
    """Why it goes into quarantine as it comes; '' where it waits for its series."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the ledger made of an arrival."""

    kind: ReceiptKind
    object_id: int


@dataclass(frozen=True, slots=True)
class Header:
    """The few header values by which objects are sorted into series, read once, off the receiving lane."""

    study_instance_uid: UID
    series_instance_uid: UID
    modality: str
    patient_id: str
    issuer_of_patient_id: str = ""
    accession_number: str = ""
    body_site: str = ""
    """Code value of the anatomic region."""
    laterality: str = ""
    """`L`, `R`, `B` or `U`; empty where it is not stated."""
    tracking_uid: UID | None = None
    tracking_id: str | None = None
    acquired_at: datetime | None = None
    is_image: bool = True
    """Has pixel data and rows and columns."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One accepted object."""

    id: int
    arrival: Arrival
    state: ObjectState
    reason: str
    duplicates: int
    header: Header | None
    """None until it was read."""


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What belongs together: one series of one study of one patient."""

    study_instance_uid: UID
    series_instance_uid: UID
    patient_id: str
    issuer_of_patient_id: str = ""


@dataclass(frozen=True, slots=True)
class WaitingSeries:
    """A series with waiting objects, and all that completeness and the pipelines want to know of it."""

    key: SeriesKey
    waiting: int
    """Objects that wait."""
    in_case: int
    """Objects of the same series that are in a case already: a late image joins them in a new revision."""
    first_at: datetime
    last_at: datetime
    """When the last object came, UTC."""
    associations: frozenset[str]
    """Of the waiting objects."""
    sop_classes: frozenset[str]
    modality: str
    calling_aes: frozenset[str]
    called_aes: frozenset[str]
    body_site: str
    is_image: bool
    """All waiting objects are images."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a series counts as complete."""

    kind: str
    """`source count`, `association released`, `stable series`, `quiet period`, `by hand`."""
    words: str
    """One sentence."""


class CaseState(StrEnum):
    READY = "ready"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    """A later revision was opened before this one ran."""


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One revision of a series, as a case."""

    id: str
    """Derived from series and revision, so the same series always has the same case ids."""
    key: SeriesKey
    revision: int
    pipeline: str
    plan: tuple[str, ...]
    """Which plugin serves which stage, and why another will not: sentences."""
    evidence: Evidence
    state: CaseState
    attempts: int
    opened_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    reason: str
    """Why it failed, or why it was tried again."""
    lesion: LesionKey
    acquired_at: datetime | None
    accession_number: str
    source_ae: str
    outcome: Outcome | None
    supersedes: str | None
    """The case id of the earlier revision."""


class DeliveryState(StrEnum):
    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    """The destination acknowledged."""
    COMMITTED = "committed"
    """The destination has promised to keep the objects (storage commitment, PS3.4 J)."""
    DEAD = "dead"

    @property
    def is_acknowledged(self) -> bool:
        return self in (DeliveryState.DELIVERED, DeliveryState.COMMITTED)


class FetchState(StrEnum):
    """What became of a request to fetch from a source."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class CommitmentState(StrEnum):
    """What became of a request for storage commitment, ours or a sender's."""

    PENDING = "pending"
    """Ours: the report is awaited. A sender's: our report is not yet delivered."""
    COMMITTED = "committed"
    FAILED = "failed"


class StepState(StrEnum):
    """What became of a unified procedure step that we claimed."""

    CLAIMING = "claiming"
    """Our claim may have reached the manager, or not."""
    CLAIMED = "claimed"
    COMPLETED = "completed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """What a destination is to get of a case."""

    destination: str
    paths: tuple[str, ...]
    """Files relative to the results folder, in the order of sending."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One destination's share of a case, on its way."""

    id: int
    case_id: str
    destination: str
    paths: tuple[str, ...]
    state: DeliveryState
    attempts: int
    next_at: datetime
    last_error: str
    receipt: str
    """What the destination answered, in words."""
    delivered_at: datetime | None
    committed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit trail."""

    at: datetime
    subject: str
    """`object:UID`, `series:UID`, `case:ID`, `delivery:N`, `plugin:NAME`, `node`."""
    kind: str
    """Past tense: `received`, `duplicate_received`, `quarantined`, `case_opened`, `stage_finished`, `delivered`, ..."""
    words: str


@dataclass(frozen=True, slots=True)
class PluginHealth:
    """How a plugin has done lately."""

    plugin: str
    failures_in_a_row: int
    last_failure: str
    suspended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Audit:
    """The proof of conservation."""

    accepted: int
    by_state: tuple[tuple[ObjectState, int], ...]
    problems: tuple[str, ...]
    """Sentences; empty when every accepted object is in exactly one state and its file is there, whole."""

    @property
    def is_clean(self) -> bool:
        return not self.problems
