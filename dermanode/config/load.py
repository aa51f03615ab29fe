"""Reads YAML into settings; what is wrong is said with file, line and cure."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dermanode.config.destinations import MllpDestination
from dermanode.config.hl7_mapping import Hl7Mapping
from dermanode.config.pipelines import Pipeline
from dermanode.config.profiles import Profile, profile_of, with_wanted
from dermanode.config.settings import Settings
from dermanode.errors import ConfigurationError

M = TypeVar("M", bound=BaseModel)

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def load_settings(file: Path | None) -> Settings:
    """The settings of a YAML file, or the defaults for None. Raises `ConfigurationError`."""
    if file is None:
        return Settings()
    settings = _with_mappings(_load(file, Settings), file.parent)
    return _with_profiles(settings, load_profiles(settings, file.parent), file)


def load_mapping(file: Path) -> Hl7Mapping:
    """How an HL7 receiver wants its observations. Raises `ConfigurationError`."""
    return _load(file, Hl7Mapping)


def _with_mappings(settings: Settings, folder: Path) -> Settings:
    """The settings with the mapping files, which are relative to `folder`, found and looked through."""
    destinations = dict(settings.destinations)
    for name, destination in settings.destinations.items():
        if isinstance(destination, MllpDestination) and destination.mapping is not None:
            file = (folder / destination.mapping).resolve()
            load_mapping(file)
            destinations[name] = destination.model_copy(update={"mapping": file})
    return settings.model_copy(update={"destinations": destinations})


def load_profiles(settings: Settings, folder: Path) -> dict[str, Profile]:
    """The destination profiles that the settings name, relative to `folder`, by name. Raises `ConfigurationError`."""
    profiles: dict[str, tuple[Profile, Path]] = {}
    for file in (file for pattern in settings.profiles for file in _found(pattern, folder)):
        profile = _load(file, Profile)
        if profile.name in profiles:
            other = profiles[profile.name][1]
            raise ConfigurationError(
                f"profile {profile.name!r} is already defined in {other}", file=str(file), cure="Give one of them another name."
            )
        profiles[profile.name] = (profile, file)
    return {name: profile for name, (profile, _) in profiles.items()}


def _with_profiles(settings: Settings, profiles: Mapping[str, Profile], file: Path) -> Settings:
    """The settings, each destination that names a profile sending what that says."""
    destinations = dict(settings.destinations)
    for name, destination in settings.destinations.items():
        if (wanted := profile_of(destination)) is None:
            continue
        if wanted not in profiles:
            known = ", ".join(sorted(profiles)) or f"none; `profiles` looks for {', '.join(settings.profiles) or 'nothing'}"
            raise ConfigurationError(
                f"`destinations.{name}.profile` names the unknown profile {wanted!r}",
                file=str(file),
                line=_line_of(_compose(file), ("destinations", name, "profile")),
                cure=f"Known profiles: {known}.",
            )
        destinations[name] = profiles[wanted].given_to(destination)
    return settings.model_copy(update={"destinations": destinations})


def _found(pattern: str, folder: Path) -> list[Path]:
    """The files of a pattern, which is relative to `folder` unless it is absolute."""
    anchor = Path(pattern).anchor  # empty for a relative pattern
    return sorted(Path(anchor).glob(pattern.removeprefix(anchor)) if anchor else folder.glob(pattern))


def load_pipelines(settings: Settings, folder: Path) -> tuple[Pipeline, ...]:
    """The pipelines that the settings name, relative to `folder`, highest priority first. Raises `ConfigurationError`.

    Each makes what its own file names, and what the profiles of its destinations want beside.
    """
    files: list[Path] = []
    for pattern in settings.pipelines:
        found = _found(pattern, folder)
        if not found:
            raise ConfigurationError(
                f"no pipeline file matches {pattern!r}", file=str(folder), cure="Name an existing file under `pipelines`."
            )
        files += found
    pipelines: dict[str, tuple[Pipeline, Path]] = {}
    for file in files:
        pipeline = _load(file, Pipeline)
        if pipeline.name in pipelines:
            other = pipelines[pipeline.name][1]
            raise ConfigurationError(
                f"pipeline {pipeline.name!r} is already defined in {other}", file=str(file), cure="Give one of them another name."
            )
        for destination in pipeline.deliver:
            if destination not in settings.destinations:
                known = ", ".join(sorted(settings.destinations)) or "none is configured"
                raise ConfigurationError(
                    f"`deliver` names the unknown destination {destination!r}",
                    file=str(file),
                    line=_line_of(_compose(file), ("deliver",)),
                    cure=f"Known destinations: {known}.",
                )
        pipelines[pipeline.name] = (with_wanted(pipeline, settings.destinations), file)
    return tuple(sorted((p for p, _ in pipelines.values()), key=lambda p: (-p.priority, p.name)))


def _compose(file: Path) -> yaml.Node | None:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", file=str(file), cure="Check the path and its permissions.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError("is not UTF-8 text", file=str(file), cure="Save it as UTF-8.") from error
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigurationError(
            f"is not valid YAML: {error.problem}", file=str(file), line=line, cure="Check indentation and quotes."
        ) from error


def _load(file: Path, model: type[M]) -> M:
    root = _compose(file)
    if root is None:
        return model()
    if not isinstance(root, yaml.MappingNode):
        raise ConfigurationError("must hold `key: value` lines", file=str(file), line=1)
    _fill_in(root, os.environ, file)
    content = yaml.SafeLoader("").construct_document(root)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        problem, cure = _said(first, _keys_of(root, first["loc"]), model)
        # What is said of the settings as a whole begins with the name of the one that is meant.
        location = tuple(first["loc"]) or tuple(problem.split()[0].split("."))
        raise ConfigurationError(problem, file=str(file), line=_line_of(root, location), cure=cure) from error


def _fill_in(node: yaml.Node, environment: Mapping[str, str], file: Path) -> None:
    """Replaces `${NAME}` in texts by the environment's value, so that secrets need not stand in the file."""
    if isinstance(node, yaml.ScalarNode):
        for name in _VARIABLE.findall(node.value):
            if name not in environment:
                line = node.start_mark.line + 1
                raise ConfigurationError(f"${{{name}}} is not set in the environment", file=str(file), line=line, cure="Set it.")
            node.value = node.value.replace(f"${{{name}}}", environment[name])
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _fill_in(item, environment, file)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            _fill_in(value, environment, file)


