"""The hooks that are known in a process: the contract's, and the stages that vendors add to it."""

from __future__ import annotations

import inspect
import types
from typing import Any

import pluggy

from dermanode import hookspecs


class Specifications(pluggy.PluginManager):
    """A plugin manager in which several plugins may bring the same stage.

    Two vendors that serve one stage each bring its hookspec, since neither knows whether the other is installed. The first one counts;
    the same again changes nothing, and another one under that name is refused.
    """

    def __init__(self) -> None:
        super().__init__(hookspecs.PROJECT)
        self.add_hookspecs(hookspecs)

    def add_hookspecs(self, module_or_class: Any) -> None:
        """Raises ValueError for a hook that is known with other arguments, or with another way of collecting answers."""
        brought = pluggy.PluginManager(self.project_name)
        brought.add_hookspecs(module_or_class)
        new: dict[str, object] = {}
        for name, caller in vars(brought.hook).items():
            known: pluggy.HookCaller | None = getattr(self.hook, name, None)
            if not isinstance(caller, pluggy.HookCaller):
                continue
            if known is None or not known.has_spec():
                new[name] = inspect.getattr_static(module_or_class, name)
            elif _signature(known) != _signature(caller):
                raise ValueError(
                    f"the hook `{name}` is known as {_signature(known)}, not as {_signature(caller)}. Give the stage another name."
                )
        if new:
            # pluggy leaves out `self` for classes only. It reads attributes of any object, which its annotation does not say.
            is_class = inspect.isclass(module_or_class)
            super().add_hookspecs(type("Brought", (), new) if is_class else types.SimpleNamespace(**new))  # type: ignore[arg-type]


def _signature(caller: pluggy.HookCaller) -> str:
    """`hook(case, context), first result`."""
    assert caller.spec is not None
    how = ", first result" if caller.spec.opts.get("firstresult") else ""
    return f"{caller.name}({', '.join(caller.spec.argnames)}){how}"
