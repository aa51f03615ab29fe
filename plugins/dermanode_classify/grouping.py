"""The groups' probabilities of a case: by the fusion of picture and geometry, or as sums over the diagnoses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dermanode.domain import Case, ClassProbability
from dermanode.errors import BundleError
from dermanode.hookspecs import StageContext
from dermanode_classify.classes import Concept, told
from dermanode_classify.classifier import Answer, Classifier
from dermanode_classify.fusion import BUNDLE, Fused, Fusion, classifier_of, is_default, load_fusion
from dermanode_classify.geometry import geometry_of
from dermanode_classify.settings import ClassifySettings


@dataclass(frozen=True, eq=False)
class Grouping:
    """Probabilities of the groups, and how they were had."""

    groups: tuple[ClassProbability, ...]
    """In the order of `Classes.groups`; they sum to 1."""
    remarks: tuple[str, ...]


def grouping(case: Case, classifier: Classifier, answer: Answer, settings: ClassifySettings, context: StageContext) -> Grouping:
    """By the fusion where it serves and the lesion was measured, else by sums. Raises `BundleError`."""
    concepts = classifier.classes.groups
    sums = told(concepts, classifier.classes.grouped(answer.chances))
    fusion = fusion_for(classifier, settings, context)
    if isinstance(fusion, str):
        return Grouping(sums, (f"The groups are sums over the diagnoses: {fusion}.",))
    geometry = geometry_of(case)
    if geometry is None:
        return Grouping(sums, ("The groups are sums over the diagnoses: the lesion was not measured, so there is nothing to fuse.",))
    fused = fusion.groups(answer.features, answer.chances, geometry)
    groups = _probabilities(concepts, fused)
    return Grouping(groups, (_how(fused), *_disagreement(groups, sums)))


def fusion_for(classifier: Classifier, settings: ClassifySettings, context: StageContext) -> Fusion | str:
    """The fusion, or in words why sums serve instead.

    Where the settings leave the choice to validation, a bundle that is missing or was fitted to other weights of the classifier gives
    sums; where they ask for the fusion, it raises. Altered weights of a bundle that serves always raise. Raises `BundleError`.
    """
    if settings.fusion is False:
        return "the setting `fusion` is off"
    try:
        bundle = context.bundle(BUNDLE)
    except BundleError as error:
        if settings.fusion:
            raise
        # The error names folders of this machine, which are nothing for a reader of the report.
        context.log.warning("fusion_unavailable", reason=str(error))
        return f"the bundle {BUNDLE} cannot be opened"
    if classifier_of(bundle) != classifier.algorithm.weights_digest:
        if settings.fusion:
            raise BundleError(BUNDLE, "it was fitted to other weights of lesion_classifier. Fit it again (`dermanode train fusion`).")
        return "the fusion was fitted to other weights of the classifier"
    if settings.fusion is None and not is_default(bundle):
        return "on validation the fusion with the geometry did not do better"
    fusion = load_fusion(bundle, context.device)
    labels = tuple(one.label for one in classifier.classes.groups)
    if fusion.labels != labels:
        raise BundleError(BUNDLE, f"it tells {', '.join(fusion.labels)}, the classifier's groups are {', '.join(labels)}.")
    return fusion


def _probabilities(concepts: Sequence[Concept], fused: Fused) -> tuple[ClassProbability, ...]:
    spreads = [None] * len(concepts) if fused.spreads is None else [float(one) for one in fused.spreads]
    return tuple(
        ClassProbability(label=one.label, concept=one.code, probability=float(chance), spread=spread)
        for one, chance, spread in zip(concepts, fused.groups, spreads, strict=True)
    )


def _how(fused: Fused) -> str:
    geometry = "no surface" if fused.conf3d == 0 else f"confidence of the surface {fused.conf3d:.2f}"
    return (
        f"The groups come from the fusion of picture and geometry: alpha {fused.alpha:.2f} (1 is the picture alone), "
        f"confidence of the picture {fused.conf2d:.2f}, {geometry}."
    )


def _disagreement(groups: Sequence[ClassProbability], sums: Sequence[ClassProbability]) -> tuple[str, ...]:
    """A remark where fusion and diagnoses do not find the same group most probable."""
    ours, theirs = (int(np.argmax([one.probability for one in some])) for some in (groups, sums))
    if ours == theirs:
        return ()
    said, summed = groups[ours], sums[theirs]
    return (
        f"Groups and diagnoses disagree: the fusion finds {said.label} most probable ({said.probability:.2f}), the diagnoses "
        f"sum to {summed.label} ({summed.probability:.2f}).",
    )
