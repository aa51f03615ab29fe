"""The fusion of picture and geometry: its formula, what it does without parts of it, how it serves, and how it is trained."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from dermanode_classify import classify, warm_up
from dermanode_classify.fusion import BUNDLE, AdaptiveFusion, certainty, load_fusion
from dermanode_classify.geometry import FEATURES, Geometry, geometry_of, surface_confidence
from dermanode_fuse import fuse
from dermanode_preprocess import preprocess
from dermanode_reconstruct import reconstruct
from dermanode_training.data.lesions import Collection
from dermanode_training.fusing import table
from dermanode_training.fusing.fit import Examples, Plan, fit, standardise
from dermanode_training.fusing.table import collect, geometries, rows, wanted
from dermanode_training.fusion import main
from numpy.typing import NDArray

from dermanode.domain import UID, Algorithm, Case, Classification, HeightField, Measurement, Segmentation, Surface, View, ViewMask
from dermanode.domain.codes import NO_UNITS, private
from dermanode.errors import BundleError
from dermanode.hookspecs import Bundle, StageContext

SHIPPED = Path(__file__).resolve().parents[3] / "models"
WIDTH = 16
"""Features of the small classifier."""
ALL = np.linspace(-1, 1, len(FEATURES))


@dataclass
class Powers:
    """A context that opens the bundles of a folder of models."""

    inner: Any
    models: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def bundle(self, name: str) -> Bundle:
        found: Bundle = self.models.open(name)
        return found


@pytest.fixture
def models(tiny_models: Any) -> Any:
    """The small bundles and beside them a fusion with fresh weights, fitted to that classifier, that serves by default."""
    root = tiny_models.root / BUNDLE
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    (root / "docs").mkdir()
    for name in ("inference", "metadata"):
        (root / "configs" / f"{name}.json").write_bytes((SHIPPED / BUNDLE / "configs" / f"{name}.json").read_bytes())
    network = {"_target_": "dermanode_classify.fusion.AdaptiveFusion", "features": WIDTH, "hidden": [8, 4]}
    # What the shipped weights were fitted to is not what these tests are about.
    tiny_models.tell(BUNDLE, "inference", network_def=network, run=None, imports=None, temperature=1.0, geometry=list(FEATURES))
    torch.manual_seed(1)
    tiny_models.publish(BUNDLE, AdaptiveFusion(features=WIDTH, hidden=(8, 4)).state_dict())
    classifier = {"sha256": tiny_models.open("lesion_classifier").weights_digest}
    tiny_models.tell(BUNDLE, "metadata", classifier=classifier, choice={"fusion_serves": True})
    return tiny_models


@pytest.fixture
def make_powers(make_context: Callable[..., Any], models: Any) -> Callable[..., Powers]:
    return lambda **settings: Powers(make_context(**settings), models)


@pytest.fixture
def measured_case(photograph: Callable[..., Any], make_view: Callable[..., View], make_case: Callable[..., Case], context: Any) -> Case:
    """A photograph that was cleaned, outlined, reconstructed and measured."""
    return measured(make_case, context, [(make_view(pixels), mask) for pixels, mask in [photograph(300, 400)]])


def measured(make_case: Callable[..., Case], context: Any, pairs: list[tuple[View, NDArray[np.bool_]]]) -> Case:
    case = make_case(*(view for view, _ in pairs), masks=[mask for _, mask in pairs])
    for stage in (preprocess, reconstruct, fuse):
        finding = stage(case, context)
        assert finding is not None
        case = case.with_finding(finding)
    return case


def classified(case: Case, powers: Powers) -> Classification:
    found = classify(case, powers)
    assert found is not None
    return found


def inputs(count: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Some pictures as the network is given them."""
    random = torch.Generator().manual_seed(seed)
    flat, solid = torch.randn(count, WIDTH, generator=random), torch.randn(count, len(FEATURES), generator=random)
    return flat, solid, torch.rand(count, generator=random), torch.rand(count, generator=random)


@pytest.fixture
def network() -> AdaptiveFusion:
    torch.manual_seed(0)
    made = AdaptiveFusion(features=WIDTH, hidden=(8, 4))
    made.eval()
    return made


