"""The classify stage: calibrated probabilities over the crops of a case, and what is said where they mean little."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dermanode_classify import classify, warm_up
from dermanode_classify.classes import Classes, read_classes
from dermanode_classify.classifier import load
from dermanode_classify.crop import square_around
from dermanode_classify.settings import ClassifySettings
from dermanode_classify.stage import classify_views, doubts
from dermanode_preprocess import preprocess
from dermanode_training.fitting.classification import LABELS, OUTPUTS
from numpy.typing import NDArray

from dermanode.domain import Case, Classification, ClassProbability, Code, View
from dermanode.errors import BundleError, ConfigurationError
from dermanode.hookspecs import Bundle
from dermanode.pipeline.bundles import OpenBundle, open_bundle

CHECKOUT = Path(__file__).resolve().parents[3]
DATA = CHECKOUT.parent / "shared" / "data"
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
    assert {one.label for one in found.diagnosis} == set(LABELS)
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
    tolerant = replace(load(powers.bundle("lesion_classifier"), "cpu"), decline_limit=float("inf"))
    found = classify_views(make_masked_case((noise, photograph(1)[1])), tolerant, ClassifySettings(), powers)
    assert found is not None
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


def concept(label: str, *outputs: str) -> dict[str, object]:
    return {"label": label, "outputs": outputs, "concept": ["1", "2", label]}


@pytest.mark.parametrize(
    ("diagnoses", "groups"),
    [
        ([concept("A", "A")], [concept("G", "A", "B")]),
        ([concept("A", "A"), concept("B", "B", "A")], [concept("G", "A", "B")]),
        ([concept("A", "A"), concept("B", "B")], [concept("G", "A", "B", "C")]),
        ([concept("A", "A"), concept("B", "B")], [concept("G", "B")]),
        ([{"label": "A", "outputs": ["A", "B"]}], [concept("G", "A", "B")]),
    ],
)
def test_classes_that_do_not_name_each_output_once_are_refused(tmp_path: Path, diagnoses: object, groups: object) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"outputs": ["A", "B"], "diagnoses": {"2": diagnoses}, "groups": groups}), encoding="utf-8")
    with pytest.raises(BundleError, match="does not say what the classes are"):
        read_classes("net", path)


@pytest.fixture
def classes() -> Classes:
    return read_classes("lesion_classifier", CHECKOUT / "models" / "lesion_classifier" / "configs" / "classes.json")


def test_the_shipped_classes_are_those_that_training_fits(classes: Classes) -> None:
    assert classes.outputs == OUTPUTS
    assert [one.label for one in classes.diagnoses(8)] == list(OUTPUTS)
    assert [one.label for one in classes.diagnoses(7)] == list(LABELS)
    assert tuple(OUTPUTS[place] for place in classes.diagnoses(7)[0].outputs) == ("AK", "SCC")


def test_probabilities_are_summed_over_the_outputs_of_a_diagnosis_and_of_a_group(classes: Classes) -> None:
    chances = np.array([[0.10, 0.20, 0.05, 0.15, 0.01, 0.30, 0.17, 0.02]])
    assert classes.listed(chances, 7) == pytest.approx(np.array([[0.30, 0.05, 0.15, 0.01, 0.30, 0.17, 0.02]]))
    assert classes.listed(chances, 8) == pytest.approx(chances)
    assert classes.grouped(chances) == pytest.approx(np.array([[0.35, 0.10, 0.55]]))


def test_diagnoses_of_which_a_part_is_malignant_count_as_such(classes: Classes) -> None:
    assert classes.labels_in("MALIGNANT", 7) == ("AKIEC", "BCC", "MEL")
    assert classes.labels_in("MALIGNANT", 8) == ("SCC", "BCC", "MEL")


def test_codes_of_the_classes_are_snomed_with_a_right_check_digit_or_private(classes: Classes) -> None:
    for concept in (*classes.diagnoses(7), *classes.diagnoses(8), *classes.groups):
        if concept.code.scheme == "SCT":
            assert verhoeff(concept.code.value) == 0, concept
        else:
            assert concept.code.scheme == "99DERMANODE"
            assert concept.code.value.isalpha()


def test_private_codes_of_the_classes_stand_in_the_conformance_statement(classes: Classes) -> None:
    page = (CHECKOUT / "docs" / "conformance.md").read_text(encoding="utf-8")
    codes = {one.code for count in (7, 8) for one in (*classes.diagnoses(count), *classes.groups) if one.code.scheme == "99DERMANODE"}
    assert codes
    assert [code for code in codes if f"| {code.value} | {code.meaning} |" not in page] == []


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


def told(found: Classification) -> dict[str, float]:
    return {one.label: one.probability for one in found.diagnosis}


def test_eight_diagnoses_are_listed_where_the_pipeline_asks_for_them(make_masked_case: Callable[..., Case], powers: Powers) -> None:
    case = make_masked_case(photograph(1))
    seven = told(classified(case, powers))
    powers.inner.settings = {"diagnoses": 8}
    found = classified(case, powers)
    assert told(found).keys() == set(OUTPUTS)
    assert told(found)["AK"] + told(found)["SCC"] == pytest.approx(seven["AKIEC"])
    assert sum(told(found).values()) == pytest.approx(1)


def test_another_number_of_diagnoses_is_refused(make_masked_case: Callable[..., Case], powers: Powers) -> None:
    case = make_masked_case(photograph(1))
    powers.inner.settings = {"diagnoses": 9}
    with pytest.raises(ConfigurationError, match=r"dermanode-classify.*diagnoses"):
        classify(case, powers)


def test_answer_holds_features_and_probabilities_of_every_crop(tiny_models: Any) -> None:
    answer = load(tiny_models.open("lesion_classifier"), "cpu").answer([photograph(seed)[0] for seed in range(3)])
    assert answer.chances.shape == (3, 8)
    assert answer.chances.sum(1) == pytest.approx(np.ones(3))
    assert answer.features.shape == (3, 16)
    assert answer.features.dtype == np.float32
    assert answer.strangeness.shape == (3,)


def test_temperature_and_bias_act_on_the_logits(tiny_models: Any) -> None:
    crop = photograph(1)[0]
    tiny_models.tell("lesion_classifier", "inference", temperature=1.0)
    plain = np.log(load(tiny_models.open("lesion_classifier"), "cpu").answer([crop]).chances[0])
    load.cache_clear()
    bias = np.arange(8) / 4
    tiny_models.tell("lesion_classifier", "inference", temperature=2.0, logit_bias=bias.tolist())
    found = np.log(load(tiny_models.open("lesion_classifier"), "cpu").answer([crop]).chances[0])
    assert found - found[0] == pytest.approx(plain / 2 + bias - plain[0] / 2)


@pytest.mark.parametrize(
    ("key", "value"),
    [("logit_bias", [0.0] * 7), ("logit_bias", 1.0), ("temperature", 0), ("temperature", "warm"), ("test_time_views", 3)],
)
def test_calibration_that_cannot_be_is_refused(tiny_models: Any, key: str, value: object) -> None:
    tiny_models.tell("lesion_classifier", "inference", **{key: value})
    with pytest.raises(BundleError, match=key):
        load(tiny_models.open("lesion_classifier"), "cpu")


def test_network_with_other_outputs_than_classes_is_refused(tiny_models: Any) -> None:
    classes = json.loads((CHECKOUT / "models" / "lesion_classifier" / "configs" / "classes.json").read_text(encoding="utf-8"))
    fewer = {"outputs": ["AK"], "diagnoses": {"1": [classes["diagnoses"]["8"][0]]}, "groups": [classes["groups"][1]]}
    tiny_models.tell("lesion_classifier", "classes", **fewer)
    with pytest.raises(BundleError, match=r"8 outputs, configs/classes\.json names 1"):
        load(tiny_models.open("lesion_classifier"), "cpu")


def test_eight_test_time_views_do_not_mind_how_a_crop_is_turned(tiny_models: Any) -> None:
    crop = photograph(1)[0][:300, 50:350]
    tiny_models.tell("lesion_classifier", "inference", test_time_views=8)
    classifier = load(tiny_models.open("lesion_classifier"), "cpu")
    straight, turned = classifier.answer([crop]), classifier.answer([np.ascontiguousarray(np.rot90(crop))])
    assert straight.chances == pytest.approx(turned.chances, abs=1e-6)
    assert straight.features == pytest.approx(turned.features, abs=1e-5)


def test_picture_of_something_else_altogether_is_declined(make_masked_case: Callable[..., Case], powers: Powers) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    classifier = load(powers.bundle("lesion_classifier"), "cpu")
    strict = replace(classifier, decline_limit=classifier.strangeness_limit + 0.01)
    case = make_masked_case((noise, photograph(1)[1]))
    assert classify_views(case, strict, ClassifySettings(), powers) is None
    assert "unlike any that the classifier was trained on" in powers.reasons[0]
    tolerant = replace(classifier, decline_limit=float("inf"))
    assert classify_views(case, tolerant, ClassifySettings(), powers) is not None


def chance(label: str, probability: float) -> ClassProbability:
    return ClassProbability(label=label, concept=Code("1", "2", label), probability=probability)


def test_views_that_do_not_agree_are_said() -> None:
    diagnosis = [chance("NV", 0.6), chance("MEL", 0.3)]
    assert doubts(diagnosis, ["NV", "MEL", "NV"]) == ["The 3 views do not agree on the most probable diagnosis: NV in 2, MEL in 1."]
    assert doubts(diagnosis, ["NV", "NV"]) == []


def test_two_close_diagnoses_are_said() -> None:
    (remark,) = doubts([chance("NV", 0.45), chance("MEL", 0.40)], ["NV"])
    assert "NV and MEL are close" in remark


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
    from dermanode_training.data.lesions import Collection
    from dermanode_training.measuring.measure import measure

    collection = Collection(DATA)
    by_label = {label: [lesion for lesion in collection.split("val") if lesion.label == label][:8] for label in ("BCC", "NV", "VASC")}
    lesions = [lesion for some in by_label.values() for lesion in some]
    rows = list(measure(collection, lesions, CHECKOUT / "models", classify=True))
    right = [OUTPUTS[int(row.chances.argmax())] == row.lesion.label for row in rows if row.chances is not None]
    assert np.mean(right) > 0.5


def test_the_reader_is_told_how_many_malignant_lesions_are_missed() -> None:
    from dermanode_classify.classifier import _caution

    metadata = {"eval_metrics": {"val": {"all": {"recall": {"MEL": 0.304, "BCC": 0.52, "NV": 0.89}}}}}
    said = _caution(metadata, ["MEL", "BCC"])
    assert "MEL for 30% of its pictures, BCC for 52% of its pictures" in said
    assert "excludes nothing" in said
    assert _caution({}, ["MEL"]) == ""
