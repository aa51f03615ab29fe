"""What `config check` and `cases` tell an administrator."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermanode.cli import main
from dermanode.ledger.ledger import Ledger
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.recorded import record_lived

PIPELINE = """
name: one
match: {modalities: [DMS]}
stages: {segment: [dermanode-segment]}
deliver: [archive]
"""
SETTINGS = """
node: {data_dir: data}
destinations: {archive: {type: folder, path: archive}, spare: {type: folder, path: spare}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config" / "pipelines").mkdir(parents=True)
    (tmp_path / "config" / "pipelines" / "one.yaml").write_text(PIPELINE)
    (tmp_path / "config" / "dermanode.yaml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DERMANODE_CONFIG", raising=False)
    return tmp_path


def test_destination_that_no_pipeline_names_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check"]) == 0
    assert "Nothing goes to the destination spare: no pipeline names it under `deliver`." in capsys.readouterr().out


def test_template_that_cannot_be_one_is_found_before_the_node_starts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / "config" / "dermanode.yaml").open("a") as file:
        file.write("folders: {room: {path: room, name_template: '{patient}/{view}.jpg'}}\n")
    assert main(["config", "check"]) == 1
    assert "`folders.room.name_template` has {patient}." in capsys.readouterr().err


def test_cases_are_listed_by_their_whole_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data").mkdir()
    with Ledger.open(ledger_at(folder / "data" / "ledger.db")) as ledger:
        cases = record_lived(ledger, folder / "results")
    assert main(["cases"]) == 0
    listed = capsys.readouterr().out
    assert all(case.id in listed for case in cases)