def test_alpha_is_the_gate_of_both_confidences_and_their_difference(network: AdaptiveFusion) -> None:
    with torch.no_grad():
        network.gate.weight.copy_(torch.tensor([[2.0, -1.0, 0.5]]))
        network.gate.bias.fill_(0.25)
    alpha = network.alpha(torch.tensor([0.8]), torch.tensor([0.3]))
    assert alpha.item() == pytest.approx(1 / (1 + math.exp(-(2 * 0.8 - 0.3 + 0.5 * 0.5 + 0.25))))


def test_alpha_stays_between_nothing_and_all(network: AdaptiveFusion) -> None:
    alpha = network.alpha(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert ((alpha > 0) & (alpha < 1)).all()


def test_fused_features_are_the_weighted_sum(network: AdaptiveFusion) -> None:
    flat, solid, conf2d, conf3d = inputs()
    alpha = network.alpha(conf2d, conf3d)
    expected = network.head(alpha * flat + (1 - alpha) * network.project(solid))
    assert torch.equal(network(flat, solid, conf2d, conf3d), expected)


def test_alpha_of_one_leaves_geometry_out(network: AdaptiveFusion) -> None:
    flat, solid, conf2d, conf3d = inputs()
    one = torch.ones(len(flat), 1)
    assert torch.equal(network(flat, solid, conf2d, conf3d, one), network(flat, -3 * solid, conf2d, conf3d, one))


def test_gradient_reaches_gate_and_projection(network: AdaptiveFusion) -> None:
    network(*inputs()).square().sum().backward()
    for weight in (network.gate.weight, network.gate.bias, network.projection.weight):
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0


def test_absent_feature_is_told_from_one_that_is_average(network: AdaptiveFusion) -> None:
    average = torch.zeros(1, len(FEATURES))
    absent = average.clone()
    absent[0, 3] = math.nan
    projected = network.project(absent)
    assert projected.isfinite().all()
    assert not torch.equal(projected, network.project(average))


def test_feature_that_no_training_picture_had_changes_nothing(network: AdaptiveFusion) -> None:
    network.solid_known[3] = 0
    here, absent = torch.zeros(1, len(FEATURES)), torch.zeros(1, len(FEATURES))
    here[0, 3], absent[0, 3] = 2.5, math.nan
    assert torch.equal(network.project(here), network.project(absent))


def test_surface_surer_than_any_in_training_counts_as_the_surest_of_those(network: AdaptiveFusion) -> None:
    network.most_confidence.fill_(0.2)
    assert torch.equal(network.alpha(torch.tensor([0.5]), torch.tensor([0.9])), network.alpha(torch.tensor([0.5]), torch.tensor([0.2])))


def test_feature_far_out_is_bounded(network: AdaptiveFusion) -> None:
    far, farther = torch.full((1, len(FEATURES)), 50.0), torch.full((1, len(FEATURES)), 5000.0)
    assert torch.equal(network.project(far), network.project(farther))


def test_certainty_of_the_picture_runs_from_all_alike_to_certain() -> None:
    assert certainty(np.array([[0.125] * 8, [1.0, *[0.0] * 7]])) == pytest.approx([0, 1])


def cap(*, radius: float = 10.0, height: float = 2.0, is_metric: bool = True, views: int = 8, has_field: bool = True) -> Surface:
    """A paraboloid on a plane, of which volume and area are known, as a grid of triangles and as a height field."""
    side = np.linspace(-1.5 * radius, 1.5 * radius, 201)
    x, y = np.meshgrid(side, side)
    z = np.maximum(0, height * (1 - (x**2 + y**2) / radius**2))
    field = HeightField(
        heights=z.astype(np.float32),
        base=np.zeros(z.shape, np.float32),
        colours=np.zeros((*z.shape, 3), np.uint8),
        is_lesion=np.hypot(x, y) <= radius,
        left=float(side[0]),
        top=float(side[-1]),
        step=float(side[1] - side[0]),
    )
    index = np.arange(z.size, dtype=np.int32).reshape(z.shape)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    return Surface(
        algorithm=Algorithm("Test", "1"),
        vertices=np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32),
        faces=np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)]),
        normals=np.tile(np.array([0, 0, 1], np.float32), (z.size, 1)),
        colours=np.zeros((z.size, 3), np.uint8),
        is_lesion=(np.hypot(x, y) <= radius).ravel(),
        is_metric=is_metric,
        lateral_unit="mm",
        method="test",
        scale_source="test",
        used_views=tuple(UID(f"1.2.3.{number + 1}") for number in range(views)),
        height_field=field if has_field else None,
    )


