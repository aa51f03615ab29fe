"""The vendors' tutorial is a plugin that works: its code is taken from the page and checked like any plugin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
