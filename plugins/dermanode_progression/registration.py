"""Two photographs of the same skin, laid over each other by what the skin around the lesion shows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode_progression.picture import Mask, Matrix, Picture, filled, inverse, moved, scaling

_FITTED_PX = 512
_POINTS = 1000
_TRACKED = 500
_LEAST_TRACKED_SHARE = 0.3
_LARGEST_SCALE = 2.0

Grey = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Marks:
    """What can be found again in a picture."""

    picture: Picture
    grey: Grey
    """At most `_FITTED_PX` long, local contrast evened out, so that another light matters less."""
    to_picture: Matrix
    points: NDArray[np.float32]
    """N x 2."""
    descriptors: NDArray[np.uint8] | None
    lesion: Mask
    """With a margin."""


@dataclass(frozen=True, eq=False)
class Registration:
    """How this visit's picture lies on the earlier one."""

    to_then: Matrix
    """3 x 3: maps pixels of this visit's picture to those of the earlier one."""
    matches: int
    """Points of the skin that fit together."""
    likeness: float
    """Correlation of the skin's detail in both, laid over each other."""


def marks(picture: Picture) -> Marks:
    """Corners with a description of what is around them (ORB, Rublee 2011)."""
    scale = min(1.0, _FITTED_PX / max(picture.size))
    size = max(1, round(picture.size[0] * scale)), max(1, round(picture.size[1] * scale))
    small = cv2.resize(cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    grey = cv2.createCLAHE(3.0, (8, 8)).apply(small)
    found, descriptors = cv2.ORB.create(_POINTS, fastThreshold=7).detectAndCompute(grey, None)
    to_picture = scaling(picture.size[0] / size[0], picture.size[1] / size[1])
    lesion = filled([moved(outline, inverse(to_picture)) for outline in picture.outlines], size)
    margin = max(3, round(0.01 * max(size)))
    return Marks(
        picture,
        grey,
        to_picture,
        np.array([point.pt for point in found], np.float32).reshape(-1, 2),
        descriptors,
        cv2.dilate(lesion, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)),
    )


def register(now: Marks, then: Marks, *, least_matches: int, least_likeness: float) -> Registration | str:
    """The homography between the skin of both pictures, or why they do not fit.

    A first fit comes from matched corners; then points of the skin are followed from one picture into the other, brought close by the
    first fit, which is exact to a fraction of a pixel. The lesion itself has no say, because it is what may have changed, and because it
    is raised and so moves against the skin when the camera stands elsewhere. Skin is taken to be flat.
    """
    coarse = _coarse(now, then, least_matches)
    if isinstance(coarse, str):
        return coarse
    size = (now.grey.shape[1], now.grey.shape[0])
    laid = cv2.warpPerspective(then.grey, coarse, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    skin = _shared_skin(now, then, coarse)
    here, there = _followed(now.grey, laid, skin)
    if len(here) < least_matches:
        return f"only {len(here)} points of the skin could be followed"
    fine, fits = _homography(here, there, 1.0)
    matches = int(np.count_nonzero(fits))
    if fine is None or matches < max(least_matches, _LEAST_TRACKED_SHARE * len(here)):
        return f"only {matches} of {len(here)} points of the skin fit together"
    if not _surround(here[fits], now.lesion):
        return "what fits together lies on one side of the lesion only"
    to_then = coarse @ fine
    if not is_plausible(to_then, size):
        return "the fit would distort the picture beyond what cameras do"
    laid = cv2.warpPerspective(then.grey, to_then, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    likeness = _likeness(now.grey, laid, _shared_skin(now, then, to_then))
    if likeness < least_likeness:
        return f"laid over each other, the skin is not alike (correlation {likeness:.2f})"
    return Registration(then.to_picture @ to_then @ inverse(now.to_picture), matches, likeness)


def _coarse(now: Marks, then: Marks, least_matches: int) -> Matrix | str:
    few = "too few points can be told apart"
    if now.descriptors is None or then.descriptors is None or min(len(now.points), len(then.points)) < least_matches:
        return few
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(now.descriptors, then.descriptors, k=2)
    # Lowe's test: a match must be better than the next best.
    kept = [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < 0.85 * pair[1].distance]
    if len(kept) < 8:
        return few
    here, there = now.points[[m.queryIdx for m in kept]], then.points[[m.trainIdx for m in kept]]
    coarse, fits = _homography(here, there, 4.0)
    count = int(np.count_nonzero(fits))
    if coarse is None or count < least_matches:
        return f"only {count} of {len(kept)} matched points fit together"
    if not is_plausible(coarse, (now.grey.shape[1], now.grey.shape[0])):
        return "the fit would distort the picture beyond what cameras do"
    return coarse


def _homography(here: NDArray[np.float32], there: NDArray[np.float32], tolerance_px: float) -> tuple[Matrix | None, NDArray[np.bool_]]:
    """The homography that most points agree on (MAGSAC++, Barath 2020), and which do; it draws the same samples every time."""
    found, fits = cv2.findHomography(here, there, cv2.USAC_MAGSAC, tolerance_px, maxIters=2000, confidence=0.999)
    if found is None or not np.isfinite(found).all() or abs(np.linalg.det(found)) < 1e-9:
        return None, np.zeros(len(here), bool)
    return np.asarray(found, np.float64), np.asarray(fits).ravel() > 0


def is_plausible(homography: Matrix, size: tuple[int, int]) -> bool:
    """Not mirrored, not folded, and nowhere larger or smaller than by a factor of two."""
    columns, rows = size
    corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows], [columns / 2, rows / 2]], np.float64)
    if (np.column_stack([corners, np.ones(5)]) @ homography[2] <= 0).any():
        return False
    there = moved(corners, homography)
    across, down = (moved(corners + np.array(step), homography) - there for step in ((1.0, 0.0), (0.0, 1.0)))
    areas = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    return bool((areas > 1 / _LARGEST_SCALE**2).all() and (areas < _LARGEST_SCALE**2).all())