def outlines(views: int = 8, confidence: float = 0.9) -> Segmentation:
    mask = np.ones((4, 4), np.bool_)
    return Segmentation(
        algorithm=Algorithm("Test", "1"),
        masks=tuple(
            ViewMask(sop_instance_uid=UID(f"1.2.3.{number + 1}"), mask=mask.copy(), confidence=confidence, touches_border=False)
            for number in range(views)
        ),
    )


@pytest.mark.parametrize("has_field", [True, False])
def test_features_of_a_paraboloid_are_those_of_its_formula(measured_case: Case, has_field: bool) -> None:
    radius, height = 10.0, 2.0
    told = geometry_of(measured_case.with_finding(cap(radius=radius, height=height, has_field=has_field)))
    assert told is not None
    values = dict(zip(FEATURES, told.values, strict=True))
    volume = math.pi * radius**2 * height / 2
    slope = 4 * height**2 / radius**2
    area = math.pi * radius**4 / (6 * height**2) * ((1 + slope) ** 1.5 - 1)
    assert values["volume_ratio"] == pytest.approx(math.log(volume / (2 * radius) ** 3), abs=0.04)
    assert values["max_height_ratio"] == pytest.approx(math.log(height / (2 * radius)), abs=0.02)
    assert values["mean_height_share"] == pytest.approx(0.5, abs=0.01)
    assert values["box_share"] == pytest.approx(math.pi / 8, rel=0.03)
    assert values["surface_ratio"] == pytest.approx(math.log(area / (math.pi * radius**2) - 1), abs=0.06)
    assert math.isnan(values["mean_curvature_by_diameter"]) is not has_field


def test_curvature_of_a_flat_paraboloid_is_that_of_its_formula(measured_case: Case) -> None:
    # Inside, H = 2 h / R^2 to first order; at the foot, where it meets the plane, more than that.
    radius, height = 10.0, 0.5
    told = geometry_of(measured_case.with_finding(cap(radius=radius, height=height)))
    assert told is not None
    values = dict(zip(FEATURES, told.values, strict=True))
    at_the_top = math.log(2 * height / radius**2 * 2 * radius)
    assert values["mean_curvature_by_diameter"] == pytest.approx(at_the_top, abs=0.35)
    assert values["max_curvature_by_diameter"] > values["mean_curvature_by_diameter"]


def test_relief_means_the_same_at_any_scale_and_with_or_without_millimetres(measured_case: Case) -> None:
    small, large = cap(radius=2.0, height=0.4), cap(radius=300.0, height=60.0, is_metric=False, views=1)
    told = [geometry_of(measured_case.with_finding(surface)) for surface in (small, large)]
    assert told[0] is not None
    assert told[1] is not None
    assert told[0].values == pytest.approx(told[1].values, rel=1e-4, nan_ok=True)


def test_photograph_without_scale_has_all_but_the_features_that_need_one(measured_case: Case) -> None:
    surface = cap(is_metric=False, views=1)
    told = geometry_of(measured_case.with_finding(surface))
    assert told is not None
    assert {name for name, value in zip(FEATURES, told.values, strict=True) if math.isnan(value)} == {"surface_mm2"}


def test_flat_skin_has_no_shares_of_its_height(measured_case: Case) -> None:
    told = geometry_of(measured_case.with_finding(cap(height=0.0)))
    assert told is not None
    values = dict(zip(FEATURES, told.values, strict=True))
    assert math.isnan(values["mean_height_share"])
    assert math.isnan(values["box_share"])
    assert values["max_height_ratio"] == pytest.approx(math.log(1e-4))


