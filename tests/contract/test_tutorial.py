"""The vendors' tutorial is a plugin that works: its code is taken from the page and checked like any plugin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dermanode.dicom.encode import EncodingOrder, encode_case
from dermanode.domain import HeatMaps
from dermanode.pipeline.hooks import Hooks
from dermanode.pipeline.promise import check
from dermanode.testing import worked_cases

PAGE = Path(__file__).parents[2] / "docs" / "vendor.md"


def block(name: str) -> str:
    """The code block under the line that names the file."""
    found = re.search(rf"^`{re.escape(name)}`:\n\n```\w+\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None, f"{PAGE.name} has no block for {name}"
    return found[1]


@pytest.mark.slow
def test_the_tutorial_plugin_passes_the_conformance_kit(tmp_path: Path) -> None:
    package = tmp_path / "acme_segment"
    package.mkdir()
    for name in ("dermanode.toml", "__init__.py"):
        (package / name).write_text(block(f"acme_segment/{name}"), encoding="utf-8")
    metadata = tmp_path / "acme_segment-1.0.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-segment\nVersion: 1.0.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[dermanode.plugins]\nacme-segment = acme_segment\n", encoding="utf-8")
    said = subprocess.run(
        [sys.executable, "-m", "dermanode", "plugins", "check", "acme-segment"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert "FAILED" not in said.stdout


def test_the_tutorials_own_stage_makes_heat_maps_that_every_encoder_takes(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "acme_saliency"}
    module = types.ModuleType("acme_saliency")
    sys.modules["acme_saliency"] = module  # dataclasses look their module up
    try:
        exec(compile(block("acme_saliency/__init__.py"), "acme_saliency", "exec"), namespace)
    finally:
        del sys.modules["acme_saliency"]
    vars(module).update(namespace)
    hooks = Hooks()
    hooks.add("acme-saliency", module)
    hooks.register()
    assert not hooks.failures
    case = worked_cases.worked([worked_cases.photograph(1)], tmp_path)
    case = replace(case, findings=tuple(found for found in case.findings if not isinstance(found, HeatMaps)))
    found = check(hooks.call("acme-saliency", "saliency", case=case, context=None), stage="saliency", plugin="acme-saliency", case=case)
    case = case.with_finding(found)
    made = encode_case(case, worked_cases.outcome_of(case), EncodingOrder(made_at=datetime(2026, 11, 21), pipeline="test"))
    assert next(one.description for one in made if one.kind == "SC").endswith("Darkness: Malignant melanoma of skin, 62 %")
