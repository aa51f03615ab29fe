"""The case that a plugin's conformance is tried on: eight views of a rendered lesion, with a finding of every stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image

from dermanode.dicom.read import read_series
from dermanode.domain import Case, CleanView, CleanViews, Finding, Outcome, Prior, Segmentation, View, ViewMask, ViewQuality
from dermanode.errors import UnreadableObject
from dermanode.hookspecs import STAGES
from dermanode.testing import worked_cases
from dermanode.testing.scenes import Ring, Scene, make_series, render, write_series

SIZE_PX = (400, 300)
_WORKING_SIZE_PX = 512


def golden_case(folder: Path) -> Case:
    """The finished case; its source files are written into the folder. The same at every call, but for the folder."""
    scene, ring = Scene(seed=7), Ring(views=8)
    rendered = render(scene, ring, SIZE_PX)
    series = read_series(write_series(folder, make_series(scene, ring, size=SIZE_PX, views=rendered)))
    case = Case(id="golden", revision=1, series=series)
    masks = tuple(
        ViewMask(sop_instance_uid=view.sop_instance_uid, mask=shown.mask.copy(), confidence=0.95, touches_border=False)
        for view, shown in zip(series.views, rendered, strict=True)
    )
    found = (
        CleanViews(algorithm=worked_cases.algorithm("preprocess"), views=tuple(_clean(view) for view in series.views)),
        Segmentation(algorithm=worked_cases.algorithm("segment"), masks=masks),
        worked_cases.surface(case),
        *worked_cases.numbers(case),
    )
    earlier = replace(case, id="golden-earlier", findings=found)
    outcome = Outcome(case_id=earlier.id, revision=1, is_failed=False, reports=(), features=earlier.features, risk=earlier.risk)
    return replace(case, findings=found, priors=(Prior(earlier.id, None, outcome),))


def before(case: Case, stage: str) -> Case:
    """The case as that stage would see it: with the findings of the stages before it. A vendor's own stage sees them all."""
    order = list(STAGES)
    if stage not in STAGES:
        return case
    earlier: tuple[Finding, ...] = tuple(finding for finding in case.findings if order.index(finding.stage) < order.index(stage))
    return replace(case, findings=earlier)


def without_views(case: Case) -> Case:
    """The case with no views and no findings."""
    return replace(case, series=replace(case.series, views=()), findings=(), priors=())


def unreadable(case: Case) -> Case:
    """The case with no findings, whose pixel data cannot be decoded."""
    views = tuple(replace(view, source=_NoPixels()) for view in case.series.views)
    return replace(case, series=replace(case.series, views=views), findings=(), priors=())


@dataclass(frozen=True)
class _NoPixels:
    def decode(self, longest_side_px: int | None = None) -> NoReturn:
        raise UnreadableObject("a view of the conformance kit", "its pixel data are damaged on purpose")


def _clean(view: View) -> CleanView:
    """The view at the working size, as it is."""
    pixels = view.pixels()
    rows, columns = pixels.shape[:2]
    small = np.asarray(Image.fromarray(pixels).resize((_WORKING_SIZE_PX, _WORKING_SIZE_PX), Image.Resampling.BICUBIC))
    x, y = columns / _WORKING_SIZE_PX, rows / _WORKING_SIZE_PX
    # Pixel centres lie at whole numbers on both sides.
    to_source = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]], dtype=np.float64)
    quality = ViewQuality(hair_fraction=0.0, delta_e_before=4.0, delta_e_after=1.0, blur=200.0, glare_fraction=0.0)
    return CleanView(sop_instance_uid=view.sop_instance_uid, pixels=small.copy(), to_source=to_source, quality=quality)