def test_case_without_surface_keeps_the_outlines_features_and_has_no_confidence(measured_case: Case) -> None:
    told = geometry_of(replace(measured_case, findings=tuple(one for one in measured_case.findings if one is not measured_case.surface)))
    assert told is not None
    values = dict(zip(FEATURES, told.values, strict=True))
    assert told.confidence == 0
    assert math.isnan(values["volume_ratio"])
    assert math.isfinite(values["asymmetry"])


def test_score_without_its_d_does_not_stand_in_for_the_total(measured_case: Case) -> None:
    features = measured_case.features
    assert features is not None
    kept = tuple(one for one in features.measurements if one.key != "total_dermoscopy_score")
    told = geometry_of(measured_case.with_finding(replace(features, measurements=kept)))
    assert told is not None
    assert math.isnan(told.values[-1])


def test_confidence_that_the_surface_states_is_conf3d() -> None:
    assert surface_confidence(replace(cap(), confidence=0.42), outlines()) == 0.42
    assert surface_confidence(replace(cap(), confidence=1.7), outlines()) == 1
    assert surface_confidence(replace(cap(), confidence=math.nan), outlines()) == surface_confidence(cap(), outlines())


def test_case_that_was_not_measured_has_no_geometry(make_view: Callable[..., View], make_case: Callable[..., Case]) -> None:
    assert geometry_of(make_case(make_view(np.zeros((8, 8, 3), np.uint8)))) is None


def test_surface_is_trusted_more_in_millimetres_with_more_views_and_a_narrow_interval() -> None:
    def volume(half: float) -> Measurement:
        return Measurement(key="volume_mm3", concept=private("V", "V"), value=10.0, unit=NO_UNITS, lower=10 - half, upper=10 + half)

    relative = surface_confidence(cap(is_metric=False, views=1), outlines())
    one_view = surface_confidence(cap(views=1), outlines())
    eight = surface_confidence(cap(views=8), outlines())
    wide = surface_confidence(replace(cap(), measurements=(volume(5.0),)), outlines())
    narrow = surface_confidence(replace(cap(), measurements=(volume(0.5),)), outlines())
    assert 0 < relative < one_view < eight
    assert wide < narrow <= 1
    assert surface_confidence(cap(), outlines(confidence=0.3)) < eight
    assert surface_confidence(replace(cap(), is_manifold=False), outlines()) < eight
    assert surface_confidence(None, outlines()) == 0


def test_groups_come_from_the_fusion_and_the_finding_says_so(measured_case: Case, make_powers: Callable[..., Powers], models: Any) -> None:
    found = classified(measured_case, make_powers())
    fusion = load_fusion(models.open(BUNDLE), "cpu")
    assert [one.label for one in found.groups] == list(fusion.labels)
    assert sum(one.probability for one in found.groups) == pytest.approx(1)
    (said,) = (remark for remark in found.remarks if "alpha" in remark)
    assert said.startswith("The groups come from the fusion of picture and geometry: alpha 0.")
    assert [one.probability for one in found.groups] != [
        one.probability for one in classified(measured_case, make_powers(fusion=False)).groups
    ]


def test_same_case_gives_the_same_groups(measured_case: Case, make_powers: Callable[..., Powers]) -> None:
    first, second = (classified(measured_case, make_powers()) for _ in range(2))
    assert [one.probability for one in first.groups] == [one.probability for one in second.groups]
    assert first.remarks == second.remarks


def test_several_views_give_a_spread(
    photograph: Callable[..., Any],
    make_view: Callable[..., View],
    make_case: Callable[..., Case],
    context: Any,
    make_powers: Callable[..., Powers],
) -> None:
    views = [photograph(300, 400, seed=seed) for seed in (1, 2)]
    case = measured(make_case, context, [(make_view(pixels, number=k + 1), mask) for k, (pixels, mask) in enumerate(views)])
    found = classified(case, make_powers())
    assert all(one.spread is not None for one in found.groups)
    assert sum(one.probability for one in found.groups) == pytest.approx(1)


