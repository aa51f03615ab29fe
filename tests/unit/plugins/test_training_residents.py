"""Pictures that lie on the device and are augmented there; the encoder that both networks share; teachers; packs made in processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from dermanode_classify.crop import square_around
from dermanode_training.data.augmentation import Strength
from dermanode_training.data.lesions import Collection
from dermanode_training.data.pack import clean_pack, write_pack
from dermanode_training.data.tensors import Augmentation, Drawings, compressed
from dermanode_training.fitting import averaging, classification, segmentation
from dermanode_training.fitting.batches import Batch, Recipe
from dermanode_training.fitting.budget import Budget
from dermanode_training.fitting.loop import Run
from dermanode_training.fitting.machine import Machine, PlacementUnknown
from dermanode_training.fitting.networks import new_network
from dermanode_training.fitting.residents import Residents
from dermanode_training.publishing.provenance import COMMIT, commit
from dermanode_training.scoring.metrics import dice
from dermanode_training.train import PlanUnknown, main
from monai.networks.nets import UNet

CHECKOUT = Path(__file__).resolve().parents[3]
SEGMENTERS, CLASSIFIERS = CHECKOUT / "models" / "lesion_segmentation", CHECKOUT / "models" / "lesion_classifier"
PLAIN = Strength(brightness=0, contrast=0, cast=0, blur=0, jpeg=0, noise=0, grain=0, hair=0, vignette=0, glare=0)
CPU = torch.device("cpu")


def augmentation(strength: Strength, side_px: int = 96, seed: int = 0) -> Augmentation:
    drawings = Drawings.drawn(side_px, CPU, seed, count=4)
    return Augmentation(side_px, strength, drawings, np.random.default_rng(seed), torch.Generator().manual_seed(seed))


def lesions(count: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures of ellipses, their masks and the squares around them."""
    mask = np.zeros((128, 128), np.uint8)
    cv2.ellipse(mask, (50, 70), (30, 18), 20, 0, 360, 255, -1)
    pixels = np.where(mask[..., None] > 0, (120, 75, 60), (215, 165, 150)).astype(np.float32)
    square = square_around(mask > 127, 0.25, 0.35)
    pictures = torch.from_numpy(pixels).permute(2, 0, 1)[None].repeat(count, 1, 1, 1)
    masks = torch.from_numpy(mask)[None, None].float().repeat(count, 1, 1, 1)
    return pictures, masks, torch.tensor([(square.left, square.top, square.side)]).repeat(count, 1)


@pytest.fixture
def task(disc_data: Path, tmp_path: Path) -> segmentation.Segmentation:
    collection, work = Collection(disc_data), tmp_path / "work"
    write_pack(collection, work)
    clean_pack(collection, work)
    return segmentation.Segmentation(collection, work)


# Augmentation


def test_tensors_of_picture_and_mask_are_moved_alike_each_otherwise() -> None:
    pictures, masks, squares = lesions()
    moved, moved_masks = augmentation(PLAIN)(pictures, masks, squares)
    assert moved.shape == (6, 3, 96, 96)
    for one, mask in zip(moved, moved_masks, strict=True):
        assert dice(one[0].numpy() < 160, mask[0].numpy() > 127) > 0.95
    assert not torch.equal(moved[0], moved[1])


def test_square_fills_the_picture_when_nothing_is_drawn_otherwise() -> None:
    pictures, masks, squares = lesions(1)
    still = replace(PLAIN, scale=(1.0, 1.0), stretch=0.0, shift=0.0)
    _, moved = augmentation(still)(pictures, masks, squares)
    rows = np.flatnonzero((moved[0, 0] > 127).any(1))
    # The margin is a quarter of the box on each side, and the ellipse is turned: at least half of the square, never all of it.
    assert 0.3 * 96 < len(rows) < 0.95 * 96
    assert (moved > 127).float().mean().item() == pytest.approx((masks > 127).sum().item() / squares[0, 2].item() ** 2, rel=0.05)


