"""Triangle meshes over a grid, and what is true of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dermanode.errors import DermaNodeError

Faces = NDArray[np.int32]


class NoMesh(DermaNodeError):
    """A shape of which no sound mesh can be made; the text says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"No mesh: {reason}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Mesh:
    """A triangle mesh. Lengths are those of `vertices`."""

    vertices: NDArray[np.float64]
    """N x 3."""
    faces: Faces
    """M x 3, counter-clockwise seen from outside."""
    normals: NDArray[np.float64]
    """N x 3, unit length."""
    colours: NDArray[np.uint8]
    """N x 3, sRGB."""
    is_top: NDArray[np.bool_]
    """N flags: skin that was seen, not what was added to close the mesh."""

    @cached_property
    def volume(self) -> float:
        """Of a closed mesh, by the divergence theorem: the sum of a . (b x c) / 6 over the faces, positive where they turn outwards."""
        a, b, c = (self.vertices[self.faces[:, corner]] - self.vertices.mean(axis=0) for corner in range(3))
        return float(np.einsum("ij,ij->", a, np.cross(b, c))) / 6

    @cached_property
    def face_areas(self) -> NDArray[np.float64]:
        """M values."""
        areas: NDArray[np.float64] = np.linalg.norm(face_vectors(self.vertices, self.faces), axis=1) / 2
        return areas


def face_vectors(vertices: NDArray[np.float64], faces: Faces) -> NDArray[np.float64]:
    """M x 3: each points out of its face and is as long as twice the face's area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(vertices: NDArray[np.float64], faces: Faces) -> NDArray[np.float64]:
    """N x 3 unit normals: the sum of the faces around, by area; +z where no face is or where they cancel."""
    vectors = face_vectors(vertices, faces)
    summed = np.stack(
        [np.bincount(faces.ravel(), weights=np.repeat(vectors[:, axis], 3), minlength=len(vertices)) for axis in range(3)], axis=1
    )
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.where(length > 0, summed / np.where(length > 0, length, 1), [0.0, 0.0, 1.0])
    return unit


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
