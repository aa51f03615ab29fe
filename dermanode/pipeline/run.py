"""The fold: a case goes through the stages of its plan, and every stage leaves a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from dermanode.domain import Case, Finding, Outcome, StageReport, StageStatus
from dermanode.errors import PluginError, WrongFinding
from dermanode.pipeline import promise
from dermanode.pipeline.context import Context, Powers, deadline_after
from dermanode.pipeline.hooks import Hooks, guarded
from dermanode.pipeline.manifest import Manifest, StageManifest
from dermanode.pipeline.plan import StagePlan

if TYPE_CHECKING:
    from pydicom import Dataset

log = structlog.get_logger(__name__)

NOTIFICATION_TIMEOUT_S = 30.0
"""For the hooks that are no stage, of which no manifest speaks: `extra_objects`, `case_finished`."""


class Watcher(Protocol):
    """Is told what the fold does: how the engine knows whom to blame, and until when to wait."""

    def began(self, stage: str, plugin: str, timeout_s: float) -> None: ...

    def advanced(self, stage: str, plugin: str, fraction: float) -> None: ...

    def ended(self, report: StageReport) -> None: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """A plugin that did not do what it promised, at a stage."""

    plugin: str
    stage: str
    reason: str


@dataclass(frozen=True, eq=False)
class Folded:
    """A case with all its findings, and what became of each stage."""

    case: Case
    reports: tuple[StageReport, ...]
    faults: tuple[Fault, ...] = ()
    """Also those after which another plugin served the stage."""

    @property
    def is_failed(self) -> bool:
        return any(report.status is StageStatus.FAILED for report in self.reports)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The plugins of a process, ready to serve the stages of a plan."""

    hooks: Hooks
    manifests: Mapping[str, Manifest]
    powers: Powers
    settings: Mapping[str, Mapping[str, Any]]
    """For each plugin what the pipeline's file tells it."""
    watcher: Watcher
    workdir: Path
    """Each stage gets a folder of its own in it; who runs the chain removes it."""
    excluded: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(stage, plugin) that must not be called again for this case, and what it did."""
    clock: Callable[[], float] = time.perf_counter

    def fold(self, case: Case, stages: Sequence[StagePlan]) -> Folded:
        """The case after all stages. A stage that fails or declines does not end the chain: later ones see what there is."""
        reports: list[StageReport] = []
        faults: list[Fault] = []
        for stage in stages:
            finding, report = self._perform(case, stage, faults)
            if finding is not None:
                case = case.with_finding(finding)
            reports.append(report)
            self.watcher.ended(report)
        return Folded(case, tuple(reports), tuple(faults))

    def _perform(self, case: Case, stage: StagePlan, faults: list[Fault]) -> tuple[Finding | None, StageReport]:
        """Asks the candidates in their order; the first finding serves. What the others did goes into the report."""
        began = self.clock()
        not_asked: list[str] = []
        declined: list[str] = []
        failed: list[str] = []
        last: str | None = None
        for candidate in stage.candidates:
            name = candidate.plugin
            if not candidate.will_be_asked:
                not_asked.append(f"{name} was not asked: {candidate.reason}")
                continue
            lack = self._lack(case, stage.stage, name)
            if lack:
                not_asked.append(f"{name} was not asked: {lack}")
                continue
            last = name
            if (stage.stage, name) in self.excluded:
                failed.append(f"{name} {self.excluded[stage.stage, name]}")
                continue
            try:
                finding, words = self._ask(case, stage.stage, name)
            except PluginError as error:
                log.warning("plugin_failed", case=case.id, stage=stage.stage, plugin=name, reason=error.reason)
                log.debug("plugin_traceback", exc_info=error)
                faults.append(Fault(name, stage.stage, error.reason))
                failed.append(f"{name} {error.reason}")
                continue
            if finding is None:
                declined.append(f"{name} declined: {words}")
                continue
            return finding, StageReport(
                stage=stage.stage,
                status=StageStatus.PERFORMED,
                plugin=name,
                plugin_version=self.manifests[name].version,
                took_s=self.clock() - began,
                algorithm=finding.algorithm,
                remarks=(*finding.remarks, *failed, *declined),
            )
        status = StageStatus.FAILED if failed else StageStatus.DECLINED if declined else StageStatus.NOT_SERVED
        return None, StageReport(
            stage=stage.stage,
            status=status,
            plugin=last,
            plugin_version=self.manifests[last].version if last is not None else None,
            reason="; ".join([*failed, *declined, *not_asked]) or "the pipeline names no plugin for this stage",
            took_s=self.clock() - began,
        )

    def _lack(self, case: Case, stage: str, plugin: str) -> str | None:
        """What the plan could not know: the priors of the lesion, and this process' device."""
        served = self.manifests[plugin].stages[stage]
        if served.wants.needs_priors and not case.priors:
            return "; ".join(["the lesion has no earlier visit", *case.prior_gaps])
        if served.device == "cuda" and not self.powers.device.startswith("cuda"):
            return "it needs a GPU, and this worker has none"
        return None

    def _ask(self, case: Case, stage: str, plugin: str) -> tuple[Finding | None, str]:
        """One plugin's finding, or None and why it declined. Raises `PluginError`."""
        if plugin in self.hooks.failures:
            raise PluginError(plugin, stage, self.hooks.failures[plugin])
        if not self.hooks.implements(plugin, stage):
            raise WrongFinding(plugin, stage, f"a hook `{stage}`", "a module without one")
        context = self._context(plugin, stage, self.manifests[plugin].stages[stage])
        self.watcher.began(stage, plugin, self.manifests[plugin].stages[stage].timeout_s)
        finding = self.hooks.call(plugin, stage, case=case, context=context)
        if finding is None:
            return None, context.declined or "it gave no reason"
        return promise.check(finding, stage=stage, plugin=plugin, case=case), ""

    def _context(self, plugin: str, stage: str, limits: StageManifest) -> Context:
        workdir = self.workdir / f"{stage}-{plugin}"
        workdir.mkdir(parents=True, exist_ok=True)
        return Context(
            powers=self.powers,
            plugin=plugin,
            deadline=deadline_after(limits.timeout_s),
            settings=self.settings.get(plugin, {}),
            workdir=workdir,
            on_progress=lambda fraction: self.watcher.advanced(stage, plugin, fraction),
        )

    def extra_objects(self, case: Case, plugins: Sequence[str]) -> tuple[tuple[tuple[str, Dataset], ...], tuple[Fault, ...]]:
        """(plugin, object) for every object that those plugins add; one that raises adds none."""
        objects: list[tuple[str, Dataset]] = []
        faults: list[Fault] = []
        for plugin in self._notified("extra_objects", plugins):
            try:
                context = self._context(plugin, "extra_objects", StageManifest(timeout_s=NOTIFICATION_TIMEOUT_S))
                self.watcher.began("extra_objects", plugin, NOTIFICATION_TIMEOUT_S)
                objects += [(plugin, item) for item in self._added(case, plugin, context)]
            except PluginError as error:
                log.warning("plugin_failed", case=case.id, stage="extra_objects", plugin=plugin, reason=error.reason)
                faults.append(Fault(plugin, "extra_objects", error.reason))
        return tuple(objects), tuple(faults)

    def _added(self, case: Case, plugin: str, context: Context) -> list[Dataset]:
        added = self.hooks.call(plugin, "extra_objects", case=case, context=context)
        return guarded(plugin, "extra_objects", lambda: list(added or ()))  # a generator raises only now

    def case_finished(self, case: Case, outcome: Outcome, plugins: Sequence[str]) -> None:
        """Tells those plugins; a failure is logged and nothing more."""
        for plugin in self._notified("case_finished", plugins):
            try:
                self.watcher.began("case_finished", plugin, NOTIFICATION_TIMEOUT_S)
                self.hooks.call(plugin, "case_finished", case=case, outcome=outcome)
            except PluginError as error:
                log.warning("plugin_failed", case=case.id, stage="case_finished", plugin=plugin, reason=error.reason)

    def _notified(self, hook: str, plugins: Sequence[str]) -> list[str]:
        return [name for name in self.hooks.implementers(hook) if name in plugins and (hook, name) not in self.excluded]
