"""The kit passes plugins that keep the contract, and says of others what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dermanode.testing.conformance import Check, check
from dermanode.testing.plugin_package import write_plugin


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
    return folder


def failed(name: str) -> dict[str, str]:
    return {one.name: one.words for one in check(name) if not one.passed}


def test_plugin_that_is_not_installed_is_told_how_to_be() -> None:
    assert check("kit-nowhere") == [
        Check("installed", False, "no entry point of the group dermanode.plugins is called 'kit-nowhere'. Install it: pip install -e .")
    ]


def test_broken_manifest_is_the_only_check(site: Path) -> None:
    write_plugin(site, "kit-broken", "", manifest="name = 1")
    assert list(failed("kit-broken")) == ["manifest"]


def test_hooks_that_do_not_fit_are_named(site: Path) -> None:
    write_plugin(site, "kit-misfit", "@hookimpl\ndef risk(case, pixels): ...\n", stages={"risk": {}})
    assert "pixels" in failed("kit-misfit")["hooks"]


def test_manifest_and_hooks_must_speak_of_the_same_stages(site: Path) -> None:
    write_plugin(site, "kit-vague", "@hookimpl\ndef risk(case, context): ...\n", stages={"fuse": {}})
    words = failed("kit-vague")["stages"]
    assert "the manifest has [stages.fuse], but no hook `fuse` is implemented" in words
    assert "the hook `risk` is never called: add [stages.risk] to the manifest" in words


def test_bad_manners_are_found_one_by_one(site: Path, tmp_path: Path) -> None:
    """It depends on chance, writes where it likes, takes memory and falls over a case without views."""
    source = f"""
    import random

    @hookimpl
    def risk(case, context):
        case.series.views[0].pixels()
        open({str(tmp_path / "notes.txt")!r}, "w").close()
        hoard = bytearray(b"x" * (80 << 20))
        return Risk(algorithm=ALGORITHM, score=random.random(), level="low", terms=())
    """
    write_plugin(site, "kit-rude", source, stages={"risk": {"memory_mib": 40}})
    words = failed("kit-rude")
    assert list(words) == [
        "risk: in memory",
        "risk: keeps to its folder",
        "risk: repeats",
        "risk: bears a case without views",
    ], "that an image cannot be read may be said by raising"
    assert "notes.txt. Use context.workdir." in words["risk: keeps to its folder"]
    assert words["risk: repeats"] == "Risk.score differs between two runs. Fix its seeds."
    assert "raised IndexError" in words["risk: bears a case without views"]


def test_plugin_that_ends_its_process_is_a_failed_check(site: Path) -> None:
    write_plugin(site, "kit-abort", "@hookimpl\ndef risk(case, context):\n    import os\n    os.abort()\n", stages={"risk": {}})
    assert "killed by SIGABRT" in failed("kit-abort")["risk: golden case"]


def test_plugin_that_hangs_is_stopped(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "@hookimpl\ndef risk(case, context):\n    import time\n    time.sleep(600)\n"
    write_plugin(site, "kit-slow", body, stages={"risk": {"timeout_s": 0.2}})
    assert "it took longer than its manifest allows" in failed("kit-slow")["risk: golden case"]
