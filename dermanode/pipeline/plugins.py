"""Which plugins are installed: discovered one by one through entry points, known by their manifests, imported by nobody here."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path

from dermanode.errors import PluginBroken
from dermanode.pipeline.manifest import FILE_NAME, Manifest, read_manifest

GROUP = "dermanode.plugins"
"""The entry point group in which a plugin's distribution names its module."""


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin that is installed, with its manifest or with the reason why it cannot serve."""

    name: str
    distribution: str
    """The distribution that brought it, as `name version`."""
    entry_point: EntryPoint | None
    """None where the distribution's own metadata cannot be read."""
    manifest: Manifest | None = None
    error: str = ""
    """One sentence, empty when the manifest is good."""


def discover(installed: Iterable[Distribution] | None = None) -> list[Found]:
    """Every plugin among the installed distributions (by default, all on `sys.path`), in the order of their names.

    Imports none of them, and never raises for one: what is broken is listed with its error.
    """
    found = [plugin for distribution in _first_of_each(installed) for plugin in _plugins_of(distribution)]
    return sorted(_without_clashes(found), key=lambda plugin: (plugin.name, plugin.distribution))


def manifests(found: Iterable[Found]) -> Mapping[str, Manifest]:
    """The manifests of the plugins that can serve, by name."""
    return {plugin.name: plugin.manifest for plugin in found if plugin.manifest is not None}


def errors(found: Iterable[Found]) -> Mapping[str, str]:
    """Why the others cannot, by name."""
    return {plugin.name: plugin.error for plugin in found if plugin.manifest is None}


def _first_of_each(installed: Iterable[Distribution] | None) -> Iterator[Distribution]:
    """Each distribution once: as for an import, the first on the path hides the others."""
    seen: set[str] = set()
    for distribution in distributions() if installed is None else installed:
        name = _name(distribution)
        if name not in seen:
            seen.add(name)
            yield distribution


def _name(distribution: Distribution) -> str:
    # A package that was half removed has no metadata file, and then no name either.
    metadata = distribution.metadata
    name = metadata["Name"] if metadata is not None and "Name" in metadata else None
    return (name or f"unnamed distribution in {distribution.locate_file('')}").lower().replace("_", "-")


def _plugins_of(distribution: Distribution) -> Iterator[Found]:
    name = _name(distribution)
    try:
        entry_points = [point for point in distribution.entry_points if point.group == GROUP]
        label = f"{name} {distribution.version}"
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        # entry_points.txt that is no text or has no sections. Of most such packages nobody knows whether they hold a plugin.
        if GROUP in _raw_entry_points(distribution):
            yield Found(name, name, None, error=f"The metadata of {name} cannot be read ({error}). Install it again.")
        return
    for point in entry_points:
        try:
            yield Found(point.name, label, point, read_manifest(_folder(point) / FILE_NAME, point.name))
        except PluginBroken as error:
            yield Found(point.name, label, point, error=error.reason)


def _raw_entry_points(distribution: Distribution) -> str:
    try:
        return distribution.read_text("entry_points.txt") or ""
    except (OSError, ValueError):
        return ""


def _folder(point: EntryPoint) -> Path:
    """The folder of the package that holds the manifest: the entry point's own, or the nearest above it that has one."""
    if point.pattern.match(point.value) is None:
        raise PluginBroken(point.name, f"The entry point names {point.value!r}, which is no `package` or `package.module:object`.")
    top, *rest = point.module.split(".")
    try:
        # For a name without dots nothing is imported: only the finders are asked.
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError) as error:
        raise PluginBroken(point.name, f"The package {top!r} cannot be found ({error}). Install it again.") from error
    if spec is None:
        raise PluginBroken(point.name, f"The package {top!r} is not installed, though its metadata is. Install it again.")
    if not spec.submodule_search_locations:
        raise PluginBroken(point.name, f"{top!r} is a single module. A plugin is a package, which holds its {FILE_NAME}.")
    roots = [Path(location) for location in spec.submodule_search_locations]
    for depth in range(len(rest), -1, -1):
        for root in roots:
            folder = root.joinpath(*rest[:depth])
            if (folder / FILE_NAME).is_file():
                return folder
    return roots[0]


def _without_clashes(found: list[Found]) -> Iterator[Found]:
    """Two distributions with a plugin of one name: neither serves, or the order of installation would choose."""
    by_name: dict[str, list[Found]] = defaultdict(list)
    for plugin in found:
        by_name[plugin.name].append(plugin)
    for name, group in by_name.items():
        if len(group) == 1:
            yield group[0]
            continue
        owners = " and ".join(sorted(plugin.distribution for plugin in group))
        for plugin in group:
            yield replace(plugin, manifest=None, error=f"{owners} both bring a plugin called {name!r}. Uninstall one of them.")
