"""The page's mesh: Plotly's arrays, few enough triangles, the skin around a closed lesion, the cameras."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dermanode.domain import UID, Algorithm, HeightField, Surface
from dermanode.pipeline.mesh import MOST_FACES, encode_mesh
from dermanode.testing.raised import raised

VIEWS = tuple(UID(f"1.2.{number}") for number in range(8))


def dome(side: int) -> Surface:
    """A grid of side x side points over 10 mm, its left half red and its right half blue."""
    y, x = np.mgrid[:side, :side] * 10.0 / (side - 1)
    z = 2 - 0.08 * ((x - 5) ** 2 + (y - 5) ** 2)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    lower = np.stack([corner, corner + side, corner + 1], 1)
    upper = np.stack([corner + 1, corner + side, corner + side + 1], 1)
    colours = np.where((x < 5)[..., None], (250, 0, 0), (0, 0, 250)).reshape(-1, 3).astype(np.uint8)
    return Surface(
        algorithm=Algorithm("Test", "1"),
        vertices=np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32),
        faces=np.concatenate([lower, upper]).astype(np.int32),
        normals=np.tile(np.array([0, 0, 1], np.float32), (side * side, 1)),
        colours=colours,
        is_metric=True,
        lateral_unit="mm",
        method="a formula",
        scale_source="a formula",
        used_views=(UID("1.2"),),
    )


def encoded(surface: Surface) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(encode_mesh(surface))
    return content


def numbers(packed: dict[str, str]) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(packed["bdata"]), dtype=f"<{packed['dtype']}")


def points(part: dict[str, Any]) -> NDArray[Any]:
    return np.stack([numbers(part[axis]) for axis in "xyz"], axis=1).astype(float)


def faces(part: dict[str, Any]) -> NDArray[Any]:
    return np.stack([numbers(part[corner]) for corner in "ijk"], axis=1).astype(int)


@pytest.fixture(scope="module")
def closed() -> Surface:
    return raised(VIEWS)


def test_small_mesh_is_written_as_it_is() -> None:
    mesh = encoded(dome(5))
    assert (len(points(mesh)), len(faces(mesh)), numbers(mesh["colours"])[:3].tolist()) == (25, 32, [250, 0, 0])
    assert (mesh["lateral_unit"], mesh["z_unit"], mesh["is_metric"]) == ("mm", "mm", True)


def test_a_plugins_surface_may_bring_nothing_but_the_mesh() -> None:
    mesh = encoded(dome(5))
    assert [mesh[name] for name in ("heights", "curvature", "is_lesion", "skin", "curvature_scale_mm")] == [None] * 5
    assert mesh["cameras"] == []


def test_large_mesh_is_reduced_and_keeps_its_shape_and_what_is_known_at_its_corners() -> None:
    large = dome(150)
    x = large.vertices[:, 0]
    mesh = encoded(replace(large, mean_curvature=x.copy(), is_lesion=x > 5))
    assert len(faces(mesh)) <= MOST_FACES
    x, y, z = points(mesh).T
    assert np.abs(z - (2 - 0.08 * ((x - 5) ** 2 + (y - 5) ** 2))).max() < 0.05
    reds = numbers(mesh["colours"]).reshape(-1, 3)[:, 0]
    assert reds[x < 4.5].min() > 200
    assert reds[x > 5.5].max() < 50
    assert np.abs(numbers(mesh["curvature"]) - x).max() < 0.3
    assert numbers(mesh["is_lesion"])[x > 5.5].all()
    assert faces(mesh).max() < len(x)


def test_a_relative_surface_names_no_millimetres_for_its_heights() -> None:
    mesh = encoded(replace(dome(5), is_metric=False))
    assert (mesh["z_unit"], mesh["is_metric"]) == ("relative height", False)


def test_heights_are_above_the_base_though_the_base_slopes(closed: Surface) -> None:
    mesh = encoded(closed)
    x, y, z = points(mesh).T
    heights = numbers(mesh["heights"])
    assert np.abs(heights - (z - 0.03 * x)).max() < 1e-5
    assert heights[np.hypot(x, y) < 1e-6].max() == pytest.approx(1.2, abs=1e-4)


def test_a_closed_lesion_stands_in_the_skin_around_it(closed: Surface) -> None:
    skin = encoded(closed)["skin"]
    field = closed.height_field
    assert field is not None
    corners = points(skin)
    assert [corners.min(axis=0)[:2].tolist(), corners.max(axis=0)[:2].tolist()] == [[-7, -7], [7, 7]]
    column = ((corners[:, 0] - field.left) / field.step).round().astype(int)
    row = ((field.top - corners[:, 1]) / field.step).round().astype(int)
    # The skin's own corners lie on the field; those beneath the rim lie a quarter of a step lower.
    sunk = np.where(field.is_lesion[row, column], field.step / 4, 0)
    assert np.abs(corners[:, 2] - (field.base + field.heights)[row, column] + sunk).max() < 1e-4
    assert numbers(skin["colours"]).reshape(-1, 3).tolist() == field.colours[row, column].tolist()


def test_the_skin_has_a_hole_of_the_lesions_outline_and_none_elsewhere(closed: Surface) -> None:
    skin = encoded(closed)["skin"]
    triangles = points(skin)[faces(skin)][..., :2]
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    areas = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    assert areas[areas < 0].sum() > -0.02  # seen from above, all but slivers at the hole's edge show their face
    assert closed.height_field is not None
    lesion_mm2 = closed.height_field.is_lesion.sum() * closed.height_field.step**2
    beneath_mm2 = 2 * np.pi * 3.4 * 2 * closed.height_field.step
    assert areas.sum() == pytest.approx(14 * 14 - lesion_mm2 + beneath_mm2, abs=0.6)


def test_the_skin_has_no_hole_where_no_mesh_stands(closed: Surface) -> None:
    field = closed.height_field
    assert field is not None
    is_lesion = field.is_lesion.copy()
    is_lesion[5:25, 5:25] = True
    twice = encoded(replace(closed, height_field=replace(field, is_lesion=is_lesion)))["skin"]
    assert len(faces(twice)) == len(faces(encoded(closed)["skin"]))


def test_an_open_surface_brings_its_own_surroundings(closed: Surface) -> None:
    assert encoded(replace(closed, is_closed=False))["skin"] is None


def test_a_field_that_is_all_lesion_has_no_skin_around_it(closed: Surface) -> None:
    whole = np.ones((9, 9), bool)
    flat = np.zeros((9, 9), np.float32)
    field = HeightField(heights=flat, base=flat, colours=np.zeros((9, 9, 3), np.uint8), is_lesion=whole, left=-1.0, top=1.0, step=0.25)
    assert len(faces(encoded(replace(closed, height_field=field))["skin"])) == 0


def test_the_floor_has_corners_of_its_own_so_that_the_rim_is_not_shaded_round(closed: Surface) -> None:
    mesh = encoded(closed)
    is_lesion = numbers(mesh["is_lesion"]).astype(bool)[faces(mesh)]
    assert (is_lesion.all(axis=1) | ~is_lesion.any(axis=1)).all()


def test_cameras_come_with_centre_and_direction(closed: Surface) -> None:
    cameras = encoded(closed)["cameras"]
    assert [camera["view"] for camera in cameras] == list(VIEWS)
    for camera in cameras:
        assert np.hypot.reduce(camera["centre"]) == pytest.approx(150, abs=1e-3)
        assert np.dot(camera["centre"], camera["forward"]) == pytest.approx(-150, abs=1e-2)
        assert np.cross(camera["right"], camera["down"]) == pytest.approx(camera["forward"], abs=1e-4)


def test_a_case_with_everything_stays_small(closed: Surface) -> None:
    assert len(encode_mesh(closed)) < 1_000_000
