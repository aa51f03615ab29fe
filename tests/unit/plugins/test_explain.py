"""The explain stage: maps that lie where the network looked, and what is said where there is nothing to explain."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import dermanode_explain
import numpy as np
import pytest
import torch
from dermanode_classify.classes import read_classes, told
from dermanode_classify.classifier import Classifier
from dermanode_classify.network import LesionClassifier
from dermanode_classify.trunks import residual, torchvision_trunk
from dermanode_explain import explain
from dermanode_explain.activation import SYMMETRIES, grad_cam, integrated_grad_cam, last_spatial_layer
from dermanode_explain.baseline import blurred
from dermanode_explain.finding import Explanation
from dermanode_explain.settings import ExplainSettings
from dermanode_explain.stage import classified_crops, explain_views
from dermanode_networks.backend import Eager
from dermanode_networks.runner import Runner
from numpy.typing import NDArray
from torch import nn

from dermanode.dicom.overlay import heat_on
from dermanode.domain import Algorithm, Case, Classification, CleanView, CleanViews, View, ViewQuality
from dermanode.errors import ConfigurationError
from dermanode.pipeline.hooks import Hooks

CLASSES = Path(__file__).resolve().parents[3] / "models" / "lesion_classifier" / "configs" / "classes.json"
ROWS, COLUMNS = 300, 420
PATCH = (slice(110, 140), slice(170, 200))
"""Where the blue veil is, in source pixels: up and to the left of the lesion's middle."""
WORKING_PX = 512
QUALITY = ViewQuality(hair_fraction=0.0, delta_e_before=1.0, delta_e_after=1.0, blur=100.0, glare_fraction=0.0)


