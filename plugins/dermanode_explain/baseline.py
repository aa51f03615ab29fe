"""A crop that shows nothing: what a crop is compared with."""

from __future__ import annotations

import cv2
import numpy as np

from dermanode.domain.series import RGB

_FEW_PX = 64
"""The longest side on which colours are run together: eight pixels of it are an eighth."""


def blurred(crop: RGB) -> RGB:
    """The crop without its structures: its colours run together over an eighth of its side."""
    # Blurred skin is still skin; a grey patch would be a thing of its own to the network.
    rows, columns = crop.shape[:2]
    fewer = min(1.0, _FEW_PX / max(rows, columns))
    size = max(1, round(columns * fewer)), max(1, round(rows * fewer))
    # Nothing finer is left anyway, and OpenCV takes forty times as long for so wide a Gaussian over all pixels.
    few = cv2.resize(crop, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    few = cv2.GaussianBlur(few, (0, 0), max(size) / 8, borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(few, (columns, rows), interpolation=cv2.INTER_LINEAR).round().clip(0, 255), np.uint8)
