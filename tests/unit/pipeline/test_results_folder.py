"""Results appear at once and whole, in place of an earlier run's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dermanode.domain import UID
from dermanode.pipeline import leftovers
from dermanode.pipeline.results_folder import results_folder


def test_nothing_is_seen_before_it_is_published(tmp_path: Path) -> None:
    with results_folder(tmp_path, "case-1") as folder:
        made = folder.write("sr.dcm", b"report", kind="SR")
        assert not (tmp_path / "case-1").exists()
        folder.publish()
    assert (tmp_path / made.path).read_bytes() == b"report"
    assert made.path == "case-1/sr.dcm"
    assert made.size_bytes == 6


def test_run_that_is_never_published_leaves_the_earlier_results(tmp_path: Path) -> None:
    with results_folder(tmp_path, "case-1") as folder:
        folder.write("sr.dcm", b"first", kind="SR")
        folder.publish()
    with results_folder(tmp_path, "case-1") as folder:
        folder.write("sr.dcm", b"second, never published", kind="SR")
    assert (tmp_path / "case-1" / "sr.dcm").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["case-1"]


def test_what_a_killed_worker_left_does_not_get_into_the_results(tmp_path: Path) -> None:
    half = tmp_path / ".case-1.making"
    half.mkdir()
    (half / "half.dcm").write_bytes(b"half")
    with results_folder(tmp_path, "case-1") as folder:
        folder.publish()
    assert list((tmp_path / "case-1").iterdir()) == []


def test_leftovers_of_a_killed_node_are_cleared_at_the_start(tmp_path: Path) -> None:
    for name in (".case-1.making", ".case-2.retired", ".case-3.retired", "case-3", "work/case-1-x"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "old").touch()
    leftovers.clear(tmp_path, tmp_path / "work")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case-2", "case-3"], "what was just being replaced is back"


def test_refused_file_is_set_aside_with_its_reasons(tmp_path: Path) -> None:
    with results_folder(tmp_path, "case-1") as folder:
        made = folder.refuse(folder.write("sr.dcm", b"bad", kind="SR"), ("It is bad.",))
        folder.publish()
    assert (made.path, made.passed_gate, made.reasons) == ("case-1/refused/sr.dcm", False, ("It is bad.",))
    assert (tmp_path / made.path).is_file()


@pytest.mark.parametrize(("rows", "columns", "size"), [(3000, 1500, (512, 1024)), (40, 60, (60, 40))])
def test_preview_is_a_jpeg_of_at_most_1024_pixels(tmp_path: Path, rows: int, columns: int, size: tuple[int, int]) -> None:
    with results_folder(tmp_path, "case-1") as folder:
        folder.add_preview(UID("1.2.3"), np.full((rows, columns, 3), (200, 150, 120), np.uint8))
        folder.publish()
    with Image.open(tmp_path / "case-1" / "views" / "1.2.3.jpg") as image:
        assert image.size == size
        assert np.abs(np.asarray(image).mean(axis=(0, 1)) - (200, 150, 120)).max() < 3
