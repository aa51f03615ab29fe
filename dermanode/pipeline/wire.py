"""What the engine and a worker say to each other: frozen values, as JSON.

No pickles: unpickling would import a plugin's classes into the server's process.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from dermanode.config.destinations import Destination, Referral
from dermanode.config.pipelines import Pipeline
from dermanode.config.settings import Log
from dermanode.domain import UID, Outcome, Patient, StageReport
from dermanode.domain import Order as HospitalOrder
from dermanode.pipeline.plan import StagePlan
from dermanode.pipeline.run import Fault


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a worker is, said once, before its first job."""

    device: str
    threads: int
    pipelines: tuple[Pipeline, ...]
    destinations: dict[str, Destination]
    """Those that want messages written for them."""
    facility: str
    default_issuer: str
    """The assigning authority of patients whose images name none."""
    referral: Referral
    """The directory of centres that messages propose a referral to."""
    models_dir: Path
    results_dir: Path
    failing: dict[str, str]
    """Plugins that must not be imported again, and what they did."""
    workdir: Path
    log: Log
    type: Literal["start"] = "start"


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One received object of a case."""

    sop_instance_uid: UID
    path: Path


@dataclass(frozen=True, kw_only=True)
class EarlierVisit:
    """What is known of an earlier visit of the lesion."""

    case_id: str
    acquired_at: datetime | None
    outcome: Outcome
    files: tuple[SourceFile, ...] = ()
    """Its photographs, where they are still here."""


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """What must not be tried again for this case, and what it did."""

    stage: str
    plugin: str
    """For the stage `read`: the SOP Instance UID of the view."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """One case to be worked on."""

    case_id: str
    revision: int
    pipeline: str
    files: tuple[SourceFile, ...]
    stages: tuple[StagePlan, ...]
    made_at: datetime
    """Written into the results as their date. Taken from the case, so that the same case always makes the same objects."""
    workdir: Path
    """For the stages' own files; whoever gives out the job removes it."""
    source_ae: str = ""
    priors: tuple[EarlierVisit, ...] = ()
    """Oldest first."""
    prior_gaps: tuple[str, ...] = ()
    """Why earlier visits may be missing among the priors."""
    excluded: tuple[Exclusion, ...] = ()
    supersedes: str | None = None
    """The case id of the earlier revision, whose report this one's replaces."""
    order: HospitalOrder | None = None
    """What the hospital ordered, where it said so."""
    patient: Patient | None = None
    """Who the patient is by the hospital's last word (HL7 ADT), where it differs from what the files say."""
    is_correction: bool = False
    """An earlier revision was told already."""
    origin: str = ""
    """The id of the series' first case; empty where this is the first."""
    lost: StageReport | None = None
    """What ended all earlier tries: then no plugin is asked and no pixel decoded, and the report says so."""
    type: Literal["job"] = "job"


Order = Annotated[Start | Job, Field(discriminator="type")]


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The plugins are imported and warm, but for those that failed, each with the reason."""

    failures: dict[str, str]
    type: Literal["ready"] = "ready"


@dataclass(frozen=True, kw_only=True)
class Began:
    """From now on `plugin` is to blame, and has so long."""

    stage: str
    plugin: str
    timeout_s: float
    type: Literal["began"] = "began"


@dataclass(frozen=True, kw_only=True)
class Advanced:
    """How far a stage is, 0 to 1."""

    stage: str
    plugin: str
    fraction: float
    type: Literal["advanced"] = "advanced"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What became of a stage."""

    report: StageReport
    type: Literal["ended"] = "ended"


@dataclass(frozen=True, kw_only=True)
class Done:
    """The case has ended; its files lie in the results folder, synced."""

    outcome: Outcome
    faults: tuple[Fault, ...] = ()
    type: Literal["done"] = "done"


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The case could not be brought to an end, for a reason that no plugin is to blame for."""

    reason: str
    type: Literal["lost"] = "lost"


@dataclass(frozen=True, kw_only=True)
class Idle:
    """The plugins were told, and the worker takes another job."""

    type: Literal["idle"] = "idle"


News = Annotated[Ready | Began | Advanced | Ended | Done | Lost | Idle, Field(discriminator="type")]

_ORDERS: TypeAdapter[Start | Job] = TypeAdapter(Order)
_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)
_NEWS: TypeAdapter[Ready | Began | Advanced | Ended | Done | Lost | Idle] = TypeAdapter(News)


def send_order(connection: Connection, order: Start | Job) -> None:
    connection.send_bytes(_ORDERS.dump_json(order))


def receive_order(connection: Connection) -> Start | Job:
    """The next order. Raises EOFError when the engine is gone."""
    return _ORDERS.validate_json(connection.recv_bytes())


def send_news(connection: Connection, news: News) -> None:
    # A plugin's numbers may be NumPy scalars, and its findings subclasses: both are written as what the field says.
    connection.send_bytes(_NEWS.dump_json(news, warnings=False, fallback=_as_python))


def receive_news(connection: Connection) -> Ready | Began | Advanced | Ended | Done | Lost | Idle:
    """The next news. Raises EOFError when the worker is gone."""
    return _NEWS.validate_json(connection.recv_bytes())


def plain(outcome: Outcome) -> Outcome:
    """The outcome as it comes out of the wire: Python's own numbers, and findings of the node's own types."""
    return _OUTCOME.validate_json(_OUTCOME.dump_json(outcome, warnings=False, fallback=_as_python))


def _as_python(value: object) -> object:
    return value.item() if hasattr(value, "item") else str(value)
