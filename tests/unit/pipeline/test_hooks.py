"""Plugins are held against the hookspecs one by one; what does not fit is left out with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dermanode.hookspecs import hookimpl, hookspec
from dermanode.pipeline.hooks import Hooks
from dermanode.pipeline.plugins import discover
from dermanode.testing.plugin_package import installed_in, write_plugin


class Good:
    @hookimpl
    def risk(self, case: Any, context: Any) -> None:
        return None


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def registered(**plugins: object) -> Hooks:
    hooks = Hooks()
    for name, plugin in plugins.items():
        hooks.add(name, plugin)
    hooks.register()
    return hooks


def loaded(site: Path) -> Hooks:
    hooks = Hooks()
    for found in discover(installed_in(site)):
        assert found.entry_point is not None
        hooks.load(found.name, found.entry_point)
    hooks.register()
    return hooks


def test_misspelt_hook_is_refused_with_the_right_name() -> None:
    class Misspelt:
        @hookimpl
        def segmnet(self, case: Any, context: Any) -> None: ...

    hooks = registered(bad=Misspelt(), good=Good())
    assert hooks.failures == {"bad": "implements the hook `segmnet`, which does not exist. Did you mean `segment`?"}
    assert hooks.names == ("good",)


def test_wrong_argument_is_refused() -> None:
    class Wrong:
        @hookimpl
        def risk(self, case: Any, pixels: Any) -> None: ...

    hooks = registered(bad=Wrong(), good=Good())
    assert "pixels" in hooks.failures["bad"]
    assert list(hooks.implementers("risk")) == ["good"]


def test_add_hookspecs_that_raises_costs_its_plugin_only() -> None:
    class Raises:
        @hookimpl
        def add_hookspecs(self, pluginmanager: Any) -> None:
            raise RuntimeError("no")

    assert registered(bad=Raises(), good=Good()).failures == {"bad": "could not add its stages: it raised RuntimeError: no"}


def test_import_that_raises_or_exits_costs_its_plugin_only(site: Path) -> None:
    write_plugin(site, "hooks-raises", "raise ImportError('no module named torch')")
    write_plugin(site, "hooks-exits", "raise SystemExit('bye')")
    write_plugin(site, "hooks-good", "@hookimpl\ndef risk(case, context): ...\n")
    hooks = loaded(site)
    assert hooks.failures["hooks-raises"] == "could not be imported: it raised ImportError: no module named torch"
    assert hooks.failures["hooks-exits"] == "could not be imported: it raised SystemExit: bye"
    assert hooks.names == ("hooks-good",)


def test_only_the_named_plugin_is_called() -> None:
    class Says:
        def __init__(self, word: str) -> None:
            self.word = word

        @hookimpl
        def risk(self, case: Any, context: Any) -> str:
            return self.word

    hooks = registered(one=Says("one"), two=Says("two"))
    assert hooks.call("one", "risk", case=None, context=None) == "one"
    assert hooks.call("two", "risk", case=None, context=None) == "two"


class Saliency:
    @hookspec(firstresult=True)
    def saliency(self, case: Any, context: Any) -> Any: ...


class OtherSaliency:
    @hookspec(firstresult=True)
    def saliency(self, case: Any, pixels: Any) -> Any: ...


def vendor(specification: type, word: str) -> object:
    """A plugin that brings that hookspec and implements it."""

    class Vendor:
        @hookimpl
        def add_hookspecs(self, pluginmanager: Any) -> None:
            pluginmanager.add_hookspecs(specification)

        @hookimpl
        def saliency(self, case: Any) -> str:
            return word

    return Vendor()


def test_two_vendors_may_bring_and_serve_the_same_stage() -> None:
    hooks = registered(one=vendor(Saliency, "one"), two=vendor(Saliency, "two"))
    assert hooks.failures == {}
    assert [hooks.call(name, "saliency", case=None, context=None) for name in ("one", "two")] == ["one", "two"]


def test_a_stage_of_the_same_name_with_other_arguments_costs_the_second_vendor_only() -> None:
    hooks = registered(one=vendor(Saliency, "one"), two=vendor(OtherSaliency, "two"))
    assert hooks.names == ("one",)
    assert "the hook `saliency` is known as saliency(case, context), first result, not as saliency(case, pixels)" in hooks.failures["two"]
    assert hooks.call("one", "saliency", case=None, context=None) == "one"
