"""What an administrator can set. The configuration reference in the documentation is made from these descriptions."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dermanode.domain.identifiers import AETitle

Network = IPv4Network | IPv6Network
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A block of settings: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Node(Section):
    """The node itself."""

    ae_title: AETitle = Field(AETitle("DERMANODE"), description="The AE title that senders call, and under which the node calls others.")
    data_dir: Path = Field(Path("var"), description="Spool, results and the default ledger live here. Relative to the working directory.")
    models_dir: Path | None = Field(None, description="The folder of model bundles; by default `models` beside the configuration folder.")
    institution: str = Field("", description="Written into messages as the sending facility.")

    @property
    def spool_dir(self) -> Path:
        return self.data_dir / "spool"

    @property
    def results_dir(self) -> Path:
        return self.data_dir / "results"


class Allow(Section):
    """Who may send: an AE title and the network it calls from."""

    ae_title: str = Field("*", description="The calling AE title; `*` is any.")
    network: Network = Field(..., description="An address or a network in CIDR notation, such as 10.1.2.0/24.")


class Receive(Section):
    """The DICOM listener."""

    host: str = Field("127.0.0.1", description="The address to listen on; 0.0.0.0 for all. Senders must be allowed below in any case.")
    port: Port = Field(11112, description="The TCP port; 0 lets the system choose.")
    allow: tuple[Allow, ...] = Field((), description="Who may send from other machines. Empty: nobody. Loopback is always allowed.")
    is_called_ae_title_checked: bool = Field(True, description="Refuse associations that call another AE title than the node's.")
    maximum_associations: int = Field(64, ge=1, description="Associations at once; a further one is refused and the sender tries again.")
    network_timeout_s: float = Field(60.0, gt=0, description="An association that is silent for so long is aborted.")
    minimum_free_mib: int = Field(1024, ge=0, description="Below this free disk space objects are refused with 'out of resources'.")


class LedgerSettings(Section):
    """The durable record."""

    url: str | None = Field(
        None,
        description="SQLAlchemy URL of a PostgreSQL or MariaDB database; by default SQLite in the data folder.",
        examples=["postgresql+psycopg://u:p@db/dermanode"],
    )


class Complete(Section):
    """When a series counts as complete."""

    quiet_s: float = Field(20.0, gt=0, description="With no better evidence, a series is complete after so long without a new object.")
    poll_s: float = Field(0.25, gt=0, description="How often the waiting series are looked at.")
    ask_source_after_s: float = Field(
        1.0, ge=0, description="How long after the last object the source is asked for its own count (C-FIND)."
    )


class Source(Section):
    """A sender that can be asked how many objects a series has, and, under `priors`, for earlier reports."""

    ae_title: AETitle = Field(..., description="The AE title of the source; the same that it calls us with.")
    host: str = Field(..., description="Its address.")
    port: Port = Field(..., description="Its DICOM port.")


class Priors(Section):
    """Where a lesion's earlier visits are asked for that the ledger does not know."""

    ask: tuple[str, ...] = Field((), description="Who is asked for earlier reports of the lesion: names under `sources` or `orthanc`.")
    timeout_s: float = Field(10.0, gt=0, le=60, description="No case waits longer for the answers; what had come by then is used.")
    most_reports: int = Field(20, ge=1, le=200, description="At most so many earlier reports of a lesion are used: the latest.")
    is_asked_always: bool = Field(False, description="Ask also when the ledger knows an earlier visit of the lesion.")


class Engine(Section):
    """Where and how plugins run."""

    kind: Literal["local", "inline"] = Field("local", description="`local`: worker processes. `inline`: in this process, for tests only.")
    devices: tuple[str, ...] = Field(
        ("auto",), description="One worker for each device: `cpu`, `cuda:0`; `auto` is every GPU, else the CPU."
    )
    threads: int | None = Field(None, ge=1, description="CPU threads for each worker; by default the cores divided by the workers.")
    attempts: int = Field(2, ge=1, description="How often a case is tried before it ends as failed.")
    worker_memory_mib: int = Field(6144, ge=256, description="A worker that takes more memory is stopped.")
    start_timeout_s: float = Field(180.0, gt=0, description="A worker that has not warmed up by then is stopped and started again.")
    suspend_after: int = Field(5, ge=1, description="A plugin that failed so often in a row is suspended until it is resumed.")


class Retry(Section):
    """How the outbox comes back to a destination."""

    first_s: float = Field(5.0, gt=0, description="Wait before the second try; doubled each time.")
    longest_s: float = Field(900.0, gt=0, description="The wait never grows beyond this.")
    attempts: int = Field(20, ge=1, description="After so many tries a delivery becomes a dead letter, to be retried by hand.")


class _Destination(Section):
    retry: Retry = Field(Retry(), description="How to come back after a failure.")
    timeout_s: float = Field(30.0, gt=0, description="How long to wait for an answer.")


ObjectKind = Literal["SEG", "SURFACE_SEG", "STL", "SC", "SR", "OTHER"]


