"""From the cleaned views and their masks to probabilities over diagnoses and groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dermanode.domain import Case, Classification, ClassProbability, CleanView, ViewMask
from dermanode.domain.series import RGB
from dermanode.hookspecs import StageContext
from dermanode_classify.classes import told
from dermanode_classify.classifier import Classifier
from dermanode_classify.crop import square_around
from dermanode_classify.grouping import grouping
from dermanode_classify.settings import ClassifySettings

CLOSE = 0.1
"""Two diagnoses nearer than this are said to be close."""


def classify_views(case: Case, classifier: Classifier, settings: ClassifySettings, context: StageContext) -> Classification | None:
    """The mean over the views that have a mask, and its spread where there are several; declines pictures of something else."""
    torch.set_num_threads(max(1, context.threads))
    shown, crops = shown_crops(case, classifier)
    answer = classifier.answer(crops)
    strangeness = float(np.median(answer.strangeness))
    if strangeness > classifier.decline_limit:
        context.decline(
            f"the picture is unlike any that the classifier was trained on (strangeness {strangeness:.1f}, limit "
            f"{classifier.decline_limit:.1f}), so nothing can be said of a diagnosis; is it a dermoscopic photograph of a lesion?"
        )
        return None
    concepts = classifier.classes.diagnoses(settings.diagnoses)
    listed = classifier.classes.listed(answer.chances, settings.diagnoses)
    diagnosis = tuple(sorted(told(concepts, listed), key=lambda one: -one.probability))
    is_in_domain = strangeness <= classifier.strangeness_limit
    remarks = [classifier.caution] if classifier.caution else []
    remarks += answer.remarks
    left_out = len(case.series.views) - len(crops)
    if left_out:
        remarks.append(f"{left_out} of {len(case.series.views)} views have no mask and were left out.")
    if not is_in_domain:
        remarks.append(
            f"The picture is unlike those that the classifier was trained on (strangeness {strangeness:.1f}, "
            f"limit {classifier.strangeness_limit:.1f}): the probabilities must not be relied on."
        )
    remarks += doubts(diagnosis, [concepts[place].label for place in listed.argmax(1)])
    grouped = grouping(case, classifier, answer, settings, context)
    return Classification(
        algorithm=classifier.algorithm,
        diagnosis=diagnosis,
        groups=grouped.groups,
        is_in_domain=is_in_domain,
        views=tuple(view.sop_instance_uid for view in shown),
        remarks=(*remarks, *grouped.remarks),
    )


def doubts(diagnosis: Sequence[ClassProbability], favourites: Sequence[str]) -> list[str]:
    """What the reader is told where the probabilities leave it open; `diagnosis` most probable first, `favourites` view by view."""
    first, second = diagnosis[:2]
    remarks = []
    if first.probability - second.probability < CLOSE:
        remarks.append(f"{first.label} and {second.label} are close: the classifier does not tell them apart here.")
    counted = Counter(favourites).most_common()
    if len(counted) > 1:
        split = ", ".join(f"{label} in {count}" for label, count in counted)
        remarks.append(f"The {len(favourites)} views do not agree on the most probable diagnosis: {split}.")
    return remarks


def shown_crops(case: Case, classifier: Classifier) -> tuple[list[CleanView], list[RGB]]:
    """The cleaned views that have a mask, and the lesion cut out of each; empty where the case has none."""
    views = case.clean_views.views if case.clean_views else ()
    masks = [case.segmentation.mask(view.sop_instance_uid) if case.segmentation else None for view in views]
    shown = [(view, mask) for view, mask in zip(views, masks, strict=True) if mask is not None and mask.confidence]
    return [view for view, _ in shown], [_crop(view, mask, classifier) for view, mask in shown]


def _crop(view: CleanView, mask: ViewMask, classifier: Classifier) -> RGB:
    return square_around(working_mask(view, mask), classifier.margin, classifier.least).cut(view.pixels)


def working_mask(view: CleanView, mask: ViewMask) -> NDArray[np.bool_]:
    """The mask on the working pixels of its cleaned view."""
    rows, columns = view.pixels.shape[:2]
    # WARP_INVERSE_MAP: the matrix leads from the pixel that is wanted to the one that is read.
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    found = cv2.warpPerspective(mask.mask.view(np.uint8), view.to_source, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found > 0)
