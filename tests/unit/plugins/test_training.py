"""The committed recipe: its pictures, its clock, and runs that are stopped and go on, on photographs of discs."""

from __future__ import annotations

import csv
import itertools
import json
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from dermanode_classify.crop import Square
from dermanode_classify.network import LesionClassifier
from dermanode_training.data.augmentation import Strength, augment
from dermanode_training.data.lesions import Collection, DataMissing
from dermanode_training.data.mixing import mix
from dermanode_training.data.pack import PackDiffers, write_pack
from dermanode_training.fitting import classification, segmentation
from dermanode_training.fitting.batches import Batch, Recipe
from dermanode_training.fitting.budget import Budget
from dermanode_training.fitting.checkpoint import RunDiffers, write_whole
from dermanode_training.fitting.loop import Run
from dermanode_training.fitting.machine import DeviceMissing, Machine
from dermanode_training.fitting.networks import StartUnusable, new_network
from dermanode_training.fitting.schedule import Schedule
from dermanode_training.fitting.segmentation import Segmentation
from dermanode_training.scoring.calibration import best_temperature, with_temperature
from dermanode_training.scoring.metrics import area_under_curve, balanced_accuracy, confusion, dice, expected_calibration_error
from dermanode_training.train import PlanUnknown, main
from monai.networks.nets import UNet

from dermanode.cli import main as dermanode

CHECKOUT = Path(__file__).resolve().parents[3]
SMALL = Budget(epochs=4, minutes=5, sides_px=(32,), batch=5, validations=4, averaging=0.5)
ONE_THREAD = Machine("cpu", threads=1)
TINY_SEGMENTER = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "in_channels": 3,
    "out_channels": 1,
    "channels": [4, 8],
    "strides": [2],
    "norm": "BATCH",
}
TINY_CLASSIFIER = {
    "_target_": "dermanode_classify.network.LesionClassifier",
    "trunk": {"_target_": "dermanode_classify.trunks.residual", "channels": [4, 8], "strides": [2, 2], "features": 16, "units": 1},
    "classes": 8,
    "seen": ["level0"],
}


def tiny_segmenter() -> torch.nn.Module:
    torch.manual_seed(0)
    network: torch.nn.Module = UNet(2, 3, 1, (4, 8), (2,), norm="BATCH")
    return network


@dataclass(frozen=True, eq=False)
class Discs:
    """The segmenter's task, with something done at a step, and scores as they are told where they are."""

    task: Segmentation
    at_step: Mapping[int, Callable[[], object]] = field(default_factory=dict)
    scores: tuple[float, ...] = ()
    seen: list[Mapping[str, torch.Tensor]] = field(default_factory=list)
    _steps: Any = field(default_factory=lambda: itertools.count(1))
    name: str = "discs"

    @property
    def pack(self) -> Path:
        return self.task.pack

    @property
    def plan(self) -> segmentation.Plan:
        return self.task.plan

    def recipe(self, budget: Budget, side_px: int) -> Recipe:
        return self.task.recipe(budget, side_px)

    def loss(self, network: Callable[[torch.Tensor], torch.Tensor], batch: Batch) -> torch.Tensor:
        self.at_step.get(next(self._steps), lambda: None)()
        return self.task.loss(network, batch)

    def validate(self, network: torch.nn.Module, side_px: int, device: torch.device) -> Mapping[str, float]:
        self.seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return {"score": self.scores[len(self.seen) - 1]} if self.scores else self.task.validate(network, side_px, device)


