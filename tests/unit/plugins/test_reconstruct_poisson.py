"""Clouds that overhang become solids, judged on shapes whose volume is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dermanode_reconstruct.mesh import NoMesh
from dermanode_reconstruct.poisson import is_height_field, mesh_cloud
from dermanode_reconstruct.soundness import soundness
from numpy.typing import NDArray

Cloud = tuple[NDArray[np.float64], NDArray[np.float64]]

BALL_MM, STEM_MM, CENTRE_MM = 1.8, 1.0, 2.2
"""A mushroom: a ball on a stem."""


def mushroom(n: int = 12_000, noise_mm: float = 0.0) -> Cloud:
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(n, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    ball = BALL_MM * directions + [0, 0, CENTRE_MM]
    free = (np.hypot(ball[:, 0], ball[:, 1]) > STEM_MM) | (ball[:, 2] > CENTRE_MM)
    neck_mm = CENTRE_MM - np.sqrt(BALL_MM**2 - STEM_MM**2)
    density = n / (4 * np.pi * BALL_MM**2)
    angle = rng.uniform(0, 2 * np.pi, int(density * 2 * np.pi * STEM_MM * neck_mm))
    around = np.column_stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)])
    stem = STEM_MM * around + rng.uniform(0, neck_mm, len(angle))[:, None] * [0, 0, 1]
    points = np.concatenate([ball[free], stem])
    return points + rng.normal(0, noise_mm, points.shape), np.concatenate([directions[free], around])


def mushroom_mm3() -> float:
    chord = np.sqrt(BALL_MM**2 - STEM_MM**2)
    cap = BALL_MM - chord
    return 4 / 3 * np.pi * BALL_MM**3 + np.pi * STEM_MM**2 * (CENTRE_MM - chord) - np.pi * cap**2 * (3 * BALL_MM - cap) / 3


def dome(n: int = 12_000, noise_mm: float = 0.0) -> Cloud:
    """Half a ball of 2 mm, with level skin around it."""
    rng = np.random.default_rng(2)
    directions = rng.normal(size=(n, 3))
    directions[:, 2] = abs(directions[:, 2])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    skin = np.column_stack([rng.uniform(-4, 4, (n, 2)), np.zeros(n)])
    skin = skin[np.hypot(skin[:, 0], skin[:, 1]) > 2]
    points = np.concatenate([2 * directions, skin])
    return points + rng.normal(0, noise_mm, points.shape), np.concatenate([directions, np.broadcast_to([0, 0, 1.0], skin.shape)])


@pytest.mark.parametrize("noise_mm", [0.0, 0.03])
def test_a_mushroom_is_no_height_field(noise_mm: float) -> None:
    assert not is_height_field(mushroom(noise_mm=noise_mm)[0], 0.2)


@pytest.mark.parametrize("noise_mm", [0.0, 0.03, 0.1])
def test_a_dome_with_steep_sides_is_a_height_field(noise_mm: float) -> None:
    assert is_height_field(dome(noise_mm=noise_mm)[0], 0.2)


def test_a_few_stray_points_make_no_overhang() -> None:
    points, _ = dome()
    stray = np.tile([[3.0, 3.0, 2.0]], (5, 1)) + np.random.default_rng(3).normal(0, 0.01, (5, 3))
    assert is_height_field(np.concatenate([points, stray]), 0.2)


def test_a_sparse_cloud_is_taken_for_a_height_field() -> None:
    assert is_height_field(mushroom(50)[0][:20], 0.1)


@pytest.fixture
def open3d() -> Any:
    return pytest.importorskip("open3d", reason="Open3D or the libraries that it needs are missing", exc_type=ImportError)


@pytest.mark.usefixtures("open3d")
@pytest.mark.parametrize(("cloud", "volume_mm3"), [(mushroom, mushroom_mm3()), (dome, 2 / 3 * np.pi * 8)])
def test_a_cloud_becomes_a_solid_with_its_volume(cloud: Any, volume_mm3: float, capfd: pytest.CaptureFixture[str]) -> None:
    points, normals = cloud(noise_mm=0.01)
    colours = np.where(points[:, 2:] > 1.5, [[200, 100, 50]], [[10, 20, 30]]).astype(np.uint8)
    mesh = mesh_cloud(points, normals, colours)
    found = soundness(mesh.vertices, mesh.faces)
    assert found.is_sound, found.problems
    assert found.euler == 2
    assert 8_000 <= len(mesh.faces) <= 12_000
    assert mesh.volume == pytest.approx(volume_mm3, rel=0.03)
    high = mesh.vertices[:, 2] > 1.7
    assert mesh.is_top[high].mean() > 0.99
    assert not mesh.is_top[mesh.vertices[:, 2] < 0.02].any()
    assert (mesh.colours[high] == [200, 100, 50]).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("open3d")
def test_a_cloud_that_hangs_in_the_air_is_refused() -> None:
    points, normals = mushroom()
    with pytest.raises(NoMesh, match="does not come down to the skin"):
        mesh_cloud(points + np.array([0, 0, 3.0]), normals, np.zeros(points.shape, np.uint8))


def test_level_skin_is_refused() -> None:
    points = np.column_stack([np.random.default_rng(1).uniform(-4, 4, (3000, 2)), np.zeros(3000)])
    with pytest.raises(NoMesh, match="hardly a point"):
        mesh_cloud(points, np.broadcast_to([0, 0, 1.0], points.shape), np.zeros(points.shape, np.uint8))


def test_a_handful_of_points_is_refused() -> None:
    with pytest.raises(NoMesh, match="too few"):
        mesh_cloud(np.zeros((10, 3)), np.zeros((10, 3)), np.zeros((10, 3), np.uint8))
