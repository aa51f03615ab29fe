"""From a classified case to a heat map for each view that was classified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from dermanode_classify.classifier import Classifier
from dermanode_classify.crop import square_around
from dermanode_classify.stage import working_mask
from dermanode_networks.symmetry import shown
from numpy.typing import NDArray

from dermanode.domain import Algorithm, Case, Classification, ClassProbability, CleanView, Code, HeatMap, ViewMask
from dermanode.domain.series import RGB
from dermanode.hookspecs import StageContext
from dermanode_explain.activation import grad_cam, integrated_grad_cam
from dermanode_explain.baseline import blurred
from dermanode_explain.finding import Explanation
from dermanode_explain.question import Question, question
from dermanode_explain.settings import ExplainSettings

PLUGIN_VERSION = "0.1.0"
INTEGRATED, GRAD_CAM, LIME = "Integrated Grad-CAM", "Grad-CAM", "LIME"
CONCEPTS = {  # PS3.16 CID 218
    INTEGRATED: Code("130403", "DCM", "Gradient-weighted class activation"),
    GRAD_CAM: Code("130403", "DCM", "Gradient-weighted class activation"),
    LIME: Code("130404", "DCM", "Saliency"),
}
_METHODS = {"integrated-grad-cam": INTEGRATED, "grad-cam": GRAD_CAM, "lime": LIME}

Explain = Callable[[RGB, Callable[[float], None]], NDArray[np.float32]]
"""A crop, and who is told of progress, become heat in no unit: not below 0, of any number of rows and columns."""


@dataclass(frozen=True, eq=False)
class Crop:
    """What the network saw of a view."""

    view: CleanView
    pixels: RGB
    is_lesion: NDArray[np.bool_]
    """Rows x columns of the crop."""
    left: int
    top: int
    """Of its first pixel in the working pixels."""

    def to_source(self, rows: int, columns: int) -> NDArray[np.float64]:
        """3 x 3: a grid of that size over the crop to source pixels; centres lie at whole numbers on both sides."""
        down, across = self.pixels.shape[0] / rows, self.pixels.shape[1] / columns
        to_working = np.array([[across, 0, self.left + (across - 1) / 2], [0, down, self.top + (down - 1) / 2], [0, 0, 1]])
        return np.asarray(self.view.to_source @ to_working, np.float64)


def explain_views(
    case: Case, classification: Classification, classifier: Classifier, settings: ExplainSettings, context: StageContext
) -> Explanation | None:
    """One map for each of the views that speak loudest for the class, scaled so that its greatest value is 1.

    Declines another network's classification and unknown classes.
    """
    algorithm, own = classification.algorithm, classifier.algorithm
    if algorithm.weights_digest != own.weights_digest:
        context.decline(
            f"the classification is by {algorithm.name} ({algorithm.bundle or 'without a bundle'}), "
            f"and this plugin explains {own.bundle} alone"
        )
        return None
    asked = question(classification, classifier, settings.explained)
    if asked is None:
        context.decline(f"the classification has no class {settings.explained!r} to explain: change the setting `explained`")
        return None
    torch.set_num_threads(max(1, context.threads))
    explain = explainer(classifier, asked, settings)
    classified = classified_crops(case, classification, classifier)
    crops = _loudest(classified, asked, classifier, settings.most_views)
    maps, remarks = [], []
    if len(crops) < len(classified):
        remarks.append(f"Of {len(classified)} views {len(crops)} are explained, those in which {asked.explained.label} is most probable.")
    for number, crop in enumerate(crops):
        heat = explain(crop.pixels, lambda share, done=number: context.progress((done + share) / len(crops)))  # type: ignore[misc]
        if not heat.any():
            remarks.append(f"In view {crop.view.sop_instance_uid} no part speaks for {asked.explained.label} alone: its heat map is empty.")
        maps.append(_heat_map(crop, heat))
        context.progress((number + 1) / len(crops))
    method = _METHODS[settings.method]
    return Explanation(
        algorithm=Algorithm("DermaNode explain", PLUGIN_VERSION, bundle=own.bundle, weights_digest=own.weights_digest),
        method=method,
        concept=CONCEPTS[method],
        explained=asked.explained,
        maps=tuple(maps),
        remarks=tuple(remarks),
    )


def _loudest(crops: list[Crop], asked: Question, classifier: Classifier, most: int) -> list[Crop]:
    """At most so many of the crops (0 is all), those in which the class is most probable, in the order of the views."""
    if not most or len(crops) <= most:
        return crops
    batch = torch.stack([classifier.preprocessing(as_seen(classifier, crop.pixels)) for crop in crops])
    # The crops alone: their mirror images cost as much again and hardly change the order.
    chance = asked.chance(classifier.calibrated(classifier.runner.run(batch).answers[0].double().numpy()))
    return [crops[place] for place in sorted(np.argsort(-chance, kind="stable")[:most])]


def rehearse(classifier: Classifier, settings: ExplainSettings) -> None:
    """Explains nothing once, so that the first case does not wait for memory and kernels."""
    concept = classifier.classes.groups[0]
    asked = Question.of(ClassProbability(label=concept.label, concept=concept.code, probability=0.0), concept.outputs, classifier)
    explainer(classifier, asked, settings.model_copy(update={"samples": 20}))(np.zeros((64, 64, 3), np.uint8), lambda _share: None)


def explainer(classifier: Classifier, asked: Question, settings: ExplainSettings) -> Explain:
    """The method that the settings name, asking that question."""
    if settings.method == "lime":
        return _by_hiding(classifier, asked, settings)

    def by_activation(crop: RGB, _advanced: Callable[[float], None]) -> NDArray[np.float32]:
        small = as_seen(classifier, crop)
        picture = classifier.preprocessing(small)[None].to(classifier.device)
        if settings.method == "grad-cam":
            heat = grad_cam(classifier.network, picture, asked.score)
        else:
            blank = classifier.preprocessing(blurred(small))[None].to(classifier.device)
            heat = integrated_grad_cam(classifier.network, picture, blank, asked.score)
        return np.asarray(heat[0].float().cpu().numpy())

    return by_activation


def _by_hiding(classifier: Classifier, asked: Question, settings: ExplainSettings) -> Explain:
    from dermanode_explain.superpixels import lime  # scikit-image takes half a second to load

    def ask(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        batch = torch.stack([classifier.preprocessing(picture) for picture in pictures])
        return asked.chance(chances(classifier, batch))

    def by_hiding(crop: RGB, advanced: Callable[[float], None]) -> NDArray[np.float32]:
        small = as_seen(classifier, crop)
        return lime(small, ask, superpixels=settings.superpixels, samples=settings.samples, advanced=advanced)

    return by_hiding


def as_seen(classifier: Classifier, crop: RGB) -> RGB:
    """The crop at the size at which the network sees it."""
    side = _side_px(classifier)
    return np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA))


@lru_cache(maxsize=4)
def _side_px(classifier: Classifier) -> int:
    """Of every picture that the network sees: the preprocessing alone knows it."""
    return int(classifier.preprocessing(np.zeros((8, 8, 3), np.uint8)).shape[-1])


def chances(classifier: Classifier, pictures: torch.Tensor) -> NDArray[np.float64]:
    """N x 3 x side x side, preprocessed, becomes N x outputs: calibrated, as the classify stage gives them."""
    views = classifier.test_time_views
    logits: Any = classifier.runner.run(shown(pictures, views)).answers[0]
    return classifier.calibrated(logits.double().reshape(views, len(pictures), -1).mean(0).numpy())


def classified_crops(case: Case, classification: Classification, classifier: Classifier) -> list[Crop]:
    """The crops of the views that were classified, as the classifier cut them."""
    found = []
    for view in case.clean_views.views if case.clean_views else ():
        mask = case.segmentation.mask(view.sop_instance_uid) if case.segmentation else None
        if mask is not None and mask.confidence and view.sop_instance_uid in classification.views:
            found.append(_crop(view, mask, classifier))
    return found


def _crop(view: CleanView, mask: ViewMask, classifier: Classifier) -> Crop:
    is_lesion = working_mask(view, mask)
    square = square_around(is_lesion, classifier.margin, classifier.least)
    return Crop(view, square.cut(view.pixels), square.cut(is_lesion.view(np.uint8)) > 0, round(square.left), round(square.top))


def _heat_map(crop: Crop, heat: NDArray[np.float32]) -> HeatMap:
    rows, columns = heat.shape
    is_lesion = cv2.resize(crop.is_lesion.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    total = float(heat.sum())
    return HeatMap(
        sop_instance_uid=crop.view.sop_instance_uid,
        heat=np.asarray(heat / heat.max() if total else heat, np.float32),
        to_source=crop.to_source(rows, columns),
        share_inside=float((heat * is_lesion).sum()) / total if total else None,
    )
