"""Model bundles: folders in MONAI's layout, whose weights are used only when their digest is the one that was published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dermanode.errors import BundleError

_CURE = "Restore the folder from the distribution, or train the bundle again."


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose metadata were read; implements `dermanode.hookspecs.Bundle`.

    Equal where name, folder, version and digest are: a plugin may keep what it made of a bundle and find it again by the bundle.
    """

    name: str
    root: Path
    version: str
    weights_digest: str
    """SHA-256 that the metadata promise, hexadecimal. The file is held against it when `weights_path` is asked for."""
    metadata: Mapping[str, Any] = field(repr=False, compare=False)

    @cached_property
    def weights_path(self) -> Path:
        """The weights, hashed once. Raises `BundleError`."""
        path: Path = self.root / self.metadata["weights"]["file"]
        try:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise BundleError(self.name, f"the weights {path} cannot be read ({error.strerror}). {_CURE}") from error
        if found != self.weights_digest:
            raise BundleError(
                self.name,
                f"the weights {path} were altered: their SHA-256 is {found}, configs/metadata.json says {self.weights_digest}. {_CURE}",
            )
        return path

    def parser(self) -> Any:
        """A `monai.bundle.ConfigParser` over `configs/inference.json`, `bundle_root` set. Needs MONAI. Raises `BundleError`."""
        from monai.bundle import ConfigParser

        path = self.root / "configs" / "inference.json"
        if not path.is_file():
            raise BundleError(self.name, f"{path} is missing. {_CURE}")
        parser = ConfigParser()
        parser.read_config(path)
        parser["bundle_root"] = str(self.root)
        return parser


def open_bundle(models: Path, name: str) -> OpenBundle:
    """The bundle of that name in the models folder, its metadata read and checked, its weights not yet. Raises `BundleError`."""
    root = models / name
    path = root / "configs" / "metadata.json"
    if not root.is_dir():
        raise BundleError(name, f"{root} does not exist. Set `node.models_dir` in the configuration to the folder that holds the bundles.")
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(name, f"{path} cannot be read ({error.strerror}). {_CURE}") from error
    except ValueError as error:
        raise BundleError(name, f"{path} is no JSON ({error}). {_CURE}") from error
    problem = _problem(metadata)
    if problem:
        raise BundleError(name, f"{path} {problem}. {_CURE}")
    return OpenBundle(name, root, metadata["version"], metadata["weights"]["sha256"], metadata)


def _problem(metadata: Any) -> str | None:
    """What keeps these metadata from being used, in words."""
    if not isinstance(metadata, dict):
        return "holds no object"
    if not isinstance(metadata.get("version"), str):
        return "names no version"
    weights = metadata.get("weights")
    if not isinstance(weights, dict) or not isinstance(weights.get("file"), str):
        return "does not say which file holds the weights"
    digest = weights.get("sha256")
    if not isinstance(digest, str) or len(digest) != 64:
        return "gives no SHA-256 of the weights"
    if Path(weights["file"]).is_absolute() or ".." in Path(weights["file"]).parts:
        return "names weights outside of the bundle"
    return None
