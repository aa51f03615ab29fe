"""Is there any depth to see? The tilt of a ring's cameras, measured from the pictures alone."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dermanode_reconstruct.grid import Matrix
from dermanode_reconstruct.tracks import Tracks

_FEWEST_POINTS = 30
_LEAST_SINE = 0.4


@dataclass(frozen=True, slots=True)
class Parallax:
    """What the homographies of the skin say of the tilt."""

    tilt_deg: float
    """Median over the pairs of views; NaN without a pair."""
    pairs: int


def measure_parallax(tracks: Tracks, intrinsics: Matrix, azimuths_deg: Matrix) -> Parallax:
    """The tilt from all pairs of views whose azimuths are far enough from 0 and 180 degrees apart.

    A camera tilted by t sees the skin shortened by c = cos(t) along its radius. Between two of them, apart by an azimuth a, the
    homography of the skin (normalised by K) has singular values s and 1/s with s^2 + 1/s^2 = 2 cos(a)^2 + sin(a)^2 (c^2 + 1/c^2);
    at 90 degrees that is s^2 = 1/c^2. Cameras that only turn in the picture's plane have c = 1: no depth can be seen.
    """
    count = len(azimuths_deg)
    normalise = np.linalg.inv(intrinsics)
    is_seen = tracks.is_seen
    found: list[float] = []
    for one in range(count):
        apart = np.deg2rad(azimuths_deg - azimuths_deg[one])
        later = [other for other in range(one + 1, count) if abs(np.sin(apart[other])) > _LEAST_SINE]
        # The pair nearest a right angle says most; more of them only cost time.
        for other in sorted(later, key=lambda other: -abs(np.sin(apart[other])))[:2]:
            both = is_seen[:, one] & is_seen[:, other]
            if both.sum() < _FEWEST_POINTS:
                continue
            homography, _ = cv2.findHomography(tracks.pixels[both, one], tracks.pixels[both, other], cv2.USAC_MAGSAC, 3.0)
            if homography is None:
                continue
            stretch = np.linalg.svd((normalise[other] @ homography @ intrinsics[one])[:2, :2])[1]
            found.append(_tilt_deg(float(stretch[0] / stretch[1]), float(apart[other])))
    return Parallax(float(np.median(found)) if found else float("nan"), len(found))


def _tilt_deg(ratio: float, apart: float) -> float:
    """From the ratio of the singular values, s^2, and the difference of the azimuths in radians."""
    whole = max(2.0, (ratio + 1 / ratio - 2 * np.cos(apart) ** 2) / np.sin(apart) ** 2)
    return float(np.rad2deg(np.arccos(np.sqrt((whole - np.sqrt(whole**2 - 4)) / 2))))
