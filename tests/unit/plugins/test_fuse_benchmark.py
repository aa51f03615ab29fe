"""The program that measures the ABCD rule, on drawn photographs."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "benchmarks" / "abcd.py"


@pytest.fixture(scope="module")
def main() -> Any:
    return runpy.run_path(str(PROGRAM))["main"]


def test_every_part_and_total_is_measured(main: Any, disc_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(disc_data), "--split", "train", "--limit", "6", "--json", str(tmp_path / "told.json")]) == 0
    told = json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))
    rows = {row["key"]: row for row in told["rows"]}
    assert rows.keys() == {"abcd_a", "abcd_b", "abcd_c", "abcd_d", "abc_partial_score", "total_dermoscopy_score"}
    assert all(row["pictures"] == 6 and row["melanomas"] == 3 and 0 <= row["auc"] <= 1 for row in rows.values())
    assert sum(told["shares"][f"D = {count}"][0] for count in range(1, 6)) == pytest.approx(1)
    assert "6 photographs of train, 3 of them melanomas." in capsys.readouterr().out


def test_without_data_nothing_is_measured_and_that_is_said(main: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("Nothing was measured: ")


def test_split_without_melanomas_is_said(main: Any, disc_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(disc_data), "--split", "val"]) == 0
    assert "no outlined pictures of both" in capsys.readouterr().out
