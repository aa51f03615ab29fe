"""A crop that shows nothing: what a crop is compared with."""

from __future__ import annotations

import cv2
import numpy as np

from dermanode.domain.series import RGB


def blurred(crop: RGB) -> RGB:
    """The crop without its structures: its colours run together over an eighth of its side."""
    # Blurred skin is still skin; a grey patch would be a thing of its own to the network.
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), max(crop.shape[:2]) / 8, borderType=cv2.BORDER_REFLECT))
