"""The classify stage: calibrated probabilities over the crops of a case, and what is said where they mean little."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dermanode_classify import classify, warm_up
from dermanode_classify.classes import read_classes
from dermanode_classify.classifier import load
from dermanode_classify.crop import square_around
from dermanode_preprocess import preprocess
from numpy.typing import NDArray

from dermanode.domain import Case, Classification, View
from dermanode.errors import BundleError
from dermanode.hookspecs import Bundle
from dermanode.pipeline.bundles import OpenBundle, open_bundle

CHECKOUT = Path(__file__).resolve().parents[3]
DATA = CHECKOUT.parent / "shared" / "data"
LABELS = {"AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC"}
Image = NDArray[np.uint8]


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


def photograph(seed: int, size: int = 400) -> tuple[Image, NDArray[np.bool_]]:
    """Skin with a brown disc, and where that is."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    disc = np.hypot(x - size / 2, y - size / 2) < size * 0.2
    pixels = np.where(disc[..., None], (120, 75, 60), (215, 165, 150)) + random.normal(0, 4, (size, size, 1))
    return np.clip(pixels, 0, 255).astype(np.uint8), np.asarray(disc)


def classified(case: Case, powers: Powers) -> Classification:
    found = classify(case, powers)
    assert found is not None, powers.reasons
    return found


@pytest.fixture
def make_masked_case(make_view: Callable[..., View], make_case: Callable[..., Case], context: Any) -> Callable[..., Case]:
    def make(*pairs: tuple[Image, NDArray[np.bool_]]) -> Case:
        views = [make_view(image, number=number + 1) for number, (image, _) in enumerate(pairs)]
        found = preprocess(make_case(*views), context)
        assert found is not None
        return make_case(*views, masks=[mask for _, mask in pairs], findings=[found])

    return make


def test_probabilities_sum_to_one_and_are_sorted(make_masked_case: Callable[..., Case], powers: Powers) -> None:
    found = classified(make_masked_case(photograph(1)), powers)
    chances = [one.probability for one in found.diagnosis]
    assert sum(chances) == pytest.approx(1)
    assert chances == sorted(chances, reverse=True)
    assert {one.label for one in found.diagnosis} == LABELS
    assert [one.label for one in found.groups] == ["BENIGN", "SUSPICIOUS", "MALIGNANT"]
    assert sum(one.probability for one in found.groups) == pytest.approx(1)
    assert found.top.spread is None


def test_several_views_are_averaged_with_their_spread(make_masked_case: Callable[..., Case], powers: Powers) -> None:
    pairs = [photograph(seed) for seed in (1, 2, 3)]
    together = classified(make_masked_case(*pairs), powers)
    alone = [classified(make_masked_case(pair), powers) for pair in pairs]
    for one in together.diagnosis:
        singles = [next(s.probability for s in found.diagnosis if s.label == one.label) for found in alone]
        assert one.probability == pytest.approx(np.mean(singles), abs=1e-4)
        assert one.spread == pytest.approx(np.std(singles), abs=1e-4)
    assert len(together.views) == 3


def test_view_without_mask_is_left_out_and_said(make_masked_case: Callable[..., Case], powers: Powers) -> None:
    image, mask = photograph(1)
    found = classified(make_masked_case((image, mask), (image, np.zeros_like(mask))), powers)
    assert len(found.views) == 1
    assert any("1 of 2 views have no mask" in remark for remark in found.remarks)


def test_case_without_any_mask_is_declined(make_masked_case: Callable[..., Case], powers: Powers) -> None:
    image, mask = photograph(1)
    assert classify(make_masked_case((image, np.zeros_like(mask))), powers) is None
    assert "no view has a lesion's mask" in powers.reasons[0]


def test_case_without_cleaned_views_is_declined(make_view: Callable[..., View], make_case: Callable[..., Case], powers: Powers) -> None:
    image, mask = photograph(1)
    assert classify(make_case(make_view(image), masks=[mask]), powers) is None
    assert "no cleaned view" in powers.reasons[0]


def test_noise_is_not_taken_for_a_lesion_of_the_training_domain(make_masked_case: Callable[..., Case], powers: Powers) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    found = classified(make_masked_case((noise, photograph(1)[1])), powers)
    assert not found.is_in_domain
    assert any("must not be relied on" in remark for remark in found.remarks)


def test_same_case_gives_the_same_probabilities(make_masked_case: Callable[..., Case], powers: Powers) -> None:
    case = make_masked_case(photograph(1))
    first, second = classified(case, powers), classified(case, powers)
    assert [one.probability for one in first.diagnosis] == [one.probability for one in second.diagnosis]


