"""What an administrator can set. The configuration reference in the documentation is made from these descriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dermanode.config.destinations import Destination, Referral
from dermanode.config.section import Port, Section
from dermanode.config.ways_in import AnySource, Hl7Listener, OrthancWatch, Priors, Receive, WatchedFolder, Worklist
from dermanode.domain.identifiers import AETitle


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
    allow_origins: tuple[Annotated[str, Field(pattern=r"^https?://[^/\s*]+$")], ...] = Field(
        (),
        description="Origins whose scripts may use DICOMweb, such as https://viewer.example.org: viewers that are served from elsewhere.",
    )

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
    sources: dict[str, AnySource] = Field(
        {},
        description="Who can be asked: senders for a series' own count, a PACS for earlier reports or series; by a name of your choice.",
    )
    orthanc: dict[str, OrthancWatch] = Field({}, description="Orthanc servers to watch and fetch from.")
    folders: dict[str, WatchedFolder] = Field({}, description="Folders to watch for photographs.")
    worklists: dict[str, Worklist] = Field({}, description="Managers of unified procedure steps to ask for work.")
    hl7: Hl7Listener = Hl7Listener()
    priors: Priors = Priors()
    engine: Engine = Engine()
    destinations: dict[str, Destination] = Field({}, description="Where results may go; a pipeline's `deliver` names them.")
    referral: Referral = Referral()
    pipelines: tuple[str, ...] = Field(("pipelines/*.yaml",), description="Pipeline files, relative to this file; patterns are allowed.")
    profiles: tuple[str, ...] = Field(("profiles/*.yaml",), description="Files of destination profiles, likewise; none need be there.")
    web: Web = Web()
    log: Log = Log()

    @model_validator(mode="after")
    def _knows_whom_to_ask(self) -> Self:
        for name in self.priors.ask:
            known = (name in self.sources) + (name in self.orthanc)
            if known != 1:
                what = "stands under `sources` and under `orthanc`" if known else "stands neither under `sources` nor under `orthanc`"
                raise ValueError(f"priors.ask names {name!r}, which {what}")
        for name, worklist in self.worklists.items():
            if worklist.fetch_from is not None and worklist.fetch_from not in self.sources:
                raise ValueError(f"worklists.{name}.fetch_from names {worklist.fetch_from!r}, which does not stand under `sources`")
        return self

    @field_validator("destinations", "sources", "orthanc", "folders", "worklists")
    @classmethod
    def _names_are_plain(cls, named: dict[str, object]) -> dict[str, object]:
        for name in named:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"{name!r} is no name: letters, digits, '-' and '_' only")
        return named
