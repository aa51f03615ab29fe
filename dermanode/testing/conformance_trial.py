"""The process in which the conformance kit runs a plugin: one JSON line for each step begun, and one for each check made."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from dermanode.domain import Case, Finding
from dermanode.errors import PluginError, UnreadableObject
from dermanode.hookspecs import STAGES
from dermanode.pipeline import promise
from dermanode.pipeline.bundles import open_bundle
from dermanode.pipeline.context import Context, Powers, deadline_after
from dermanode.pipeline.hooks import Hooks
from dermanode.pipeline.manifest import Manifest, StageManifest
from dermanode.pipeline.plugins import discover
from dermanode.testing import golden

NOT_STAGES = ("extra_objects", "case_finished", "warm_up", "add_hookspecs")
GRACE_S = 5.0
"""Beyond a stage's limit before the process is stopped: so that a stage that is only late is told by how much."""


class WrittenElsewhere:
    """Notes files that Python opens for writing outside of the folders that a stage may use.

    Best effort: what a C library writes is not seen.
    """

    def __init__(self) -> None:
        self._allowed: tuple[str, ...] | None = None
        self.paths: list[str] = []
        sys.addaudithook(self._hear)

    @contextmanager
    def watch(self, workdir: Path) -> Iterator[None]:
        self._allowed = (str(workdir.resolve()), "/dev/")
        self.paths = []
        try:
            yield
        finally:
            self._allowed = None

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._allowed is None or event != "open" or not isinstance(arguments[0], (str, bytes)):
            return
        flags = arguments[2]
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 - resolving would open
            if not path.startswith(self._allowed) and "__pycache__" not in path:
                self.paths.append(path)


class Trial:
    """One plugin on trial."""

    def __init__(self, name: str, models_dir: Path, device: str, folder: Path, out: io.TextIOBase) -> None:
        self._name, self._folder, self._out = name, folder, out
        self._powers = Powers(device=device, threads=1, open_bundle=functools.cache(functools.partial(open_bundle, models_dir)))
        self._elsewhere = WrittenElsewhere()
        self._hooks = Hooks()

    def _say(self, **words: object) -> None:
        self._out.write(json.dumps(words) + "\n")
        self._out.flush()

    def _found(self, name: str, passed: bool, words: str) -> None:
        self._say(name=name, passed=passed, words=words)

    def run(self) -> None:
        found = next(plugin for plugin in discover() if plugin.name == self._name)
        assert found.manifest is not None
        assert found.entry_point is not None
        self._hooks.load(self._name, found.entry_point)
        self._hooks.register()
        reason = self._hooks.failures.get(self._name)
        self._found("hooks", reason is None, reason or "imported, and every hook fits its specification")
        if reason is not None or not self._promises(found.manifest) or not self._warms_up():
            return
        case = golden.golden_case(self._folder / "golden")
        for stage, limits in found.manifest.stages.items():
            self._stage(stage, limits, case)

    def _promises(self, manifest: Manifest) -> bool:
        """The manifest and the hooks speak of the same stages."""
        hooks = [hook for hook in (*STAGES, *manifest.stages) if self._hooks.implements(self._name, hook)]
        missing = [stage for stage in manifest.stages if stage not in hooks]
        unsaid = [stage for stage in hooks if stage not in manifest.stages and stage not in NOT_STAGES]
        problems = [f"the manifest has [stages.{stage}], but no hook `{stage}` is implemented" for stage in missing]
        problems += [f"the hook `{stage}` is never called: add [stages.{stage}] to the manifest" for stage in unsaid]
        self._found("stages", not problems, "; ".join(problems) or "the manifest and the hooks name the same stages")
        return not problems

    def _warms_up(self) -> bool:
        if not self._hooks.implements(self._name, "warm_up"):
            return True
        began = time.perf_counter()
        try:
            self._hooks.call(self._name, "warm_up", context=self._context("warm_up", StageManifest(timeout_s=120)))
        except PluginError as error:
            self._found("warm-up", False, error.reason)
            return False
        self._found("warm-up", True, f"{time.perf_counter() - began:.2f} s")
        return True

    def _context(self, purpose: str, limits: StageManifest) -> Context:
        workdir = self._folder / purpose
        workdir.mkdir(parents=True, exist_ok=True)
        deadline = deadline_after(limits.timeout_s)
        return Context(powers=self._powers, plugin=self._name, deadline=deadline, settings={}, workdir=workdir)

    def _stage(self, stage: str, limits: StageManifest, golden_case: Case) -> None:
        if limits.device == "cuda" and not self._powers.device.startswith("cuda"):
            self._found(f"{stage}: serves", True, "not tried: it needs a GPU, and this check has none")
            return
        case = golden.before(golden_case, stage)
        first = self._serves(stage, limits, case)
        if first is not None:
            self._repeats(stage, limits, case, first)
        self._declines(stage, limits, "a case without views", golden.without_views(golden_case))
        self._declines(stage, limits, "a case whose images cannot be decoded", golden.unreadable(golden_case))

    def _serves(self, stage: str, limits: StageManifest, case: Case) -> Finding | None:
        """The finding for the golden case; None when there is none to compare with."""
        memory = PeakMemory()
        began = time.perf_counter()
        try:
            finding, reason = self._call(stage, limits, "golden case", case)
        except PluginError as error:
            self._found(f"{stage}: serves", False, error.reason)
            return None
        took_s, took_mib = time.perf_counter() - began, memory.more_mib
        self._found(f"{stage}: serves", True, f"returned a {type(finding).__name__}" if finding else f"declined: {reason}")
        self._found(f"{stage}: in time", took_s <= limits.timeout_s, f"{took_s:.2f} s of {limits.timeout_s:g} s")
        self._found(f"{stage}: in memory", took_mib <= limits.memory_mib, f"{took_mib:.0f} MiB more, of {limits.memory_mib} MiB")
        written = sorted(set(self._elsewhere.paths))
        words = f"wrote {', '.join(written[:3])}. Use context.workdir." if written else "wrote nothing outside of its folder"
        self._found(f"{stage}: keeps to its folder", not written, words)
        return finding

    def _repeats(self, stage: str, limits: StageManifest, case: Case, first: Finding) -> None:
        try:
            second, _ = self._call(stage, limits, "golden case again", case)
        except PluginError as error:
            self._found(f"{stage}: repeats", False, f"the second run {error.reason}")
            return
        different = _difference(first, second, type(first).__name__)
        words = f"{different} differs between two runs. Fix its seeds." if different else "two runs on the same case gave the same"
        self._found(f"{stage}: repeats", different is None, words)

    def _declines(self, stage: str, limits: StageManifest, what: str, case: Case) -> None:
        """A stage may find something even here, or say that an image is unreadable, but must not fall over it."""
        name = f"{stage}: bears {what}"
        try:
            finding, reason = self._call(stage, limits, what, case)
        except PluginError as error:
            is_fair = isinstance(error.__cause__, UnreadableObject)
            self._found(name, is_fair, error.reason if is_fair else f"{error.reason}. Return context.decline(why) instead.")
            return
        if finding is None and not reason:
            self._found(name, False, "it declined and gave no reason. Return context.decline(why).")
        else:
            self._found(name, True, f"declined: {reason}" if finding is None else f"returned a {type(finding).__name__}")

    def _call(self, stage: str, limits: StageManifest, what: str, case: Case) -> tuple[Finding | None, str]:
        """A finding that keeps its promise, or None and the reason. Raises `PluginError`."""
        self._say(doing=f"{stage}: {what}", limit_s=limits.timeout_s + GRACE_S)
        context = self._context(f"{stage}-{what.replace(' ', '-')}", limits)
        with self._elsewhere.watch(context.workdir):
            returned = self._hooks.call(self._name, stage, case=case, context=context)
        if returned is None:
            return None, context.declined or ""
        return promise.check(returned, stage=stage, plugin=self._name, case=case), ""


