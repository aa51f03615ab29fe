"""Triangle meshes over a grid, and what is true of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Faces = NDArray[np.int32]


def grid_faces(rows: int, columns: int) -> Faces:
    """Two triangles a cell over rows x columns grid points, row by row; with x along columns and y against the rows, as in a picture
    whose y leads up, the right-hand rule gives normals along +z.
    """
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    return np.concatenate([np.stack([a, c, b], axis=1), np.stack([b, c, d], axis=1)])


def height_normals(height: NDArray[np.float64], step: float) -> NDArray[np.float32]:
    """Unit normals of z(x, y) on a grid of square cells whose rows lead against y, N x 3, pointing to +z."""
    along_rows, along_x = np.gradient(height, step)
    normals = np.stack([-along_x, along_rows, np.ones_like(height)], axis=-1).reshape(-1, 3)
    unit: NDArray[np.float32] = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    return unit


def is_manifold(faces: Faces) -> bool:
    """Every edge belongs to one or two triangles, and two that share one agree on which side is out."""
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    # Agreeing neighbours run along their edge in opposite directions, so no directed edge occurs twice.
    keys = directed[:, 0] * (int(faces.max()) + 1) + directed[:, 1]
    return bool((directed[:, 0] != directed[:, 1]).all() and len(np.unique(keys)) == len(keys))
