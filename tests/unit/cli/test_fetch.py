"""The command `dermanode fetch`: what it says and which exit code scripts get."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dermanode.cli import fetch, main
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import FetchState
from dermanode.testing.false_pacs import FalseWeb
from dermanode.testing.fetching import fetching_node
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.worked_cases import photograph

OWN = [photograph(number, 24, 32, study="command") for number in range(1, 3)]
Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command with a source `pacs` at that address."""

    def run(*arguments: str, url: str = "http://127.0.0.1:1/web") -> int:
        settings = {"node": {"data_dir": str(tmp_path / "var")}, "pipelines": [], "sources": {"pacs": {"type": "dicomweb", "url": url}}}
        (tmp_path / "dermanode.yaml").write_text(json.dumps(settings))
        return main(["--config", str(tmp_path / "dermanode.yaml"), "fetch", *arguments])

    return run


def test_what_came_is_said_when_it_is_here(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FalseWeb(OWN) as pacs, fetching_node(tmp_path / "var", {"pacs": pacs.source()}) as node:
        assert run("pacs", "--accession", "A-17", "--patient", "P-4711", "--issuer", "CLINIC", "--date", "2026-11-20") == 0
        assert len(node.uids()) == 2
    assert capsys.readouterr().out == "2 objects came; whole: 1 of 1 series.\n"


def test_each_attempt_is_said_and_a_failure_is_an_exit_code(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FalseWeb(OWN) as pacs, fetching_node(tmp_path / "var", {"pacs": pacs.source()}):
        pacs.manners.status = 503
        assert run("pacs", "--accession", "A-17") == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) > 1
    assert said[0].startswith("pacs could not be asked: it answers HTTP 503. Next attempt at ")
    assert said[-1].endswith("Given up after 3 attempts.")


def test_a_node_that_does_not_run_is_said_and_the_request_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch, "NOBODY_AFTER_S", 0.4)
    assert run("pacs", "--study", "1.2.3") == 1
    assert "does `dermanode serve` run with these settings?" in capsys.readouterr().err
    assert run("pacs", "--study", "1.2.3") == 1
    assert "after 1 that were asked of pacs earlier" in capsys.readouterr().err
    with Ledger.open(ledger_at(tmp_path / "var" / "ledger.db")) as ledger:
        assert [one.state for one in ledger.fetches.recent(5)] == [FetchState.PENDING] * 2


def test_nobody_waits_with_no_wait(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pacs", "--series", "1.2.3", "--no-wait") == 0
    assert capsys.readouterr().out.startswith("Fetch 1 from pacs is asked for")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere", "--patient", "P-1"), "no source 'nowhere' (known: pacs)"),
        (("pacs", "--patient", "P*"), "Write it in full"),
        (("pacs",), "Nothing was named"),
        (("pacs", "--date", "lately"), "is no day"),
    ],
)
def test_what_could_not_be_meant_is_wrong_usage(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert run(*arguments) == 2
    assert words in capsys.readouterr().err
