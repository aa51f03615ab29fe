"""Mean curvature, judged on surfaces whose curvature is known."""

from __future__ import annotations

import numpy as np
import pytest
from dermanode_reconstruct.curvature import SCALE_MM, mean_curvature
from numpy.typing import NDArray

N, HALF_MM = 257, 7.0
STEP_MM = 2 * HALF_MM / (N - 1)
X, Y = np.meshgrid(np.linspace(-HALF_MM, HALF_MM, N), np.linspace(HALF_MM, -HALF_MM, N))
MIDDLE = N // 2


def curvature(z: NDArray[np.float64], scale_mm: float = SCALE_MM) -> NDArray[np.float64]:
    return mean_curvature(z.astype(np.float32), STEP_MM, scale_mm=scale_mm)


def test_a_plane_has_none_up_to_its_edges() -> None:
    assert abs(curvature(0.3 * X - 0.7 * Y + 2)).max() < 1e-4


@pytest.mark.parametrize("radius_mm", [4.0, 8.0, 20.0])
def test_a_ball_has_one_over_its_radius_all_over(radius_mm: float) -> None:
    found = curvature(np.sqrt(np.maximum(radius_mm**2 - X**2 - Y**2, 0)))
    inside = np.hypot(X, Y) < 0.6 * radius_mm
    np.testing.assert_allclose(found[inside], 1 / radius_mm, rtol=0.03)


@pytest.mark.parametrize("radius_mm", [1.5, 3.0])
def test_smoothing_raises_the_top_of_a_ball_by_the_stated_share(radius_mm: float) -> None:
    found = curvature(np.sqrt(np.maximum(radius_mm**2 - X**2 - Y**2, 0)))[MIDDLE, MIDDLE]
    bias = 2 * (SCALE_MM / radius_mm) ** 2
    assert found * radius_mm - 1 == pytest.approx(bias, rel=0.25)


def test_smoothing_raises_the_ridge_of_a_cylinder_by_the_stated_share() -> None:
    found = curvature(np.sqrt(np.maximum(3.0**2 - X**2, 0)))[:, MIDDLE]
    np.testing.assert_allclose(found, (1 + 1.5 * (SCALE_MM / 3) ** 2) / 6, rtol=0.002)


def test_smoothing_lowers_a_wave_by_the_stated_share() -> None:
    length_mm, height_mm = 2.0, 0.001
    found = curvature(height_mm * np.cos(2 * np.pi * X / length_mm))[MIDDLE, MIDDLE]
    true = height_mm * (2 * np.pi / length_mm) ** 2 / 2
    assert found / true == pytest.approx(np.exp(-2 * np.pi**2 * SCALE_MM**2 / length_mm**2), rel=0.01)


def test_a_saddle_has_none_at_its_middle() -> None:
    assert abs(curvature(0.3 * (X**2 - Y**2))[MIDDLE, MIDDLE]) < 1e-4


def test_a_minimal_surface_has_none_anywhere() -> None:
    """Scherk's: z = log(cos x / cos y)."""
    found = curvature(np.log(np.cos(X / 7) / np.cos(Y / 7)) * 7)
    inside = (slice(10, -10), slice(10, -10))
    assert abs(found[inside]).max() < 0.002


def test_a_quadratic_has_its_second_derivatives_at_its_middle() -> None:
    assert curvature(-0.2 * X**2 - 0.05 * Y**2 + 0.1 * X * Y)[MIDDLE, MIDDLE] == pytest.approx(0.25, rel=1e-3)


def test_a_bowl_is_negative_and_turning_the_rows_changes_nothing() -> None:
    bowl = 0.1 * X**2 + 0.03 * X * Y + 0.02 * Y**2
    found = curvature(bowl)
    assert (found[60:-60, 60:-60] < 0).all()
    np.testing.assert_allclose(curvature(bowl[::-1])[::-1], found, atol=1e-6)
    np.testing.assert_allclose(curvature(bowl.T).T, found, atol=1e-6)


def test_at_the_edges_a_quadratic_is_still_exact() -> None:
    z = -0.02 * X**2 + 0.01 * X * Y - 0.01 * Y**2
    zx, zy = -0.04 * X + 0.01 * Y, 0.01 * X - 0.02 * Y
    true = -((1 + zy**2) * -0.04 - 2 * zx * zy * 0.01 + (1 + zx**2) * -0.02) / (2 * (1 + zx**2 + zy**2) ** 1.5)
    np.testing.assert_allclose(mean_curvature(z, STEP_MM), true, rtol=1e-3)


@pytest.mark.parametrize("scale_mm", [0.2, 0.27, 0.4])
def test_the_scale_is_millimetres_whatever_the_grid(scale_mm: float) -> None:
    z = np.exp(-(X**2 + Y**2) / 2)
    fine = mean_curvature(z, STEP_MM, scale_mm=scale_mm)
    coarse = mean_curvature(z[::2, ::2], 2 * STEP_MM, scale_mm=scale_mm)
    np.testing.assert_allclose(coarse, fine[::2, ::2], atol=0.005)


def test_noise_counts_less_at_a_coarser_scale() -> None:
    z = np.random.default_rng(1).normal(0, 0.005, X.shape)
    inner = (slice(30, -30), slice(30, -30))
    assert curvature(z, 0.27)[inner].std() < 0.1 * curvature(z, 0.08)[inner].std()


def test_around_unknown_heights_the_curvature_is_unknown_and_elsewhere_as_it_was() -> None:
    z = np.sqrt(100 - X**2 - Y**2)
    known = np.hypot(X - 2, Y) > 0.5
    whole = mean_curvature(z, STEP_MM)
    found = mean_curvature(np.where(known, z, np.nan), STEP_MM, is_known=known)
    blind = np.isnan(found)
    assert blind[~known].all()
    assert not blind[np.hypot(X - 2, Y) > 0.5 + 2.6 * SCALE_MM].any()
    np.testing.assert_allclose(found[~blind], whole[~blind], atol=0.02)


@pytest.mark.parametrize(("shape", "scale_mm", "reason"), [((50, 50), 0.02, "cannot be told"), ((4, 50), 0.27, "too small")])
def test_what_cannot_be_measured_is_refused(shape: tuple[int, int], scale_mm: float, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        mean_curvature(np.zeros(shape), STEP_MM, scale_mm=scale_mm)
