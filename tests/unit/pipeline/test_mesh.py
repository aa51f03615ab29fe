"""The page's mesh: Plotly's lists, and few enough triangles."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from dermanode.domain import UID, Algorithm, Surface
from dermanode.pipeline.mesh import MOST_FACES, encode_mesh


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


def test_small_mesh_is_written_as_it_is() -> None:
    mesh = encoded(dome(5))
    assert (len(mesh["x"]), len(mesh["i"]), mesh["colours"][0]) == (25, 32, "rgb(250,0,0)")
    assert (mesh["lateral_unit"], mesh["z_unit"], mesh["is_metric"]) == ("mm", "mm", True)


def test_large_mesh_is_reduced_and_keeps_its_shape_and_colours() -> None:
    mesh = encoded(dome(150))
    assert len(mesh["i"]) <= MOST_FACES
    x, y, z = (np.array(mesh[axis]) for axis in "xyz")
    assert np.abs(z - (2 - 0.08 * ((x - 5) ** 2 + (y - 5) ** 2))).max() < 0.05
    reds = np.array([int(colour[4:].split(",")[0]) for colour in mesh["colours"]])
    assert reds[x < 4.5].min() > 200
    assert reds[x > 5.5].max() < 50
    assert max(max(mesh["i"]), max(mesh["j"]), max(mesh["k"])) < len(x)
