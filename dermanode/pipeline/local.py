"""The local engine: a warm worker process for each device, each watched by a thread that outlives its workers."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import structlog

from dermanode.config import Pipeline, Settings
from dermanode.errors import DermaNodeError, PluginError
from dermanode.ledger.ledger import Ledger
from dermanode.pipeline import devices, leftovers, wire
from dermanode.pipeline.dispatch import AskForVisits, Dispatch
from dermanode.pipeline.engine import WorkerStatus, start_order
from dermanode.pipeline.plugins import Found
from dermanode.pipeline.worker_process import Limits, WorkerProcess, WorkerStopped

log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""How often the ledger is asked without being woken: another process may have reopened a case."""
LONGEST_PAUSE_S = 60.0
STOP_S = 15.0


class Local:
    """Claims cases and has them worked on, one worker process for each device. `stop` and the death of this process end them all."""

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
        self._is_stopping = threading.Event()
        dispatch = Dispatch(
            ledger=ledger,
            settings=settings,
            pipelines=pipelines,
            found=found,
            clock=clock,
            on_finished=on_finished,
            ask_for_visits=ask_for_visits,
            is_stopping=self._is_stopping,
        )
        self._results_dir, self._work_dir = settings.node.results_dir, dispatch.work_dir
        names = devices.resolve(settings.engine.devices)
        threads = devices.threads_for_each(len(names), settings.engine.threads)
        limits = Limits(memory_mib=settings.engine.worker_memory_mib, start_timeout_s=settings.engine.start_timeout_s)

        def order(device: str, failing: dict[str, str], workdir: Path) -> wire.Start:
            return start_order(settings, pipelines, models_dir=models_dir, device=device, threads=threads, failing=failing, workdir=workdir)

        self._lanes = [_Lane(dispatch, order, limits, device, self._is_stopping) for device in names]

    def start(self) -> None:
        leftovers.clear(self._results_dir, self._work_dir)
        for lane in self._lanes:
            lane.thread.start()

    def stop(self) -> None:
        self._is_stopping.set()
        self.wake()
        for lane in self._lanes:
            if lane.thread.ident is not None:
                lane.thread.join(STOP_S)

    def wake(self) -> None:
        for lane in self._lanes:
            lane.is_woken.set()

    def status(self) -> tuple[WorkerStatus, ...]:
        return tuple(lane.status for lane in self._lanes)


class _Lane:
    """One device: the thread that claims cases for it, and the worker that it has at the moment."""

    def __init__(
        self,
        dispatch: Dispatch,
        order: Callable[[str, dict[str, str], Path], wire.Start],
        limits: Limits,
        device: str,
        is_stopping: threading.Event,
    ) -> None:
        self._dispatch, self._order, self._limits, self._is_stopping = dispatch, order, limits, is_stopping
        self._failing: dict[str, str] = {}
        """Plugins that took a worker with them when they were imported or warmed up: not tried again in this process."""
        self._worker: WorkerProcess | None = None
        self.is_woken = threading.Event()
        self.status = WorkerStatus(device=device, pid=None, is_warm=False)
        self.thread = threading.Thread(target=self._live, name=f"engine-{device}", daemon=True)

    def _live(self) -> None:
        pause_s = LOOK_S
        self._dispatch.work_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._dispatch.work_dir, prefix="worker-", ignore_cleanup_errors=True) as workdir:
            try:
                while not self._is_stopping.is_set():
                    try:
                        self._work(Path(workdir))
                        pause_s = LOOK_S
                    except DermaNodeError as error:  # the ledger is away, or no worker can be started: not this case's fault
                        log.error("engine_pauses", device=self.status.device, error=str(error), pause_s=pause_s)
                        self._is_stopping.wait(pause_s)
                        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            except WorkerStopped:
                pass
            finally:
                self._end_worker()

    def _work(self, workdir: Path) -> None:
        """One look: a worker is seen to, and a case is served when there is one."""
        self._warm_worker(workdir)
        self.is_woken.clear()
        record = self._dispatch.claim()
        if record is None:
            self.is_woken.wait(LOOK_S)
            return
        try:
            self._dispatch.serve(record, lambda job, on_news: self._run(job, on_news, workdir))
        finally:
            self.status = replace(self.status, case_id=None, stage=None, plugin=None, fraction=None)
        self._settle()

    def _warm_worker(self, workdir: Path) -> WorkerProcess:
        """The worker, started anew where it is gone. A plugin that ends it at its start is left out of the next. Raises `PluginError`."""
        if self._worker is not None and self._worker.is_alive:
            return self._worker
        self._end_worker()
        while True:
            worker = WorkerProcess(self._order(self.status.device, self._failing, workdir), self._limits, self._is_stopping)
            try:
                failures = worker.start()
            except PluginError as error:
                if not error.plugin or error.plugin in self._failing:
                    raise
                self._failing[error.plugin] = f"{error.reason}, at {error.stage}. It is not tried again until the node is restarted"
                self._dispatch.note_failure(error.plugin, error.stage, error.reason)
                continue
            for plugin, reason in failures.items():
                log.warning("plugin_out_of_service", device=self.status.device, plugin=plugin, reason=reason)
                if plugin not in self._failing:
                    self._dispatch.note_failure(plugin, "start", reason)
            log.info("worker_warm", device=self.status.device, pid=worker.pid)
            self._worker = worker
            self.status = replace(self.status, pid=worker.pid, is_warm=True)
            return worker

    def _run(self, job: wire.Job, on_news: Callable[[wire.News], None], workdir: Path) -> wire.Done | wire.Lost:
        worker = self._warm_worker(workdir)
        self.status = replace(self.status, case_id=job.case_id)

        def note(news: wire.News) -> None:
            if isinstance(news, wire.Began):
                self.status = replace(self.status, stage=news.stage, plugin=news.plugin, fraction=None)
            elif isinstance(news, wire.Advanced):
                self.status = replace(self.status, fraction=news.fraction)
            on_news(news)

        return worker.run(job, note)

    def _settle(self) -> None:
        """The case is over; a plugin that does not get over it costs the worker, and nothing else."""
        if self._worker is None or not self._worker.is_alive:
            return
        try:
            self._worker.settle()
        except PluginError as error:
            log.warning("notification_failed", plugin=error.plugin, stage=error.stage, reason=error.reason)

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self.status = replace(self.status, pid=None, is_warm=False)
