"""Whether a mesh bounds a solid, and what can be done where it does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermanode_reconstruct.mesh import Faces, Mesh, NoMesh, face_vectors, vertex_normals

_NO_AREA = 1e-12
"""Of the squared size of the mesh: what is smaller is no area in single precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soundness:
    """What is true of a mesh. A vertex that no face uses does not count."""

    boundary_edges: int
    """Edges with one face."""
    crowded_edges: int
    """Edges with more than two faces."""
    disputed_edges: int
    """Edges whose two faces do not agree on which side is out."""
    pinched_vertices: int
    """Vertices whose faces make more than one fan."""
    empty_faces: int
    """Faces that name a vertex twice or have no area."""
    euler: int
    """Vertices - edges + faces: 2 for a ball, 0 for a ring, 1 for a sheet; the sum over the pieces."""
    volume: float
    """By the divergence theorem: means nothing unless watertight."""

    @property
    def is_watertight(self) -> bool:
        """Every edge has exactly two faces."""
        return not self.boundary_edges and not self.crowded_edges

    @property
    def is_manifold(self) -> bool:
        """No edge has more than two faces, and the faces around a vertex make one fan."""
        return not self.crowded_edges and not self.pinched_vertices

    @property
    def is_oriented(self) -> bool:
        return not self.disputed_edges

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the mesh does not bound a solid, in words; empty where it does."""
        counted = (
            (self.boundary_edges, "edges have only one face"),
            (self.crowded_edges, "edges have more than two faces"),
            (self.disputed_edges, "edges have faces that turn against each other"),
            (self.pinched_vertices, "vertices join parts that only touch"),
            (self.empty_faces, "faces have no area"),
        )
        found = [f"{count} {what}" for count, what in counted if count]
        if not found and self.volume <= 0:
            found.append("it is turned inside out")
        return tuple(found)

    @property
    def is_sound(self) -> bool:
        return not self.problems


def soundness(vertices: NDArray[np.float64], faces: Faces) -> Soundness:
    """Checks a mesh of N x 3 vertices and M x 3 faces, M at least 1."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    low, high = edges.min(axis=1), edges.max(axis=1)
    keys = low * len(vertices) + high
    order = np.argsort(keys)
    ordered = keys[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    count = np.diff(first, append=len(ordered))
    shared = ordered[1:] == ordered[:-1]
    paired = first[count == 2]
    one, other = order[paired], order[paired + 1]
    size2 = float((np.ptp(vertices[faces.ravel()], axis=0) ** 2).sum())
    vectors = face_vectors(vertices, faces)
    used = np.zeros(len(vertices), bool)
    used[faces.ravel()] = True
    a = vertices[faces[:, 0]] - vertices[faces[0, 0]]
    return Soundness(
        boundary_edges=int((count == 1).sum()),
        crowded_edges=int((count > 2).sum()),
        disputed_edges=int((edges[one, 0] == edges[other, 0]).sum()),
        pinched_vertices=_pinched(edges, order[:-1][shared], order[1:][shared], len(vertices)),
        empty_faces=int(((vectors**2).sum(axis=1) <= (_NO_AREA * size2) ** 2).sum()),
        euler=int(used.sum()) - len(first) + len(faces),
        volume=float(np.einsum("ij,ij->", a, vectors)) / 6,
    )


def _pinched(edges: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64], n: int) -> int:
    """How many of n vertices have more than one fan: corners are joined across the edges that faces share.

    `edges` is 3 M x 2: edge k M + f leads from corner k of face f to its next corner; corners have the numbers of the edges that leave
    them. `one` and `other` are the edges that lie on each other.
    """
    corners = np.arange(len(edges))
    start, end = corners, np.roll(corners, -len(edges) // 3)
    alike = edges[one, 0] == edges[other, 0]
    across = np.where(alike, start[other], end[other]), np.where(alike, end[other], start[other])
    fans = _components(len(edges), np.concatenate([start[one], end[one]]), np.concatenate(across))
    # A fan is known by its least corner, and that corner by its vertex.
    heads = edges[fans == corners, 0]
    return int((np.bincount(heads, minlength=n) > 1).sum())


def _components(n: int, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """The least member of each node's component, by hooking and pointer jumping (Shiloach and Vishkin 1982)."""
    least = np.arange(n)
    while True:
        at_a, at_b = least[a], least[b]
        apart = at_a != at_b
        if not apart.any():
            return least
        a, b, at_a, at_b = a[apart], b[apart], at_a[apart], at_b[apart]
        np.minimum.at(least, np.maximum(at_a, at_b), np.minimum(at_a, at_b))
        while (least[least] != least).any():
            least = least[least]


def repaired(mesh: Mesh) -> Mesh:
    """The mesh, or one made sound: doubled, empty and crowding faces removed, holes filled, faces turned outwards (Open3D).

    Vertices of filled holes take their colour from the nearest old vertex and are no top. Raises `NoMesh` where it stays unsound.
    """
    if soundness(mesh.vertices, mesh.faces).is_sound:
        return mesh
    import open3d  # takes seconds
    from scipy.spatial import cKDTree

    legacy = open3d.geometry.TriangleMesh(open3d.utility.Vector3dVector(mesh.vertices), open3d.utility.Vector3iVector(mesh.faces))
    legacy.remove_duplicated_vertices()
    legacy.remove_duplicated_triangles()
    legacy.remove_degenerate_triangles()
    legacy.remove_non_manifold_edges()
    legacy.remove_unreferenced_vertices()
    if not len(legacy.triangles):
        raise NoMesh("nothing of it can be kept")
    legacy.orient_triangles()
    cleaned = open3d.t.geometry.TriangleMesh.from_legacy(legacy)
    filled = cleaned.fill_holes()
    # Open3D 0.20 gives memory that dies with `filled`, and single precision: copied at once, old vertices are taken from the old mesh.
    positions, triangles = filled.vertex.positions.numpy().astype(np.float64), filled.triangle.indices.numpy().astype(np.int32)
    distance, nearest = cKDTree(mesh.vertices).query(positions)
    is_old = distance <= 1e-6 * np.ptp(mesh.vertices, axis=0).max()
    vertices = np.where(is_old[:, None], mesh.vertices[nearest], positions)
    whole = open3d.geometry.TriangleMesh(open3d.utility.Vector3dVector(vertices), open3d.utility.Vector3iVector(triangles))
    whole.orient_triangles()
    faces = np.array(whole.triangles, dtype=np.int32)
    found = soundness(vertices, faces)
    if found.volume < 0:
        faces = np.ascontiguousarray(faces[:, ::-1])
        found = soundness(vertices, faces)
    if not found.is_sound:
        raise NoMesh("; ".join(found.problems))
    return Mesh(
        vertices=vertices,
        faces=faces,
        normals=vertex_normals(vertices, faces),
        colours=mesh.colours[nearest],
        is_top=mesh.is_top[nearest] & is_old,
    )
