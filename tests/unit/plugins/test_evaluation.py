"""The measurement of models: a small folder laid out as the real one, through the plugins, to the tables and pictures."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from dermanode_classify.classes import read_classes
from dermanode_classify.fusion import AdaptiveFusion
from dermanode_classify.network import LesionClassifier
from dermanode_classify.trunks import residual
from dermanode_training.data.lesions import Collection, DataMissing, Lesion
from dermanode_training.evaluate import main
from dermanode_training.measuring.choice import NothingToChooseFrom, choice
from dermanode_training.measuring.examination import Examination
from dermanode_training.measuring.figures import Telling, diagnosis_figures, outline_figures
from dermanode_training.measuring.listing import Listing, listings
from dermanode_training.measuring.measure import Measured, measure
from dermanode_training.measuring.report import as_json, report
from dermanode_training.measuring.strange import verdicts
from dermanode_training.measuring.strange_pictures import strange_pictures
from dermanode_training.measuring.subgroups import age_band, parted, sex, site, size
from dermanode_training.measuring.tables import markdown
from dermanode_training.scoring.calibration import Calibration
from numpy.typing import NDArray
from safetensors.torch import save_file

CHECKOUT = Path(__file__).resolve().parents[3]
SHARED = CHECKOUT.parent / "shared" / "data"
COLUMNS = ("id", "set", "split", "image", "mask", "label7", "label8", "lesion", "group", "age", "sex", "site")
EIGHT = ("AK", "SCC", "BCC", "BKL", "DF", "MEL", "NV", "VASC")


# --- a folder of photographs, and bundles that are quick


def _disc(radius: int, side: tuple[int, int] = (120, 160)) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A photograph of a dark disc on skin as OpenCV writes it (blue first), and its mask."""
    mask = np.zeros(side, np.uint8)
    cv2.circle(mask, (side[1] // 2, side[0] // 2), radius, 255, -1)
    return np.where(mask[..., None] > 0, (60, 70, 120), (150, 165, 215)).astype(np.uint8), mask


def _row(**told: str) -> list[str]:
    return [told.get(name, "") for name in COLUMNS]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three sets: `Discs` is a folder with masks; `Zipped` a zip with a folder inside, no masks; `Scans` is TIFF, one file broken."""
    root = tmp_path / "data"
    (root / "discs" / "images").mkdir(parents=True)
    (root / "discs" / "masks").mkdir()
    (root / "SCANS").mkdir()
    rows = []
    for k in range(4):
        photograph, mask = _disc(20 + 8 * k)
        cv2.imwrite(str(root / "discs" / "images" / f"{k}.jpg"), photograph)
        cv2.imwrite(str(root / "discs" / "masks" / f"{k}.png"), mask)
        label = EIGHT[5 + k % 2]
        told = {"id": str(k), "set": "Discs", "split": "val", "image": f"images/{k}.jpg", "mask": f"masks/{k}.png" if k else ""}
        rows.append(_row(**told, label7=label, label8=label, lesion=f"L{k // 2}", age=str(20 * k), sex="male", site="back"))
    with zipfile.ZipFile(root / "zipped.ZIP", "w") as archive:
        for k in range(2):
            archive.writestr(f"zipped/images/{k}.PNG", cv2.imencode(".png", _disc(30)[0])[1].tobytes())
            rows.append(_row(id=f"z{k}", set="Zipped", split="val", image=f"images/{k}.png", label7="AKIEC" if k else ""))
    cv2.imwrite(str(root / "SCANS" / "whole.tiff"), _disc(60, (300, 220))[0])
    (root / "SCANS" / "broken.jpg").write_bytes(b"\xff\xd8 this is no photograph")
    (root / "SCANS" / "empty.bmp").write_bytes(b"")
    for name in ("whole.tiff", "broken.jpg", "empty.bmp"):
        rows.append(_row(id=name, set="Scans", split="val", image=name, label7="NV", label8="NV"))
    _write(root, COLUMNS, rows)
    return root


def _write(root: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with (root / "lesions.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])


@pytest.fixture(scope="module")
def _bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundles with other networks: dark is lesion, and a small classifier as it was initialised."""
    models = tmp_path_factory.mktemp("models")
    torch.manual_seed(3)
    dark = {"weight": torch.full((1, 3, 1, 1), -1.0), "bias": torch.full((1,), -1.5)}
    definition: dict[str, Any] = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 1}
    _bundle(models, "lesion_segmentation", definition, dark)
    trunk = {"channels": [8, 8], "strides": [2, 2], "features": 1280, "units": 1}
    network = LesionClassifier(residual(**trunk), 8, seen=["level0"]).eval()
    looks = torch.cat([network.features_and_look(torch.randn(1, 3, 64, 64))[1] for _ in range(40)]).detach()
    beside = {"familiarity.mean": looks.mean(0), "familiarity.precision": torch.eye(looks.shape[1])}
    definition = {
        "_target_": "dermanode_classify.network.LesionClassifier",
        "trunk": {"_target_": "dermanode_classify.trunks.residual", **trunk},
        "classes": 8,
        "seen": ["level0"],
    }
    _bundle(models, "lesion_classifier", definition, {name: one.clone() for name, one in network.state_dict().items()} | beside)
    digest = json.loads((models / "lesion_classifier" / "configs" / "metadata.json").read_text(encoding="utf-8"))["weights"]["sha256"]
    if (CHECKOUT / "models" / "lesion_fusion" / "configs" / "inference.json").is_file():
        definition = json.loads((CHECKOUT / "models" / "lesion_fusion" / "configs" / "inference.json").read_text(encoding="utf-8"))[
            "network_def"
        ]
        _bundle(models, "lesion_fusion", definition, AdaptiveFusion().state_dict(), {"classifier": {"sha256": digest}})
    return models


def _bundle(
    models: Path, name: str, network: dict[str, Any], tensors: dict[str, torch.Tensor], story: dict[str, Any] | None = None
) -> None:
    shutil.copytree(CHECKOUT / "models" / name / "configs", models / name / "configs")
    (models / name / "models").mkdir()
    path = models / name / "models" / "model.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    configs = models / name / "configs"
    told = json.loads((configs / "inference.json").read_text(encoding="utf-8")) | {"network_def": network, "side_px": 64}
    told |= {"temperature": 1.0, "strangeness_limit": 1e6, "is_mirrored": False, "test_time_views": 1}
    for key in ("logit_bias", "decline_limit", "calibrated_on"):
        told.pop(key, None)
    (configs / "inference.json").write_text(json.dumps(told), encoding="utf-8")
    metadata = json.loads((configs / "metadata.json").read_text(encoding="utf-8"))
    metadata["weights"] = {"file": "models/model.safetensors", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    metadata |= {"eval_metrics": {"other": {"all": {"images": 1}}}} | (story or {})
    (configs / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")


@pytest.fixture
def models(_bundles: Path, tmp_path: Path) -> Path:
    """A copy that a test may write into."""
    return Path(shutil.copytree(_bundles, tmp_path / "models"))


@pytest.fixture(scope="module")
def ways() -> tuple[Listing, ...]:
    return listings(read_classes("lesion_classifier", CHECKOUT / "models" / "lesion_classifier" / "configs" / "classes.json"))


# --- the table and its files


def test_sets_are_found_as_folder_and_as_zip_whatever_their_case(data: Path) -> None:
    collection = Collection(data)
    assert not collection.missing(collection.side("val"))
    shapes = {
        lesion.id: collection.image(lesion).shape for lesion in collection.side("val") if lesion.id not in ("broken.jpg", "empty.bmp")
    }
    assert shapes == {"0": (120, 160, 3), "1": (120, 160, 3), "2": (120, 160, 3), "3": (120, 160, 3)} | {
        "z0": (120, 160, 3),
        "z1": (120, 160, 3),
        "whole.tiff": (300, 220, 3),
    }
    assert collection.mask(collection.lesions[1]).sum() == pytest.approx(np.pi * 28**2, rel=0.03)


def test_table_without_masks_labels_and_groups_is_enough(data: Path) -> None:
    _write(data, ("id", "set", "split", "image"), [["0", "Discs", "judge", "images/0.jpg"], ["1", "Discs", "judge", "images/1.jpg"]])
    rows = Collection(data).side("judge")
    assert [(one.mask, one.label, one.label8, one.age) for one in rows] == [("", "", "", "")] * 2
    assert rows[0].group != rows[1].group


def test_labels_say_each_other_but_not_ak_or_scc(data: Path) -> None:
    _write(
        data,
        ("id", "set", "split", "image", "label7", "label8"),
        [["0", "Discs", "a", "x", "mel", ""], ["1", "Discs", "a", "x", "AKIEC", ""], ["2", "Discs", "a", "x", "", "SCC"]],
    )
    assert [(one.label, one.label8) for one in Collection(data).lesions] == [("MEL", "MEL"), ("AKIEC", ""), ("AKIEC", "SCC")]


def test_near_duplicates_are_a_group_and_so_are_photographs_of_one_lesion(data: Path) -> None:
    _write(
        data,
        ("id", "set", "split", "image", "lesion", "group"),
        [["0", "Discs", "a", "x", "L1", "G"], ["1", "Discs", "a", "x", "L1", ""], ["2", "Discs", "a", "x", "", ""]],
    )
    assert [one.group for one in Collection(data).lesions] == ["G", "L1", "Discs/2"]


@pytest.mark.parametrize(
    ("columns", "row", "said"),
    [
        (("id", "set", "split"), ["0", "Discs", "val"], "has no column image"),
        (("id", "set", "split", "image"), ["0", "Discs", "train", "x"], r"no row whose split is 'val'; there are: train \(1\)"),
        (
            ("id", "set", "split", "image"),
            ["0", "Nowhere", "val", "x"],
            r"The set Nowhere is missing: put its folder Nowhere/ or its archive",
        ),
        (("id", "set", "split", "image"), ["0", "Discs", "val", "images/9.jpg"], r"lacks 1 image file\(s\): images/9.jpg; put them"),
        (
            ("id", "set", "split", "image", "mask"),
            ["0", "Discs", "val", "images/0.jpg", "masks/9.png"],
            r"lacks 1 mask file\(s\): masks/9.png",
        ),
    ],
)
def test_what_is_missing_is_named_with_the_cure_before_anything_is_measured(
    data: Path, capsys: pytest.CaptureFixture[str], columns: Sequence[str], row: Sequence[str], said: str
) -> None:
    _write(data, columns, [row])
    assert main(["--data", str(data), "--models", str(data / "no models yet"), "--no-write"]) == 2
    assert re.search(said, capsys.readouterr().err)


def test_broken_archive_is_named(data: Path) -> None:
    (data / "zipped.ZIP").write_bytes(b"not a zip")
    collection = Collection(data)
    with pytest.raises(DataMissing, match="of the set Zipped is no zip that can be read"):
        collection.image(next(one for one in collection.lesions if one.set == "Zipped"))


def test_missing_rows_are_counted_and_left_out_where_that_was_asked_for(
    data: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "discs" / "images" / "3.jpg").unlink()
    arguments = ["--data", str(data), "--models", str(models), "--workers", "1", "--no-write", "--tasks", "segmentation"]
    assert main([*arguments, "--skip-missing", "--json", str(tmp_path / "all.json")]) == 0
    assert "1 row(s): The set Discs lacks 1 image file(s): images/3.jpg" in capsys.readouterr().err
    told = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert told["segmentation"]["whole"]["outline"]["images"] == 2
    assert len(told["skipped"]) == 1


# --- the pass


def test_pass_tells_of_masks_classes_and_files_that_are_no_pictures(data: Path, models: Path) -> None:
    collection = Collection(data)
    rows = {row.lesion.id: row for row in measure(collection, collection.side("val"), models, strangeness=True)}
    assert rows["1"].dice > 0.9
    assert rows["1"].specificity > 0.95
    assert rows["1"].share == pytest.approx(np.pi * 28**2 / (120 * 160), rel=0.03)
    assert np.isnan(rows["0"].dice)  # no mask in the table
    assert rows["0"].has_mask
    assert rows["z0"].chances is not None
    assert rows["z0"].chances.shape == (8,)
    assert rows["z0"].chances.sum() == pytest.approx(1)
    assert rows["z0"].strangeness > 0
    assert not rows["broken.jpg"].is_decoded
    assert not rows["empty.bmp"].is_decoded
    assert "broken.jpg of the set Scans is no picture" in rows["broken.jpg"].problems[0]
    assert rows["whole.tiff"].chances is not None


def test_broken_mask_and_mask_of_another_size_are_told(data: Path, models: Path) -> None:
    cv2.imwrite(str(data / "discs" / "masks" / "1.png"), cv2.resize(_disc(28)[1], (80, 60)))
    (data / "discs" / "masks" / "2.png").write_bytes(b"no mask")
    collection = Collection(data)
    _, scaled, broken, _ = measure(collection, [one for one in collection.lesions if one.set == "Discs"], models, classify=False)
    assert scaled.dice > 0.85
    assert "its mask is 80 x 60, the photograph 160 x 120" in scaled.problems[0]
    assert np.isnan(broken.dice)
    assert "masks/2.png" in broken.problems[0]


def test_photograph_without_lesion_is_declined_and_counts_as_not_found(data: Path, models: Path) -> None:
    cv2.imwrite(str(data / "discs" / "images" / "1.jpg"), np.full((120, 160, 3), (150, 165, 215), np.uint8))
    collection = Collection(data)
    (row,) = measure(collection, [collection.lesions[1]], models)
    assert not row.has_mask
    assert row.dice == row.sensitivity == 0
    assert row.chances is None
    assert [problem.split(":")[0] for problem in row.problems] == ["segment", "classify"]
    found = outline_figures([row])
    assert found is not None
    assert found.not_found == 1


def test_stage_that_raises_does_not_end_the_pass(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dermanode_preprocess

    def broken(case: object, context: object) -> None:
        raise ZeroDivisionError("here")

    monkeypatch.setattr(broken, "__name__", "preprocess")
    monkeypatch.setattr(dermanode_preprocess, "preprocess", broken)
    said = Examination(models).of(_disc(30)[0], "one")
    assert said.chances is None
    assert said.declined[0] == "preprocess: failed with ZeroDivisionError: here"


@pytest.mark.slow
def test_two_workers_give_the_same_as_one(data: Path, models: Path) -> None:
    collection = Collection(data)
    lesions = collection.side("val")
    alone, together = (list(measure(collection, lesions, models, strangeness=True, workers=count)) for count in (1, 2))
    assert [row.lesion for row in together] == list(lesions)
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal([one.dice, one.iou, one.strangeness], [other.dice, other.iou, other.strangeness], equal_nan=True)
        assert one.problems == other.problems
        assert (one.chances is None) == (other.chances is None)
        assert one.chances is None or np.array_equal(one.chances, other.chances)


# --- the command


def test_command_writes_figures_tables_pictures_and_metadata(
    data: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(data), "--models", str(models), "--workers", "1", "--json", str(tmp_path / "all.json")]) == 0
    printed = capsys.readouterr().out
    assert "# Segmentation on `val`: 9 photographs" in printed
    assert "**2 file(s) are no pictures and are in no figure:**" in printed
    for bundle in ("lesion_segmentation", "lesion_classifier"):
        docs = models / bundle / "docs"
        assert (docs / "figures_val.md").read_text(encoding="utf-8").startswith("# ")
        metadata = json.loads((models / bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
        assert metadata["eval_metrics"].keys() == {"other", "val"}
    outlines = json.loads((models / "lesion_segmentation" / "docs" / "figures_val.json").read_text(encoding="utf-8"))
    assert outlines["whole"]["outline"]["images"] == 3
    assert outlines["whole"]["outline"]["dice"][0] > 0.9
    told = json.loads((models / "lesion_classifier" / "docs" / "figures_val.json").read_text(encoding="utf-8"))
    seven, eight, groups = (told["whole"]["diagnoses"][name] for name in ("7", "8", "groups"))
    assert (seven["images"], eight["images"], groups["images"]) == (6, 5, 5)  # AKIEC may be AK or SCC
    assert told["parts"]["set"].keys() == {"Discs", "Scans", "Zipped"}
    assert len(told["undecodable"]) == 2
    picture = cv2.imread(str(models / "lesion_classifier" / "docs" / "confusion_val_7.png"))
    assert picture is not None
    assert json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))["classification"] == told


def test_fusion_is_judged_beside_the_sums_over_the_same_photographs(data: Path, models: Path) -> None:
    if not (models / "lesion_fusion").is_dir():
        pytest.skip("lesion_fusion is not in this checkout")
    assert main(["--data", str(data), "--models", str(models), "--workers", "1", "--tasks", "fusion"]) == 0
    told = json.loads((models / "lesion_fusion" / "docs" / "figures_val.json").read_text(encoding="utf-8"))
    assert told["whole"]["fused"] == 7
    fused, sums = (told["whole"]["diagnoses"][name] for name in ("fused", "groups"))
    assert fused["images"] == sums["images"] == 5
    assert fused["log_loss"][0] != sums["log_loss"][0]
    assert (models / "lesion_fusion" / "docs" / "confusion_val_fused.png").is_file()


def test_part_of_the_photographs_writes_nothing_into_the_bundles(data: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(data), "--models", str(models), "--workers", "1", "--limit", "2"]) == 0
    assert "Nothing was written" in capsys.readouterr().err
    assert not (models / "lesion_segmentation" / "docs").exists()


def test_split_without_masks_and_labels_says_so(data: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(data, ("id", "set", "split", "image"), [["0", "Discs", "judge", "images/0.jpg"]])
    assert main(["--data", str(data), "--models", str(models), "--split", "judge", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "No photograph has an annotated mask" in printed
    assert "No photograph that was classified has a label" in printed


def test_benchmark_is_the_same_command() -> None:
    script = CHECKOUT / "benchmarks" / "models.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert done.returncode == 2
    assert "--data is missing" in done.stderr


@pytest.mark.parametrize("name", ["lesion_segmentation", "lesion_classifier", "lesion_fusion"])
def test_bundles_evaluate_by_the_same_code(name: str) -> None:
    path = CHECKOUT / "models" / name / "configs" / "evaluate.json"
    if not path.is_file():
        pytest.skip(f"{name} is not in this checkout")
    told = json.loads(path.read_text(encoding="utf-8"))
    assert "dermanode_training.evaluate" in " ".join(told["imports"])
    assert told["evaluation"]


def test_bundle_evaluation_runs_through_monai(data: Path, models: Path) -> None:
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(models / "lesion_segmentation" / "configs" / "evaluate.json")
    parser.update({"bundle_root": str(models / "lesion_segmentation"), "dataset_dir": str(data), "workers": 1})
    parser.parse()
    parser.get_parsed_content("evaluation")
    assert (models / "lesion_segmentation" / "docs" / "figures_val.json").is_file()


# --- the figures


def _measured(
    number: int, label8: str, found: str, *, sureness: float = 0.9, lesion: str = "", chances: bool = True, **told: Any
) -> Measured:
    """A photograph that was classified as `found`, with that probability."""
    told_chances = np.full(8, (1 - sureness) / 7)
    told_chances[EIGHT.index(found)] = sureness
    label7 = "AKIEC" if label8 in ("AK", "SCC") else label8
    row = Lesion(number, str(number), "Set", "val", "", "", label7, label8, group=lesion or str(number), **told)
    return Measured(row, has_mask=True, chances=told_chances if chances else None)


def test_figures_of_diagnoses_are_those_of_the_definitions(ways: tuple[Listing, ...]) -> None:
    pairs = [("MEL", "MEL"), ("MEL", "NV"), ("NV", "NV"), ("NV", "NV"), ("NV", "MEL"), ("AK", "SCC")]
    rows = [_measured(k, truth, found) for k, (truth, found) in enumerate(pairs)]
    seven, eight, groups = (diagnosis_figures(rows, Telling(way, Calibration())) for way in ways)
    assert seven is not None
    assert eight is not None
    assert groups is not None
    assert seven.accuracy.value == pytest.approx(4 / 6)  # AK taken for SCC is AKIEC all the same
    assert eight.accuracy.value == pytest.approx(3 / 6)
    assert groups.labels == ("BENIGN", "SUSPICIOUS", "MALIGNANT")
    assert groups.confusion == ((2, 0, 1), (0, 0, 1), (1, 0, 1))
    assert seven.balanced_accuracy.value == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    melanoma = next(one for one in seven.by_label if one.label == "MEL")
    assert (melanoma.precision.value, melanoma.recall.value, melanoma.f1.value) == pytest.approx((1 / 2, 1 / 2, 1 / 2))
    assert melanoma.recall.low <= 1 / 2 <= melanoma.recall.high
    assert seven.alarm.label == "MEL"
    at_half = next(one for one in seven.alarm.thresholds if one.threshold == 0.5)
    assert at_half.sensitivity.value == pytest.approx(1 / 2)
    assert at_half.specificity.value == pytest.approx(3 / 4)


def test_nobody_wins_by_declining(ways: tuple[Listing, ...]) -> None:
    rows = [_measured(0, "MEL", "MEL"), _measured(1, "NV", "NV"), _measured(2, "NV", "NV", chances=False)]
    found = diagnosis_figures(rows, Telling(ways[0], Calibration()))
    assert found is not None
    assert (found.images, found.declined) == (2, 1)
    assert found.accuracy.value == 1
    assert found.accuracy_declined_wrong.value == pytest.approx(2 / 3)
    assert found.balanced_accuracy_declined_wrong.value == pytest.approx((1 + 1 / 2) / 2)


def test_error_before_calibration_is_that_of_the_bare_logits(ways: tuple[Listing, ...]) -> None:
    rows = [_measured(k, "NV" if k % 2 else "MEL", "NV", sureness=0.5) for k in range(10)]
    found = diagnosis_figures(rows, Telling(ways[1], Calibration(2.0)))
    assert found is not None
    bare = 0.5**2 / (0.5**2 + 7 * (0.5 / 7) ** 2)
    assert found.ece.value == pytest.approx(0, abs=1e-6)
    assert found.ece_before.value == pytest.approx(bare - 0.5)


def test_fused_groups_are_judged_as_they_are_served(ways: tuple[Listing, ...]) -> None:
    row = replace(_measured(0, "MEL", "NV"), groups=np.array([0.1, 0.1, 0.8]), is_fused=True)
    fused, sums = (diagnosis_figures([row], Telling(ways[2], Calibration(), is_fused=one)) for one in (True, False))
    assert fused is not None
    assert sums is not None
    assert (fused.accuracy.value, sums.accuracy.value) == (1, 0)


def test_calibration_is_chosen_applied_and_written(models: Path, ways: tuple[Listing, ...]) -> None:
    random = np.random.default_rng(0)
    rows = []
    for k in range(400):
        truth = EIGHT[int(random.integers(8))]
        found = truth if random.random() < 0.6 else EIGHT[int(random.integers(8))]
        rows.append(_measured(k, truth, found, sureness=0.99))
    rows = [replace(row, strangeness=float(k)) for k, row in enumerate(rows)]
    chosen = choice(rows, Calibration(), ways)
    assert chosen.calibration.temperature > 1.3  # it was far too sure
    assert chosen.strangeness_limit == pytest.approx(np.quantile(range(400), 0.99))
    changed = chosen.apply(rows, Calibration(), ways[2])
    assert changed[0].chances is not None
    assert changed[0].chances.max() == pytest.approx(0.65, abs=0.1)
    assert sum(not row.is_in_domain for row in changed) == 4
    chosen.write(models / "lesion_classifier", "val")
    told = json.loads((models / "lesion_classifier" / "configs" / "inference.json").read_text(encoding="utf-8"))
    assert told["temperature"] == chosen.calibration.temperature
    assert told["calibrated_on"] == "val"
    assert "logit_bias" not in told
    assert told["network_def"]


def test_calibration_needs_photographs_with_a_label(ways: tuple[Listing, ...]) -> None:
    with pytest.raises(NothingToChooseFrom):
        choice([_measured(0, "MEL", "NV", chances=False)], Calibration(), ways)


def test_parts_follow_bands_and_regions_and_few_are_marked(ways: tuple[Listing, ...]) -> None:
    rows = [_measured(k, "NV", "NV", age=str(k), sex="M" if k % 2 else "female", site="face") for k in range(80)]
    rows.append(_measured(80, "NV", "NV", age="", sex="", site="Elbow"))
    assert list(parted(rows, "age")) == ["under 30", "30 to 44", "45 to 59", "60 to 74", "75 and over", "unknown"]
    assert [len(some) for some in parted(rows, "age").values()] == [30, 15, 15, 15, 5, 1]
    assert (sex(rows[1]), sex(rows[0]), sex(rows[-1])) == ("male", "female", "unknown")
    assert (site(rows[0]), site(rows[-1])) == ("head and neck", "elbow")
    assert (age_band(rows[30]), size(rows[0])) == ("30 to 44", "unknown")
    text = markdown(report(rows, "classification", "val", [Telling(ways[0], Calibration())]), "command")
    assert "| 75 and over † | 5 |" in text
    assert "| under 30 | 30 |" in text
    json.loads(as_json(report(rows, "classification", "val", [Telling(ways[0], Calibration())])))


# --- pictures of other things


def test_strange_pictures_are_many_different_and_always_the_same() -> None:
    first, again = dict(strange_pictures()), dict(strange_pictures())
    assert len(first) >= 19
    assert all(pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 for pixels in first.values())
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert {"CT slice", "shoe", "face", "blank, black", "noise, colour", "text"} <= first.keys()


def test_verdict_says_what_each_stage_said(models: Path) -> None:
    flat = np.full((64, 64, 3), 255, np.uint8)
    nothing, disc = verdicts([("blank", flat), ("disc", _disc(30)[0][..., ::-1].copy())], models)
    assert nothing.is_recognised
    assert nothing.declined
    assert disc.diagnosis
    assert not disc.is_recognised  # the limit of this bundle is out of reach
    assert disc.strangeness is not None


def test_real_photographs_are_measured(models: Path) -> None:
    if not (SHARED / "lesions.csv").is_file():
        pytest.skip(f"{SHARED} is not there")
    collection = Collection(SHARED)
    lesions = collection.side("val")[::400]
    rows = list(measure(collection, lesions, models, classify=False))
    assert all(0 <= row.dice <= 1 for row in rows)
