"""The conformance kit: does a plugin keep the contract? What `dermanode plugins check` runs, and a vendor's own tests.

The plugin runs in a process of its own, on the golden case (`dermanode.testing.golden`), so that one that hangs or ends its process
is a failed check and nothing more.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dermanode.pipeline.manifest import Manifest
from dermanode.pipeline.plugins import Found, discover

__all__ = ["Check", "check"]

START_TIMEOUT_S = 300.0
"""For the import of the plugin, its warm-up and the golden case."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    words: str
    """What was found, and the cure where it did not pass."""


def check(name: str, *, models_dir: Path = Path("models"), device: str = "cpu") -> list[Check]:
    """Every check of the plugin that an entry point calls `name`. Raises nothing for a bad plugin.

    `models_dir` holds the bundles that it opens.
    """
    found = [plugin for plugin in discover() if plugin.name == name]
    if not found:
        return [
            Check("installed", False, f"no entry point of the group dermanode.plugins is called {name!r}. Install it: pip install -e .")
        ]
    manifest = found[0].manifest
    if manifest is None:
        return [Check("manifest", False, found[0].error)]
    stages = ", ".join(manifest.stages) or "no stage"
    return [Check("manifest", True, f"{name} {manifest.version} serves {stages}"), *_run(found[0], manifest, models_dir, device)]


def _run(found: Found, manifest: Manifest, models_dir: Path, device: str) -> Iterator[Check]:
    """The checks that the trial process makes, and one more if it does not come to its end."""
    # Each stage runs four times: twice on the golden case, and on two that it should decline.
    limit_s = START_TIMEOUT_S + 4 * sum(stage.timeout_s for stage in manifest.stages.values())
    trial = subprocess.Popen(
        [sys.executable, "-m", "dermanode.testing.conformance_trial", found.name, str(models_dir.resolve()), device],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    has_hung = threading.Event()

    def stop() -> None:
        has_hung.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(trial.pid, signal.SIGKILL)

    timer = threading.Timer(limit_s, stop)
    timer.start()
    doing = "start"
    try:
        assert trial.stdout is not None
        with trial.stdout:
            for line in trial.stdout:
                said = json.loads(line)
                if "doing" in said:
                    doing = said["doing"]
                    timer.cancel()
                    timer = threading.Timer(said["limit_s"], stop)
                    timer.start()
                else:
                    yield Check(said["name"], said["passed"], said["words"])
    finally:
        timer.cancel()
    status = trial.wait()
    if has_hung.is_set():
        yield Check(doing, False, "it took longer than its manifest allows, and was stopped. Make it faster, or raise `timeout_s`.")
    elif status != 0:
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        yield Check(doing, False, f"it ended its process ({how}). In a node this would cost a worker, and then the stage.")
