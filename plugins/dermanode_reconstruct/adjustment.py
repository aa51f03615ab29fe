"""Bundle adjustment with priors: poses and points that explain the tracks, near where the rig says its cameras stood.

Levenberg and Marquardt's damping, Schur's complement over the points (Triggs et al. 2000), Huber's loss. A ring has few cameras, so
all of it is a handful of dense products.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode_reconstruct.grid import Matrix
from dermanode_reconstruct.poses import Poses
from dermanode_reconstruct.tracks import Tracks

_ROUNDS = 12
_TRIES = 6
_ENOUGH = 1e-4
"""The adjustment ends when a step lowers the cost by a smaller share."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Standard deviations of what the rig says and of what the tracks show, and where Huber's loss turns linear."""

    pixel_px: float = 0.5
    turn_deg: float = 1.0
    """Of a camera around the origin, about each axis."""
    shift_mm: float = 0.5
    huber: float = 1.5
    """In standard deviations."""

    def looser(self, factor: float) -> Trust:
        """With priors that are `factor` times as wide."""
        return Trust(self.pixel_px, self.turn_deg * factor, self.shift_mm * factor, self.huber)


@dataclass(frozen=True, eq=False)
class Adjusted:
    """What the adjustment found."""

    poses: Poses
    points_mm: Matrix
    """N x 3."""
    errors_px: Matrix
    """N x V: distance of each track from where the poses put it; 0 where it is not seen."""
    is_seen: NDArray[np.bool_]
    ended_at: tuple[_Problem, _State]

    def pose_covariance(self) -> Matrix:
        """6V x 6V: of (turn in radians, shift in mm) of each camera, points marginalised."""
        problem, state = self.ended_at
        residuals, seen = problem.residuals(state)
        complement, _, _ = _linearised(problem, state, residuals, seen).reduced(0.0)
        return np.asarray(np.linalg.inv(complement))

    def again(self, tracks: Tracks) -> Adjusted:
        """The adjustment to other tracks of the same pictures, begun where this one ended."""
        problem, state = self.ended_at
        return _solved(replace(problem, tracks=tracks), replace(state, points_mm=_triangulated(tracks, problem.intrinsics, state.poses)))

    @property
    def error_px(self) -> float:
        """Median over all observations."""
        return float(np.median(self.errors_px[self.is_seen]))


@dataclass(frozen=True, eq=False)
class _State:
    poses: Poses
    points_mm: Matrix
    off: Matrix
    """V x 6: how far each pose is from its prior."""


@dataclass(frozen=True, eq=False)
class _Problem:
    tracks: Tracks
    intrinsics: Matrix
    trust: Trust
    prior: Matrix
    """Six inverse variances."""

    def residuals(self, state: _State) -> tuple[Matrix, Matrix]:
        pixels, seen = state.poses.project(state.points_mm, self.intrinsics)
        return np.where(self.tracks.is_seen[..., None], pixels - self.tracks.pixels, 0.0), seen

    def cost(self, residuals: Matrix, off: Matrix) -> float:
        size = np.linalg.norm(residuals, axis=-1) / self.trust.pixel_px
        limit = self.trust.huber
        loss = np.where(size < limit, 0.5 * size**2, limit * (size - 0.5 * limit))
        return float(loss.sum() + 0.5 * (off**2 * self.prior).sum())


@dataclass(frozen=True, eq=False)
class _Normal:
    """The normal equations, in blocks: cameras x cameras, points x points, and what couples them."""

    cameras: Matrix
    camera_gradient: Matrix
    points: Matrix
    point_gradient: Matrix
    coupling: Matrix

    def reduced(self, damping: float) -> tuple[Matrix, Matrix, Matrix]:
        """Schur's complement (6V x 6V), the inverses of the point blocks, and coupling times those."""
        count, size = len(self.cameras), 6
        damped_points = self.points * (1 + damping * np.eye(3)) + 1e-6 * np.eye(3)
        inverse = np.asarray(np.linalg.inv(damped_points))
        carried = self.coupling @ inverse[:, None]
        flat = carried.transpose(1, 2, 0, 3).reshape(count * size, -1)
        other = self.coupling.transpose(1, 2, 0, 3).reshape(count * size, -1)
        complement = -(flat @ other.T).reshape(count, size, count, size)
        every = np.arange(count)
        complement[every, :, every, :] += self.cameras * (1 + damping * np.eye(size))
        return complement.reshape(count * size, count * size), inverse, carried

    def step(self, damping: float) -> tuple[Matrix, Matrix]:
        """V x 6 for the cameras and N x 3 for the points."""
        complement, inverse, carried = self.reduced(damping)
        gradient = self.camera_gradient - np.einsum("nvij,nj->vi", carried, self.point_gradient)
        cameras = -np.linalg.solve(complement, gradient.ravel()).reshape(-1, 6)
        points = -np.einsum("nij,nj->ni", inverse, self.point_gradient + np.einsum("nvij,vi->nj", self.coupling, cameras))
        return cameras, points


