"""Where a case is worked on: warm plugins, and the steps from received files to an outcome. Used in a worker, and inline."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import structlog
from pydicom import Dataset

from dermanode.config import Pipeline
from dermanode.domain import Case, Outcome, Series, StageReport, StageStatus
from dermanode.errors import PluginError
from dermanode.pipeline import assembly, reading
from dermanode.pipeline.bundles import open_bundle
from dermanode.pipeline.context import Context, Powers, deadline_after
from dermanode.pipeline.hooks import Hooks
from dermanode.pipeline.manifest import Manifest
from dermanode.pipeline.plugins import Found, discover, manifests
from dermanode.pipeline.results_folder import results_folder
from dermanode.pipeline.run import Chain, Fault, Folded, Watcher
from dermanode.pipeline.wire import Done, Job, Start

log = structlog.get_logger(__name__)

_NOTHING_ADDED: tuple[tuple[tuple[str, Dataset], ...], tuple[Fault, ...]] = ((), ())

WARM_UP_TIMEOUT_S = 120.0
"""What `warm_up` is told; the engine's limit is that of the whole start."""


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """The plugins of the configured pipelines, imported and warm, and what else a case needs."""

    start: Start
    hooks: Hooks
    manifests: Mapping[str, Manifest]
    powers: Powers
    watcher: Watcher

    @classmethod
    def open(cls, start: Start, watcher: Watcher, found: Iterable[Found] | None = None) -> Workbench:
        """Imports and warms up the plugins that the pipelines name, one by one; `failures` has those that could not be."""
        wanted = {plugin for pipeline in start.pipelines for plugin in plugins_of(pipeline)}
        installed = [plugin for plugin in (discover() if found is None else found) if plugin.name in wanted]
        hooks = Hooks()
        for plugin in installed:
            if plugin.name in start.failing:
                hooks.fail(plugin.name, start.failing[plugin.name])
            elif plugin.manifest is not None and plugin.entry_point is not None:
                watcher.began("import", plugin.name, WARM_UP_TIMEOUT_S)
                hooks.load(plugin.name, plugin.entry_point)
        hooks.register()
        powers = Powers(
            device=start.device, threads=start.threads, open_bundle=functools.cache(functools.partial(open_bundle, start.models_dir))
        )
        bench = cls(start=start, hooks=hooks, manifests=manifests(installed), powers=powers, watcher=watcher)
        bench._warm_up()
        return bench

    @property
    def failures(self) -> Mapping[str, str]:
        """Why plugins could not be imported or warmed up."""
        return self.hooks.failures

    def _warm_up(self) -> None:
        """Each plugin once for every pipeline whose settings for it differ."""
        for name in tuple(self.hooks.implementers("warm_up")):
            told: list[Mapping[str, object]] = []
            for pipeline in self.start.pipelines:
                settings = pipeline.settings.get(name, {})
                if name not in plugins_of(pipeline) or settings in told or name in self.failures:
                    continue
                told.append(settings)
                workdir = self.start.workdir / f"warm-up-{name}"
                workdir.mkdir(parents=True, exist_ok=True)
                deadline = deadline_after(WARM_UP_TIMEOUT_S)
                self.watcher.began("warm_up", name, WARM_UP_TIMEOUT_S)
                try:
                    context = Context(powers=self.powers, plugin=name, deadline=deadline, settings=settings, workdir=workdir)
                    self.hooks.call(name, "warm_up", context=context)
                except PluginError as error:
                    log.warning("plugin_not_warm", plugin=name, reason=error.reason)
                    log.debug("plugin_traceback", exc_info=error)
                    self.hooks.fail(name, f"could not warm up: it {error.reason}")

    def execute(self, job: Job) -> tuple[Case | None, Done]:
        """The case with its findings, and how it ended: its files lie in the results folder, synced, in place of earlier ones.

        The case is None where no plugin saw it: none of its views can be read, or earlier tries lost their workers. A report says so all
        the same, as long as one header can be used to refer to an image.
        """
        began = time.perf_counter()
        pipeline = next(pipeline for pipeline in self.start.pipelines if pipeline.name == job.pipeline)
        with results_folder(self.start.results_dir, job.case_id) as folder:
            source = reading.headers(job) if job.lost else reading.read(job, self.watcher, on_pixels=folder.add_preview)
            if source.series is None:
                outcome = _unreadable(job, source, time.perf_counter() - began)
                folder.publish()
                return None, Done(outcome=outcome)
            case = Case(
                id=job.case_id,
                revision=job.revision,
                series=_as_the_hospital_says(source.series, job),
                priors=reading.priors(job),
                prior_gaps=job.prior_gaps,
                order=job.order,
                is_correction=job.is_correction,
                origin=job.origin,
            )
            extra, faults = _NOTHING_ADDED
            if source.lack is not None:
                folded = _unfolded(case, job, source.lack)
            else:
                chain = self._chain(job, pipeline)
                folded = chain.fold(case, job.stages)
                extra, faults = chain.extra_objects(folded.case, plugins_of(pipeline))
                folded = replace(folded, reports=(*folded.reports, *_missing_extras(job, faults)))
            self.watcher.began(assembly.STAGE, "dermanode", assembly.TIMEOUT_S)
            outcome = assembly.assemble(
                folded,
                folder,
                assembly.Order(
                    job=job,
                    pipeline=pipeline,
                    destinations={name: self.start.destinations[name] for name in pipeline.deliver if name in self.start.destinations},
                    facility=self.start.facility,
                    default_issuer=self.start.default_issuer,
                    referral=self.start.referral,
                    unreadable=source.unreadable,
                    extra=extra,
                    is_bare=source.lack is not None,
                    elapsed_s=lambda: time.perf_counter() - began,
                ),
            )
            folder.publish()
        return None if source.lack is not None else folded.case, Done(outcome=outcome, faults=(*folded.faults, *faults))

    def tell(self, case: Case, outcome: Outcome, job: Job) -> None:
        """Notifies the pipeline's plugins that the case is finished."""
        pipeline = next(pipeline for pipeline in self.start.pipelines if pipeline.name == job.pipeline)
        self._chain(job, pipeline).case_finished(case, outcome, plugins_of(pipeline))

    def _chain(self, job: Job, pipeline: Pipeline) -> Chain:
        return Chain(
            hooks=self.hooks,
            manifests=self.manifests,
            powers=self.powers,
            settings=pipeline.settings,
            watcher=self.watcher,
            workdir=job.workdir,
            excluded={(exclusion.stage, exclusion.plugin): exclusion.reason for exclusion in job.excluded},
        )