@pytest.fixture
def task(disc_data: Path, tmp_path: Path) -> Segmentation:
    collection, work = Collection(disc_data), tmp_path / "work"
    write_pack(collection, work)
    return Segmentation(collection, work)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two bundles whose networks are tiny."""
    for name, network in (("lesion_segmentation", TINY_SEGMENTER), ("lesion_classifier", TINY_CLASSIFIER)):
        folder = tmp_path / "models" / name / "configs"
        folder.mkdir(parents=True)
        told = {"network_def": network, "side_px": 32, "margin": 0.25, "least": 0.35}
        (folder / "inference.json").write_text(json.dumps(told), encoding="utf-8")
    return tmp_path / "models"


# Pictures


def test_photographs_come_as_rgb_with_their_masks(disc_data: Path) -> None:
    collection = Collection(disc_data / "lesions.csv", disc_data)
    first = collection.lesions[0]
    assert collection.image(first)[0, 0] == pytest.approx((215, 165, 150), abs=6)
    assert collection.mask(first).dtype == np.bool_
    assert len(collection.split("train")) == 10


def test_missing_table_is_said_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"lesions\.csv does not exist"):
        Collection(tmp_path)


def test_pack_of_another_table_is_not_taken_for_this_one(disc_data: Path, tmp_path: Path) -> None:
    write_pack(Collection(disc_data), tmp_path / "work")
    table = disc_data / "lesions.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("NV", "MEL"), encoding="utf-8")
    with pytest.raises(PackDiffers, match="another --work"):
        write_pack(Collection(disc_data), tmp_path / "work")


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


def test_processes_that_draw_share_the_rows_among_them() -> None:
    recipe = Recipe(tuple(range(11)), tuple(range(1, 12)), 32, 4, seed=5)
    parts = [recipe.part(worker, 3) for worker in range(3)]
    assert sorted(number for part in parts for number in part.numbers) == list(range(11))
    assert all(part.weights == tuple(number + 1 for number in part.numbers) for part in parts)
    assert len({part.seed for part in parts}) == 3
    assert recipe.part(0, 1) == recipe


def test_mixed_pictures_are_made_of_two_by_their_shares() -> None:
    images = torch.stack([torch.full((3, 8, 8), float(number)) for number in range(4)])
    random = np.random.default_rng(3)
    blended = mix(images, random, mixup=1, cutmix=0)
    assert torch.allclose(blended.images[:, 0, 0, 0], blended.share * torch.arange(4.0) + (1 - blended.share) * blended.partner)
    patched = mix(images, random, mixup=0, cutmix=1)
    own = (patched.images == images).float().mean((1, 2, 3))
    assert torch.allclose(own[patched.partner != torch.arange(4)], torch.tensor(patched.share))
    assert mix(images, random, mixup=0, cutmix=0).images is images


# Figures and the clock


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


def test_pictures_grow_over_the_run() -> None:
    budget = Budget(sides_px=(96, 112, 128))
    assert [budget.side_px(done) for done in (0, 0.3, 0.34, 0.7, 1)] == [96, 96, 112, 128, 128]


# Runs


def test_loss_falls_and_the_log_tells_every_validation(task: Segmentation, tmp_path: Path) -> None:
    run = Run(task, tiny_segmenter(), tmp_path / "run.pt", replace(SMALL, epochs=20, peak_rate=0.02), ONE_THREAD, {"network": "tiny"})
    run.fit()
    told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in told["history"]] == [10, 20, 30, 40]
    assert told["history"][-1]["loss"] < told["history"][0]["loss"]
    assert told["plan"] == {"budget": json.loads(json.dumps(told["plan"]["budget"])), "task": {"bce": 0.3, "dice": 0.7}}
    assert told["machine"] == {"device": "cpu", "threads": 1, "workers": 1}
    assert told["origin"] == {"network": "tiny"}
    with (tmp_path / "run.csv").open(newline="", encoding="utf-8") as stream:
        assert [json.loads(row["figures"])["dice"] for row in csv.DictReader(stream)] == [row["dice"] for row in told["history"]]


def test_best_weights_by_validation_are_kept(task: Segmentation, tmp_path: Path) -> None:
    scored = Discs(task, scores=(0.5, 0.9, 0.1, 0.2))
    Run(scored, tiny_segmenter(), tmp_path / "run.pt", SMALL, ONE_THREAD).fit()
    kept = torch.load(tmp_path / "run.pt", weights_only=True)
    assert all(torch.equal(value, scored.seen[1][name]) for name, value in kept.items())
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["best"] == 0.9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_run_goes_on_at_that_step_with_the_same_history(task: Segmentation, tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stopped = Run(Discs(task, {5: lambda: signal.raise_signal(number)}), tiny_segmenter(), tmp_path / "run.pt", SMALL, ONE_THREAD)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit()
    state = torch.load(tmp_path / "run.checkpoint", weights_only=True)
    assert state["step"] == 5
    assert signal.getsignal(number) is before
    resumed = Run(Discs(task), tiny_segmenter(), tmp_path / "run.pt", SMALL, ONE_THREAD)
    resumed.fit()
    assert resumed.history[: len(stopped.history)] == stopped.history
    assert [row["step"] for row in resumed.history] == [2, 4, 6, 8]
    with (tmp_path / "run.csv").open(newline="", encoding="utf-8") as stream:
        assert [int(row["step"]) for row in csv.DictReader(stream)] == [2, 4, 6, 8]


def test_second_signal_does_not_wait_for_the_step(task: Segmentation, tmp_path: Path) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Run(Discs(task, {3: twice}), tiny_segmenter(), tmp_path / "run.pt", SMALL, ONE_THREAD).fit()
    assert torch.load(tmp_path / "run.checkpoint", weights_only=True)["step"] == 2


def test_lines_of_work_that_was_lost_leave_the_table(task: Segmentation, tmp_path: Path) -> None:
    stopped = Run(Discs(task, {5: lambda: signal.raise_signal(signal.SIGTERM)}), tiny_segmenter(), tmp_path / "run.pt", SMALL, ONE_THREAD)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit()
    with (tmp_path / "run.csv").open("a", newline="", encoding="utf-8") as stream:
        stream.write("7,99.0,0.1,0.001,\r\n7,9")
    Run(Discs(task), tiny_segmenter(), tmp_path / "run.pt", SMALL, ONE_THREAD).fit()
    with (tmp_path / "run.csv").open(newline="", encoding="utf-8") as stream:
        assert [int(row["step"]) for row in csv.DictReader(stream)] == [2, 4, 6, 8]


def test_finished_run_is_left_as_it_is(task: Segmentation, tmp_path: Path) -> None:
    Run(task, tiny_segmenter(), tmp_path / "run.pt", SMALL, ONE_THREAD).fit()
    written = (tmp_path / "run.pt").read_bytes()
    again = Run(task, tiny_segmenter(), tmp_path / "run.pt", SMALL, ONE_THREAD)
    again.fit()
    assert len(again.history) == 4
    assert (tmp_path / "run.pt").read_bytes() == written


def test_checkpoint_of_another_plan_is_refused_with_the_difference_and_the_cure(task: Segmentation, tmp_path: Path) -> None:
    Run(task, tiny_segmenter(), tmp_path / "run.pt", SMALL, ONE_THREAD).fit()
    with pytest.raises(RunDiffers, match=r"peak_rate was 0\.002, is 0\.1\. Say the same as then to go on, give another --out"):
        Run(task, tiny_segmenter(), tmp_path / "run.pt", replace(SMALL, peak_rate=0.1), ONE_THREAD).fit()
    with pytest.raises(RunDiffers, match="it trained another network"):
        Run(task, UNet(2, 3, 1, (8, 8), (2,), norm="BATCH"), tmp_path / "run.pt", SMALL, ONE_THREAD).fit()


def test_checkpoint_may_go_on_on_another_machine(task: Segmentation, tmp_path: Path) -> None:
    Run(task, tiny_segmenter(), tmp_path / "run.pt", SMALL, ONE_THREAD).fit()
    # Plans of before 0.2 told threads and device too.
    state = torch.load(tmp_path / "run.checkpoint", weights_only=True)
    plan = json.loads(state["plan"])
    state["plan"] = json.dumps(plan | {"budget": plan["budget"] | {"threads": 7, "device": "cuda"}})
    write_whole(state, tmp_path / "run.checkpoint")
    Run(task, tiny_segmenter(), tmp_path / "run.pt", SMALL, Machine("cpu", threads=1, workers=2)).fit()


def test_file_that_cannot_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    write_whole({"step": 1}, tmp_path / "file")
    with pytest.raises((AttributeError, TypeError)):
        write_whole({"step": 2, "no pickle": lambda: None}, tmp_path / "file")
    assert torch.load(tmp_path / "file", weights_only=True) == {"step": 1}


def test_same_seed_gives_the_same_weights(task: Segmentation, tmp_path: Path) -> None:
    states = []
    for name in ("one", "two"):
        Run(task, tiny_segmenter(), tmp_path / f"{name}.pt", SMALL, ONE_THREAD).fit()
        states.append(torch.load(tmp_path / f"{name}.pt", weights_only=True))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_run_ends_with_its_minutes_and_is_validated_then(task: Segmentation, tmp_path: Path) -> None:
    seconds = itertools.count(0, 10)
    run = Run(task, tiny_segmenter(), tmp_path / "run.pt", replace(SMALL, epochs=1e6), ONE_THREAD, clock=lambda: float(next(seconds)))
    run.fit()
    state = torch.load(tmp_path / "run.checkpoint", weights_only=True)
    assert state["elapsed_s"] >= 300
    assert run.history[-1]["step"] == state["step"] < 30


def test_tensorboard_gets_the_same_figures(task: Segmentation, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run(task, tiny_segmenter(), tmp_path / "run.pt", SMALL, ONE_THREAD, has_events=True)
    run.fit()
    events = EventAccumulator(str(tmp_path / "run.tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("dice")] == [row["step"] for row in run.history]


def test_device_that_is_not_there_is_said() -> None:
    assert Machine("cpu").chosen() == torch.device("cpu")
    assert Machine().chosen().type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceMissing, match="say --device cpu"):
            Machine("cuda").chosen()


# Starts


def test_classifier_takes_the_whole_encoder_of_a_segmenter() -> None:
    segmenter = new_network(CHECKOUT / "models" / "lesion_segmentation", "residual_unet")
    classifier = new_network(CHECKOUT / "models" / "lesion_classifier", "residual")
    assert isinstance(classifier, LesionClassifier)
    classification.start_from(classifier, segmenter.state_dict())
    image = torch.rand(1, 3, 32, 32)
    first = segmenter.model[0].eval()(image)
    assert torch.equal(classifier.trunk.level0.eval()(image), first)
    deepest = segmenter.model[1].submodule[1].submodule[1].submodule[1].submodule
    assert torch.equal(classifier.trunk.level4.conv.unit0.conv.weight, deepest.conv.unit0.conv.weight)


def test_weights_of_another_network_are_no_start() -> None:
    with pytest.raises(StartUnusable, match="another network"):
        segmentation.start_from(tiny_segmenter(), {"a": torch.zeros(1)})
    with pytest.raises(StartUnusable, match="None of the 1 tensors"):
        classification.start_from(new_network(CHECKOUT / "models" / "lesion_classifier"), {"a": torch.zeros(1)})


# The command


def test_command_trains_and_goes_on(disc_data: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["train", "classification", "--data", str(disc_data / "lesions.csv"), "--work", str(tmp_path / "work"), "--models", str(models)]
    told += ["--minutes", "1", "--device", "cpu"]
    for change in ("epochs=2", "batch=5", "sides_px=32", "threads=1", "validations=2"):
        told += ["--set", change]
    assert dermanode(told) == 0
    assert "classification.pt" in capsys.readouterr().out
    run = json.loads((tmp_path / "work" / "classification.json").read_text(encoding="utf-8"))
    assert run["history"][-1]["step"] == 4
    assert run["plan"]["budget"]["minutes"] == 1
    assert dermanode(told) == 0
    assert dermanode([*told, "--set", "epochs=3"]) == 1
    assert "epochs was 2" in capsys.readouterr().err


def test_command_without_the_plugins_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "dermanode_training", None)
    monkeypatch.delitem(sys.modules, "dermanode_training.train")
    assert dermanode(["train", "segmentation", "--data", "lesions.csv"]) == 1
    assert "Training needs dermanode_training, which is not installed: run `pip install dermanode-plugins`" in capsys.readouterr().err


def test_fusion_gets_its_own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []
    monkeypatch.setitem(sys.modules, "dermanode_training.fusion", SimpleNamespace(main=lambda arguments: told.append(arguments) or 0))
    assert dermanode(["train", "fusion", "--data", "lesions.csv", "--images", "pictures", "--minutes", "3"]) == 0
    assert told == [["--data", "lesions.csv", "--images", "pictures", "--work", "var/training", "--minutes", "3.0"]]


def test_command_starts_from_weights_and_says_so(disc_data: Path, models: Path, tmp_path: Path) -> None:
    torch.save(tiny_segmenter().state_dict(), tmp_path / "start.pt")
    told = ["segmentation", "--data", str(disc_data), "--work", str(tmp_path / "work"), "--models", str(models)]
    told += ["--start", str(tmp_path / "start.pt"), "--out", str(tmp_path / "mine.pt"), "--device", "cpu"]
    for change in ("epochs=1", "batch=5", "sides_px=32", "threads=1", "validations=1"):
        told += ["--set", change]
    assert main(told) == 0
    run = json.loads((tmp_path / "mine.json").read_text(encoding="utf-8"))
    assert run["origin"]["start"].startswith("start.pt (SHA-256 ")


def test_unknown_entry_of_the_plan_is_refused_with_those_that_there_are(disc_data: Path, models: Path, tmp_path: Path) -> None:
    told = ["segmentation", "--data", str(disc_data), "--work", str(tmp_path / "work"), "--models", str(models)]
    with pytest.raises(PlanUnknown, match=r"no entry epoch; it has epochs, minutes, .*, bce, dice, device, threads"):
        main([*told, "--set", "epoch=3"])
    with pytest.raises(PlanUnknown, match="epochs=many is not understood"):
        main([*told, "--set", "epochs=many"])
    with pytest.raises(PlanUnknown, match="write NAME=VALUE"):
        main([*told, "--set", "epochs"])


def test_missing_photographs_are_named_before_anything_is_decoded(disc_data: Path, models: Path, tmp_path: Path) -> None:
    (disc_data / "Discs" / "3.jpg").unlink()
    with pytest.raises(DataMissing, match=r"lacks 1 image file\(s\): 3\.jpg"):
        main(["segmentation", "--data", str(disc_data), "--work", str(tmp_path / "work"), "--models", str(models)])
    assert not (tmp_path / "work").exists()


def test_table_without_labels_is_refused_for_a_classifier(disc_data: Path, models: Path, tmp_path: Path) -> None:
    rows = [line.split(",")[:5] for line in (disc_data / "lesions.csv").read_text(encoding="utf-8").splitlines()]
    (disc_data / "lesions.csv").write_text("\n".join(",".join(row) for row in rows), encoding="utf-8")
    with pytest.raises(DataMissing, match="nothing to learn from"):
        main(["classification", "--data", str(disc_data), "--work", str(tmp_path / "work"), "--models", str(models)])


@pytest.mark.filterwarnings("ignore:parsing config_file")
@pytest.mark.parametrize("bundle", ["lesion_segmentation", "lesion_classifier"])
def test_bundle_trains_by_its_own_configuration(bundle: str, disc_data: Path, models: Path, tmp_path: Path) -> None:
    from monai.bundle import run

    plan = ["--device", "cpu"]
    for change in ("epochs=1", "batch=5", "sides_px=32", "threads=1", "validations=1"):
        plan += ["--set", change]
    run(
        "training",
        config_file=str(CHECKOUT / "models" / bundle / "configs" / "train.json"),
        bundle_root=str(models / bundle),
        dataset_dir=str(disc_data),
        work_dir=str(tmp_path / "work"),
        plan=plan,
    )
    task = "segmentation" if bundle == "lesion_segmentation" else "classification"
    assert json.loads((tmp_path / "work" / f"{task}.json").read_text(encoding="utf-8"))["history"][-1]["step"] == 2
