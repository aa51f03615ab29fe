"""Cases of different input, each with every kind of object, held up to independent judges. `benchmarks/judged.py` does the same for 200."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

JUDGED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "judged.py"))
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]  # a shared machine may stretch half a minute
NUMBERS = (*range(21), 24, 27, 30)
"""Each way to hold pixels once, each character set twice; among them one case of sixteen views and two of eight."""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Any:
    # PixelMed and GDCM judge in test_oracles.py.
    return JUDGED["judged"](tmp_path_factory.mktemp("judged"), NUMBERS, is_all=False)


def test_no_judge_finds_an_error(result: Any) -> None:
    _, verdicts = result
    assert verdicts.found == []
    assert sum(verdicts.judged.values()) > 500


def test_every_kind_of_object_was_judged(result: Any) -> None:
    _, verdicts = result
    judges = {judge.partition(": ")[2] for judge in verdicts.judged if judge.startswith("gate: ")}
    assert judges == set(JUDGED["KINDS"])


def test_the_inputs_are_different(result: Any) -> None:
    made, _ = result
    seen: dict[str, set[str]] = {}
    for one in made:
        for trait, which in one.odd.traits:
            seen.setdefault(trait, set()).add(which)
    assert len(seen["pixels"]) == 21
    assert {"none, UTF-8 bytes", "Japanese", "Cyrillic", "Arabic", "Latin-1", "UTF-8", "GB18030"} <= seen["names"]
    assert {"1", "8", "16"} <= seen["views"]
    assert {"none", "spacing of 0", "pixel spacing"} <= seen["spacing"]
    assert seen["class"] == {"dermoscopic", "VL photographic"}


@pytest.mark.parametrize("judge", ["dciodvfy", "dsrdump", "dcmtk", "Orthanc"])
def test_a_judge_is_there(judge: str, result: Any) -> None:
    _, verdicts = result
    if judge in verdicts.missing:
        pytest.skip(f"{judge}: {verdicts.missing[judge]}")
    assert any(name.split(":")[0] == judge for name in verdicts.judged)