def test_warm_up_loads_the_network_once(powers: Powers) -> None:
    warm_up(powers)
    assert load(powers.bundle("lesion_classifier"), "cpu") is load(powers.bundle("lesion_classifier"), "cpu")


def test_bundle_of_another_version_is_refused() -> None:
    bundle = open_bundle(CHECKOUT / "models", "lesion_classifier")
    strange = OpenBundle(bundle.name, bundle.root, "9.0.0", bundle.weights_digest, bundle.metadata)
    with pytest.raises(BundleError, match=r"9\.0\.0.*one release"):
        load(strange, "cpu")


def test_classes_that_name_no_group_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"groups": [], "classes": [{"label": "X", "group": "Y", "concept": ["1", "2", "3"]}]}), encoding="utf-8")
    with pytest.raises(BundleError, match="does not say what the classes are"):
        read_classes("net", path)


def test_codes_of_the_classes_are_snomed_with_a_right_check_digit_or_private() -> None:
    classes = read_classes("lesion_classifier", CHECKOUT / "models" / "lesion_classifier" / "configs" / "classes.json")
    for concept in (*classes.diagnoses, *classes.groups):
        if concept.code.scheme == "SCT":
            assert verhoeff(concept.code.value) == 0, concept
        else:
            assert concept.code.scheme == "99DERMANODE"
            assert concept.code.value.isalpha()


def verhoeff(number: str) -> int:
    """0 for a number whose last digit is its Verhoeff check digit."""
    turn = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    sum_so_far = 0
    for place, digit in enumerate(reversed(number)):
        step = int(digit)
        for _ in range(place % 8):
            step = turn[step]
        sum_so_far = _dihedral(sum_so_far, step)
    return sum_so_far


def _dihedral(a: int, b: int) -> int:
    if a < 5:
        return (a + b) % 5 if b < 5 else (a + b - 5) % 5 + 5
    return (a - 5 - b) % 5 + 5 if b < 5 else (a - b) % 5


def test_square_holds_the_lesion_with_a_margin_and_stays_inside() -> None:
    mask = np.zeros((512, 512), np.bool_)
    mask[100:200, 200:260] = True
    square = square_around(mask, 0.25, 0.1)
    assert square.side == 150
    assert (square.left, square.top) == (155, 75)
    corner = np.zeros((512, 512), np.bool_)
    corner[:100, :100] = True
    assert (square_around(corner, 0.25, 0.1).left, square_around(corner, 0.25, 0.1).top) == (0, 0)


def test_square_of_no_lesion_is_the_middle_of_the_picture() -> None:
    square = square_around(np.zeros((300, 500), np.bool_), 0.25, 0.1)
    assert (square.left, square.top, square.side) == (100, 0, 300)


def test_importing_the_plugin_does_not_import_torch() -> None:
    code = "import sys, dermanode_classify; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_crops_are_cut_from_the_cleaned_view(make_masked_case: Callable[..., Case], powers: Powers) -> None:
    from dermanode_classify.stage import shown_crops

    case = make_masked_case(photograph(1))
    _, (crop,) = shown_crops(case, load(powers.bundle("lesion_classifier"), "cpu"))
    # A disc of 0.4 of the side with a margin of a quarter on both sides: 0.6 of 512.
    assert crop.shape[0] == pytest.approx(307, abs=3)
    assert crop[crop.shape[0] // 2, crop.shape[1] // 2].mean() < crop[2, 2].mean() - 40


@pytest.mark.skipif(not DATA.is_dir(), reason="the photographs in ../shared/data are not there")
def test_real_photographs_are_told_apart_better_than_by_guessing() -> None:
    from dermanode_training.classification import LABELS as ORDER
    from dermanode_training.lesions import Collection
    from dermanode_training.measure import measure

    collection = Collection(DATA)
    by_label = {label: [lesion for lesion in collection.split("val") if lesion.label == label][:8] for label in ("BCC", "NV", "VASC")}
    lesions = [lesion for some in by_label.values() for lesion in some]
    rows = list(measure(collection, lesions, CHECKOUT / "models", classify=True))
    right = [ORDER[int(row.chances.argmax())] == row.lesion.label for row in rows if row.chances is not None]
    assert np.mean(right) > 0.5


def test_the_reader_is_told_how_many_malignant_lesions_are_missed() -> None:
    from dermanode_classify.classifier import _caution

    metadata = {"eval_metrics": {"val": {"all": {"recall": {"MEL": 0.304, "BCC": 0.52, "NV": 0.89}}}}}
    said = _caution(metadata, ["MEL", "BCC"])
    assert "MEL for 30% of its pictures, BCC for 52% of its pictures" in said
    assert "excludes nothing" in said
    assert _caution({}, ["MEL"]) == ""
