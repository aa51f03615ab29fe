"""A small case, and plugins that are objects in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dermanode.domain import UID, Case, Patient, Series, StageReport, View
from dermanode.domain.series import RGB
from dermanode.errors import BundleError
from dermanode.hookspecs import Bundle
from dermanode.pipeline.context import Powers
from dermanode.pipeline.hooks import Hooks
from dermanode.pipeline.manifest import Manifest
from dermanode.pipeline.plan import Candidate, StagePlan
from dermanode.pipeline.run import Chain


@dataclass(frozen=True, eq=False)
class ArrayPixels:
    """A pixel source over an array."""

    array: RGB

    def decode(self, longest_side_px: int | None = None) -> RGB:
        return self.array


@pytest.fixture
def case() -> Case:
    pixels = np.full((6, 8, 3), 200, np.uint8)
    view = View(UID("1.2.3.4"), UID("1.2.840.10008.5.1.4.1.1.77.1.7"), 6, 8, ArrayPixels(pixels))
    return Case("case-1", 1, Series(UID("1.2.3"), UID("1.2.3.1"), Patient("P1"), "DMS", (view,)))


@dataclass
class Watched:
    """Remembers what it was told."""

    begun: list[tuple[str, str, float]] = field(default_factory=list)
    progressed: list[float] = field(default_factory=list)
    reports: list[StageReport] = field(default_factory=list)

    def began(self, stage: str, plugin: str, timeout_s: float) -> None:
        self.begun.append((stage, plugin, timeout_s))

    def advanced(self, stage: str, plugin: str, fraction: float) -> None:
        self.progressed.append(fraction)

    def ended(self, report: StageReport) -> None:
        self.reports.append(report)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def no_bundle(name: str) -> Bundle:
    raise BundleError(name, "there is none in this test")


def manifest_of(name: str, stages: Mapping[str, Mapping[str, Any]]) -> Manifest:
    return Manifest.model_validate(
        {"name": name, "version": "1.0", "api": 1, "summary": "", "intended_use": "", "stages": {s: dict(k) for s, k in stages.items()}}
    )


@pytest.fixture
def make_chain(tmp_path: Path, watched: Watched) -> Callable[..., Chain]:
    """A chain over plugins given by name; each serves the hooks that it implements, with the keys in `manifests` for its stages."""

    def make(
        plugins: Mapping[str, object],
        manifests: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
        **fields: Any,
    ) -> Chain:
        hooks = Hooks()
        for name, plugin in plugins.items():
            hooks.add(name, plugin)
        hooks.register()
        stages = {name: [hook for hook in dir(plugin) if not hook.startswith("_")] for name, plugin in plugins.items()}
        known = {name: manifest_of(name, (manifests or {}).get(name, {stage: {} for stage in stages[name]})) for name in plugins}
        powers = Powers(device=fields.pop("device", "cpu"), threads=1, open_bundle=no_bundle)
        settings = fields.pop("settings", {})
        return Chain(hooks=hooks, manifests=known, powers=powers, settings=settings, watcher=watched, workdir=tmp_path, **fields)

    return make


@pytest.fixture
def asked() -> Callable[..., StagePlan]:
    """A stage whose plan asks those plugins in this order."""

    def make(stage: str, *plugins: str) -> StagePlan:
        return StagePlan(stage, tuple(Candidate(plugin, True) for plugin in plugins))

    return make