class DimseDestination(_Destination):
    """A PACS that takes C-STORE."""

    type: Literal["dimse"]
    ae_title: AETitle = Field(..., description="The AE title to call.")
    host: str = Field(..., description="Its address.")
    port: Port = Field(..., description="Its DICOM port.")
    send: tuple[ObjectKind, ...] = Field(("SEG", "SURFACE_SEG", "STL", "SC", "SR", "OTHER"), description="Which kinds of objects it gets.")


class FolderDestination(_Destination):
    """A folder into which results are written, one sub-folder a case."""

    type: Literal["folder"]
    path: Path = Field(..., description="The folder; it is made when missing.")
    send: tuple[ObjectKind | Literal["HL7", "FHIR"], ...] = Field(
        ("SEG", "SURFACE_SEG", "STL", "SC", "SR", "OTHER"), description="Which kinds it gets."
    )


class MllpDestination(_Destination):
    """An HL7 v2 listener that takes ORU^R01 over MLLP."""

    type: Literal["mllp"]
    host: str = Field(..., description="Its address.")
    port: Port = Field(..., description="Its port.")
    receiving_application: str = Field("", description="MSH-5.")
    receiving_facility: str = Field("", description="MSH-6.")
    processing_id: Literal["P", "T", "D"] = Field("P", description="MSH-11: production, training or debugging.")
    acknowledgement: Literal["original", "enhanced"] = Field(
        "original", description="`original`: one answer. `enhanced`: the receiver first accepts, then answers (MSH-15 and MSH-16 AL)."
    )


class FhirDestination(_Destination):
    """A FHIR R4 server that takes transaction bundles."""

    type: Literal["fhir"]
    url: str = Field(..., description="The base URL.", pattern=r"^https?://")
    token: str | None = Field(None, description="A bearer token, where the server wants one.")


Destination = Annotated[DimseDestination | FolderDestination | MllpDestination | FhirDestination, Field(discriminator="type")]


class OrthancWatch(Section):
    """An Orthanc that is watched for stable series, which are fetched."""

    url: str = Field(..., description="Its REST address.", pattern=r"^https?://")
    username: str = Field("", description="For HTTP authentication.")
    password: str = Field("", description="For HTTP authentication.")
    poll_s: float = Field(2.0, gt=0, description="How often its changes are read.")


class Login(Section):
    """Who may see the page."""

    username: str = Field(..., min_length=1, description="The user's name.")
    password_hash: str = Field(
        ..., pattern=r"^scrypt\$[0-9a-f]{32}\$[0-9a-f]{128}$", description="What `dermanode config password` prints: salted, with scrypt."
    )


class Web(Section):
    """The page and the HTTP interface."""

    is_enabled: bool = Field(True, description="Serve the page, the API, /metrics and /health.")
    host: str = Field("127.0.0.1", description="The address to listen on. Anything but loopback needs a login.")
    port: Port = Field(8104, description="The TCP port; 0 lets the system choose.")
    login: Login | None = Field(None, description="HTTP Basic credentials; needed for any address but loopback.")

    @model_validator(mode="after")
    def _has_login_where_needed(self) -> Self:
        if self.is_enabled and self.host not in ("127.0.0.1", "::1", "localhost") and self.login is None:
            raise ValueError("the page shows patients: configure web.login before it listens on another address than loopback")
        return self


class Log(Section):
    """What the node says while it runs."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least important level that is written.")
    format: Literal["console", "json"] = Field("console", description="For people or for machines.")


class Settings(Section):
    """Everything, with defaults that run on one machine without further ado."""

    node: Node = Node()
    receive: Receive = Receive()
    ledger: LedgerSettings = LedgerSettings()
    complete: Complete = Complete()
    sources: dict[str, Source] = Field(
        {}, description="Who can be asked by DIMSE: senders for a series' own count, a PACS for earlier reports; by a name of your choice."
    )
    orthanc: dict[str, OrthancWatch] = Field({}, description="Orthanc servers to watch and fetch from.")
    priors: Priors = Priors()
    engine: Engine = Engine()
    destinations: dict[str, Destination] = Field({}, description="Where results may go; a pipeline's `deliver` names them.")
    pipelines: tuple[str, ...] = Field(("pipelines/*.yaml",), description="Pipeline files, relative to this file; patterns are allowed.")
    web: Web = Web()
    log: Log = Log()

    @model_validator(mode="after")
    def _knows_whom_to_ask(self) -> Self:
        for name in self.priors.ask:
            known = (name in self.sources) + (name in self.orthanc)
            if known != 1:
                what = "stands under `sources` and under `orthanc`" if known else "stands neither under `sources` nor under `orthanc`"
                raise ValueError(f"priors.ask names {name!r}, which {what}")
        return self

    @field_validator("destinations", "sources", "orthanc")
    @classmethod
    def _names_are_plain(cls, named: dict[str, object]) -> dict[str, object]:
        for name in named:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"{name!r} is no name: letters, digits, '-' and '_' only")
        return named
