"""Bundles: opened by name, checked by digest, refused with a cure."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dermanode.errors import BundleError
from dermanode.pipeline.bundles import open_bundle

WEIGHTS = b"not many weights"


@pytest.fixture
def write_bundle(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        root = tmp_path / "net"
        (root / "configs").mkdir(parents=True)
        (root / "models").mkdir()
        (root / "models" / "model.safetensors").write_bytes(WEIGHTS)
        weights = {"file": "models/model.safetensors", "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
        metadata = {"version": "0.1.0", "weights": weights} | changes
        (root / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
        return tmp_path

    return write


def test_bundle_gives_its_version_and_the_path_of_its_weights(write_bundle: Callable[..., Path]) -> None:
    models = write_bundle()
    bundle = open_bundle(models, "net")
    assert bundle.version == "0.1.0"
    assert bundle.weights_path.read_bytes() == WEIGHTS
    assert bundle.weights_digest == hashlib.sha256(WEIGHTS).hexdigest()
    assert bundle.root == models / "net"


def test_altered_weights_are_refused(write_bundle: Callable[..., Path]) -> None:
    models = write_bundle()
    (models / "net" / "models" / "model.safetensors").write_bytes(WEIGHTS + b".")
    bundle = open_bundle(models, "net")
    with pytest.raises(BundleError, match=r"altered.*Restore"):
        _ = bundle.weights_path


def test_missing_weights_are_refused(write_bundle: Callable[..., Path]) -> None:
    models = write_bundle()
    (models / "net" / "models" / "model.safetensors").unlink()
    bundle = open_bundle(models, "net")
    with pytest.raises(BundleError, match=r"cannot be read.*Restore"):
        _ = bundle.weights_path


def test_missing_bundle_names_the_setting_to_change(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere does not exist\. Set `node\.models_dir`"):
        open_bundle(tmp_path, "nowhere")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"version": None}, "no version"),
        ({"weights": {}}, "which file"),
        ({"weights": {"file": "models/model.safetensors"}}, "SHA-256"),
        ({"weights": {"file": "../other", "sha256": "0" * 64}}, "outside"),
    ],
)
def test_incomplete_metadata_are_refused(write_bundle: Callable[..., Path], changes: dict[str, Any], complaint: str) -> None:
    models = write_bundle(**changes)
    with pytest.raises(BundleError, match=complaint):
        open_bundle(models, "net")


def test_metadata_that_are_no_json_are_refused(write_bundle: Callable[..., Path]) -> None:
    models = write_bundle()
    (models / "net" / "configs" / "metadata.json").write_text("{", encoding="utf-8")
    with pytest.raises(BundleError, match="no JSON"):
        open_bundle(models, "net")


def test_bundle_opened_twice_is_equal_and_retrained_is_not(write_bundle: Callable[..., Path]) -> None:
    models = write_bundle()
    first = open_bundle(models, "net")
    assert first == open_bundle(models, "net")
    assert hash(first) == hash(open_bundle(models, "net"))
    path = models / "net" / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["weights"]["sha256"] = "0" * 64
    path.write_text(json.dumps(metadata), encoding="utf-8")
    assert first != open_bundle(models, "net")


def test_opening_a_bundle_imports_neither_torch_nor_monai() -> None:
    code = "import sys, dermanode.pipeline.bundles; raise SystemExit(bool({'torch', 'monai'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
