"""Both distributions build, and their wheels hold what runs need beside the modules."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "var", "*.egg-info", "build", "dist", "models", "tests", "__pycache__")


def wheel_of(source: Path, out: Path) -> set[str]:
    """The names in the wheel of a copy of the sources, so that the checkout stays as it is."""
    copy = out / "source"
    shutil.copytree(source, copy, ignore=LEFT_OUT)
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, copy], check=True, capture_output=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


@pytest.mark.slow
def test_the_nodes_wheel_holds_templates_migrations_and_the_marker_of_types(tmp_path: Path) -> None:
    names = wheel_of(ROOT, tmp_path)
    for name in (
        "dermanode/py.typed",
        "dermanode/document/locale/ar/LC_MESSAGES/dermanode.mo",
        "dermanode/document/templates/report.css",
        "dermanode/document/templates/report.html",
        "dermanode/web/templates/case.html",
        "dermanode/web/static/style.css",
        "dermanode/web/static/surface.js",
        "dermanode/ledger/migrations/versions/0001_first.py",
        "dermanode/testing/scenes.py",
    ):
        assert name in names
    assert any(name.startswith("dermanode/pipeline/template/files/") for name in names)
    assert not any(name.startswith(("tests/", "plugins/", "dermanode_segment/")) for name in names)


@pytest.mark.slow
def test_the_plugins_wheel_holds_every_module_and_a_manifest_for_each_stage(tmp_path: Path) -> None:
    names = wheel_of(ROOT / "plugins", tmp_path)
    for stage in ("preprocess", "segment", "reconstruct", "fuse", "classify", "explain", "progression", "risk"):
        assert f"dermanode_{stage}/dermanode.toml" in names
    modules = {path.relative_to(ROOT / "plugins").as_posix() for path in (ROOT / "plugins").glob("dermanode_*/**/*.py")}
    assert "dermanode_training/fitting/loop.py" in modules
    assert modules <= names