def test_setting_gives_sums_over_the_diagnoses(measured_case: Case, make_powers: Callable[..., Powers]) -> None:
    found = classified(measured_case, make_powers(fusion=False, diagnoses=8))
    chances = {one.label: one.probability for one in found.diagnosis}
    assert found.group("MALIGNANT") == pytest.approx(chances["MEL"] + chances["BCC"] + chances["SCC"])
    assert "The groups are sums over the diagnoses: the setting `fusion` is off." in found.remarks


def test_validation_decides_where_the_settings_do_not(measured_case: Case, make_powers: Callable[..., Powers], models: Any) -> None:
    models.tell(BUNDLE, "metadata", choice={"fusion_serves": False})
    assert any("did not do better" in remark for remark in classified(measured_case, make_powers()).remarks)
    assert any("alpha" in remark for remark in classified(measured_case, make_powers(fusion=True)).remarks)


def test_case_that_was_not_measured_gets_sums(measured_case: Case, make_powers: Callable[..., Powers]) -> None:
    case = replace(measured_case, findings=tuple(one for one in measured_case.findings if one.stage in ("preprocess", "segment")))
    assert any("was not measured" in remark for remark in classified(case, make_powers()).remarks)


def test_missing_bundle_gives_sums_unless_it_is_asked_for(measured_case: Case, make_powers: Callable[..., Powers], models: Any) -> None:
    (models.root / BUNDLE / "configs" / "metadata.json").unlink()
    powers = make_powers()
    found = classified(measured_case, powers)
    (said,) = (remark for remark in found.remarks if "sums over the diagnoses" in remark)
    assert str(models.root) not in said
    assert powers.log.events == ["fusion_unavailable"]
    with pytest.raises(BundleError, match="lesion_fusion"):
        classify(measured_case, make_powers(fusion=True))


def test_fusion_of_other_classifier_weights_is_not_used(measured_case: Case, make_powers: Callable[..., Powers], models: Any) -> None:
    models.tell(BUNDLE, "metadata", classifier={"sha256": "0" * 64})
    assert any("other weights" in remark for remark in classified(measured_case, make_powers()).remarks)
    with pytest.raises(BundleError, match=r"other weights of lesion_classifier.*train fusion"):
        classify(measured_case, make_powers(fusion=True))


def test_altered_weights_are_refused(measured_case: Case, make_powers: Callable[..., Powers], models: Any) -> None:
    path = models.weights(BUNDLE)
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(BundleError, match=r"lesion_fusion: the weights .* were altered"):
        classify(measured_case, make_powers())


def test_bundle_of_other_features_is_refused(models: Any) -> None:
    models.tell(BUNDLE, "inference", geometry=["volume_mm3"])
    with pytest.raises(BundleError, match="other geometric features"):
        load_fusion(models.open(BUNDLE), "cpu")


def test_disagreement_of_groups_and_diagnoses_is_said(measured_case: Case, make_powers: Callable[..., Powers], models: Any) -> None:
    sums = classified(measured_case, make_powers(fusion=False)).groups
    most = int(np.argmax([one.probability for one in sums]))
    for wanted_group in range(3):
        network = AdaptiveFusion(features=WIDTH, hidden=(8, 4))
        with torch.no_grad():
            network.head[-1].bias[wanted_group] += 20
        models.publish(BUNDLE, network.state_dict())
        said = [remark for remark in classified(measured_case, make_powers()).remarks if "disagree" in remark]
        assert len(said) == (wanted_group != most)
        assert all(sums[wanted_group].label in remark and sums[most].label in remark for remark in said)


def test_warm_up_refuses_a_spoilt_fusion(make_powers: Callable[..., Powers], models: Any) -> None:
    models.weights(BUNDLE).write_bytes(b"spoilt")
    with pytest.raises(BundleError, match="lesion_fusion"):
        warm_up(make_powers(fusion=True))