class PeakMemory:
    """The most resident memory since it was made, beyond what was resident then. On Linux; elsewhere the process' peak is all there is."""

    def __init__(self) -> None:
        if sys.platform == "linux":
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets the peak
        self._before_mib = self._now_mib()

    @property
    def more_mib(self) -> float:
        return max(0.0, self._now_mib() - self._before_mib)

    @staticmethod
    def _now_mib() -> float:
        if sys.platform == "linux":
            line = next(line for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
            return int(line.split()[1]) / 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024 * 1024) if sys.platform == "darwin" else peak / 1024


def _difference(first: object, second: object, path: str) -> str | None:
    """Where two findings differ, None when they are the same."""
    if type(first) is not type(second):
        return path
    if isinstance(first, np.ndarray):
        # The types are equal, as was asked above, which mypy does not see.
        return None if np.array_equal(first, second) else path  # type: ignore[arg-type]
    if isinstance(first, tuple) and isinstance(second, tuple):
        pairs: list[tuple[object, object, str]] = [(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(first, second, strict=False))]
        return path if len(first) != len(second) else _first(pairs)
    if dataclasses.is_dataclass(first):
        names = [field.name for field in dataclasses.fields(first)]
        return _first([(getattr(first, name), getattr(second, name), f"{path}.{name}") for name in names])
    return None if first == second else path


def _first(pairs: list[tuple[object, object, str]]) -> str | None:
    return next((found for a, b, path in pairs if (found := _difference(a, b, path)) is not None), None)


def main(arguments: list[str]) -> None:
    name, models_dir, device = arguments
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the plugin prints is no check
    with tempfile.TemporaryDirectory(prefix="dermanode-check-") as folder, out:
        Trial(name, Path(models_dir), device, Path(folder), out).run()


if __name__ == "__main__":
    main(sys.argv[1:])