def adjust(tracks: Tracks, intrinsics: Matrix, nominal: Poses, trust: Trust) -> Adjusted:
    """The most probable poses and points. `intrinsics` are V x 3 x 3; every track is seen by two pictures or more."""
    problem = _Problem(tracks, intrinsics, trust, 1 / np.repeat([np.deg2rad(trust.turn_deg), trust.shift_mm], 3) ** 2)
    return _solved(problem, _State(nominal, _triangulated(tracks, intrinsics, nominal), np.zeros((len(nominal), 6))))


def _solved(problem: _Problem, state: _State) -> Adjusted:
    residuals, seen = problem.residuals(state)
    cost, damping = problem.cost(residuals, state.off), 1e-3
    for _ in range(_ROUNDS):
        normal = _linearised(problem, state, residuals, seen)
        before = cost
        for _ in range(_TRIES):
            tried = _moved(state, *normal.step(damping))
            tried_residuals, tried_seen = problem.residuals(tried)
            tried_cost = problem.cost(tried_residuals, tried.off)
            if tried_cost < cost:
                state, residuals, seen, cost = tried, tried_residuals, tried_seen, tried_cost
                damping *= 0.3
                break
            damping *= 5
        if before - cost < _ENOUGH * before:
            break
    return Adjusted(state.poses, state.points_mm, np.linalg.norm(residuals, axis=-1), problem.tracks.is_seen, (problem, state))


def _triangulated(tracks: Tracks, intrinsics: Matrix, poses: Poses) -> Matrix:
    """Linear least squares over all pictures that show a point (Hartley and Sturm 1997)."""
    cameras = intrinsics @ np.concatenate([poses.rotations, poses.translations[..., None]], axis=2)
    at = np.where(tracks.is_seen[..., None], tracks.pixels, 0.0)
    rows = (at[..., None] * cameras[None, :, 2:] - cameras[None, :, :2]) * tracks.is_seen[..., None, None]
    # In pixels at the points' distance, so that no view outweighs another.
    rows = rows.reshape(len(tracks), -1, 4)
    left, right = rows[..., :3], rows[..., 3]
    normal = np.einsum("nij,nik->njk", left, left)
    damping = 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    points: Matrix = np.linalg.solve(normal + damping, -np.einsum("nij,ni->nj", left, right)[..., None])[..., 0]
    return points


def _linearised(problem: _Problem, state: _State, residuals: Matrix, seen: Matrix) -> _Normal:
    trust = problem.trust
    size = np.linalg.norm(residuals, axis=-1) / trust.pixel_px
    weight = np.where(size < trust.huber, 1.0, trust.huber / np.maximum(size, 1e-9)) / trust.pixel_px**2 * problem.tracks.is_seen
    focal = problem.intrinsics[:, [0, 1], [0, 1]]
    inverse_z = 1 / seen[..., 2]
    by_camera_point = np.zeros((*seen.shape[:2], 2, 3))
    for axis in range(2):
        by_camera_point[..., axis, axis] = focal[:, axis] * inverse_z
        by_camera_point[..., axis, 2] = -focal[:, axis] * seen[..., axis] * inverse_z**2
    by_point = by_camera_point @ state.poses.rotations[None]
    by_pose = np.concatenate([by_camera_point @ -_cross(seen - state.poses.translations), by_camera_point], axis=-1)
    weighted_pose, weighted_point = by_pose * weight[..., None, None], by_point * weight[..., None, None]
    return _Normal(
        cameras=(weighted_pose.swapaxes(-1, -2) @ by_pose).sum(0) + np.diag(problem.prior),
        camera_gradient=np.einsum("nvij,nvi->vj", weighted_pose, residuals) + state.off * problem.prior,
        points=(weighted_point.swapaxes(-1, -2) @ by_point).sum(1),
        point_gradient=np.einsum("nvij,nvi->nj", weighted_point, residuals),
        coupling=weighted_pose.swapaxes(-1, -2) @ by_point,
    )


def _cross(vectors: Matrix) -> Matrix:
    """... x 3 x 3: the matrices of the cross product with ... x 3 vectors."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([np.stack(row, -1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))], -2)


def _moved(state: _State, cameras: Matrix, points: Matrix) -> _State:
    """Turns are taken on the left: a camera turns around the world's origin as it sees it."""
    turns = np.array([cv2.Rodrigues(turn)[0] for turn in cameras[:, :3]])
    poses = Poses(turns @ state.poses.rotations, state.poses.translations + cameras[:, 3:])
    return _State(poses, state.points_mm + points, state.off + cameras)
