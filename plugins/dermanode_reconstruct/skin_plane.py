"""The plane of the skin among points of which many lie on a lesion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Matrix = NDArray[np.float64]


_FEWEST = 12
_TRIALS = 500
_THICKNESS = 0.01
"""Of the field's size: furrows and errors of single points; a lesion of 1 mm in a field of 20 mm is five times as high."""
_LEAST_SHARE = 0.25
_NEIGHBOURHOOD = 0.05
"""Radius in which points share one vote, of the field's size."""
_ROUNDS = 20


@dataclass(frozen=True, eq=False)
class Plane:
    """The points X with normal . X = offset."""

    normal: Matrix
    """Unit length; its sign says nothing."""
    offset: float
    share: float
    """Of the votes, on the plane."""


def skin_plane(points: Matrix, seed: int = 0) -> Plane | None:
    """The plane that most of the field lies on, of N x 3 points in any unit; None where less than a quarter does.

    RANSAC (Fischler and Bolles 1981), then least squares with Tukey's weights. Marks crowd on a lesion, so a point's vote is shared among
    its neighbours: what counts is area, and skin has more of it than a lesion.
    """
    if len(points) < _FEWEST:
        return None
    low, high = np.percentile(points, [5, 95], axis=0)
    size = float(np.linalg.norm(high - low))
    if not size > 0:
        return None
    tree = cKDTree(points)
    votes = 1 / np.asarray(tree.query_ball_point(points, _NEIGHBOURHOOD * size, return_length=True), dtype=np.float64)
    votes /= votes.sum()
    rng = np.random.default_rng(seed)
    corners = points[rng.choice(len(points), size=(_TRIALS, 3), p=votes)]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    # Three points near a line say nothing of a plane.
    wide = length > 0.01 * size**2
    if not wide.any():
        return None
    normals, corners = normals[wide] / length[wide, None], corners[wide, 0]
    off = abs(points @ normals.T - np.einsum("ij,ij->i", normals, corners))
    score = votes @ np.maximum(0.0, 1 - (off / (_THICKNESS * size)) ** 2)
    best = int(score.argmax())
    normal, offset = normals[best], float(normals[best] @ corners[best])
    reach = 2 * _THICKNESS * size
    for _ in range(_ROUNDS):
        away = points @ normal - offset
        weight = votes * np.maximum(0.0, 1 - (away / reach) ** 2) ** 2
        if (weight > 0).sum() < _FEWEST:
            return None
        middle = weight @ points / weight.sum()
        _, _, axes = np.linalg.svd((points - middle) * np.sqrt(weight)[:, None], full_matrices=False)
        normal, offset = axes[2], float(axes[2] @ middle)
        # The scatter of the skin itself, by the median absolute deviation of what lies on it.
        near = abs(away) < reach
        reach = float(np.clip(4.685 * 1.4826 * np.median(abs(points[near] @ normal - offset)), 0.3 * reach, reach))
    share = float(votes[abs(points @ normal - offset) < 2 * _THICKNESS * size].sum())
    return Plane(normal, offset, share) if share >= _LEAST_SHARE else None
