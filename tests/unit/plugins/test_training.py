"""The committed recipe: its figures, its pictures, its clock, and a short run on pictures made here."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from dermanode_classify.crop import Square
from dermanode_classify.network import LesionClassifier
from dermanode_training import classification, segmentation
from dermanode_training.augmentation import Strength, augment
from dermanode_training.calibration import best_temperature, with_temperature
from dermanode_training.familiarity import familiarity
from dermanode_training.lesions import Collection, DataMissing
from dermanode_training.metrics import area_under_curve, balanced_accuracy, confusion, dice, expected_calibration_error
from dermanode_training.networks import new_network
from dermanode_training.pack import write_pack
from dermanode_training.publish import publish
from dermanode_training.schedule import Schedule
from safetensors.torch import load_file

from dermanode.pipeline.bundles import open_bundle

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve photographs of discs in a folder named after their set, laid out as the real ones are."""
    random = np.random.default_rng(0)
    folder = tmp_path / "data" / "Discs"
    folder.mkdir(parents=True)
    with (folder.parent / "lesions.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "set", "split", "image", "mask", "label7"])
        for number in range(12):
            mask = np.zeros((96, 96), np.uint8)
            cv2.circle(mask, (int(random.integers(30, 66)), int(random.integers(30, 66))), int(random.integers(15, 28)), 255, -1)
            pixels = np.where(mask[..., None] > 0, (60, 70, 120), (150, 165, 215)).astype(np.uint8)
            cv2.imwrite(str(folder / f"{number}.jpg"), pixels)
            cv2.imwrite(str(folder / f"{number}.png"), mask)
            label = classification.LABELS[number % 2]
            table.writerow([str(number), "Discs", "val" if number > 9 else "train", f"{number}.jpg", f"{number}.png", label])
    return folder.parent


def test_photographs_come_as_rgb_with_their_masks(data: Path) -> None:
    collection = Collection(data)
    first = collection.lesions[0]
    assert collection.image(first)[0, 0] == pytest.approx((215, 165, 150), abs=6)
    assert collection.mask(first).dtype == np.bool_
    assert len(collection.split("train")) == 10


def test_missing_table_is_said_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"lesions\.csv does not exist"):
        Collection(tmp_path)


def test_picture_and_mask_are_moved_alike_and_seeded() -> None:
    mask = np.zeros((128, 128), np.uint8)
    cv2.ellipse(mask, (50, 70), (30, 18), 20, 0, 360, 255, -1)
    pixels = np.where(mask[..., None] > 0, (120, 75, 60), (215, 165, 150)).astype(np.uint8)
    plain = Strength(brightness=0, contrast=0, cast=0, blur=0, jpeg=0, noise=0, grain=0, hair=0, vignette=0, glare=0)
    for seed in range(5):
        moved, moved_mask = augment(pixels, mask, Square(0, 0, 128), 96, plain, np.random.default_rng(seed))
        assert moved_mask is not None
        assert dice(moved[..., 0] < 160, moved_mask > 127) > 0.95
        again, _ = augment(pixels, mask, Square(0, 0, 128), 96, Strength(), np.random.default_rng(seed))
        same, _ = augment(pixels, mask, Square(0, 0, 128), 96, Strength(), np.random.default_rng(seed))
        assert np.array_equal(again, same)


def test_figures_are_those_of_the_definitions() -> None:
    truth, found = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert balanced_accuracy(truth, found, 2) == pytest.approx((2 / 3 + 1) / 2)
    assert confusion(truth, found, 2).tolist() == [[2, 1], [0, 1]]
    assert area_under_curve(np.array([True, True, False, False]), np.array([0.9, 0.4, 0.4, 0.1])) == pytest.approx(0.875)
    assert dice(np.zeros(4, np.bool_), np.zeros(4, np.bool_)) == 1
    sure = np.array([[0.9, 0.1]] * 10)
    assert expected_calibration_error(np.array([0] * 5 + [1] * 5), sure) == pytest.approx(0.4)


def test_temperature_undoes_too_much_confidence() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, (4000, 3))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([random.choice(3, p=row) for row in honest])
    assert best_temperature(with_temperature(honest, 0.5), truth) == pytest.approx(2, rel=0.1)


def test_rate_rises_then_falls_by_steps_or_by_the_clock() -> None:
    now = [0.0]
    schedule = Schedule(steps=100, minutes=1, clock=lambda: now[0])
    schedule.step = 4
    assert schedule.rate(1.0) == pytest.approx(1)
    schedule.step = 100
    assert schedule.rate(1.0) == pytest.approx(0.01)
    schedule.step, now[0] = 0, 60.0
    assert schedule.done == 1


def test_classifier_takes_the_whole_encoder_of_a_segmenter() -> None:
    segmenter = new_network(CHECKOUT / "models" / "lesion_segmentation")
    classifier = new_network(CHECKOUT / "models" / "lesion_classifier")
    assert isinstance(classifier, LesionClassifier)
    classification.start_from(classifier, segmenter.state_dict())
    image = torch.rand(1, 3, 32, 32)
    first = segmenter.model[0].eval()(image)
    assert torch.equal(classifier.encoder[0].eval()(image), first)
    deepest = segmenter.model[1].submodule[1].submodule[1].submodule[1].submodule
    assert torch.equal(classifier.encoder[-1].conv.unit0.conv.weight, deepest.conv.unit0.conv.weight)


def test_short_runs_leave_weights_that_a_bundle_publishes(data: Path, tmp_path: Path) -> None:
    collection, work = Collection(data), tmp_path / "work"
    write_pack(collection, work)
    network = LesionClassifier((8, 8), (2, 2), 7, units=1)
    out = work / "classification.pt"
    classification.fit(network, collection, work, out, classification.Plan(epochs=1, batch=4, side_px=32, threads=1))
    run = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert run["history"][-1]["step"] == 2
    bundle = tmp_path / "models" / "tiny"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs" / "metadata.json").write_text('{"version": "0.1.0"}', encoding="utf-8")
    state = torch.load(out, weights_only=True)
    publish(bundle, state | familiarity(network, collection, work, classification.Plan(side_px=32)), {"runs": 1})
    tensors = load_file(open_bundle(bundle.parent, "tiny").weights_path)
    assert tensors["head.weight"].dtype == torch.float16
    assert tensors["familiarity.precision"].shape == (40, 40)


def test_loss_of_the_segmenter_falls(data: Path, tmp_path: Path) -> None:
    collection, work = Collection(data), tmp_path / "work"
    write_pack(collection, work)
    torch.manual_seed(0)
    network = new_network(CHECKOUT / "models" / "lesion_segmentation")
    plan = segmentation.Plan(epochs=6, batch=5, side_px=32, threads=1, averaging=0.5)
    segmentation.fit(network, collection, work, work / "segmentation.pt", plan)
    history = json.loads((work / "segmentation.json").read_text(encoding="utf-8"))["history"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert 0 <= history[-1]["dice"] <= 1
