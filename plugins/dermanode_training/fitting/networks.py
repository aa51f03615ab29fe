"""A bundle's network as its configuration describes it: without weights, or started from those of an earlier run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from safetensors.torch import load_file

from dermanode.errors import BundleError, DermaNodeError

DEFAULT = "default"
"""The network that `configs/inference.json` names and the node serves."""


class StartUnusable(DermaNodeError):
    """Weights to start from that cannot be read, or are of another network."""


def names(bundle: Path) -> tuple[str, ...]:
    """The networks of a bundle: the default, and the files of `configs/networks`."""
    return (DEFAULT, *sorted(one.stem for one in (bundle / "configs" / "networks").glob("*.json")))


def new_network(bundle: Path, name: str = DEFAULT) -> torch.nn.Module:
    """Freshly initialised from torch's seed: the one that is served, or another of `configs/networks`. Raises `BundleError`."""
    network: torch.nn.Module = configuration(bundle, name).get_parsed_content("network_def")
    return network


def configuration(bundle: Path, name: str = DEFAULT) -> ConfigParser:
    """`configs/inference.json` with what the network's own file says in its place. Raises `BundleError`."""
    parser = ConfigParser()
    path = bundle / "configs" / "inference.json"
    if not path.is_file():
        raise BundleError(bundle.name, f"{path} is missing: give the folder of the bundles with --models.")
    parser.read_config(path)
    if name != DEFAULT:
        other = bundle / "configs" / "networks" / f"{name}.json"
        if not other.is_file():
            raise BundleError(bundle.name, f"it has no network {name}; it has {', '.join(names(bundle))}.")
        parser.update(ConfigParser.load_config_file(other))
    return parser


def weights_of(path: Path) -> Mapping[str, torch.Tensor]:
    """Of a `.pt` of a run or a bundle's `.safetensors`, as float32. Raises `StartUnusable`."""
    try:
        state: Mapping[str, torch.Tensor] = (
            load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True, map_location="cpu")
        )
    except OSError as error:
        raise StartUnusable(
            f"{path} cannot be read ({error.strerror or error}): give the .pt of a run or a bundle's .safetensors."
        ) from error
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