class SeesBlue(nn.Module):  # type: ignore[misc]
    """Gives melanoma the more, the more blue there is anywhere, and nevus the less."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(3, 1, 1), nn.ReLU())
        self.head = nn.Linear(1, 8)
        with torch.no_grad():
            self.level[1].weight.copy_(torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1))
            self.level[1].bias.zero_()
            self.head.weight.copy_(torch.tensor([0, 0, 0, 0, 0, 200.0, -200.0, 0]).reshape(8, 1))
            self.head.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.level(images).mean((2, 3)))
        return logits


def resized(crop: NDArray[np.uint8]) -> torch.Tensor:
    small = cv2.resize(crop, (128, 128), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    network: Any = SeesBlue().eval()
    cpu = torch.device("cpu")
    return Classifier(
        algorithm=Algorithm("DermaNode classify", "0", bundle="lesion_classifier 0.0.0", weights_digest="b" * 64),
        network=network,
        runner=Runner("lesion_classifier", Eager(network, cpu), cpu),
        preprocessing=resized,
        classes=read_classes("lesion_classifier", CLASSES),
        temperature=1.0,
        logit_bias=np.zeros(8),
        test_time_views=1,
        margin=0.25,
        least=0.35,
        look_mean=torch.zeros(1),
        look_precision=torch.zeros(1, 1),
        strangeness_limit=1.0,
        decline_limit=1.0,
        device=cpu,
    )


def photograph() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A brown disc on skin with a blue patch in it, and where the disc is."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    disc = np.hypot(x - 210, y - 150) < 70
    pixels = np.where(disc[..., None], (130, 80, 60), (215, 165, 150)).astype(np.uint8)
    pixels[PATCH] = (40, 60, 200)
    return pixels, disc


def cleaned(view: View) -> CleanView:
    x, y = COLUMNS / WORKING_PX, ROWS / WORKING_PX
    return CleanView(
        sop_instance_uid=view.sop_instance_uid,
        pixels=cv2.resize(view.pixels(), (WORKING_PX, WORKING_PX), interpolation=cv2.INTER_AREA),
        to_source=np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]]),
        quality=QUALITY,
    )


def classification(classifier: Classifier, views: tuple[View, ...], **fields: Any) -> Classification:
    chances = np.tile([0.0, 0, 0, 0, 0, 0.8, 0.2, 0], (len(views), 1))
    diagnosis = told(classifier.classes.diagnoses(7), classifier.classes.listed(chances, 7))
    return Classification(
        **{
            "algorithm": classifier.algorithm,
            "diagnosis": tuple(sorted(diagnosis, key=lambda one: -one.probability)),
            "groups": told(classifier.classes.groups, classifier.classes.grouped(chances)),
            "views": tuple(view.sop_instance_uid for view in views),
            **fields,
        }
    )


@pytest.fixture
def case(make_view: Callable[..., View], make_case: Callable[..., Case], classifier: Classifier) -> Case:
    """One view with a cleaned view and a mask, classified as melanoma."""
    pixels, disc = photograph()
    view = make_view(pixels)
    clean = CleanViews(algorithm=Algorithm("Test", "1"), views=(cleaned(view),))
    return make_case(view, masks=[disc], findings=[clean]).with_finding(classification(classifier, (view,)))


def explained(case: Case, classifier: Classifier, context: Any, **settings: Any) -> Explanation:
    assert case.classification is not None
    found = explain_views(case, case.classification, classifier, ExplainSettings(**settings), context)
    assert found is not None, context.reasons
    return found


def heat_at_source(found: Explanation) -> NDArray[np.float32]:
    return heat_on(found.maps[0], (ROWS, COLUMNS), (ROWS, COLUMNS))


@pytest.mark.parametrize(("method", "share"), [("integrated-grad-cam", 0.9), ("grad-cam", 0.9), ("lime", 0.6)])
def test_the_heat_lies_on_the_patch_that_the_answer_hangs_on(
    case: Case, classifier: Classifier, context: Any, method: str, share: float
) -> None:
    heat = heat_at_source(explained(case, classifier, context, method=method, samples=300))
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    assert PATCH[0].start <= row < PATCH[0].stop
    assert PATCH[1].start <= column < PATCH[1].stop
    # Superpixels and the network's coarse maps do not end where the patch does, and LIME's weights of other parts scatter about 0.
    wide = np.zeros_like(heat, bool)
    wide[PATCH[0].start - 12 : PATCH[0].stop + 12, PATCH[1].start - 12 : PATCH[1].stop + 12] = True
    assert wide.mean() < 0.03
    assert heat[wide].sum() > share * heat.sum()


def test_the_heats_middle_is_the_patchs_to_a_pixel_or_two(case: Case, classifier: Classifier, context: Any) -> None:
    heat = heat_at_source(explained(case, classifier, context))
    y, x = np.mgrid[:ROWS, :COLUMNS]
    assert (heat * y).sum() / heat.sum() == pytest.approx((PATCH[0].start + PATCH[0].stop - 1) / 2, abs=2)
    assert (heat * x).sum() / heat.sum() == pytest.approx((PATCH[1].start + PATCH[1].stop - 1) / 2, abs=2)


def test_there_is_no_heat_beyond_the_crop_and_the_greatest_is_one(case: Case, classifier: Classifier, context: Any) -> None:
    found = explained(case, classifier, context)
    assert case.classification is not None
    (crop,) = classified_crops(case, case.classification, classifier)
    heat = heat_at_source(found)
    corners = (
        crop.view.to_source @ np.array([[crop.left, crop.top, 1], [crop.left + crop.pixels.shape[1], crop.top + crop.pixels.shape[0], 1]]).T
    )
    (left, right), (top, bottom) = corners[0], corners[1]
    y, x = np.mgrid[:ROWS, :COLUMNS]
    beyond = (x < left - 1) | (x > right + 1) | (y < top - 1) | (y > bottom + 1)
    assert beyond.mean() > 0.3
    assert heat[beyond].max() == 0
    assert found.maps[0].heat.max() == 1
    assert found.maps[0].heat.min() >= 0


def test_the_share_inside_is_that_of_the_heat_over_the_mask(case: Case, classifier: Classifier, context: Any) -> None:
    found = explained(case, classifier, context)
    heat, disc = heat_at_source(found), photograph()[1]
    assert found.maps[0].share_inside == pytest.approx(heat[disc].sum() / heat.sum(), abs=0.02)


def test_the_finding_names_class_method_and_the_classifiers_weights(case: Case, classifier: Classifier, context: Any) -> None:
    found = explained(case, classifier, context)
    assert (found.stage, found.method, found.concept.value) == ("explain", "Integrated Grad-CAM", "130403")
    assert found.explained.label == "MEL"
    assert found.algorithm.weights_digest == "b" * 64
    assert context.progressed[-1] == 1


@pytest.mark.parametrize("method", ["integrated-grad-cam", "lime"])
def test_the_same_case_gives_the_same_map(case: Case, classifier: Classifier, context: Any, method: str) -> None:
    first, second = (explained(case, classifier, context, method=method, samples=60) for _ in range(2))
    np.testing.assert_array_equal(first.maps[0].heat, second.maps[0].heat)


def test_a_group_can_be_explained(case: Case, classifier: Classifier, context: Any) -> None:
    assert explained(case, classifier, context, explained="MALIGNANT").explained.label == "MALIGNANT"


def test_a_class_that_nothing_speaks_for_has_an_empty_map_and_a_remark(case: Case, classifier: Classifier, context: Any) -> None:
    found = explained(case, classifier, context, explained="NV")
    assert not found.maps[0].heat.any()
    assert found.maps[0].share_inside is None
    assert "its heat map is empty" in found.remarks[0]


def test_of_many_views_those_that_speak_loudest_are_explained(
    make_view: Callable[..., View], make_case: Callable[..., Case], classifier: Classifier, context: Any
) -> None:
    pixels, disc = photograph()
    plain = np.full_like(pixels, 190)
    views = tuple(make_view(one, number=number) for number, one in enumerate((plain, pixels, plain, pixels), 1))
    clean = CleanViews(algorithm=Algorithm("Test", "1"), views=tuple(cleaned(view) for view in views))
    case = make_case(*views, masks=[disc] * 4, findings=[clean]).with_finding(classification(classifier, views))
    found = explained(case, classifier, context, most_views=2)
    assert [one.sop_instance_uid for one in found.maps] == [views[1].sop_instance_uid, views[3].sop_instance_uid]
    assert "Of 4 views 2 are explained, those in which MEL is most probable." in found.remarks
    assert len(explained(case, classifier, context, most_views=0).maps) == 4


def test_a_class_that_does_not_exist_is_declined(case: Case, classifier: Classifier, context: Any) -> None:
    assert case.classification is not None
    assert explain_views(case, case.classification, classifier, ExplainSettings(explained="XYZ"), context) is None
    assert "no class 'XYZ'" in context.reasons[0]


def test_the_classification_of_another_network_is_declined(case: Case, classifier: Classifier, context: Any) -> None:
    other = classification(classifier, case.series.views, algorithm=Algorithm("Acme classify", "3", weights_digest="a" * 64))
    assert explain_views(case, other, classifier, ExplainSettings(), context) is None
    assert "by Acme classify (without a bundle), and this plugin explains lesion_classifier 0.0.0 alone" in context.reasons[0]


def test_a_case_without_classification_is_declined(make_view: Callable[..., View], make_case: Callable[..., Case], context: Any) -> None:
    pixels, disc = photograph()
    assert explain(make_case(make_view(pixels), masks=[disc]), context) is None
    assert "no classification to explain" in context.reasons[0]


def test_a_case_without_masks_is_declined(case: Case, make_case: Callable[..., Case], context: Any) -> None:
    without = make_case(*case.series.views, findings=[found for found in (case.clean_views, case.classification) if found])
    assert explain(without, context) is None
    assert "no cleaned view has a lesion's mask" in context.reasons[0]


def test_a_misspelt_setting_is_an_error(case: Case, make_context: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match="Known settings: method"):
        explain(case, make_context(metod="lime"))


def test_the_stage_comes_into_the_node_as_a_vendors_does() -> None:
    hooks = Hooks()
    hooks.add("dermanode-explain", dermanode_explain)
    hooks.register()
    assert not hooks.failures
    assert hooks.implements("dermanode-explain", "explain")


@pytest.mark.parametrize(
    ("trunk", "layer"),
    [
        (residual([4, 8, 8, 8, 8], [2, 2, 2, 2, 1], features=16, units=1), "trunk.level4"),
        (torchvision_trunk("mobilenet_v3_small"), "trunk.network.features"),
    ],
    ids=["residual", "mobilenet"],
)
def test_the_map_is_that_of_the_last_layer_with_rows_and_columns(trunk: Any, layer: str) -> None:
    network = LesionClassifier(trunk, 8).eval()
    assert last_spatial_layer(network, torch.Size((3, 128, 128))) == layer
    maps = grad_cam(network, torch.rand(2, 3, 128, 128), lambda logits: logits[:, 0])
    assert maps.shape == (2, 128, 128)
    assert bool(torch.isfinite(maps).all())


def test_a_network_without_such_a_layer_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place in the picture"):
        last_spatial_layer(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.Size((3, 4, 4)))


def test_explaining_leaves_the_network_as_it_was(case: Case, classifier: Classifier, context: Any) -> None:
    explained(case, classifier, context)
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in classifier.network.parameters())
    assert not any(module._forward_hooks for module in classifier.network.modules())


def test_the_network_sees_a_crop_and_its_blank_once_in_each_way_and_nothing_else() -> None:
    network = SeesBlue().eval()
    seen: list[int] = []
    network.level.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    pictures = torch.rand(1, 3, 128, 128)
    last_spatial_layer(network, pictures.shape[1:])
    seen.clear()
    integrated_grad_cam(network, pictures, torch.zeros_like(pictures), lambda logits: logits[:, 5])
    assert seen == [2 * SYMMETRIES]


def test_what_speaks_for_a_class_adds_up_to_what_the_crop_has_beyond_its_blank() -> None:
    network = SeesBlue().eval()
    pictures, blanks = torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128)
    pictures[:, 2] += 2  # so that there is more blue everywhere, and nothing speaks against the class
    heat = integrated_grad_cam(network, pictures, blanks, lambda logits: logits[:, 5])
    with torch.no_grad():
        beyond = float((network(pictures) - network(blanks))[0, 5])
    assert float(heat.mean()) * heat.numel() / 8**2 == pytest.approx(beyond, rel=0.02)


@pytest.mark.parametrize("size", [(192, 192), (61, 133), (20, 30), (1, 1)])
def test_a_blank_is_the_crop_under_a_gaussian_of_an_eighth_of_its_side(size: tuple[int, int]) -> None:
    crop = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    crop[: size[0] // 3] //= 4
    whole = cv2.GaussianBlur(crop, (0, 0), max(size) / 8, borderType=cv2.BORDER_REFLECT)
    away = np.abs(blurred(crop).astype(int) - whole)
    assert away.max() <= 2
    assert away.mean() < 0.5


def test_importing_the_plugin_does_not_import_torch() -> None:
    code = "import sys, dermanode_explain; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