def _said(error: Any, keys: tuple[str, ...], model: type[BaseModel]) -> tuple[str, str | None]:
    """What is wrong with the setting at these keys, and the cure where one is known."""
    where, given, kind = ".".join(keys), error.get("input"), error["type"]
    if kind == "extra_forbidden":
        return f"`{where}` is not a setting", _nearest(error["loc"], model)
    if kind == "missing":
        return f"`{where}` is missing", None
    if given is None and kind in ("model_type", "dict_type", "tuple_type"):
        return f"`{where}` is empty", "Indent what belongs to it below it, or take the line away."
    if kind.startswith(("ip_v4_network", "ip_v6_network", "ip_any_network")):
        return f"`{where}`: {given!r} is no network", f"Write {_networks(str(given))}."
    if kind == "string_pattern_mismatch" and error["ctx"]["pattern"] == "^https?://":
        return f"`{where}`: {given!r} is no address of a server", "Begin it with http:// or https://."
    problem = error["msg"].removeprefix("Value error, ")
    return (f"`{where}`: {problem}" if where else problem), None


def _networks(given: str) -> str:
    """What may have been meant by it."""
    try:
        network = ip_network(given, strict=False)
    except ValueError:
        return "an address such as 10.1.2.3, or a network such as 10.1.2.0/24"
    return f"{given.partition('/')[0]} for that machine alone, {network} for the network"


def _keys_of(node: yaml.Node | None, location: Sequence[int | str]) -> tuple[str, ...]:
    """The keys of the file on the way to that location: between them pydantic names the branches of unions."""
    keys = []
    for part in location:
        if isinstance(node, yaml.MappingNode):
            value = next((value for key, value in node.value if key.value == str(part)), None)
            if value is None and part != location[-1]:
                continue
            node = value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            break
        keys.append(str(part))
    return tuple(keys)


def _nearest(location: Sequence[int | str], model: type[BaseModel]) -> str | None:
    *parents, key = location
    known = _keys_at(model, parents)
    close = difflib.get_close_matches(str(key), known, n=1)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"Known here: {', '.join(known)}." if known else None


def _keys_at(model: type[BaseModel], parents: list[Any]) -> list[str]:
    current: Any = model
    for parent in parents:
        field = getattr(current, "model_fields", {}).get(parent)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        current = annotation
    return sorted(current.model_fields)


def _line_of(node: yaml.Node | None, location: tuple[int | str, ...]) -> int | None:
    """The line on which the value at that location stands; where it is missing, its parent's."""
    line = node.start_mark.line + 1 if node is not None else None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if pair is None:
                continue  # a discriminator tag of a union, which is no key of the file
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
