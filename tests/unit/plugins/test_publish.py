"""Weights and their story in a bundle: what is written, what is measured before, what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from dermanode_training.fitting.classification import OUTPUTS
from dermanode_training.fitting.networks import StartUnusable, new_network
from dermanode_training.publish import WeightsTooLarge, main, publish
from dermanode_training.publishing import provenance
from dermanode_training.publishing.card import LogMissing, training_card
from dermanode_training.publishing.rounding import rounding
from safetensors.torch import load_file

from dermanode.pipeline.bundles import open_bundle

CLASSIFIER = {
    "_target_": "dermanode_classify.network.LesionClassifier",
    "trunk": {"_target_": "dermanode_classify.trunks.residual", "channels": [4, 8], "strides": [2, 2], "features": 16, "units": 1},
    "classes": 8,
    "seen": ["level0"],
}
PLAN = {"budget": {"minutes": 100.0, "batch": 32, "seed": 7}, "task": {"mixup": 0.35}}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "tiny"
    (folder / "configs").mkdir(parents=True)
    metadata = {"version": "0.1.0", "intended_use": "Research only.", "eval_metrics": {"val": {"accuracy": 0.5}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    told = {"network_def": CLASSIFIER, "side_px": 32, "margin": 0.25, "least": 0.35}
    (folder / "configs" / "inference.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def metadata_of(bundle: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    return told


def log_of(path: Path, **more: Any) -> Path:
    history = [{"step": 50, "elapsed_s": 60.0, "loss": 1.0, "score": 0.6}, {"step": 100, "elapsed_s": 120.0, "loss": 0.9, "score": 0.5}]
    path.write_text(json.dumps({"task": "classification", "plan": PLAN, "history": history, "best": 0.6} | more), encoding="utf-8")
    return path


def test_weights_are_halved_but_not_what_strangeness_is_told_by(bundle: Path) -> None:
    state = {"head.weight": torch.rand(8, 4), "count": torch.tensor(3), "familiarity.mean": torch.rand(4)}
    publish(bundle, state, {"seed": 7})
    tensors = load_file(open_bundle(bundle.parent, "tiny").weights_path)
    assert tensors["head.weight"].dtype == torch.float16
    assert tensors["count"].dtype == torch.int64
    assert torch.equal(tensors["familiarity.mean"], state["familiarity.mean"])
    told = metadata_of(bundle)
    assert told["weights"]["precision"] == "float16"
    assert told["training"] == {"seed": 7}
    assert told["intended_use"] == "Research only."


def test_figures_of_other_weights_do_not_stay(bundle: Path) -> None:
    publish(bundle, {"a": torch.ones(2)}, {})
    assert metadata_of(bundle)["eval_metrics"] == {}
    (bundle / "configs" / "metadata.json").write_text(
        json.dumps(metadata_of(bundle) | {"eval_metrics": {"val": {"accuracy": 0.7}}}), encoding="utf-8"
    )
    publish(bundle, {"a": torch.ones(2)}, {"noted": True})
    assert metadata_of(bundle)["eval_metrics"] == {"val": {"accuracy": 0.7}}


def test_weights_that_are_too_large_change_nothing(bundle: Path) -> None:
    publish(bundle, {"a": torch.ones(2)}, {})
    before, weights = metadata_of(bundle), (bundle / "models" / "model.safetensors").read_bytes()
    with pytest.raises(WeightsTooLarge, match=r"The weights for tiny take 2\.0 MB, 1 MB are allowed: train a smaller network"):
        publish(bundle, {"a": torch.ones(1_000_000)}, {}, largest_mb=1)
    assert metadata_of(bundle) == before
    assert [path.name for path in (bundle / "models").iterdir()] == ["model.safetensors"]
    assert (bundle / "models" / "model.safetensors").read_bytes() == weights


def test_card_tells_every_run_in_its_order(tmp_path: Path) -> None:
    old = log_of(tmp_path / "first.json", plan={"batch": 64, "seed": 1, "threads": 2})
    new = log_of(tmp_path / "second.json", machine={"device": "cuda: Large", "threads": 4, "workers": 8}, origin={"network": "default"})
    card = training_card([old, new], ["The lights went out once."])
    assert [run["name"] for run in card["runs"]] == ["first", "second"]
    assert [run["pictures_seen"] for run in card["runs"]] == [6400, 3200]
    assert [run["best"]["step"] for run in card["runs"]] == [50, 50]
    assert card["took_min"] == 4
    assert card["seed"] == 7
    assert card["device"] == "cpu, 2 thread(s), bfloat16 autocast, cuda: Large, 4 thread(s), bfloat16 autocast"
    assert card["notes"] == ["The lights went out once."]
    assert card["libraries"]["torch"] == torch.__version__.split("+")[0]


def test_rounding_is_measured_and_a_weight_that_half_precision_cannot_hold_is_found(bundle: Path) -> None:
    torch.manual_seed(0)
    network = new_network(bundle)
    pictures = [torch.randn(4, 3, 32, 32)]
    fine = rounding(network, pictures)
    assert fine.pictures == 4
    assert 0 < fine.largest_change < 0.001
    assert fine.is_harmless
    with torch.no_grad():
        network.get_parameter("head.bias")[0] = 1e6
    assert not rounding(network, pictures).is_harmless


def test_command_publishes_a_model_card(bundle: Path, disc_data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state, log = tmp_path / "work" / "run.pt", tmp_path / "work" / "run.json"
    state.parent.mkdir()
    torch.save(new_network(bundle).state_dict(), state)
    log_of(log)
    assert main([str(bundle), str(state), "--data", str(disc_data), "--note", "Made for a test."]) == 0
    told = metadata_of(bundle)
    assert told["data"]["sets"]["Discs"]["images"] == {"train": 10, "val": 2}
    assert list(told["data"]["labels"]) == list(OUTPUTS)
    assert told["data"]["labels"]["NV"] == {"train": 3, "val": 0}
    assert told["training"]["took_min"] == 2
    assert told["training"]["notes"] == ["Made for a test."]
    assert told["rounding"]["pictures"] == 2
    assert told["pytorch_version"] == torch.__version__.split("+")[0]
    tensors = load_file(open_bundle(bundle.parent, "tiny").weights_path)
    assert tensors["familiarity.precision"].shape == (8, 8)


def test_weights_without_a_log_or_of_another_network_are_not_published(bundle: Path, disc_data: Path, tmp_path: Path) -> None:
    state = tmp_path / "work" / "run.pt"
    state.parent.mkdir()
    torch.save(new_network(bundle).state_dict(), state)
    with pytest.raises(LogMissing, match=r"run\.json is not the log of a run"):
        main([str(bundle), str(state), "--data", str(disc_data)])
    torch.save({"another": torch.ones(1)}, state)
    with pytest.raises(StartUnusable, match="another network"):
        main([str(bundle), str(state), "--data", str(disc_data)])
    assert not (bundle / "models").exists()


def test_commit_says_whether_files_differ_from_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *who, "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    assert provenance.commit(tmp_path) == "unknown"
    git("init")
    git("commit", "--allow-empty", "-m", "First")
    clean = provenance.commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "new").touch()
    assert provenance.commit(tmp_path) == f"{clean}-dirty"
