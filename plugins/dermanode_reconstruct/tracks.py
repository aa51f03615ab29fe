"""Points of the skin, followed from picture to picture around the ring."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode_reconstruct.grid import Grid, Matrix
from dermanode_reconstruct.photograph import Photograph
from dermanode_reconstruct.poses import Poses, plane_homographies

FEWEST = 12
"""Tracks without which no pose is worth having."""
_LEAST_SHARE = 0.15
"""Of the points followed so far that a picture must show, or it is skipped."""
_RETURNS_WITHIN_PX = 0.7
"""A point that is followed there and back must come back so near (forward-backward check, Kalal et al. 2010)."""
_WINDOW_PX = (21, 21)
_LEVELS = 4
_UNTIL = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01)
_LEAST_EIGENVALUE = 1e-4


@dataclass(frozen=True, eq=False)
class Tracks:
    """N points as V pictures show them."""

    pixels: Matrix
    """N x V x 2: (column, row) in each picture; NaN where the point was not followed."""

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def is_seen(self) -> NDArray[np.bool_]:
        """N x V."""
        return np.isfinite(self.pixels[..., 0])

    def long(self, fewest_views: int) -> Tracks:
        """Those that at least so many pictures show."""
        return Tracks(self.pixels[self.is_seen.sum(1) >= fewest_views])

    def without(self, is_wrong: NDArray[np.bool_]) -> Tracks:
        """`is_wrong` is N x V."""
        return Tracks(np.where(is_wrong[..., None], np.nan, self.pixels))

    def and_(self, other: Tracks) -> Tracks:
        return Tracks(np.concatenate([self.pixels, other.pixels]))


def rectified(photographs: Sequence[Photograph], poses: Poses, grid: Grid, threads: int = 1) -> tuple[list[NDArray[np.uint8]], Matrix]:
    """Each picture as seen from above on the grid, with even contrast, and the homographies from there to the pictures."""
    to_picture = plane_homographies(poses, np.array([one.intrinsics for one in photographs]), grid)

    def rectify(one: Photograph, homography: Matrix) -> NDArray[np.uint8]:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (grid.count, grid.count)
        seen = cv2.warpPerspective(one.grey, homography, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.createCLAHE(3.0, (8, 8)).apply(seen), dtype=np.uint8)

    with ThreadPoolExecutor(max(1, min(threads, len(photographs))), thread_name_prefix="rectify") as pool:
        return list(pool.map(rectify, photographs, to_picture)), to_picture


def follow(pictures: Sequence[NDArray[np.uint8]], to_picture: Matrix, start: int, most: int, threads: int = 1) -> Tracks:
    """Corners of picture `start`, followed around the ring both ways; pictures stand in the order of the ring.

    A picture in which hardly any point is found again (black, blurred, of another lesion) is skipped, and shows no point.
    """
    count = len(pictures)
    corners = cv2.goodFeaturesToTrack(pictures[start], most, 0.002, 8, blockSize=7)
    if corners is None:
        return Tracks(np.empty((0, count, 2)))
    corners = corners.astype(np.float32)
    pixels = np.full((len(corners), count, 2), np.nan)
    pixels[:, start] = _through(to_picture[start], corners.reshape(-1, 2))

    def walk(direction: int, steps: int) -> None:
        at, is_followed, here = corners, np.ones(len(corners), bool), start
        for distance in range(1, steps + 1):
            there = (start + direction * distance) % count
            moved, is_found = _followed(pictures[here], pictures[there], at)
            kept = is_followed & is_found
            if kept.sum() < max(FEWEST, _LEAST_SHARE * is_followed.sum()):
                continue
            at, here, is_followed = moved, there, kept
            pixels[is_followed, here] = _through(to_picture[here], at.reshape(-1, 2)[is_followed])

    with ThreadPoolExecutor(max(1, min(threads, 2)), thread_name_prefix="follow") as pool:
        list(pool.map(walk, (1, -1), (count // 2, count - 1 - count // 2)))  # each fills pictures of its own
    return Tracks(pixels)


def _followed(one: NDArray[np.uint8], other: NDArray[np.uint8], at: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Where the points lie in the other picture, and which of them come back to where they were."""
    moved, found = _lucas_kanade(one, other, at)
    back, found_back = _lucas_kanade(other, one, moved)
    is_back = np.linalg.norm((back - at).reshape(-1, 2), axis=1) < _RETURNS_WITHIN_PX
    return moved, (found.ravel() == 1) & (found_back.ravel() == 1) & is_back


def _lucas_kanade(
    one: NDArray[np.uint8], other: NDArray[np.uint8], at: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        one, other, at, None, winSize=_WINDOW_PX, maxLevel=_LEVELS, criteria=_UNTIL, minEigThreshold=_LEAST_EIGENVALUE
    )
    return np.asarray(moved), np.asarray(found)


def _through(homography: Matrix, points: NDArray[np.float32]) -> Matrix:
    mapped: Matrix = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return mapped[:, :2] / mapped[:, 2:]
