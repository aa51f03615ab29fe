"""The main job, as the README has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dermanode", "--config", str(ROOT / "config" / "dermanode.yaml"), "demo", "--no-stay", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "150"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_the_demo_ends_well_only_when_every_object_came_out_and_passed(tmp_path: Path) -> None:
    said = demo(tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stdout.count(" SEG ") == 2 * 8  # two visits
    assert said.stdout.count("SURFACE_SEG") == 2
    assert said.stdout.count(" STL ") == 2
    assert said.stdout.count(" SC ") == 2 * 3  # of eight views the three in which the class is most probable
    assert "Alert" in said.stdout
    assert "Risk" in said.stdout
    assert "Traceback" not in said.stderr


def test_the_demo_takes_photographs(tmp_path: Path) -> None:
    from PIL import Image

    from dermanode.testing.scenes import Scene, render

    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number, view in enumerate(render(Scene(seed=5), size=(640, 480))[:2]):
        Image.fromarray(view.pixels).save(photographs / f"{number}.png" if number else photographs / "0.jpg")
    said = demo(tmp_path, "--series", str(photographs))
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stdout.count(" SEG ") == 2


def test_a_folder_without_anything_to_send_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = demo(tmp_path, "--series", str(tmp_path / "empty"))
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
