"""The engine: what the rest of the node sees of it, how one is made, and the inline kind for tests."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog

from dermanode.config import FhirDestination, FolderDestination, MllpDestination, Pipeline, Settings
from dermanode.ledger.ledger import Ledger
from dermanode.pipeline import wire
from dermanode.pipeline.dispatch import AskForVisits, Dispatch
from dermanode.pipeline.plugins import Found

if TYPE_CHECKING:
    from dermanode.pipeline.workbench import Workbench

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """What a worker is doing now."""

    device: str
    pid: int | None
    is_warm: bool
    case_id: str | None = None
    stage: str | None = None
    plugin: str | None = None
    fraction: float | None = None


class Engine(Protocol):
    """Works on the cases that the ledger holds ready."""

    def start(self) -> None:
        """Begins to work, in threads of its own."""
        ...

    def stop(self) -> None:
        """Ends within seconds; a running case is given back to the ledger."""
        ...

    def wake(self) -> None:
        """A case may be ready."""
        ...

    def status(self) -> tuple[WorkerStatus, ...]: ...


def start_order(
    settings: Settings,
    pipelines: Sequence[Pipeline],
    *,
    models_dir: Path,
    device: str,
    threads: int,
    failing: dict[str, str],
    workdir: Path,
) -> wire.Start:
    """What a worker on that device is told at its start. Passwords and tokens stay in the server."""
    reading = (MllpDestination, FolderDestination, FhirDestination)
    return wire.Start(
        device=device,
        threads=threads,
        pipelines=tuple(pipelines),
        destinations={
            name: destination.model_copy(update={"token": None, "oauth": None}) if isinstance(destination, FhirDestination) else destination
            for name, destination in settings.destinations.items()
            if isinstance(destination, reading)
        },
        facility=settings.node.institution,
        default_issuer=settings.hl7.default_issuer,
        referral=settings.referral,
        models_dir=models_dir.resolve(),
        results_dir=settings.node.results_dir.resolve(),
        failing=failing,
        workdir=workdir,
        log=settings.log,
    )


class Inline:
    """The engine for tests: the same steps, in this process and in the caller's thread. `wake` works on all cases that are ready."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        pipelines: Sequence[Pipeline],
        found: Sequence[Found],
        *,
        models_dir: Path,
        clock: Callable[[], datetime],
        on_finished: Callable[[str], None] = lambda _case_id: None,
        ask_for_visits: AskForVisits | None = None,
    ) -> None:
        self._settings, self._pipelines, self._found, self._models_dir = settings, pipelines, found, models_dir
        self._dispatch = Dispatch(
            ledger=ledger,
            settings=settings,
            pipelines=pipelines,
            found=found,
            clock=clock,
            on_finished=on_finished,
            ask_for_visits=ask_for_visits,
            is_stopping=threading.Event(),
        )
        self._lock = threading.Lock()
        self._bench: Workbench | None = None
        self._on_news: Callable[[wire.News], None] = lambda _news: None
        self._workdir = tempfile.TemporaryDirectory(prefix="dermanode-inline-")

    def start(self) -> None:
        """Imports and warms up the plugins here. Only this kind of engine does so."""
        from dermanode.pipeline.told import Told
        from dermanode.pipeline.workbench import Workbench

        order = start_order(
            self._settings,
            self._pipelines,
            models_dir=self._models_dir,
            device="cpu",
            threads=1,
            failing={},
            workdir=Path(self._workdir.name),
        )
        self._bench = Workbench.open(order, Told(lambda news: self._on_news(news)), self._found)
        self.wake()

    def stop(self) -> None:
        self._workdir.cleanup()

    def wake(self) -> None:
        with self._lock:
            while (record := self._dispatch.claim()) is not None:
                self._dispatch.serve(record, self._run)

    def status(self) -> tuple[WorkerStatus, ...]:
        return (WorkerStatus(device="cpu", pid=None, is_warm=self._bench is not None),)

    def _run(self, job: wire.Job, on_news: Callable[[wire.News], None]) -> wire.Done:
        assert self._bench is not None, "start() comes first"
        self._on_news = on_news
        case, done = self._bench.execute(job)
        if case is not None:
            self._bench.tell(case, done.outcome, job)
        return done
