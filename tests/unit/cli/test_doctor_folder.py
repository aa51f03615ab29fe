"""The doctor tells of a watched folder that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermanode.cli.doctor import Health, folder_sign
from dermanode.config import WatchedFolder


def test_a_folder_that_can_be_used_is_good(tmp_path: Path) -> None:
    sign = folder_sign("camera", WatchedFolder(path=tmp_path))
    assert (sign.health, sign.words) == (Health.GOOD, f"{tmp_path} can be read and written")


def test_a_folder_that_is_not_there_is_told_with_its_setting(tmp_path: Path) -> None:
    sign = folder_sign("camera", WatchedFolder(path=tmp_path / "away"))
    assert sign.health is Health.NOTE
    assert "`folders.camera.path`" in sign.words


def test_a_folder_whose_photographs_cannot_be_put_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, who may write everywhere.
    monkeypatch.setattr("os.access", lambda _path, mode: mode != 2)
    assert folder_sign("camera", WatchedFolder(path=tmp_path)).health is Health.MISSING
    assert folder_sign("camera", WatchedFolder(path=tmp_path, after="keep")).health is Health.GOOD
