"""The plugins of one process, imported and registered: each hook of each can be called on its own, behind a wall."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

import pluggy

from dermanode.errors import PluginBroken, PluginRaised
from dermanode.pipeline.specifications import Specifications

T = TypeVar("T")


def guarded(plugin: str, stage: str, call: Callable[[], T]) -> T:
    """What a plugin's code returns. Raises `PluginRaised` for whatever it raises, `SystemExit` included."""
    try:
        return call()
    except (Exception, SystemExit) as error:  # the wall around hook calls
        raise PluginRaised(plugin, stage, error) from error


class Hooks:
    """The hooks of the plugins that were loaded, called by the plugin's name.

    Loading is two steps, so that a vendor's own hookspecs are known before anybody's implementations are held against
    them: `load` each plugin, then `register` all. `failures` says, for each plugin that did not make it, why.
    """

    def __init__(self) -> None:
        self._manager = Specifications()
        self._loaded: dict[str, object] = {}
        self._failures: dict[str, str] = {}

    @property
    def failures(self) -> Mapping[str, str]:
        return self._failures

    @property
    def names(self) -> tuple[str, ...]:
        """The plugins that are registered, in the order of loading."""
        return tuple(name for name in self._loaded if name not in self._failures)

    def fail(self, plugin: str, reason: str) -> None:
        """Takes a plugin out of service in this process, for that reason."""
        self._failures[plugin] = reason

    def load(self, name: str, entry_point: EntryPoint) -> None:
        """Imports a plugin and takes up its own hookspecs. Whatever it raises becomes one of `failures`."""
        try:
            self.add(name, guarded(name, "import", entry_point.load))
        except PluginRaised as error:
            self.fail(name, f"could not be imported: it {error.reason}")

    def add(self, name: str, plugin: object) -> None:
        """Takes a plugin that is a live module or object: what `load` does after the import."""
        self._loaded[name] = plugin
        if self._manager.parse_hookimpl_opts(plugin, "add_hookspecs") is not None:
            try:
                # A plugin is any object; pluggy has just found this function on it.
                guarded(name, "add_hookspecs", lambda: plugin.add_hookspecs(pluginmanager=self._manager))  # type: ignore[attr-defined]
            except PluginRaised as error:
                self.fail(name, f"could not add its stages: it {error.reason}")

    def register(self) -> None:
        """Holds the implementations of every loaded plugin against the hookspecs; one that does not fit is left out."""
        for name, plugin in self._loaded.items():
            if name in self._failures:
                continue
            try:
                self._register(name, plugin)
            except PluginBroken as error:
                self._manager.unregister(name=name)
                self.fail(name, error.reason)

    def _register(self, name: str, plugin: object) -> None:
        known = {hook for hook in vars(self._manager.hook) if not hook.startswith("_")}
        try:
            self._manager.register(plugin, name)
        except (pluggy.PluginValidationError, ValueError, TypeError) as error:
            raise PluginBroken(name, " ".join(str(error).split())) from error
        for caller in self._manager.get_hookcallers(plugin) or ():
            if not caller.has_spec():
                close = difflib.get_close_matches(caller.name, known, n=1)
                cure = f"Did you mean `{close[0]}`?" if close else "Add its hookspec in `add_hookspecs`."
                raise PluginBroken(name, f"implements the hook `{caller.name}`, which does not exist. {cure}")

    def implements(self, plugin: str, hook: str) -> bool:
        caller = getattr(self._manager.hook, hook, None)
        return caller is not None and any(impl.plugin_name == plugin for impl in caller.get_hookimpls())

    def implementers(self, hook: str) -> Iterator[str]:
        """The plugins in service that implement a hook, in the order of loading."""
        return (name for name in self.names if self.implements(name, hook))

    def call(self, plugin: str, hook: str, **arguments: Any) -> Any:
        """What that one plugin returns from that hook. Raises `PluginRaised`."""
        others = [other for name, other in self._loaded.items() if name != plugin]
        caller = self._manager.subset_hook_caller(hook, remove_plugins=others)
        result = guarded(plugin, hook, lambda: caller(**arguments))
        # A spec without `firstresult` makes pluggy collect: of one plugin that is a list of at most one.
        return next(iter(result), None) if isinstance(result, list) and not _is_firstresult(caller) else result


def _is_firstresult(caller: pluggy.HookCaller) -> bool:
    return caller.spec is not None and bool(caller.spec.opts.get("firstresult"))
