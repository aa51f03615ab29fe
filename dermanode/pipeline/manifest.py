"""The manifest: what a plugin says of itself in `dermanode.toml`, read without importing it."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dermanode.domain import UID
from dermanode.errors import PluginBroken
from dermanode.hookspecs import API_VERSION

FILE_NAME = "dermanode.toml"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Wants(_Table):
    """Which cases a stage can serve. An empty list asks for nothing; every list that is not empty must match."""

    sop_classes: tuple[UID, ...] = ()
    """SOP Class UIDs of the images."""
    modalities: tuple[str, ...] = ()
    """Modality (0008,0060)."""
    body_sites: tuple[str, ...] = ()
    """Code values of the anatomic region."""
    fewest_views: int = Field(1, ge=1)
    """With fewer views than this the plugin is not asked."""
    needs_priors: bool = False
    """True: the plugin is asked only where the lesion has an earlier visit."""


class StageManifest(_Table):
    """What one stage of a plugin wants, and what it may take."""

    wants: Wants = Wants()
    timeout_s: float = Field(60.0, gt=0)
    """A stage that takes longer has its worker killed."""
    device: Literal["any", "cpu", "cuda"] = "any"
    """`cuda`: asked only in a worker that has a GPU. `cpu`: it never uses one."""
    memory_mib: int = Field(1024, ge=1)
    """What the stage expects to need; `plugins check` measures it. The hard limit is the worker's, set by the administrator."""


class Manifest(_Table):
    """What a plugin is, and which stages it serves."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """The entry point's name, by which pipelines ask for the plugin: lower case, digits and '-'."""
    version: str = Field(min_length=1)
    api: int
    """The version of the hook contract it was written for."""
    summary: str
    """One sentence for people."""
    intended_use: str
    """What it may be used for, and for what not."""
    bundle: str | None = None
    """The model bundle that it works with."""
    stages: Mapping[str, StageManifest] = {}
    """A table for each stage; a vendor's own stages are named likewise."""


def read_manifest(file: Path, plugin: str) -> Manifest:
    """The manifest in `file`, of the plugin that the entry point calls `plugin`.

    Raises `PluginBroken`, which names the file, the key and the cure.
    """
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PluginBroken(plugin, f"{file} is missing. Put the manifest into the plugin's package and list it as package data.") from error
    except OSError as error:
        raise PluginBroken(plugin, f"{file} cannot be read: {error.strerror}. Check its permissions.") from error
    except UnicodeDecodeError as error:
        raise PluginBroken(plugin, f"{file} is not UTF-8 text. Save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise PluginBroken(plugin, f"{file} is not valid TOML: {error}. Correct that line.") from error
    # Asked before anything else: a manifest for another contract may hold keys that this node does not know.
    api = table.get("api")
    if isinstance(api, int) and api != API_VERSION:
        raise PluginBroken(
            plugin,
            f"{file}: `api` is {api}, and this node speaks {API_VERSION}. Install its release for API {API_VERSION}.",
        )
    try:
        manifest = Manifest.model_validate(table)
    except ValidationError as error:
        raise PluginBroken(plugin, f"{file}: {_problem(error.errors()[0])}") from error
    if manifest.name != plugin:
        raise PluginBroken(plugin, f"{file}: `name` is {manifest.name!r}, and the entry point's name is {plugin!r}. Make them the same.")
    return manifest


def _problem(error: Any) -> str:
    """One sentence of pydantic's first complaint, with the key and the cure."""
    path = tuple(str(part) for part in error["loc"])
    where = ".".join(path)
    if error["type"] == "missing":
        return f"`{where}` is missing. Add it."
    if error["type"] == "extra_forbidden":
        known = _keys_beside(path)
        close = difflib.get_close_matches(path[-1], known, n=1)
        return f"`{where}` is not a key. " + (f"Did you mean `{close[0]}`?" if close else f"Known here: {', '.join(known)}.")
    return f"`{where}` is {error['input']!r}. {error['msg'].removeprefix('Value error, ')}."


def _keys_beside(path: tuple[str, ...]) -> list[str]:
    """The keys of the table that holds the last key of `path`: `stages.NAME.KEY`, `stages.NAME.wants.KEY` or a top-level one."""
    tables: Mapping[int, Iterable[str]] = {1: Manifest.model_fields, 3: StageManifest.model_fields, 4: Wants.model_fields}
    return sorted(tables.get(len(path), ()))