def test_a_seed_gives_the_same_tensors_again() -> None:
    one, other = (augmentation(Strength(), seed=5)(*lesions()) for _ in range(2))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert not torch.equal(one[0], augmentation(Strength(), seed=6)(*lesions())[0])


@pytest.mark.parametrize("kind", ["blur", "jpeg", "noise", "grain", "hair", "vignette", "glare"])
def test_each_kind_of_change_changes_pictures_within_their_range(kind: str) -> None:
    always = replace(PLAIN, **{kind: 1.0})
    plain, changed = (augmentation(one)(*lesions())[0] for one in (PLAIN, always))
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert bool((changed - plain).abs().amax((1, 2, 3)).gt(1).all())


def test_compression_does_what_a_jpeg_does() -> None:
    random = np.random.default_rng(1)
    smooth = cv2.GaussianBlur(random.uniform(0, 255, (72, 88, 3)), (0, 0), 2.0)
    pixels = np.clip((smooth - smooth.mean()) * 4 + 128, 0, 255).astype(np.uint8)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    for quality in (20, 40, 85):
        _, code = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
        theirs = cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(float)
        ours = compressed(tensor, torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy()
        assert np.abs(ours - theirs).mean() < 0.35 * np.abs(theirs - pixels).mean()


# Residents


def test_residents_give_the_pictures_and_masks_of_their_rows(task: segmentation.Segmentation) -> None:
    recipe = replace(task.recipe(Budget(batch=5), 64), strength=replace(PLAIN, scale=(1.0, 1.0), stretch=0.0, shift=0.0))
    batch = next(Residents(task.pack, recipe.numbers, CPU).batches(recipe))
    assert batch.images.shape == (5, 3, 64, 64)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for image, mask in zip(batch.images, batch.masks, strict=True):
        assert dice(image[0].numpy() < image[0].mean().item(), mask[0].numpy() > 0.5) > 0.9
    drawn = next(Residents(task.pack, recipe.numbers, CPU).batches(replace(recipe, numbers=recipe.numbers[:1])))
    assert set(drawn.numbers.tolist()) == {recipe.numbers[0]}


def test_share_of_cleaned_pictures_is_kept(task: segmentation.Segmentation) -> None:
    still = replace(PLAIN, scale=(1.0, 1.0), stretch=0.0, shift=0.0)
    residents = Residents(task.pack, (0,), CPU)
    raw, cleaned = (
        next(residents.batches(Recipe((0,), None, 64, 1, seed=1, cleaned_share=share, strength=still))).images for share in (0.0, 1.0)
    )
    assert (raw.mean((2, 3)) - cleaned.mean((2, 3))).abs().max() > 0.05


def test_run_on_residents_learns_and_goes_on(task: segmentation.Segmentation, tmp_path: Path) -> None:
    budget = Budget(epochs=30, minutes=5, sides_px=(32,), batch=5, validations=2, averaging=0.5, peak_rate=0.02)
    machine = Machine("cpu", threads=1, pictures="resident")
    torch.manual_seed(0)
    Run(task, UNet(2, 3, 1, (4, 8), (2,), norm="BATCH"), tmp_path / "run.pt", budget, machine).fit()
    told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert told["history"][-1]["loss"] < told["history"][0]["loss"]
    assert told["machine"]["workers"] == 0


def test_unknown_place_for_pictures_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(PlacementUnknown, match="one of auto, resident, streamed"):
        Machine("cpu", pictures="elsewhere").is_resident(1, 1)
    assert not Machine("cpu").is_resident(1, 1)


def test_average_follows_the_network_as_torch_does() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    average, values = averaging.averaged(network), []
    for step in range(4):
        with torch.no_grad():
            network[0].weight.fill_(float(step))
            network[1].num_batches_tracked.fill_(step)
        averaging.update(average, network, 0.5)
        values.append(average.module[0].weight[0, 0].item())
    # The first takes all; then (1 + n) / (10 + n) of what was is kept: 2/11, 3/12, 4/13.
    expected = [0.0]
    for step, kept in ((1, 2 / 11), (2, 3 / 12), (3, 4 / 13)):
        expected.append(kept * expected[-1] + (1 - kept) * step)
    assert values == pytest.approx(expected)
    assert average.module[1].num_batches_tracked.item() == 3


# Networks that share an encoder, and teachers


def test_classifier_takes_the_encoder_of_the_segmenter_that_shares_it() -> None:
    segmenter, classifier = new_network(SEGMENTERS), new_network(CLASSIFIERS)
    classification.start_from(classifier, segmenter.state_dict())
    image = torch.rand(1, 3, 64, 64)
    deepest = segmenter.eval().encoder(image)[-1]
    trunk = classifier.eval().trunk
    found = image
    for level in (trunk.stem, trunk.level1, trunk.level2, trunk.level3, trunk.level4):
        found = level(found)
    assert torch.equal(found, deepest)


def test_pupil_is_drawn_to_what_its_teachers_say(disc_data: Path, tmp_path: Path) -> None:
    class Says(torch.nn.Module):
        def __init__(self, logits: torch.Tensor) -> None:
            super().__init__()
            self.logits = torch.nn.Parameter(logits)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.logits[None].expand(len(images), -1)

    plan = classification.Plan(distilled=1.0, mixup=0.0, cutmix=0.0)
    teachers = tuple(Says(5 * torch.eye(8)[place]) for place in (2, 5))
    pupil = classification.Classification(Collection(disc_data), tmp_path, plan, teachers=teachers)
    batch = Batch(torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))
    agreeing = Says(torch.log(torch.stack([torch.softmax(one.logits, 0) for one in teachers]).mean(0)))
    assert pupil.loss(agreeing, batch) < pupil.loss(teachers[0], batch)
    pupil.loss(agreeing, batch).backward()
    assert agreeing.logits.grad.abs().max() < 1e-5
    assert all(one.logits.grad is None for one in teachers)


