"""A raised lesion in closed form as a metric surface: height field, closed mesh and a ring of cameras, for tests of what shows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dermanode.domain import UID, Algorithm, CameraPose, HeightField, Measurement, Surface
from dermanode.domain.codes import MM, MM3, Code
from dermanode.testing.relief import Relief, Shape

Field = NDArray[np.float64]

_HALF_MM = 7.0
_SIDE = 257
_SECTORS, _RINGS = 120, 20
_SLOPE = 0.03
"""Of the base along x: the skin is not level in the reference view's frame."""
_SCALE_MM = 0.27


def raised(views: Sequence[UID], *, height_mm: float = 1.2, radius_mm: float = 3.4, is_metric: bool = True) -> Surface:
    """A dome with a wavy outline; one camera a view on a ring at 150 mm, tilted by 10 degrees. Its mesh has 9,360 faces."""
    relief = Relief(Shape.DOME, radius_mm, height_mm, ((2, 0.08, 0.4), (3, 0.05, 1.1)))
    x, y, is_top, faces = _discs(relief)
    heights = np.where(is_top, relief.height(x, y), 0.0)
    slopes = _slopes(relief, x, y)
    normals = np.where(is_top[:, None], np.stack([-slopes[0], -slopes[1], np.ones_like(x)], -1), (0.0, 0.0, -1.0))
    volume_mm3 = relief.truth.volume_mm3
    return Surface(
        algorithm=Algorithm("Test", "1"),
        vertices=np.stack([x, y, _base(x) + heights], -1).astype(np.float32),
        faces=faces,
        normals=(normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
        colours=_colours(relief, x, y),
        mean_curvature=np.where(is_top, _mean_curvature(relief, x, y), 0.0).astype(np.float32),
        curvature_scale_mm=_SCALE_MM,
        is_lesion=is_top,
        is_metric=is_metric,
        lateral_unit="mm",
        method="a formula",
        scale_source="camera distance 150 mm",
        used_views=tuple(views),
        is_closed=True,
        height_field=_field(relief),
        cameras=_ring(views),
        tilt_deg=10.0,
        reprojection_error_px=0.41,
        confidence=0.87,
        measurements=(
            Measurement(
                key="volume_mm3",
                concept=Code("RNU0", "IBSI", "Volume of Mesh"),
                value=volume_mm3,
                unit=MM3,
                lower=0.97 * volume_mm3,
                upper=1.03 * volume_mm3,
            ),
            Measurement(
                key="max_height_mm",
                concept=Code("121207", "DCM", "Height"),
                value=height_mm,
                unit=MM,
                lower=height_mm - 0.02,
                upper=height_mm + 0.02,
                derivation=Code("56851009", "SCT", "Maximum"),
            ),
        )
        if is_metric
        else (),
    )


def _base(x: Field) -> Field:
    return _SLOPE * x


def _discs(relief: Relief) -> tuple[Field, Field, NDArray[np.bool_], NDArray[np.int32]]:
    """x, y and `is_top` of the corners and the faces of two discs, the top and the floor, that share their rim."""
    angle: Field = np.linspace(0, 2 * np.pi, _SECTORS, endpoint=False)
    share: Field = np.linspace(0, 1, _RINGS + 1)[1:]
    ring = share[:, None] * relief.outline_mm(angle)
    x = np.concatenate([[0.0], (ring * np.cos(angle)).ravel()])
    y = np.concatenate([[0.0], (ring * np.sin(angle)).ravel()])
    sector = np.arange(_SECTORS)
    following = (sector + 1) % _SECTORS
    fan = np.stack([np.zeros_like(sector), 1 + sector, 1 + following], -1)
    inner = 1 + np.arange(_RINGS - 1)[:, None] * _SECTORS
    a, b, c, d = (inner + sector, inner + following, inner + _SECTORS + sector, inner + _SECTORS + following)
    top = np.concatenate([fan, np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    rim = len(x) - _SECTORS
    floor = np.where(top < rim, top + len(x), top)[:, ::-1]
    is_top = np.arange(len(x) + rim) < len(x)
    return np.concatenate([x, x[:rim]]), np.concatenate([y, y[:rim]]), is_top, np.concatenate([top, floor]).astype(np.int32)


def _slopes(relief: Relief, x: Field, y: Field, step: float = 1e-3) -> tuple[Field, Field]:
    along_x = (relief.height(x + step, y) - relief.height(x - step, y)) / (2 * step)
    along_y = (relief.height(x, y + step) - relief.height(x, y - step)) / (2 * step)
    return along_x, along_y


def _mean_curvature(relief: Relief, x: Field, y: Field, step: float = 0.05) -> Field:
    """H of a graph, minus half the divergence of its normal's slope: positive where it bulges upwards."""
    p, q = _slopes(relief, x, y)
    (px1, qx1), (px0, qx0) = _slopes(relief, x + step, y), _slopes(relief, x - step, y)
    (_, qy1), (_, qy0) = _slopes(relief, x, y + step), _slopes(relief, x, y - step)
    xx, xy, yy = (px1 - px0) / (2 * step), (qx1 - qx0) / (2 * step), (qy1 - qy0) / (2 * step)
    curvature: Field = -((1 + q**2) * xx - 2 * p * q * xy + (1 + p**2) * yy) / (2 * (1 + p**2 + q**2) ** 1.5)
    return curvature


def _colours(relief: Relief, x: Field, y: Field) -> NDArray[np.uint8]:
    """Brown that grows darker in spots and lighter to the rim, on pale skin with a fine grain."""
    share = relief.rho(x, y)
    pigment = 1 / (1 + np.exp((share - 0.95) * 18))
    spots = 0.5 + 0.5 * np.sin(2.3 * x + 1.7 * np.sin(1.9 * y)) * np.cos(2.1 * y - 0.8 * x)
    grain = 4 * np.sin(9 * x + 3 * np.sin(7 * y)) * np.sin(8 * y)
    skin, brown = np.array([222.0, 178.0, 158.0]), np.array([122.0, 78.0, 58.0])
    darker = brown * (1 - 0.45 * spots[..., None])
    colours = skin * (1 - pigment[..., None]) + darker * pigment[..., None] + grain[..., None]
    rgb: NDArray[np.uint8] = np.clip(colours, 0, 255).astype(np.uint8)
    return rgb


def _field(relief: Relief) -> HeightField:
    step = 2 * _HALF_MM / (_SIDE - 1)
    y, x = np.mgrid[_HALF_MM : -_HALF_MM : _SIDE * 1j, -_HALF_MM : _HALF_MM : _SIDE * 1j]
    return HeightField(
        heights=relief.height(x, y).astype(np.float32),
        base=_base(x).astype(np.float32),
        colours=_colours(relief, x, y),
        is_lesion=relief.rho(x, y) <= 1,
        left=-_HALF_MM,
        top=_HALF_MM,
        step=step,
    )


def _ring(views: Sequence[UID], distance_mm: float = 150.0, tilt_deg: float = 10.0) -> tuple[CameraPose, ...]:
    poses = []
    tilt = np.deg2rad(tilt_deg)
    for number, view in enumerate(views):
        azimuth = 2 * np.pi * number / len(views)
        centre = distance_mm * np.array([np.sin(tilt) * np.sin(azimuth), -np.sin(tilt) * np.cos(azimuth), np.cos(tilt)])
        forward = -centre / distance_mm
        right = np.cross(forward, (0.0, 1.0, 0.0))
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        poses.append(CameraPose(sop_instance_uid=view, rotation=rotation, centre=centre, focal_px=30_000.0))
    return tuple(poses)
