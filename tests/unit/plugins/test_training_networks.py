"""Every network of the bundles: built by its file, trained for one step, published and served; and the table that compares them."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from dermanode_classify.classifier import load as load_classifier
from dermanode_classify.network import LesionClassifier
from dermanode_segment.segmenter import load as load_segmenter
from dermanode_training.data.lesions import Collection
from dermanode_training.data.pack import write_pack
from dermanode_training.fitting import classification, segmentation
from dermanode_training.fitting.batches import Batch
from dermanode_training.fitting.budget import Budget
from dermanode_training.fitting.networks import configuration, names, new_network
from dermanode_training.publish import publish

from dermanode.errors import BundleError
from dermanode.pipeline.bundles import open_bundle

CHECKOUT = Path(__file__).resolve().parents[3]
SEGMENTERS = CHECKOUT / "models" / "lesion_segmentation"
CLASSIFIERS = CHECKOUT / "models" / "lesion_classifier"
LARGE = {"unet", "resnet101", "resnet152"}


def networks_of(bundle: Path) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in names(bundle)]


def bundle_with(network: str, original: Path, tmp_path: Path) -> Path:
    """A copy of the bundle without weights, whose inference.json names that network."""
    copy = tmp_path / "models" / original.name
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("*.safetensors", "docs"))
    told = json.dumps(configuration(original, network).config)
    (copy / "configs" / "inference.json").write_text(told, encoding="utf-8")
    return copy


def stepped(network: torch.nn.Module, loss: torch.Tensor) -> None:
    """One step, which reaches the weights: all but those of heads that have no part in the answer."""
    loss.backward()
    gradients = [value.grad for value in network.parameters()]
    reached = [gradient for gradient in gradients if gradient is not None]
    assert len(reached) > 0.85 * len(gradients)
    assert all(bool(gradient.isfinite().all()) for gradient in reached)
    # As the loop does: over two pictures the gradients of an InceptionV3 are a million.
    torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
    torch.optim.SGD(network.parameters(), lr=1e-3).step()


def test_an_unknown_network_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(BundleError, match=r"has no network alexnet; it has default, efficientnet_b0, encoded_wide, inception_v3"):
        new_network(CLASSIFIERS, "alexnet")


@pytest.mark.parametrize("name", networks_of(SEGMENTERS))
def test_segmenter_trains_and_serves(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = new_network(SEGMENTERS, name)
    task = segmentation.Segmentation(None, tmp_path)  # type: ignore[arg-type]  # the loss asks no table
    batch = Batch(torch.randn(2, 3, 64, 64), (torch.rand(2, 1, 64, 64) > 0.5).float(), torch.tensor([0, 1]))
    stepped(network.train(), task.loss(network, batch))
    bundle = bundle_with(name, SEGMENTERS, tmp_path)
    publish(bundle, network.state_dict(), {}, largest_mb=1000)
    segmenter = load_segmenter(open_bundle(bundle.parent, bundle.name), "cpu")
    (chance,) = segmenter.answer([np.full((48, 60, 3), 128, np.uint8)]).chances
    assert chance.shape == (48, 60)
    assert np.isfinite(chance).all()


@pytest.mark.parametrize("name", networks_of(CLASSIFIERS))
def test_classifier_trains_and_serves(name: str, disc_data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = new_network(CLASSIFIERS, name)
    assert isinstance(network, LesionClassifier)
    task = classification.Classification(Collection(disc_data), tmp_path)
    # Of an InceptionV3 fewer than 75 pixels leave nothing.
    batch = Batch(torch.randn(2, 3, 80, 80), torch.zeros(2, 1, 80, 80), torch.tensor([0, 1]))
    stepped(network.train(), task.loss(network, batch))
    _, look = network.eval().features_and_look(batch.images)
    beside = {"familiarity.mean": torch.zeros(look.shape[1]), "familiarity.precision": torch.eye(look.shape[1])}
    bundle = bundle_with(name, CLASSIFIERS, tmp_path)
    publish(bundle, network.state_dict() | beside, {}, largest_mb=1000)
    classifier = load_classifier(open_bundle(bundle.parent, bundle.name), "cpu")
    answer = classifier.answer([np.full((40, 40, 3), 128, np.uint8)])
    assert answer.chances.shape == (1, 8)
    assert answer.chances.sum() == pytest.approx(1)
    assert np.isfinite(answer.strangeness).all()


@pytest.fixture(scope="module")
def comparison() -> ModuleType:
    spec = importlib.util.spec_from_file_location("networks_benchmark", CHECKOUT / "benchmarks" / "networks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_names_its_budget_and_what_is_missing(comparison: ModuleType) -> None:
    budget = Budget(minutes=2.5, sides_px=(96,))
    result = {
        "budget": json.loads(json.dumps(comparison._told(budget))),
        "clock": "processor",
        "machine": {"device": "cpu", "threads": 1, "torch": "2", "commit": "0123456789abcdef-dirty", "validated": 9},
        "weights_millions": 2.34,
        "pictures_seen": 640,
        "figures": {"score": 0.5, "accuracy": 0.7, "balanced_accuracy": 0.3, "log_loss": 1.25},
        "ms_a_view": 3.21,
    }
    page = comparison.page_of("classification", {"default": result}, budget, "processor")
    assert "2.5 minutes of processor time each, pictures of 96 x 96" in page
    assert "| default | 2.3 | 640 | 0.500 | 0.700 | 0.300 | 1.250 | 3.2 |" in page
    assert "Not fitted with this budget: mobilenet_v3_large, mobilenet_v2," in page
    other = comparison.page_of("classification", {"default": result}, replace(budget, minutes=9.0), "processor")
    assert "Not fitted with this budget: default, mobilenet_v3_large," in other


def test_comparison_knows_every_network_of_the_bundles(comparison: ModuleType) -> None:
    assert set(comparison.NETWORKS["classification"]) == set(names(CLASSIFIERS))
    assert set(comparison.NETWORKS["segmentation"]) == set(names(SEGMENTERS))


def test_comparison_keeps_what_it_has_and_goes_on(
    comparison: ModuleType, disc_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    for name in ("a", "default"):
        folder = models / "lesion_segmentation" / "configs" / "networks"
        folder.mkdir(parents=True, exist_ok=True)
        network = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1, "channels": [4, 8], "strides": [2]}
        target = folder / "a.json" if name == "a" else folder.parent / "inference.json"
        target.write_text(json.dumps({"network_def": network}), encoding="utf-8")
    (models / "lesion_segmentation" / "docs").mkdir()
    monkeypatch.setitem(comparison.NETWORKS, "segmentation", ("default", "a"))
    monkeypatch.setitem(comparison.SIDES_PX, "segmentation", 32)
    write_pack(Collection(disc_data), tmp_path / "work")
    told = ["--data", str(disc_data), "--work", str(tmp_path / "work"), "--models", str(models), "--out", str(tmp_path / "out")]
    told += ["--task", "segmentation", "--minutes", "0.001", "--batch", "4", "--device", "cpu"]
    assert comparison.main([*told, "--networks", "default"]) == 0
    results = tmp_path / "out" / "networks.json"
    first = json.loads(results.read_text(encoding="utf-8"))["segmentation"]["default"]
    assert comparison.main(told) == 0
    both = json.loads(results.read_text(encoding="utf-8"))["segmentation"]
    assert both["default"] == first
    assert both["a"]["pictures_seen"] >= 4
    assert "Not fitted" not in (models / "lesion_segmentation" / "docs" / "networks.md").read_text(encoding="utf-8")
