"""The segment stage: one lesion, at source resolution, and what is said where there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dermanode_preprocess import preprocess
from dermanode_segment import segment, warm_up
from dermanode_segment.outline import OutlineRules, lesion_probability, to_source, touches_border
from dermanode_segment.segmenter import load
from numpy.typing import NDArray

from dermanode.domain import Case, Segmentation, View
from dermanode.errors import BundleError
from dermanode.hookspecs import Bundle
from dermanode.pipeline.bundles import OpenBundle, open_bundle

CHECKOUT = Path(__file__).resolve().parents[3]
DATA = CHECKOUT.parent / "shared" / "data"
Image = NDArray[np.uint8]
Photograph = Callable[..., tuple[Image, NDArray[np.bool_]]]


@dataclass
class Powers:
    """The context's part that this stage uses, over another context."""

    inner: Any
    device: str = "cpu"
    threads: int = 1
    reasons: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def bundle(self, name: str) -> Bundle:
        return open_bundle(CHECKOUT / "models", name)

    def decline(self, reason: str) -> None:
        self.reasons.append(reason)


@pytest.fixture
def powers(context: Any) -> Powers:
    return Powers(context)


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return 2 * float((found & truth).sum()) / float(found.sum() + truth.sum())


def segmented(case: Case, powers: Powers) -> Segmentation:
    found = segment(case, powers)
    assert found is not None, powers.reasons
    return found


@pytest.fixture
def make_clean_case(make_view: Callable[..., View], make_case: Callable[..., Case], context: Any) -> Callable[..., Case]:
    def make(*images: Image) -> Case:
        case = make_case(*(make_view(image, number=number + 1) for number, image in enumerate(images)))
        found = preprocess(case, context)
        assert found is not None
        return case.with_finding(found)

    return make


def test_mask_has_the_size_of_the_source_and_lies_on_the_lesion(
    make_clean_case: Callable[..., Case], powers: Powers, photograph: Photograph
) -> None:
    image, truth = photograph()
    found = segmented(make_clean_case(image), powers)
    (mask,) = found.masks
    assert mask.mask.shape == (600, 800)
    assert dice(mask.mask, truth) > 0.85
    assert not mask.touches_border
    assert 0.5 < mask.confidence <= 1
    assert found.algorithm.weights_digest == powers.bundle("lesion_segmentation").weights_digest


def test_every_view_gets_a_mask_of_its_own_size(make_clean_case: Callable[..., Case], powers: Powers, photograph: Photograph) -> None:
    images = [photograph(400 + 50 * k, 500, seed=k) for k in range(3)]
    found = segmented(make_clean_case(*(image for image, _ in images)), powers)
    assert [mask.mask.shape for mask in found.masks] == [(400, 500), (450, 500), (500, 500)]
    assert all(dice(mask.mask, truth) > 0.85 for mask, (_, truth) in zip(found.masks, images, strict=True))


def test_same_case_gives_the_same_bytes(make_clean_case: Callable[..., Case], powers: Powers, photograph: Photograph) -> None:
    case = make_clean_case(photograph()[0])
    assert segmented(case, powers).masks[0].mask.tobytes() == segmented(case, powers).masks[0].mask.tobytes()


def test_lesion_cut_by_the_border_is_said(make_clean_case: Callable[..., Case], powers: Powers, photograph: Photograph) -> None:
    image, _ = photograph(600, 800)
    found = segmented(make_clean_case(np.ascontiguousarray(image[:, 420:])), powers)
    assert found.masks[0].touches_border
    assert any("edge of the picture" in remark for remark in found.remarks)


def test_picture_of_nothing_is_declined_or_doubted(make_clean_case: Callable[..., Case], powers: Powers) -> None:
    found = segment(make_clean_case(np.full((512, 512, 3), 128, np.uint8)), powers)
    assert powers.reasons if found is None else found.remarks


def test_case_without_cleaned_views_is_declined(
    make_view: Callable[..., View], make_case: Callable[..., Case], powers: Powers, photograph: Photograph
) -> None:
    assert segment(make_case(make_view(photograph()[0])), powers) is None
    assert powers.reasons == ["there is no cleaned view: the pipeline needs a preprocess stage that was performed"]


def test_warm_up_loads_the_network_once(powers: Powers) -> None:
    warm_up(powers)
    bundle = powers.bundle("lesion_segmentation")
    assert load(bundle, "cpu") is load(powers.bundle("lesion_segmentation"), "cpu")


def test_bundle_of_another_version_is_refused() -> None:
    bundle = open_bundle(CHECKOUT / "models", "lesion_segmentation")
    strange = OpenBundle(bundle.name, bundle.root, "9.0.0", bundle.weights_digest, bundle.metadata)
    with pytest.raises(BundleError, match=r"9\.0\.0.*one release"):
        load(strange, "cpu")


