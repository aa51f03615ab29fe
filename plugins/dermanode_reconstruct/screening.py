"""Pictures that are of no use by themselves."""

from __future__ import annotations

import cv2
import numpy as np

from dermanode_reconstruct.photograph import Photograph

_LEAST_CONTRAST = 4.0
"""Standard deviation of the grey values below which a picture shows nothing: a lens cap, a flash."""
_BLURRED = 0.4
"""So many times the other pictures' sharpness is out of focus."""


def why_empty(photograph: Photograph) -> str | None:
    """Why a picture is of no use, in words; None where it is."""
    grey = photograph.grey
    if float(grey.std()) >= _LEAST_CONTRAST:
        return None
    return "it is black: was the lens covered?" if float(grey.mean()) < 64 else "it shows nothing: its grey values hardly differ"


def sharpness(photograph: Photograph) -> float:
    """How strong fine detail is against coarse, whatever the exposure. Only pictures of one lesion and one rig compare.

    Detail is what lies between blurs of 1.5 and 3 pixels: finer there is mostly noise.
    """
    grey = photograph.grey.astype(np.float32)
    fine, coarse, coarser = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1.5, 3.0, 12.0))
    return float((fine - coarse).std() / max(float((coarse - coarser).std()), 1e-3))


def is_blurred(photograph: Photograph, others: float) -> bool:
    """Out of focus, against the sharpness of the others."""
    return sharpness(photograph) < _BLURRED * others
