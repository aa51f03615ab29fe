"""LIME: which parts of a crop a class's probability hangs on, told by hiding them (Ribeiro et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import slic

from dermanode.domain.series import RGB
from dermanode_explain.baseline import blurred

BATCH = 50
HIDDEN_SHARE = 0.5
"""Of the parts, in each sample."""
KERNEL_WIDTH = 0.25
"""Of the weights of samples, over their cosine distance from the whole crop; LIME's own."""
SEED = 20161113
"""The samples are drawn the same for every crop, so that the same case gives the same map."""

Ask = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""Pictures x rows x columns x 3 becomes the class's probability in each."""


def lime(
    crop: RGB, ask: Ask, *, superpixels: int, samples: int, advanced: Callable[[float], None] = lambda _share: None
) -> NDArray[np.float32]:
    """Rows x columns of the crop: the weight of the part that a pixel lies in, 0 where it speaks against the class."""
    parts = slic(crop, n_segments=superpixels, compactness=10, start_label=0, channel_axis=-1)
    count = int(parts.max()) + 1
    random = np.random.default_rng(SEED)
    is_shown = random.random((samples, count)) >= HIDDEN_SHARE
    is_shown[0] = True
    hidden = blurred(crop)
    chances = np.empty(samples)
    for start in range(0, samples, BATCH):
        some = is_shown[start : start + BATCH]
        chances[start : start + BATCH] = ask(np.where(some[:, parts][..., None], crop, hidden))
        advanced(min(1.0, (start + BATCH) / samples))
    weights = _ridge(is_shown.astype(np.float64), chances, _nearness(is_shown))
    return np.asarray(weights.clip(0)[parts], np.float32)


def _nearness(is_shown: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How much a sample counts: the more, the less of the crop it hides."""
    distance = 1 - np.sqrt(is_shown.mean(1))  # the cosine of the angle to all parts shown
    return np.asarray(np.exp(-(distance**2) / KERNEL_WIDTH**2))


def _ridge(
    shown: NDArray[np.float64], chances: NDArray[np.float64], weights: NDArray[np.float64], strength: float = 1.0
) -> NDArray[np.float64]:
    """The coefficients of a weighted linear model with an intercept, which alone is not drawn to 0."""
    total = weights.sum()
    centred = shown - (weights @ shown) / total
    aim = chances - (weights @ chances) / total
    left = (centred * weights[:, None]).T @ centred + strength * np.eye(shown.shape[1])
    return np.asarray(np.linalg.solve(left, (centred * weights[:, None]).T @ aim))