def test_command_takes_teachers_and_tells_of_them(disc_data: Path, tmp_path: Path) -> None:
    models = tmp_path / "models" / "lesion_classifier" / "configs"
    models.mkdir(parents=True)
    trunk = {"_target_": "dermanode_classify.trunks.residual", "channels": [4, 8], "strides": [2, 2], "features": 16, "units": 1}
    network = {"_target_": "dermanode_classify.network.LesionClassifier", "trunk": trunk, "classes": 8, "seen": ["level0"]}
    (models / "inference.json").write_text(json.dumps({"network_def": network, "side_px": 32}), encoding="utf-8")
    told = ["classification", "--data", str(disc_data), "--work", str(tmp_path / "work"), "--models", str(tmp_path / "models")]
    for change in ("epochs=1", "batch=5", "sides_px=32", "threads=1", "validations=1", "pictures=resident", "device=cpu"):
        told += ["--set", change]
    assert main(told) == 0
    first = tmp_path / "work" / "classification.pt"
    assert main([*told, "--teacher", f"default={first}", "--out", str(tmp_path / "pupil.pt")]) == 0
    origin = json.loads((tmp_path / "pupil.json").read_text(encoding="utf-8"))["origin"]
    assert origin["teachers"].startswith("default classification.pt (SHA-256 ")
    with pytest.raises(PlanUnknown, match="write NETWORK=FILE"):
        main([*told, "--teacher", str(first)])


# Packs and provenance


def test_pack_made_in_processes_is_the_same(disc_data: Path, tmp_path: Path) -> None:
    packs = []
    for processes in (1, 2):
        collection, folder = Collection(disc_data), tmp_path / str(processes)
        write_pack(collection, folder, processes=processes)
        clean_pack(collection, folder, processes=processes)
        packs.append([np.load(folder / f"{name}.npy") for name in ("images", "masks", "cleaned", "is_cleaned")])
    assert all(np.array_equal(one, other) for one, other in zip(*packs, strict=True))
    assert packs[0][3].all()


def test_commit_is_told_where_only_the_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMIT, "0123abc")
    assert commit(tmp_path) == "0123abc"
    assert commit() != "0123abc"