def test_importing_the_plugin_does_not_import_torch() -> None:
    code = "import sys, dermanode_segment; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_largest_piece_near_the_centre_stays_and_its_holes_are_filled() -> None:
    chance = np.zeros((100, 100), np.float32)
    chance[30:70, 30:70] = 0.9
    chance[45:50, 45:50] = 0.1
    chance[0:12, 0:90] = 0.9
    inside = lesion_probability(chance, np.full((100, 100, 3), 200, np.uint8), OutlineRules(nearness=0.2)) > 0.5
    assert inside[47, 47]
    assert inside.sum() == 1600


def test_every_step_after_the_network_can_be_left_out() -> None:
    chance = np.full((100, 100), 0.1, np.float32)
    chance[30:70, 30:70] = 0.9
    chance[45:50, 45:50] = 0.1
    chance[0:10, 0:10] = 0.9
    picture = np.full((100, 100, 3), 200, np.uint8)
    alone = OutlineRules(is_one_piece=False, are_holes_filled=False)

    def size(rules: OutlineRules) -> int:
        return int((lesion_probability(chance, picture, rules) > 0.5).sum())

    assert size(alone) == int((chance > 0.5).sum()) == 1675
    assert size(replace(alone, is_one_piece=True)) == 1575
    assert size(replace(alone, are_holes_filled=True)) == 1700
    assert size(replace(alone, refinements=3, bilateral_weight=0, gaussian_weight=0)) == 1675
    assert size(replace(alone, refinements=3, bilateral_weight=0, gaussian_weight=4, reach=0.1)) != 1675


def test_unknown_rule_of_the_outline_is_refused(tiny_models: Any) -> None:
    tiny_models.tell("lesion_segmentation", "inference", outline={"thresold": 0.5})
    with pytest.raises(BundleError, match=r"outline is not understood .*thresold"):
        load(tiny_models.open("lesion_segmentation"), "cpu")


def test_mirroring_averages_both_answers(tiny_models: Any, photograph: Photograph) -> None:
    image = np.ascontiguousarray(photograph(128, 128)[0])
    plain = load(tiny_models.open("lesion_segmentation"), "cpu")
    mirrored = replace(plain, is_mirrored=True).answer([image]).chances[0]
    both = (plain.answer([image]).chances[0] + plain.answer([np.ascontiguousarray(image[:, ::-1])]).chances[0][:, ::-1]) / 2
    assert mirrored == pytest.approx(both, abs=1e-6)


def test_nothing_stays_nothing() -> None:
    chance = np.full((50, 50), 0.2, np.float32)
    assert not (lesion_probability(chance, np.zeros((50, 50, 3), np.uint8), OutlineRules()) > 0.5).any()


def test_refinement_follows_the_edge_of_the_picture() -> None:
    picture = np.full((100, 100, 3), 200, np.uint8)
    picture[:, :50] = 60
    chance = np.repeat(np.clip(np.linspace(1.15, -0.05, 100), 0.02, 0.98)[None].astype(np.float32), 100, axis=0)
    plain = lesion_probability(chance, picture, OutlineRules()) > 0.5
    refined = lesion_probability(chance, picture, OutlineRules(refinements=5, reach=0.06, bilateral_weight=2)) > 0.5
    assert abs(int(refined[50].sum()) - 50) < abs(int(plain[50].sum()) - 50)


@pytest.mark.parametrize(("rows", "columns"), [(20, 20), (300, 500), (3000, 4000)])
def test_mask_is_brought_back_by_the_matrix(rows: int, columns: int) -> None:
    chance = np.zeros((512, 512), np.float32)
    chance[128:384, 128:384] = 1
    scale = np.array([[columns / 512, 0, columns / 1024 - 0.5], [0, rows / 512, rows / 1024 - 0.5], [0, 0, 1]])
    mask = to_source(chance, scale, rows, columns)
    assert mask.shape == (rows, columns)
    assert mask.mean() == pytest.approx(0.25, rel=0.03)
    assert mask[rows // 2, columns // 2]


def test_border_is_noticed_on_every_side() -> None:
    for spot in ((0, 5), (9, 5), (5, 0), (5, 9)):
        mask = np.zeros((10, 10), np.bool_)
        mask[spot] = True
        assert touches_border(mask)
    assert not touches_border(np.zeros((10, 10), np.bool_))


@pytest.mark.skipif(not DATA.is_dir(), reason="the photographs in ../shared/data are not there")
def test_real_photographs_are_segmented() -> None:
    from dermanode_training.data.lesions import Collection
    from dermanode_training.measuring.measure import measure

    collection = Collection(DATA)
    rows = list(measure(collection, collection.split("val")[::57][:20], CHECKOUT / "models", classify=False))
    assert np.mean([row.dice for row in rows]) > 0.8
