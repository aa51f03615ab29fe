"""The first step of a case: its files become a series, and what cannot be decoded is left out with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from dermanode.dicom.read import read_series
from dermanode.domain import UID, AETitle, Prior, Series, StageReport, StageStatus
from dermanode.domain.series import RGB
from dermanode.errors import UnreadableObject
from dermanode.pipeline.run import Watcher
from dermanode.pipeline.wire import EarlierVisit, Job, SourceFile

log = structlog.get_logger(__name__)

STAGE = "read"
"""The name under which reading stands beside the stages, in exclusions and reports."""
TIMEOUT_S = 120.0
"""For each file: a decoder that hangs in a damaged one must not hold the worker."""
WORKING_SIZE_PX = 1024
"""Views are decoded once at this longest side: it proves that they can be, and makes the previews."""


@dataclass(frozen=True, eq=False)
class Source:
    """What could be read of a case."""

    series: Series | None
    """None when not even a header can be used."""
    unreadable: tuple[tuple[UID, str], ...] = ()
    lack: StageReport | None = None
    """Why there are no pixels: then the views of the series are there to be referred to, and for nothing else."""


def read(job: Job, watcher: Watcher, on_pixels: Callable[[UID, RGB], None]) -> Source:
    """The series of a job. Every view in it has been decoded once, and `on_pixels` was given the result."""
    unreadable = {UID(exclusion.plugin): exclusion.reason for exclusion in job.excluded if exclusion.stage == STAGE}
    files = [file for file in job.files if file.sop_instance_uid not in unreadable]
    for file in files:
        watcher.began(STAGE, file.sop_instance_uid, TIMEOUT_S)
        try:
            view = read_series([file.path]).views[0]
            on_pixels(view.sop_instance_uid, view.pixels(WORKING_SIZE_PX))
        except UnreadableObject as error:
            unreadable[file.sop_instance_uid] = error.reason
    reasons = tuple(unreadable.items())
    if len(unreadable) < len(job.files):
        return Source(_series([file for file in files if file.sop_instance_uid not in unreadable], job), reasons)
    words = "no view could be read: " + "; ".join(unreadable.values())
    return Source(headers(job).series, reasons, StageReport(stage=STAGE, status=StageStatus.FAILED, reason=words))


def headers(job: Job) -> Source:
    """The series of a job by its files' headers alone: enough to refer to its images. Views without a usable header are left out."""
    usable: list[SourceFile] = []
    of: tuple[UID, UID] | None = None
    for file in job.files:
        try:
            series = _series([file], job)
        except UnreadableObject as error:
            log.warning("header_not_used", sop_instance_uid=str(file.sop_instance_uid), reason=error.reason)
            continue
        of = of or (series.study_instance_uid, series.series_instance_uid)
        if of == (series.study_instance_uid, series.series_instance_uid):
            usable.append(file)
    return Source(_series(usable, job) if usable else None, lack=job.lost)


def _series(files: Sequence[SourceFile], job: Job) -> Series:
    return read_series([file.path for file in files], AETitle(job.source_ae) if job.source_ae else None)


def priors(job: Job) -> tuple[Prior, ...]:
    """The lesion's earlier visits, the oldest first. One whose photographs cannot be read, or are gone, has none."""
    return tuple(_prior(visit) for visit in job.priors)


def _prior(visit: EarlierVisit) -> Prior:
    files = [file.path for file in visit.files if file.path.is_file()]
    try:
        views = read_series(files).views if files else ()
    except UnreadableObject as error:
        log.warning("prior_not_read", prior=visit.case_id, reason=error.reason)
        views = ()
    return Prior(visit.case_id, visit.acquired_at, visit.outcome, views)
