"""The classify stage: calibrated probabilities, by the network of the bundle `lesion_classifier`."""

from __future__ import annotations

from dermanode.domain import Case, Classification
from dermanode.hookspecs import StageContext, hookimpl

BUNDLE = "lesion_classifier"


@hookimpl
def classify(case: Case, context: StageContext) -> Classification | None:
    """Classifies the lesion cropped out of every cleaned view, all views in one batch, and averages over the views."""
    # torch is loaded when there is work, not when plugins are listed.
    from dermanode_classify.classifier import load
    from dermanode_classify.settings import ClassifySettings
    from dermanode_classify.stage import classify_views

    settings = ClassifySettings.of("dermanode-classify", context.settings)
    if case.clean_views is None or not case.clean_views.views:
        context.decline("there is no cleaned view: the pipeline needs a preprocess stage that was performed")
        return None
    if case.segmentation is None or not any(mask.confidence for mask in case.segmentation.masks):
        context.decline("no view has a lesion's mask: the classifier knows only lesions cropped by one")
        return None
    return classify_views(case, load(context.bundle(BUNDLE), context.device), settings, context)


@hookimpl
def warm_up(context: StageContext) -> None:
    """Loads and checks the weights, and runs the network once."""
    from dermanode_classify.classifier import load
    from dermanode_classify.grouping import fusion_for
    from dermanode_classify.settings import ClassifySettings

    classifier = load(context.bundle(BUNDLE), context.device)
    classifier.rehearse()
    fusion_for(classifier, ClassifySettings.of("dermanode-classify", context.settings), context)