def _as_the_hospital_says(series: Series, job: Job) -> Series:
    """The series with the patient's present identity and name, and the order's accession number where the images have none.

    What the hospital has not stated stays as the images have it.
    """
    said = job.patient
    if said is not None:
        own = series.patient
        known = replace(said, name=said.name or own.name, birth_date=said.birth_date or own.birth_date, sex=said.sex or own.sex)
        series = replace(series, patient=known)
    if job.order is not None and not series.accession_number:
        series = replace(series, accession_number=job.order.accession_number)
    return series


def plugins_of(pipeline: Pipeline) -> tuple[str, ...]:
    """Every plugin that a pipeline names, once, in the order of its stages."""
    return tuple(dict.fromkeys(plugin for plugins in pipeline.stages.values() for plugin in plugins))


def _missing_extras(job: Job, faults: tuple[Fault, ...]) -> list[StageReport]:
    """A report for every plugin whose extra objects are missing: they are no stage, but their absence must be said too."""
    excluded = [Fault(exclusion.plugin, exclusion.stage, exclusion.reason) for exclusion in job.excluded]
    return [
        StageReport(stage=fault.stage, status=StageStatus.FAILED, plugin=fault.plugin, reason=f"{fault.plugin} {fault.reason}")
        for fault in (*faults, *excluded)
        if fault.stage == "extra_objects"
    ]


def _unfolded(case: Case, job: Job, lack: StageReport) -> Folded:
    """The case as it came: what kept all stages from being asked, and each of them."""
    not_asked = (StageReport(stage=one.stage, status=StageStatus.NOT_SERVED, reason="no plugin was asked") for one in job.stages)
    return Folded(case, (lack, *not_asked))


def _unreadable(job: Job, source: reading.Source, took_s: float) -> Outcome:
    """There is nothing to refer to, so there is no report either: the ledger and the page say why."""
    lack = source.lack or StageReport(stage=reading.STAGE, status=StageStatus.FAILED, reason="no header could be read")
    return Outcome(
        case_id=job.case_id,
        revision=job.revision,
        is_failed=True,
        reports=(replace(lack, reason=f"{lack.reason}. No report can be made without an image."),),
        unreadable=source.unreadable,
        took_s=took_s,
    )
