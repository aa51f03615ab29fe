"""A surface held against the relief that it is of: where it lies on it, how far its heights and its curvature are off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.optimize import least_squares

from dermanode.domain import HeightField, Surface
from dermanode.testing.relief import Relief
from dermanode.testing.scene import RenderedView

Matrix = NDArray[np.float64]
_POINTS = 4000
"""So many heights decide where the surface lies."""


@dataclass(frozen=True)
class Deviation:
    """How far a surface is from the truth, after it was laid on it."""

    height_rms_um: float
    """Over the lesion, heights above the base."""
    height_bias_um: float
    cameras_rms_mm: float
    """What is left between the cameras' centres, after the best rigid motion."""
    curvature_rms_per_mm: float | None = None
    """Over the vertices of the lesion, at the surface's own scale; None where the surface has no curvature."""
    curvature_true_per_mm: float | None = None
    """Root mean square of the true curvature at the same places."""
    curvature_bias_percent: float | None = None
    """Of the mean of |H|."""


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the surface's frame lies in the scene's world."""

    rotation: Matrix
    shift_mm: Matrix
    cameras_rms_mm: float

    @classmethod
    def by_cameras(cls, found: Matrix, true: Matrix) -> Placement:
        """The rigid motion that lays the found centres (n x 3) best on the true ones (Kabsch 1976)."""
        middle, true_middle = found.mean(axis=0), true.mean(axis=0)
        u, _, vt = np.linalg.svd((found - middle).T @ (true - true_middle))
        # No mirror images: both frames are right-handed.
        rotation = vt.T @ np.diag([1, 1, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
        shift = true_middle - rotation @ middle
        left = found @ rotation.T + shift - true
        return cls(rotation, shift, float(np.sqrt((left**2).sum(axis=1).mean())))

    def places(self, x: Matrix, y: Matrix, z: Matrix) -> tuple[Matrix, Matrix]:
        """x and y in the world of points of the surface."""
        world = np.stack((x, y, z), axis=-1) @ self.rotation.T + self.shift_mm
        return world[..., 0], world[..., 1]


def deviation(surface: Surface, relief: Relief, rendered: Mapping[str, RenderedView]) -> Deviation | str:
    """How far the surface is off; or why that cannot be said. `rendered`: the views by their SOP Instance UIDs."""
    field = surface.height_field
    if not surface.is_metric or field is None:
        return "the surface has no heights in mm"
    known = [camera for camera in surface.cameras if camera.sop_instance_uid in rendered]
    if len(known) < 3:
        return "fewer than three cameras tell where the surface lies"
    placed = Placement.by_cameras(
        np.stack([camera.centre for camera in known]), np.stack([_centre(rendered[camera.sop_instance_uid]) for camera in known])
    )
    x, y = _axes(field)
    at = placed.places(*np.broadcast_arrays(x, y, field.base.astype(np.float64)))
    at = _settled(at, field.heights.astype(np.float64), relief)
    true, is_lesion = relief.height(*at), relief.rho(*at) <= 1
    off = (field.heights - true)[is_lesion & np.isfinite(field.heights)] * 1000
    if not off.size:
        return "the surface does not lie on the lesion"
    return Deviation(
        float(np.sqrt((off**2).mean())), float(off.mean()), placed.cameras_rms_mm, *_curvature(surface, field, true, is_lesion)
    )


def _centre(view: RenderedView) -> Matrix:
    centre: Matrix = -view.rotation.T @ view.translation
    return centre


def _axes(field: HeightField) -> tuple[Matrix, Matrix]:
    rows, columns = field.heights.shape
    x, y = field.left + field.step * np.arange(columns, dtype=np.float64), field.top - field.step * np.arange(rows, dtype=np.float64)
    return x[None, :], y[:, None]


def _settled(at: tuple[Matrix, Matrix], heights: Matrix, relief: Relief) -> tuple[Matrix, Matrix]:
    """The places after the small turn and shift in the plane that bring the heights closest to the truth.

    The cameras' own error of a tenth of a millimetre would pass for one of height on every slope.
    """
    near = np.flatnonzero((relief.rho(*at) < 1.2) & np.isfinite(heights))
    if near.size < 10:
        return at
    picked = near[:: max(1, near.size // _POINTS)]
    x, y, height = (values.ravel()[picked] for values in (*at, heights))

    def off(motion: Matrix) -> Matrix:
        return np.asarray(relief.height(*_moved((x, y), motion)) - height)

    best = least_squares(off, np.zeros(3), x_scale=(0.1, 0.1, 0.02), diff_step=1e-4)
    return _moved(at, best.x)


def _moved(at: tuple[Matrix, Matrix], motion: Matrix) -> tuple[Matrix, Matrix]:
    x, y = at
    shift_x, shift_y, turn = (float(part) for part in motion)
    cos, sin = math.cos(turn), math.sin(turn)
    return np.asarray(cos * x - sin * y + shift_x, np.float64), np.asarray(sin * x + cos * y + shift_y, np.float64)


def mean_curvature(z: Matrix, step: float, scale_mm: float) -> Matrix:
    """Mean curvature per mm of z, smoothed by a Gaussian of that standard deviation; positive where it bulges towards +z.

    M. P. do Carmo, Differential Geometry of Curves and Surfaces, 1976, 3-3, example 5, with the sign turned. Written down here a second
    time, apart from the plugin's, so that one is held against the other. The sign of y does not matter.
    """
    # Derivatives as differences of what was smoothed: the sampled derivatives of a narrow Gaussian do not quite add up to 0.
    smooth = gaussian_filter(z, scale_mm / step, mode="nearest")
    zy, zx = np.gradient(smooth, step)
    zyy, zxy = np.gradient(zy, step)
    zxx = np.gradient(zx, step, axis=1)
    bent = (1 + zy**2) * zxx - 2 * zx * zy * zxy + (1 + zx**2) * zyy
    return np.asarray(-bent / (2 * (1 + zx**2 + zy**2) ** 1.5))


def _curvature(surface: Surface, field: HeightField, true: Matrix, is_lesion: NDArray[np.bool_]) -> Sequence[float | None]:
    scale_mm, found, on_lesion = surface.curvature_scale_mm, surface.mean_curvature, surface.is_lesion
    if found is None or scale_mm is None or on_lesion is None:
        return None, None, None
    bends = mean_curvature(true, field.step, scale_mm)
    x, y = surface.vertices[:, 0], surface.vertices[:, 1]
    places = np.stack(((field.top - y) / field.step, (x - field.left) / field.step))
    # A closed mesh has a floor below the skin: only vertices that say they are lesion count, and only inside the true outline.
    counts = on_lesion & np.isfinite(found) & (map_coordinates(is_lesion.astype(np.float64), places, order=1) > 0.5)
    if not counts.any():
        return None, None, None
    truth, told = map_coordinates(bends, places[:, counts], order=1), found[counts].astype(np.float64)
    return (
        float(np.sqrt(((told - truth) ** 2).mean())),
        float(np.sqrt((truth**2).mean())),
        float(100 * (np.abs(told).mean() / np.abs(truth).mean() - 1)),
    )
