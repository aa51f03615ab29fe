"""The program that asks what the third dimension adds: its figures, its made-up reliefs, and its page."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from dermanode_classify.geometry import FEATURES
from dermanode_training.data.lesions import Collection, DataMissing
from dermanode_training.fusing.fit import Examples
from dermanode_training.measuring.listing import Listing
from numpy.typing import NDArray

from dermanode.testing.relief import Shape

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
TRUTH = np.array([0, 0, 2, 2, 0, 2])
LESIONS = [f"lesion {number}" for number in range(len(TRUTH))]


@pytest.fixture
def ablation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("fusion_ablation")


@pytest.fixture
def scenes(ablation: ModuleType) -> ModuleType:
    return importlib.import_module("fusion_ablation_scenes")


def says(right: float) -> NDArray[np.float64]:
    """Probabilities that give the truth so much, and the rest to the others."""
    told = np.full((len(TRUTH), 3), (1 - right) / 2)
    told[np.arange(len(TRUTH)), TRUTH] = right
    return told


def disc(radius: int, side: int = 96) -> NDArray[np.bool_]:
    mask = np.zeros((side, side), np.uint8)
    cv2.circle(mask, (side // 2, side // 2), radius, 1, -1)
    return mask.astype(bool)


def test_difference_is_to_the_way_compared_with_and_none_for_that_itself(ablation: ModuleType) -> None:
    ways = [ablation.Way("two", "2D", (says(0.5),)), ablation.Way("three", "3D", (says(0.8),))]
    two, three = ablation.judged(ways, "two", TRUTH, LESIONS, 2)
    assert two.log_loss_gained is None
    assert three.log_loss_gained.value == pytest.approx(np.log(0.5) - np.log(0.8))
    # Each picture loses alike, so the paired difference is the same in every draw.
    assert three.log_loss_gained.low == pytest.approx(three.log_loss_gained.high)
    assert three.auc_malignant.value == two.auc_malignant.value == 1
    assert three.auc_gained.value == 0


def test_figures_of_several_fits_are_their_mean(ablation: ModuleType) -> None:
    (once,) = ablation.judged([ablation.Way("two", "2D", (says(0.5), says(0.8)))], "two", TRUTH, LESIONS, 2)
    assert once.fits == 2
    assert once.log_loss.value == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)


def test_figure_that_does_not_exist_is_none(ablation: ModuleType) -> None:
    ways = [ablation.Way("two", "2D", (says(0.5),)), ablation.Way("three", "3D", (says(0.8),))]
    told = ablation.figures(ablation.judged(ways, "two", TRUTH, LESIONS, 1))
    assert [one["auc_malignant"] for one in told] == [None, None]
    assert [one["auc_gained"] for one in told] == [None, None]
    assert told[1]["log_loss_gained"]["value"] == pytest.approx(np.log(0.5) - np.log(0.8))


def test_relief_is_left_out_as_where_nothing_was_reconstructed(ablation: ModuleType) -> None:
    solid = np.ones((4, len(FEATURES)))
    shown = Examples(np.zeros((4, 1, 2), np.float32), np.ones((4, 1)), solid, np.ones(4), np.zeros(4, np.int64), np.ones(4))
    bare = ablation.without_relief(shown)
    assert {name for name, value in zip(FEATURES, bare.solid[0], strict=True) if np.isfinite(value)} == set(ablation.OF_OUTLINE)
    assert not bare.conf3d.any()
    assert shown.solid is solid
    assert np.isfinite(solid).all()


def test_benign_and_malignant_lesions_get_the_same_reliefs_and_as_many_of_each(scenes: ModuleType, disc_data: Path) -> None:
    collection = Collection(disc_data)
    groups = Listing("groups", ("BENIGN", "MALIGNANT"), "MALIGNANT", np.zeros((8, 2)), {"NV": 0, "BKL": 0, "MEL": 1})
    lesions = scenes.chosen(collection, "train", 40, groups)
    half = len(lesions) // 2
    assert half
    assert [one.label8 == "MEL" for one in lesions] == [False] * half + [True] * half
    assert scenes.forms(5) == scenes.forms(9)[:5]
    with pytest.raises(DataMissing, match="both kinds"):
        scenes.chosen(collection, "train", 40, replace(groups, places={"NV": 0}))


def test_relief_rises_inside_the_outline_alone(scenes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "SIZE", (96, 96))
    mask = disc(20)
    pixels = np.where(mask[..., None], (120, 70, 60), (215, 165, 150)).astype(np.uint8)
    form = scenes.Form(Shape.DOME, 1.0, 7.0, 1)
    skin, ring = scenes.skin_of(pixels, mask, form)
    flat, _ = scenes.skin_of(pixels, mask, replace(form, height_mm=0.0))
    raised = skin.height_mm - flat.height_mm
    assert raised.max() == pytest.approx(1.0, abs=0.1)
    assert abs(raised[~cv2.dilate(skin.is_lesion.astype(np.uint8), np.ones((25, 25))).astype(bool)]).max() < 0.01
    assert skin.is_lesion.sum() * skin.step_mm**2 == pytest.approx(np.pi * 3.5**2, rel=0.05)
    middle = skin.height_mm.shape[0] // 2
    # 120 of 255 is 0.188 of linear light.
    assert skin.albedo[0, middle, middle] == pytest.approx(0.188 / 1.05, abs=0.01)
    (first, *_) = scenes.photographed(skin, ring, form)
    assert first.pixels.shape == (96, 96, 3)
    assert first.mask.mean() == pytest.approx(mask.mean() / scenes.FRAMED**2, rel=0.25)


def test_page_tells_what_was_measured_and_that_reliefs_are_made_up(ablation: ModuleType) -> None:
    figure = {"value": 0.1, "low": 0.0, "high": 0.2}
    way = {"key": "sums", "about": "2D: sums", "fits": 1, "log_loss": figure, "auc_malignant": figure}
    ways = [way | {"log_loss_gained": None, "auc_gained": None}, way | {"log_loss_gained": figure, "auc_gained": figure}]
    raised = {"raised_benign": 0.01, "raised_malignant": -0.01}
    scenes: dict[str, Any] = {
        "lesions": 2,
        "malignant": 1,
        "metric": 1,
        "reasons": ["No depth."],
        "declined": 0,
        "conf3d": {"shading": [0.1, 0.1, 0.1], "views": [0.1, 0.8, 0.9]},
        "strange": {"shading": {}, "views": {"box_share": 2, "mean_height_share": 1}},
        "ways": ways,
        "eight_views_against": {"sums": {"same_group": 2, "moved_mean": 0.01, "moved_most": 0.02} | raised},
    }
    text = ablation.page({"scenes": scenes})
    assert "| 2D: sums | 0.100 (0.000 to 0.200) | 0.100 (0.000 to 0.200) | – | – |" in text
    assert "This says nothing of real lesions." in text
    assert "1 of 2 came out in millimetres. The others did not: No depth." in text
    assert "by shading none; by eight views box_share in 2, mean_height_share in 1." in text
    assert "| 2D: sums | 2 of 2 | 0.010 | 0.020 | +0.010 | -0.010 |" in text
    assert "Only the AUC tells here." in text
    assert "difference: no change of the AUC is shown: the interval holds 0." in text
    assert "Photographs" not in text


def test_page_says_better_and_worse_where_an_interval_is_clear_of_nothing(ablation: ModuleType) -> None:
    base = {"about": "2D", "log_loss": None, "auc_malignant": None, "log_loss_gained": None, "auc_gained": None}
    moved = {"value": -0.2, "low": -0.3, "high": -0.1}
    shipped = [base, base | {"about": "3D", "log_loss_gained": moved, "auc_gained": moved}]
    text = ablation.page({"photographs": {"photographs": 9, "malignant": 3, "conf3d": [0.1, 0.1, 0.1], "shipped": shipped}})
    assert "The last line against the one that has no difference: the log loss is better; the AUC is worse." in text
    assert "Eight views" not in text


def test_without_data_nothing_is_measured_and_that_is_said(
    ablation: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main: Callable[[list[str]], int] = ablation.main
    assert main(["--data", str(tmp_path), "--work", str(tmp_path / "work")]) == 0
    assert capsys.readouterr().out.startswith("Nothing was measured: ")
