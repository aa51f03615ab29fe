"""The surface as the page turns it: JSON with at most so many triangles that a browser stays quick."""

from __future__ import annotations

import json

import fast_simplification
import numpy as np
from numpy.typing import NDArray

from dermanode.domain import Surface

MOST_FACES = 12_000


def encode_mesh(surface: Surface) -> bytes:
    """x, y, z, i, j, k and colours (`rgb(r,g,b)` for each vertex) for Plotly's Mesh3d, with the units of its axes."""
    vertices, faces, colours = _reduced(surface)
    content = {
        **{axis: np.round(vertices[:, index].astype(float), 4).tolist() for index, axis in enumerate("xyz")},
        **{corner: faces[:, index].tolist() for index, corner in enumerate("ijk")},
        "colours": [f"rgb({red},{green},{blue})" for red, green, blue in colours.tolist()],
        "lateral_unit": surface.lateral_unit,
        "z_unit": "mm" if surface.is_metric else "relative height",
        "is_metric": surface.is_metric,
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def _reduced(surface: Surface) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.uint8]]:
    """Quadric edge collapse (Garland and Heckbert 1997); each vertex gets the mean colour of those that fell into it."""
    if len(surface.faces) <= MOST_FACES:
        return surface.vertices, surface.faces, surface.colours
    points = np.array(surface.vertices, dtype=np.float32)
    triangles = np.array(surface.faces, dtype=np.int32)
    _, _, collapses = fast_simplification.simplify(points, triangles, target_count=MOST_FACES, return_collapses=True)
    vertices, faces, fate = fast_simplification.replay_simplification(points, triangles, collapses)
    counts = np.bincount(fate, minlength=len(vertices))
    means = [
        np.bincount(fate, weights=surface.colours[:, channel], minlength=len(vertices)) / np.maximum(counts, 1) for channel in range(3)
    ]
    return vertices, faces, np.stack(means, axis=1).round().astype(np.uint8)
