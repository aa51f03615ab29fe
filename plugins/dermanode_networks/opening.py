"""A bundle's network with its weights, checked before it serves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dermanode.errors import BundleError
from dermanode.hookspecs import Bundle

VERSION = "0."
"""How the versions of bundles begin whose inference.json this package understands."""


@dataclass(frozen=True, eq=False)
class Opened:
    """What `configs/inference.json` and the weights say, on the CPU."""

    bundle: Bundle
    network: torch.nn.Module
    """float32, in evaluation mode."""
    beside: Mapping[str, torch.Tensor]
    """Tensors of the weights' file that are no weights of the network."""
    parser: Any
    """A `monai.bundle.ConfigParser`."""

    def __contains__(self, key: str) -> bool:
        """The configuration says something under that name."""
        return key in self.parser

    def content(self, key: str) -> Any:
        """What the configuration builds under that name. Raises `BundleError`."""
        return _content(self.bundle, self.parser, key)

    def told(self, key: str, default: Any = None) -> Any:
        """What the configuration says under that name, as it stands. Raises `BundleError` where it says nothing and there is no default."""
        value = self.parser.get(key, default)
        if value is None:
            raise BundleError(self.bundle.name, f"configs/inference.json does not say {key!r}. Restore the bundle.")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number of the configuration. Raises `BundleError`."""
        return _finite(self.bundle, key, self.told(key, default))

    def numbers(self, key: str, default: Sequence[float], count: int) -> tuple[float, ...]:
        """So many finite numbers of the configuration. Raises `BundleError`."""
        values = self.told(key, default)
        if not isinstance(values, Sequence) or len(values) != count:
            raise BundleError(self.bundle.name, f"configs/inference.json must give {count} numbers as {key!r}, it says {values!r}.")
        return tuple(_finite(self.bundle, key, value) for value in values)


def open_network(bundle: Bundle, beside: Sequence[str] = ()) -> Opened:
    """The network that `network_def` builds, with the bundle's weights.

    `beside` names the tensors that the file must hold besides. Raises `BundleError` for a bundle of another version, missing or altered
    weights, weights of another network and weights that are no numbers.
    """
    if not bundle.version.startswith(VERSION):
        raise BundleError(
            bundle.name, f"its version is {bundle.version}, this plugin knows {VERSION}x. Install the plugin and the bundle of one release."
        )
    tensors = _tensors(bundle)
    parser = bundle.parser()
    network: torch.nn.Module = _content(bundle, parser, "network_def")
    missing = [name for name in beside if name not in tensors]
    if missing:
        raise BundleError(bundle.name, f"the weights lack {', '.join(missing)}. Restore the bundle, or train it again.")
    apart = {name: tensors.pop(name) for name in beside}
    problem = _misfit(network.state_dict(), tensors)
    if problem:
        raise BundleError(bundle.name, f"the weights do not fit the network of configs/inference.json: {problem}. Restore the bundle.")
    network.load_state_dict(tensors)
    return Opened(bundle, network.eval(), apart, parser)


def _tensors(bundle: Bundle) -> dict[str, torch.Tensor]:
    """The weights, whole numbers as they are and others as float32."""
    try:
        tensors = load_file(bundle.weights_path)
    except SafetensorError as error:
        raise BundleError(bundle.name, f"the weights {bundle.weights_path} are no safetensors ({error}). Restore the bundle.") from error
    strange = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if strange:
        # A network with such weights answers NaN, and NaN is above no threshold: it would find no lesion anywhere.
        raise BundleError(bundle.name, f"the weights {', '.join(strange[:3])} hold values that are no numbers. Restore the bundle.")
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def _content(bundle: Bundle, parser: Any, key: str) -> Any:
    try:
        return parser.get_parsed_content(key)
    except (RuntimeError, ValueError, TypeError, KeyError, ImportError, AttributeError) as error:
        # MONAI wraps what a builder raised; its cause is what tells the reader something.
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise BundleError(
            bundle.name, f"configs/inference.json does not build {key!r} ({reason}). Install the plugin and the bundle of one release."
        ) from error


def _misfit(wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> str:
    """In words what keeps the tensors from being the network's; empty where they fit."""
    missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    shaped = [name for name in sorted(wanted.keys() & found.keys()) if wanted[name].shape != found[name].shape]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(wanted)} tensors are missing ({missing[0]})")
    if unknown:
        problems.append(f"{len(unknown)} are not of this network ({unknown[0]})")
    if shaped:
        name = shaped[0]
        problems.append(f"{len(shaped)} have another shape ({name} is {_size(found[name])}, the network wants {_size(wanted[name])})")
    return ", ".join(problems)


def _size(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def _finite(bundle: Bundle, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BundleError(bundle.name, f"configs/inference.json must give a number as {key!r}, it says {value!r}.")
    return float(value)
