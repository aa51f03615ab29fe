"""The composition root: the one place where the parts of the node are made from the settings and wired together."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from dermanode.config import Pipeline, Settings, Source
from dermanode.deliver.outbox import Outbox
from dermanode.errors import ConfigurationError
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CaseRecord, SeriesKey, WaitingSeries
from dermanode.ledger.spool import Spool
from dermanode.pipeline.engine import Engine, Inline
from dermanode.pipeline.local import Local
from dermanode.pipeline.plan import Plan, Unwanted, plan
from dermanode.pipeline.plugins import discover, errors, manifests
from dermanode.receive.complete import Completion
from dermanode.receive.index import HeaderReader
from dermanode.receive.orthanc import OrthancWatcher
from dermanode.receive.priors import PriorSearch
from dermanode.receive.scp import StorageScp
from dermanode.receive.source import SourceCounts
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


class Node:
    """The whole node. Making it opens the ledger and binds the page's port; `start` listens and works; `stop` ends within seconds."""

    def __init__(self, settings: Settings, pipelines: Sequence[Pipeline], folder: Path) -> None:
        """`folder` is the configuration's. Raises `ConfigurationError`, `LedgerUnavailable` and `SpoolError`."""
        settings.node.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(settings.node.data_dir)
        self._found = discover()
        self.settings = settings
        self.pipelines = tuple(pipelines)
        self.ledger = Ledger.open(ledger_url(settings))
        self.spool = Spool(settings.node.spool_dir)
        self._page = self._make_page() if settings.web.is_enabled else None
        self._outbox = Outbox(self.ledger, settings, settings.node.results_dir)
        self._prior_search = PriorSearch(settings)
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
        self._scp = StorageScp(settings, self.spool, self.ledger, self._released, on_stored=self._reader.wake)
        self._watchers = [
            OrthancWatcher(name, watched, self._scp.intake, settings, self.pipelines, on_fetched=self._something_came)
            for name, watched in settings.orthanc.items()
        ]
        self._completion = Completion(
            self.ledger,
            settings.complete,
            self.pipelines,
            self._plan,
            open_associations=self._scp.open_associations,
            counts=SourceCounts(_dimse_sources(settings), settings.node.ae_title, settings.complete.ask_source_after_s),
            stable=self._stable,
            on_opened=self._opened,
        )

    @property
    def dicom_port(self) -> int:
        """The port on which C-STORE is served, once started."""
        return self._scp.port

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
        self._reader.start()
        self._completion.start()
        if self._page:
            self._page.start()
        try:
            self._scp.start()
        except BaseException:
            self.stop()
            raise
        for watcher in self._watchers:
            watcher.start()
        self.ledger.history.add("node", "node_started", f"Listening as {self.settings.node.ae_title}.", utc_now())

    def stop(self) -> None:
        """Lets nobody in any more, gives running cases back, and closes. What was in work goes on at the next start."""
        parts: list[_Part] = [self._scp, *self._watchers, self._completion, self._reader, self._prior_search, self._engine, self._outbox]
        for part in parts:
            part.stop()
        if self._page:
            self._page.stop()
        self.ledger.close()
        os.close(self._lock)

    def _make_page(self) -> WebServer:
        site = make_site(self.ledger, self.settings.node.results_dir, self.settings.web, wake=self._woken, now=utc_now)
        return WebServer(site, self.settings.web)

    def _plan(self, series: WaitingSeries) -> Plan | Unwanted:
        return plan(series, self.pipelines, manifests(self._found), self.ledger.plugins.suspended(), errors(self._found))

    def _released(self, _association: str) -> None:
        self._something_came()

    def _something_came(self) -> None:
        self._reader.wake()
        self._completion.wake()

    def _opened(self, _case: CaseRecord) -> None:
        self._engine.wake()

    def _woken(self) -> None:
        self._engine.wake()
        self._outbox.wake()

    def _stable(self, key: SeriesKey) -> str | None:
        return next((watcher.name for watcher in self._watchers if watcher.is_stable(key)), None)


def _dimse_sources(settings: Settings) -> dict[str, Source]:
    return {name: source for name, source in settings.sources.items() if isinstance(source, Source)}


def _lock(data_dir: Path) -> int:
    """Holds the data folder for this process: a second node would take the first one's unfinished files for its own."""
    lock = os.open(data_dir / "node.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConfigurationError(
            f"Another node is running on the data folder {data_dir}.", cure="Stop it, or set another `node.data_dir`."
        ) from error
    return lock
