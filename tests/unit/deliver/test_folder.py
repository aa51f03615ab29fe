from __future__ import annotations

import os
from pathlib import Path

import pytest

from dermanode.config import FolderDestination
from dermanode.deliver.destination import Package
from dermanode.deliver.folder import Folder
from dermanode.errors import DestinationUnavailable


@pytest.fixture
def package(tmp_path: Path) -> Package:
    file = tmp_path / "results" / "sr.dcm"
    file.parent.mkdir()
    file.write_bytes(b"SR" * 1000)
    return Package("case-1", (file,))


def folder(path: Path) -> Folder:
    return Folder("share", FolderDestination(type="folder", path=path))


def test_case_gets_a_folder_with_whole_files(package: Package, tmp_path: Path) -> None:
    receipt = folder(tmp_path / "share").deliver(package)
    assert [(p.name, p.read_bytes()) for p in (tmp_path / "share" / "case-1").iterdir()] == [("sr.dcm", b"SR" * 1000)]
    assert receipt == f"1 files in {tmp_path / 'share' / 'case-1'}"


def test_second_delivery_leaves_one_file(package: Package, tmp_path: Path) -> None:
    share = folder(tmp_path / "share")
    share.deliver(package)
    share.deliver(package)
    assert [p.name for p in (tmp_path / "share" / "case-1").iterdir()] == ["sr.dcm"]


def test_reader_never_meets_half_a_file(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def power_cut(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", power_cut)
    with pytest.raises(DestinationUnavailable, match="Input/output error"):
        folder(tmp_path / "share").deliver(package)
    assert not list((tmp_path / "share" / "case-1").glob("*.dcm"))


def test_folder_that_is_a_file_is_tried_again_later(package: Package, tmp_path: Path) -> None:
    (tmp_path / "share").write_text("in the way")
    with pytest.raises(DestinationUnavailable, match="cannot be written"):
        folder(tmp_path / "share").deliver(package)