def examples(count: int, seed: int) -> Examples:
    """Pictures whose group shows in F2D for some, while the geometry misleads, and the other way round for the others."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, count)
    is_sure = random.random(count) < 0.5
    flat, solid = random.normal(0, 1, (count, 2, WIDTH)), random.normal(0, 1, (count, len(FEATURES)))
    other = (truth + random.integers(1, 3, count)) % 3
    flat[np.arange(count), :, np.where(is_sure, truth, other)] += 4
    solid[np.arange(count), np.where(is_sure, other, truth)] += 4
    solid[:, 5] = np.nan
    conf2d = np.repeat(np.where(is_sure, 0.9, 0.1)[:, None], 2, 1)
    return Examples(flat.astype(np.float32), conf2d, solid, np.where(is_sure, 0.1, 0.5), truth, np.ones(count))


def test_fit_learns_when_to_trust_which_side() -> None:
    torch.manual_seed(0)
    network, train, aside = AdaptiveFusion(features=WIDTH, hidden=(32, 16), dropout=0.1), examples(600, 0), examples(200, 1)
    standardise(network, train)
    fitted = fit(network, train, aside, Plan(epochs=30, batch=32, peak_rate=3e-3, gate_rate=5e-2, surface_dropped=0.0, feature_dropped=0.0))
    other = examples(400, 2)
    assert (fitted.logits(other).argmax(1) == other.truth).mean() > 0.8
    with torch.no_grad():
        sure, unsure = network.alpha(torch.tensor([0.9, 0.1]), torch.tensor([0.1, 0.5]))
    assert sure > unsure + 0.2
    assert network.solid_known.tolist() == [1.0] * 5 + [0.0] + [1.0] * 6


def dark(case: Case, context: StageContext) -> Segmentation:
    """A stage that finds what is darker than skin."""
    (view,) = case.series.views
    mask = cv2.cvtColor(view.pixels(), cv2.COLOR_RGB2GRAY) < 110
    found = ViewMask(sop_instance_uid=view.sop_instance_uid, mask=mask, confidence=0.9, touches_border=False)
    return Segmentation(algorithm=Algorithm("Dark", "1", weights_digest="d" * 64), masks=(found,))


@pytest.fixture
def quick_stages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages with a segmenter that needs no weights; gives the cases that it was asked for."""
    asked: list[str] = []

    def noted(case: Case, context: StageContext) -> Segmentation:
        asked.append(case.id)
        return dark(case, context)

    monkeypatch.setattr(table, "STAGES", (preprocess, noted, reconstruct, fuse))
    monkeypatch.setattr(table, "PART_ROWS", 4)
    return asked


def test_collection_goes_on_where_it_was_stopped(disc_data: Path, models: Any, tmp_path: Path, quick_stages: list[str]) -> None:
    collection, folder = Collection(disc_data), tmp_path / "table"
    ticks = iter([0.0, 1.0, 100.0])
    collect(collection, wanted(collection), models.root, folder, minutes=1, clock=lambda: next(ticks))
    assert len(list(rows(folder))) == len(quick_stages) == 4
    collect(collection, wanted(collection), models.root, folder)
    assert sorted(quick_stages) == sorted(lesion.id for lesion in collection.lesions)
    assert len(geometries(folder)) == 12


def test_collected_crop_is_the_one_that_the_stage_cuts(disc_data: Path, models: Any, tmp_path: Path, quick_stages: list[str]) -> None:
    from dermanode_classify.classifier import load
    from dermanode_classify.stage import shown_crops
    from dermanode_training.measuring.serving import PlainContext, case_of

    collection, context = Collection(disc_data), PlainContext(models.root)
    lesion = collection.lesions[0]
    collect(collection, [lesion], models.root, tmp_path / "table")
    case = case_of([collection.image(lesion)], lesion.id)
    for stage in (preprocess, dark):
        found = stage(case, context)
        assert found is not None
        case = case.with_finding(found)
    _, (crop,) = shown_crops(case, load(models.open("lesion_classifier"), "cpu"))
    (row,) = rows(tmp_path / "table")
    assert np.array_equal(row.pixels, crop)
    assert row.segmenter == "d" * 64


