"""What `plugins new` writes is a package that works."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dermanode.errors import ConfigurationError
from dermanode.hookspecs import STAGES
from dermanode.pipeline.manifest import read_manifest
from dermanode.pipeline.template import write_plugin


@pytest.mark.parametrize("stage", STAGES)
def test_new_package_has_a_manifest_metadata_and_a_module_that_compiles(tmp_path: Path, stage: str) -> None:
    folder = write_plugin("acme-new", stage=stage, into=tmp_path)
    manifest = read_manifest(folder / "acme_new" / "dermanode.toml", "acme-new")
    assert list(manifest.stages) == [stage]
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["dermanode.plugins"] == {"acme-new": "acme_new"}
    source = (folder / "acme_new" / "__init__.py").read_text(encoding="utf-8")
    assert f"def {stage}(" in source
    compile(source, "acme_new", "exec")


@pytest.mark.parametrize(("name", "words"), [("Acme", "'Acme' is no name"), ("acme_x", "is no name"), ("../x", "is no name")])
def test_name_that_cannot_be_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        write_plugin(name, into=tmp_path)


def test_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="The stages are: preprocess, segment"):
        write_plugin("acme-new", stage="segmentation", into=tmp_path)


def test_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    write_plugin("acme-new", into=tmp_path)
    with pytest.raises(ConfigurationError, match="is there already"):
        write_plugin("acme-new", into=tmp_path)


@pytest.mark.parametrize("stage", ["segment", "risk"])
def test_new_package_passes_its_own_conformance_test(tmp_path: Path, stage: str) -> None:
    """As `pip install -e` would make it: the folder on the path, and metadata that name the module."""
    folder = write_plugin("acme-new", stage=stage, into=tmp_path)
    info = folder / "acme_new-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-new\nVersion: 0.1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[dermanode.plugins]\nacme-new = acme_new\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
