"""Plugins written for a test: a package with its metadata in a folder, found like any that is installed once that folder is on the path."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from dermanode.hookspecs import API_VERSION

PREAMBLE = """
from dermanode.domain import *
from dermanode.hookspecs import hookimpl
ALGORITHM = Algorithm("Test", "1.0")
"""


def write_plugin(
    site: Path,
    name: str,
    source: str,
    *,
    stages: Mapping[str, Mapping[str, object]] | None = None,
    manifest: str | None = None,
    package: str | None = None,
) -> None:
    """Writes a plugin that is found when `site` is on `sys.path`.

    `source` is the body of its module, after an import of the domain and of `hookimpl`. The manifest is made of `stages` (for each,
    the keys of its table) unless its text is given.
    """
    package = package or name.replace("-", "_")
    folder = site / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(PREAMBLE + textwrap.dedent(source), encoding="utf-8")
    (folder / "dermanode.toml").write_text(manifest if manifest is not None else manifest_text(name, stages or {}), encoding="utf-8")
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[dermanode.plugins]\n{name} = {package}\n", encoding="utf-8")


def manifest_text(name: str, stages: Mapping[str, Mapping[str, object]], *, api: int = API_VERSION) -> str:
    """A manifest in TOML with tables for those stages; a value is a number, a word or a list of words."""
    lines = [f'name = "{name}"', 'version = "1.0"', f"api = {api}", 'summary = "Written for a test."', 'intended_use = "Tests."']
    for stage, keys in stages.items():
        lines.append(f"[stages.{stage}]")
        lines += [f"{key} = {_toml(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def installed_in(site: Path) -> Iterable[Distribution]:
    """The distributions of that folder alone, for `discover`."""
    return distributions(path=[str(site)])


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
