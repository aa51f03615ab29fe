"""The composition root: the one place where the parts of the node are made from the settings and wired together."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from dermanode.config import Pipeline, Settings
from dermanode.deliver.commitment import CommitmentRequests
from dermanode.deliver.outbox import Outbox
from dermanode.errors import ConfigurationError
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CaseRecord, SeriesKey, WaitingSeries
from dermanode.ledger.spool import Spool
from dermanode.pipeline.engine import Engine, Inline
from dermanode.pipeline.local import Local
from dermanode.pipeline.plan import Plan, Unwanted, plan
from dermanode.pipeline.plugins import discover, errors, manifests
from dermanode.receive.commitment import CommitmentDesk
from dermanode.receive.complete import Completion
from dermanode.receive.fetch.fetcher import Fetchers
from dermanode.receive.folder.watch import FolderWatcher
from dermanode.receive.hl7.listener import Hl7Server
from dermanode.receive.index import HeaderReader
from dermanode.receive.orthanc import OrthancWatcher
from dermanode.receive.priors import PriorSearch
from dermanode.receive.scp import StorageScp
from dermanode.receive.source import SourceCounts
from dermanode.receive.stow import Stow
from dermanode.receive.worklist.worker import WorklistWorker
from dermanode.web.dicomweb.routes import dicomweb_routes
from dermanode.web.server import WebServer
from dermanode.web.site import make_site

log = structlog.get_logger(__name__)


def ledger_url(settings: Settings) -> str:
    """The ledger's URL; SQLite in the data folder unless another is set."""
    return settings.ledger.url or f"sqlite:///{settings.node.data_dir / 'ledger.db'}"


def models_dir(settings: Settings, folder: Path) -> Path:
    """Where the model bundles are; by default `models` beside the configuration's folder."""
    return settings.node.models_dir or folder.resolve().parent / "models"


def utc_now() -> datetime:
    return datetime.now(UTC)


class _Part(Protocol):
    def stop(self) -> None: ...


class _WayIn(Protocol):
    def open_associations(self) -> frozenset[str]: ...


