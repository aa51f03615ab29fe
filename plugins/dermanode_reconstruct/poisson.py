"""Meshes of lesions that overhang, which no height field can hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import fast_simplification
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dermanode_reconstruct.mesh import Faces, Mesh, NoMesh, vertex_normals
from dermanode_reconstruct.soundness import repaired, soundness

Matrix = NDArray[np.float64]

_FEWEST = 200
"""Points without which there is no surface."""
_LAYERED_CELLS = 4
"""So many neighbouring cells with two layers are an overhang; fewer are stray points."""
_SEEN_WITHIN = 3.0
"""Spacings of the cloud: a vertex further from every point was filled in."""
_SHARES = (1.0, 0.94, 0.85)
"""Of the faces that are asked for, tried one after the other."""
_FINENESS = 100
"""Points across the lesion."""
_DEPTHS = (7, 6)
"""Of the octree, tried one after the other: 128 and 64 cells across."""


def is_height_field(points: Matrix, cell: float) -> bool:
    """Whether a cloud (N x 3, z up) has one height over each square cell, but for noise.

    A cell has two layers where its heights leave a gap of more than two cells, with two points or more on each side: a slope of 63
    degrees leaves none, nor does noise of half a cell, so the cell says what noise is. Four such cells side by side are an overhang.
    """
    at = np.floor((points[:, :2] - points[:, :2].min(axis=0)) / cell).astype(np.int64)
    shape = at.max(axis=0) + 1
    key = at[:, 0] * shape[1] + at[:, 1]
    order = np.lexsort((points[:, 2], key))
    key, z = key[order], points[order, 2]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    count = np.diff(first, append=len(key))
    place = np.arange(len(key)) - np.repeat(first, count)
    total = np.repeat(count, count)
    # Between a point and the one before it, in a cell with two on each side.
    gap = np.where((place >= 2) & (place <= total - 2), np.diff(z, prepend=z[0]), 0.0)
    layered = np.zeros(shape, np.uint8)
    layered.ravel()[key[gap > 2 * cell]] = 1
    _, _, stats, _ = cv2.connectedComponentsWithStats(layered, connectivity=8)
    return not bool((stats[1:, cv2.CC_STAT_AREA] >= _LAYERED_CELLS).any())


def mesh_cloud(
    points: Matrix, normals: Matrix, colours: NDArray[np.uint8], *, floor: float = 0.0, faces: int = 10_000, threads: int = 1
) -> Mesh:
    """The closed mesh, of about `faces` triangles, of the solid between a cloud of the lesion's skin and the plane z = `floor`.

    `points` are N x 3 with z up, `normals` point out, `colours` are N x 3. Points within two spacings of the floor are taken for the skin
    around and left out; the lowest of the others say where the lesion stands on it, and the floor is closed there with points that look
    down. Then screened Poisson reconstruction (Kazhdan and Hoppe 2013, Open3D), the largest piece, quadric decimation, and repair where
    that breaks it. A vertex is top where a point of the cloud is near: what Poisson filled in is not. Raises `NoMesh`.
    """
    if len(points) < _FEWEST:
        raise NoMesh(f"{len(points)} points are too few")
    import open3d  # takes seconds

    whole = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    whole.normals = open3d.utility.Vector3dVector(normals)
    size = float(np.ptp(np.percentile(points, [1, 99], axis=0), axis=0).max())
    # Where points are closer than the mesh is fine they differ by noise: their mean stands for them.
    even = whole.voxel_down_sample(size / _FINENESS)
    at, facing = np.asarray(even.points), np.asarray(even.normals)
    spacing = max(size / _FINENESS, float(np.median(cKDTree(at).query(at, k=2)[0][:, 1])))
    raised = at[:, 2] > floor + 2 * spacing
    if raised.sum() < _FEWEST:
        raise NoMesh("hardly a point stands out of the skin")
    below = _floor_points(at[raised], floor, spacing)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(np.concatenate([at[raised], below])))
    down = np.broadcast_to([0.0, 0.0, -1.0], below.shape)
    cloud.normals = open3d.utility.Vector3dVector(np.concatenate([facing[raised], down]))
    tree = cKDTree(points)
    failed: list[str] = []
    for depth in _DEPTHS:
        # Poisson says on standard output what it did.
        with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
            found, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth, n_threads=threads)
        for vertices, triangles in _decimations(*_largest_piece(found), faces):
            distance, nearest = tree.query(vertices)
            mesh = Mesh(
                vertices=vertices,
                faces=triangles,
                normals=vertex_normals(vertices, triangles),
                colours=colours[nearest],
                is_top=(distance <= _SEEN_WITHIN * spacing) & (vertices[:, 2] > floor + spacing),
            )
            if not (problems := soundness(vertices, triangles).problems):
                return mesh
            failed.extend(problems)
    try:
        return repaired(mesh)
    except NoMesh as error:
        raise NoMesh("; ".join(dict.fromkeys([*failed, error.reason]))) from error


def _decimations(vertices: Matrix, triangles: Faces, faces: int) -> Iterator[tuple[Matrix, Faces]]:
    """Ever other reductions of the same mesh: an edge collapse may pinch what another leaves whole."""
    if len(triangles) <= faces:
        yield vertices, triangles
        return
    for share in _SHARES:
        fewer, kept = fast_simplification.simplify(vertices, triangles, target_count=round(share * faces), agg=5.0)
        yield np.asarray(fewer, dtype=np.float64), np.asarray(kept, dtype=np.int32)


def _floor_points(points: Matrix, floor: float, spacing: float) -> Matrix:
    """Points on the floor: straight below the lowest of the cloud, and a grid inside the ring that these make.

    Raises `NoMesh` where they make none.
    """
    cell = 4 * spacing
    low = points[points[:, 2] < floor + 8 * spacing, :2]
    if len(low) < _LAYERED_CELLS:
        raise NoMesh("the cloud does not come down to the skin")
    corner = low.min(axis=0) - 4 * cell
    at = np.round((low - corner) / cell).astype(np.int64)
    ring = np.zeros(at.max(axis=0) + 5, np.uint8)
    ring[at[:, 0], at[:, 1]] = 1
    closed = cv2.morphologyEx(ring, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, outside = cv2.connectedComponents(1 - closed, connectivity=4)
    inside = (outside != outside[0, 0]) & (closed == 0)
    if not inside.any():
        raise NoMesh("the lowest points of the cloud make no ring on the skin")
    quarters = np.stack(np.meshgrid([-0.25, 0.25], [-0.25, 0.25]), axis=-1).reshape(-1, 2)
    grid = (np.argwhere(inside)[:, None] + quarters).reshape(-1, 2) * cell + corner
    flat = np.concatenate([low, grid])
    return np.column_stack([flat, np.full(len(flat), floor)])


def _largest_piece(mesh: Any) -> tuple[Matrix, Faces]:
    piece, counts, _ = mesh.cluster_connected_triangles()
    if not len(counts):
        raise NoMesh("the points make no surface")
    faces = np.asarray(mesh.triangles)[np.asarray(piece) == int(np.argmax(counts))]
    used, renumbered = np.unique(faces, return_inverse=True)
    return np.array(np.asarray(mesh.vertices)[used], dtype=np.float64), renumbered.reshape(-1, 3).astype(np.int32)