def test_order_of_the_collection_is_fixed_and_begins_with_the_rare(disc_data: Path) -> None:
    collection = Collection(disc_data)
    first = wanted(collection)
    assert first == wanted(collection)
    assert {lesion.label8 for lesion in first[:2]} == {"AK"}
    assert sum(lesion.label8 == "NV" for lesion in wanted(collection, most={"NV": 1}) if lesion.split == "train") == 1


def test_training_publishes_a_fusion_that_the_stage_serves(
    disc_data: Path, models: Any, tmp_path: Path, quick_stages: list[str], measured_case: Case, make_powers: Callable[..., Powers]
) -> None:
    models.tell(BUNDLE, "inference", geometry=["those", "of", "old"])
    told = ["--data", str(disc_data), "--work", str(tmp_path / "work"), "--models", str(models.root), "--device", "cpu", "--threads", "1"]
    assert main([*told, "--set", "epochs=2", "--set", "kept_aside=0.3"]) == 0
    metadata = json.loads((models.root / BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert list(metadata["network_data_format"]["inputs"]["geometry"]["channel_def"].values()) == list(FEATURES)
    assert metadata["classifier"]["sha256"] == models.open("lesion_classifier").weights_digest
    assert set(metadata["choice"]["ways"]) >= {"sums", "fusion", "picture_alone", "geometry_alone"}
    assert metadata["training"]["outlines_by_weights"] == {"d" * 64: 12}
    assert (models.root / BUNDLE / "docs" / "choice.md").read_text(encoding="utf-8").startswith("# Groups")
    assert any("alpha" in remark for remark in classified(measured_case, make_powers(fusion=True)).remarks)
    asked = len(quick_stages)
    assert main([*told, "--refit", "--set", "epochs=1"]) == 0
    assert len(quick_stages) == asked


def test_ablation_asks_the_bundle_and_fusions_that_never_had_the_relief(
    disc_data: Path, models: Any, tmp_path: Path, quick_stages: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.syspath_prepend(str(SHIPPED.parent / "benchmarks"))
    ablation = importlib.import_module("fusion_ablation")
    monkeypatch.setattr(ablation, "Plan", lambda: Plan(epochs=1, kept_aside=0.3))
    rows = (disc_data / "lesions.csv").read_text(encoding="utf-8").replace("9,Discs,train", "9,Discs,val")
    (disc_data / "lesions.csv").write_text(rows, encoding="utf-8")
    work, told = tmp_path / "work", tmp_path / "told.json"
    collection = Collection(disc_data)
    collect(collection, wanted(collection), models.root, work / "fusion")
    asked = ["--data", str(disc_data), "--work", str(work), "--models", str(models.root), "--parts", "photographs", "--json", str(told)]
    assert ablation.main([*asked, "--fits", "2"]) == 0
    found = json.loads(told.read_text(encoding="utf-8"))["photographs"]
    assert (found["photographs"], found["malignant"], found["training_pictures"]) == (3, 1, 9)
    assert [way["key"] for way in found["shipped"]] == ["sums", "held", "flat", "shading"]
    assert [(way["key"], way["fits"]) for way in found["fitted"]] == [("picture", 2), ("outline", 2), ("shading", 2)]
    assert all(0 <= way["auc_malignant"]["value"] <= 1 for way in found["shipped"] + found["fitted"])
    assert "Fitted anew to 9 training pictures, 2 times each" in capsys.readouterr().out


def test_shipped_fusion_belongs_to_the_shipped_classifier() -> None:
    from dermanode.pipeline.bundles import open_bundle

    bundle = open_bundle(SHIPPED, BUNDLE)
    fusion = load_fusion(bundle, "cpu")
    assert fusion.classifier_digest == open_bundle(SHIPPED, "lesion_classifier").weights_digest
    geometry = Geometry(np.where(np.arange(len(FEATURES)) % 2, np.nan, ALL), 0.1)
    told = fusion.groups(np.zeros((1, 1280), np.float32), np.full((1, 8), 0.125), geometry)
    assert told.groups.sum() == pytest.approx(1)