def _shared_skin(now: Marks, then: Marks, to_then: Matrix) -> Mask:
    """Where both pictures show skin, on this visit's grid; where that is next to nothing, where both show anything."""
    size = (now.grey.shape[1], now.grey.shape[0])
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    # 1 where the earlier picture shows skin, 2 where its lesion; 0 beyond it.
    seen = cv2.warpPerspective(then.lesion + np.uint8(1), to_then, size, flags=flags)
    seen = cv2.erode(seen, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    skin = ((seen == 1) & (now.lesion == 0)).astype(np.uint8)
    return skin if np.count_nonzero(skin) > 0.05 * skin.size else np.asarray(seen > 0, np.uint8)


def _followed(now: Grey, laid: Grey, skin: Mask) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Corners of the skin, and where they are in the other picture (Lucas and Kanade), there and back again within half a pixel."""
    corners = cv2.goodFeaturesToTrack(now, _TRACKED, 0.01, 6, mask=skin)
    if corners is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    there, is_found, _ = cv2.calcOpticalFlowPyrLK(now, laid, corners, np.zeros_like(corners), winSize=(17, 17), maxLevel=2)
    back, is_back, _ = cv2.calcOpticalFlowPyrLK(laid, now, there, np.zeros_like(there), winSize=(17, 17), maxLevel=2)
    kept = (is_found.ravel() > 0) & (is_back.ravel() > 0) & (np.linalg.norm(back - corners, axis=-1).ravel() < 0.5)
    return corners.reshape(-1, 2)[kept], there.reshape(-1, 2)[kept]


def _surround(points: NDArray[np.float32], lesion: Mask) -> bool:
    """True when the middle of the lesion lies among the points."""
    sums = cv2.moments(lesion, binaryImage=True)
    if not sums["m00"]:
        return True
    hull = cv2.convexHull(points)
    return bool(cv2.pointPolygonTest(hull, (sums["m10"] / sums["m00"], sums["m01"] / sums["m00"]), False) > 0)


def _likeness(now: Grey, laid: Grey, where: Mask) -> float:
    """Correlation of detail: what is coarser than a thirtieth of the picture is light, what is finer than two pixels is noise."""
    chosen = where > 0
    if np.count_nonzero(chosen) < 100:
        return 0.0
    bands = []
    for grey in (now, laid):
        fine = cv2.GaussianBlur(grey, (0, 0), 1.5).astype(np.float32)
        coarse = cv2.boxFilter(grey, -1, (33, 33)).astype(np.float32)
        band = (fine - coarse)[chosen]
        bands.append(band - band.mean())
    product = float(np.sqrt((bands[0] ** 2).sum() * (bands[1] ** 2).sum()))
    return float((bands[0] * bands[1]).sum() / product) if product else 0.0
