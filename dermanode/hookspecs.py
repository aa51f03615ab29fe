"""The contract with plugins: one hook a stage, and the powers a stage is given.

A plugin is a module (or an object) with functions of these names, marked with `hookimpl`. Data travel in the case, powers in the
context. A stage that cannot do its job returns `context.decline("why")`; what it raises is caught, recorded and reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from dermanode.domain import (
    Case,
    Classification,
    CleanViews,
    Features,
    Finding,
    Outcome,
    Progression,
    Risk,
    Segmentation,
    Surface,
)

if TYPE_CHECKING:
    from pydicom import Dataset

API_VERSION = 1
"""The version of this contract; a manifest states the one it was written for."""

PROJECT = "dermanode"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's function as the implementation of the hook of its name."""

STAGES: Mapping[str, type[Finding]] = {
    "preprocess": CleanViews,
    "segment": Segmentation,
    "reconstruct": Surface,
    "fuse": Features,
    "classify": Classification,
    "progression": Progression,
    "risk": Risk,
}
"""The stages that every node knows, in their order, with the finding each promises."""


class Bundle(Protocol):
    """A MONAI bundle, opened and checked against its digests."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def root(self) -> Path: ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The bundle's `configs/metadata.json`."""
        ...

    @property
    def weights_path(self) -> Path:
        """The weights, their digest verified. Raises `BundleError`."""
        ...

    @property
    def weights_digest(self) -> str:
        """SHA-256 of the weights, hexadecimal."""
        ...

    def __hash__(self) -> int:
        """Bundles with the same folder and digest are equal, so that a plugin finds again what it loaded from one."""
        ...

    def parser(self) -> Any:
        """A `monai.bundle.ConfigParser` over `configs/inference.json`, `bundle_root` set."""
        ...


class Log(Protocol):
    """A structured log: an event's name and its fields, never patient data."""

    def info(self, event: str, **fields: Any) -> None: ...

    def warning(self, event: str, **fields: Any) -> None: ...


class StageContext(Protocol):
    """What a stage may use."""

    @property
    def device(self) -> str:
        """`cpu` or `cuda:0`, as torch names it."""
        ...

    @property
    def threads(self) -> int:
        """How many CPU threads this worker may use."""
        ...

    @property
    def deadline(self) -> float:
        """When the stage's time ends, on `time.monotonic()`; the worker is killed then."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """The plugin's own settings from the pipeline's file."""
        ...

    @property
    def log(self) -> Log: ...

    @property
    def workdir(self) -> Path:
        """A folder that is the stage's own and is removed after the case."""
        ...

    def bundle(self, name: str) -> Bundle:
        """The bundle of that name in the models folder. Raises `BundleError`."""
        ...

    def progress(self, fraction: float) -> None:
        """Says how far the stage is, 0 to 1."""
        ...

    def decline(self, reason: str) -> None:
        """Records why the stage is declined; `return context.decline("no view has a mask")`."""
        ...


@hookspec(firstresult=True)
def preprocess(case: Case, context: StageContext) -> CleanViews | None:
    """Makes every view ready for networks. None declines, and the next plugin that the pipeline names is asked."""


@hookspec(firstresult=True)
def segment(case: Case, context: StageContext) -> Segmentation | None:
    """Finds the lesion in every view, at source resolution."""


@hookspec(firstresult=True)
def reconstruct(case: Case, context: StageContext) -> Surface | None:
    """Makes a surface of the lesion. Geometry comes from the source pixels, not from the cleaned ones."""


@hookspec(firstresult=True)
def fuse(case: Case, context: StageContext) -> Features | None:
    """Puts the lesion into numbers."""


@hookspec(firstresult=True)
def classify(case: Case, context: StageContext) -> Classification | None:
    """Gives calibrated probabilities."""


@hookspec(firstresult=True)
def progression(case: Case, context: StageContext) -> Progression | None:
    """Compares with the lesion's earlier visits."""


@hookspec(firstresult=True)
def risk(case: Case, context: StageContext) -> Risk | None:
    """Puts everything into one score and says what it is made of."""


@hookspec
def extra_objects(case: Case, context: StageContext) -> Sequence[Dataset]:
    """More DICOM objects for the finished case; collected from every plugin of the pipeline."""
    return ()


@hookspec
def case_finished(case: Case, outcome: Outcome) -> None:
    """Told after a case has ended; a failure here is logged and nothing more."""


@hookspec
def warm_up(context: StageContext) -> None:
    """Loads and checks weights, once a worker, before the first case."""


@hookspec
def add_hookspecs(pluginmanager: pluggy.PluginManager) -> None:
    """Adds a vendor's own stages; called once, before any stage."""
