"""Bundle adjustment with priors, judged on points projected by known cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from dermanode_reconstruct.adjustment import Adjusted, Trust, adjust
from dermanode_reconstruct.poses import Poses, ring_poses
from dermanode_reconstruct.tracks import Tracks
from numpy.typing import NDArray

K = np.array([[7680.0, 0, 511.5], [0, 7680.0, 383.5], [0, 0, 1]])
AZIMUTHS = 45.0 * np.arange(8)


@dataclass(frozen=True, eq=False)
class Rig:
    """A nominal ring, where its cameras stand in truth, and what they see of points."""

    nominal: Poses
    true: Poses
    points: NDArray[np.float64]
    tracks: Tracks
    intrinsics: NDArray[np.float64]

    def adjusted(self, trust: Trust | None = None) -> Adjusted:
        return adjust(self.tracks, self.intrinsics, self.nominal, trust or Trust())


def rig(noise_px: float = 0.2, off_deg: float = 0.7, strays: int = 0, azimuths: NDArray[np.float64] = AZIMUTHS) -> Rig:
    rng = np.random.default_rng(3)
    count = len(azimuths)
    nominal = ring_poses(azimuths, np.full(count, 25.0), np.full(count, 150.0))
    off = [np.deg2rad(rng.normal(0, off_deg, 3)) for _ in range(count)]
    small = np.array([[[1, -z, y], [z, 1, -x], [-y, x, 1]] for x, y, z in off])
    left, _, right = np.linalg.svd(small)
    true = Poses(left @ right @ nominal.rotations, nominal.translations + rng.normal(0, 0.15, (count, 3)))
    xy = rng.uniform(-6, 6, (250, 2))
    points = np.column_stack([xy, 2 * np.maximum(0, 1 - (np.hypot(*xy.T) / 3.5) ** 2) ** 2])
    intrinsics = np.repeat(K[None], count, axis=0)
    pixels, _ = true.project(points, intrinsics)
    pixels = pixels + rng.normal(0, noise_px, pixels.shape)
    pixels[rng.uniform(size=pixels.shape[:2]) < 0.1] = np.nan
    pixels[:strays, 0] += 15.0
    return Rig(nominal, true, points, Tracks(pixels), intrinsics)


def tilt_against_points(poses: Poses, points: NDArray[np.float64]) -> float:
    """Mean tilt against the plane of the outer points: what scales every height."""
    outer = points[np.hypot(points[:, 0], points[:, 1]) > 4]
    normal = np.linalg.svd(outer - outer.mean(axis=0), full_matrices=False)[2][2]
    return float(np.rad2deg(np.arccos(abs(poses.rotations[:, 2] @ normal))).mean())


def test_cameras_come_to_where_they_stand() -> None:
    made = rig()
    found = made.adjusted()
    assert found.error_px < 0.4
    for one in range(8):
        other = (one + 2) % 8
        turns = [poses.rotations[other] @ poses.rotations[one].T for poses in (made.true, found.poses)]
        assert np.rad2deg(np.arccos(np.clip((np.trace(turns[0].T @ turns[1]) - 1) / 2, -1, 1))) < 0.3
    assert tilt_against_points(found.poses, found.points_mm) == pytest.approx(tilt_against_points(made.true, made.points), abs=0.1)


def test_an_open_ring_tells_its_tilt_as_well_within_its_own_error() -> None:
    made = rig(azimuths=AZIMUTHS[:4])
    found = made.adjusted()
    assert tilt_against_points(found.poses, found.points_mm) == pytest.approx(tilt_against_points(made.true, made.points), abs=0.6)


def test_strays_hardly_pull() -> None:
    found, pulled = rig().adjusted(), rig(strays=10).adjusted()
    assert abs(found.points_mm[10:] - pulled.points_mm[10:]).max() < 0.1
    assert (pulled.errors_px[:10, 0] > 5).mean() > 0.8


def test_a_rig_that_stands_where_it_should_stays_there() -> None:
    made = rig(noise_px=0.0, off_deg=0.0)
    found = adjust(Tracks(made.true.project(made.points, made.intrinsics)[0]), made.intrinsics, made.true, Trust())
    np.testing.assert_allclose(found.poses.rotations, made.true.rotations, atol=1e-5)
    np.testing.assert_allclose(found.points_mm, made.points, atol=1e-3)


def test_the_covariance_grows_with_what_the_pictures_are_trusted_less() -> None:
    made = rig()
    sharp, dull = (np.diag(made.adjusted(Trust(pixel_px=px)).pose_covariance()) for px in (0.5, 2.0))
    assert (sharp > 0).all()
    assert dull.sum() > sharp.sum()


def test_what_is_not_seen_has_no_error() -> None:
    found = rig().adjusted()
    assert found.is_seen.shape == found.errors_px.shape
    assert (found.errors_px[~found.is_seen] == 0).all()