class Node:
    """The whole node. Making it opens the ledger and binds the page's port; `start` listens and works; `stop` ends within seconds."""

    def __init__(self, settings: Settings, pipelines: Sequence[Pipeline], folder: Path) -> None:
        """`folder` is the configuration's. Raises `ConfigurationError`, `LedgerUnavailable` and `SpoolError`."""
        self._lock = _lock(settings.node.data_dir)
        self.settings = settings
        self.pipelines = tuple(pipelines)
        with ExitStack() as opened:  # where a part cannot be made, such as a page whose port is taken, the data folder is free again
            opened.callback(os.close, self._lock)
            self.ledger = Ledger.open(ledger_url(settings))
            opened.callback(self.ledger.close)
            self._wire(settings, folder)
            opened.pop_all()

    def _wire(self, settings: Settings, folder: Path) -> None:
        """Makes the parts around the ledger."""
        self._found = discover()
        self.spool = Spool(settings.node.spool_dir)
        self._outbox = Outbox(self.ledger, settings, settings.node.results_dir)
        self._commitments = CommitmentRequests(self.ledger, settings, on_lost=self._outbox.wake)
        self._desk = CommitmentDesk(self.ledger, self.spool, settings)
        self._prior_search = PriorSearch(settings, formerly=self._formerly)
        engine = Inline if settings.engine.kind == "inline" else Local
        self._engine: Engine = engine(
            self.ledger,
            settings,
            self.pipelines,
            self._found,
            models_dir=models_dir(settings, folder),
            clock=utc_now,
            on_finished=lambda _case_id: self._outbox.wake(),
            ask_for_visits=self._prior_search if settings.priors.ask else None,
        )
        self._reader = HeaderReader(self.ledger, self.spool)
        self._scp = StorageScp(settings, self.spool, self.ledger, self._released, on_stored=self._reader.wake, desk=self._desk)
        self._stow = Stow(self._scp.intake, str(settings.node.ae_title), self._released)
        self._page = self._make_page() if settings.web.is_enabled else None
        self._watchers = [
            OrthancWatcher(
                name,
                watched,
                self._scp.intake,
                self.ledger.holdings,
                settings,
                self.pipelines,
                on_fetched=self._something_came,
                tell=lambda kind, words: self.ledger.history.add("node", kind, words, utc_now()),
            )
            for name, watched in settings.orthanc.items()
        ]
        self._folders = [
            FolderWatcher(name, folder, self._scp.intake, self.ledger, self.spool, settings, on_taken=self._something_came)
            for name, folder in settings.folders.items()
        ]
        self._fetchers = Fetchers(self.ledger, settings, self.pipelines, self._scp.intake, on_fetched=self._something_came)
        self._hl7 = Hl7Server(settings.hl7, self.ledger.messages, utc_now) if settings.hl7.is_enabled else None
        self._worklists = [
            WorklistWorker(name, worklist, self.ledger, settings, on_fetch=self._fetchers.wake)
            for name, worklist in settings.worklists.items()
        ]
        self._completion = Completion(
            self.ledger,
            settings.complete,
            self.pipelines,
            self._plan,
            open_associations=self._open_associations,
            counts=SourceCounts(settings.sources, settings.node.ae_title, settings.complete.ask_source_after_s),
            fetched=self._fetchers.count,
            stable=self._stable,
            on_opened=self._opened,
        )

    @property
    def dicom_port(self) -> int:
        """The port on which C-STORE is served, once started."""
        return self._scp.port

    @property
    def hl7_port(self) -> int | None:
        """The port on which HL7 messages are taken, once started; None where none are."""
        return self._hl7.port if self._hl7 else None

    @property
    def page(self) -> str | None:
        """The address of the page, where one is served."""
        return self._page.address if self._page else None

    @property
    def is_warm(self) -> bool:
        """Every worker has loaded its plugins."""
        return all(worker.is_warm for worker in self._engine.status())

    def start(self) -> None:
        """Recovers what an earlier process left behind, then works. Raises `ConfigurationError` where a port is taken."""
        released = self.ledger.cases.release_running(utc_now())
        log.info("recovered", cases_and_deliveries=released)
        self._engine.start()
        self._outbox.start()
        self._commitments.start()
        self._desk.start()
        self._reader.start()
        self._completion.start()
        if self._page:
            self._page.start()
        try:
            self._scp.start()
            if self._hl7:
                self._hl7.start()
        except BaseException:
            self.stop()
            raise
        self._stow.start()
        self._fetchers.start()
        for watcher in self._watchers:
            watcher.start()
        for folder in self._folders:
            folder.start()
        for worklist in self._worklists:
            worklist.start()
        self.ledger.history.add("node", "node_started", f"Listening as {self.settings.node.ae_title}.", utc_now())

    def stop(self) -> None:
        """Lets nobody in any more, gives running cases back, and closes. What was in work goes on at the next start."""
        parts: list[_Part] = [
            *([self._hl7] if self._hl7 else []),
            self._stow,
            self._fetchers,
            *self._watchers,
            *self._folders,
            *self._worklists,
            self._scp,
            self._completion,
            self._reader,
            self._prior_search,
            self._engine,
            self._outbox,
            self._commitments,
            self._desk,
        ]
        for part in parts:
            part.stop()
        if self._page:
            self._page.stop()
        self.ledger.close()
        os.close(self._lock)

    def _make_page(self) -> WebServer:
        settings = self.settings
        dicomweb = dicomweb_routes(
            self.ledger.served,
            settings.node.spool_dir,
            settings.node.results_dir,
            self._stow,
            lambda: self.spool.free_mib() - settings.receive.minimum_free_mib,
            settings.receive.network_timeout_s,
        )
        site = make_site(
            self.ledger,
            settings.node.results_dir,
            settings.web,
            wake=self._woken,
            now=utc_now,
            dicomweb=dicomweb,
            sources=tuple(settings.sources),
        )
        return WebServer(site, self.settings.web)

    def _plan(self, series: WaitingSeries) -> Plan | Unwanted:
        return plan(series, self.pipelines, manifests(self._found), self.ledger.plugins.suspended(), errors(self._found))

    def _released(self, _association: str) -> None:
        self._something_came()

    def _something_came(self) -> None:
        self._reader.wake()
        self._completion.wake()

    def _opened(self, case: CaseRecord) -> None:
        self._fetchers.forget(case.key.series_instance_uid)
        for watcher in self._watchers:
            watcher.forget(case.key.series_instance_uid)
        self._engine.wake()

    def _woken(self) -> None:
        self._engine.wake()
        self._outbox.wake()
        self._fetchers.wake()

    def _open_associations(self) -> frozenset[str]:
        """By whichever road: what they name may still bring objects."""
        ways: tuple[_WayIn, ...] = (self._scp, self._stow, self._fetchers, *self._watchers)
        return frozenset[str]().union(*(way.open_associations() for way in ways))

    def _formerly(self, key: SeriesKey) -> tuple[tuple[str, str], ...]:
        patient = self.ledger.patients.of(key)
        return () if patient is None else patient.formerly

    def _stable(self, key: SeriesKey) -> str | None:
        return next((watcher.name for watcher in self._watchers if watcher.is_stable(key)), None)


def _lock(data_dir: Path) -> int:
    """Holds the data folder for this process: a second node would take the first one's unfinished files for its own."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(data_dir / "node.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {data_dir} cannot be used: {error.strerror}.",
            cure="Give the node's user the right to write there, or set another `node.data_dir`.",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConfigurationError(
            f"Another node is running on the data folder {data_dir}.", cure="Stop it, or set another `node.data_dir`."
        ) from error
    return lock
