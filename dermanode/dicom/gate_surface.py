"""What the gate asks of a Surface Segmentation; validators of the IOD do not look into its arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset


def reasons(dataset: Dataset) -> Iterator[str]:
    """Why a surface must not leave: arrays of the wrong length, points that are no numbers, indices out of range, a false 'closed'."""
    surfaces = list(dataset.get("SurfaceSequence", ()))
    if dataset.get("NumberOfSurfaces") != len(surfaces):
        yield f"NumberOfSurfaces is {dataset.get('NumberOfSurfaces')}, but SurfaceSequence has {len(surfaces)} items."
    numbers = {surface.get("SurfaceNumber") for surface in surfaces}
    for segment in dataset.get("SegmentSequence", ()):
        if ("TrackingID" in segment) != ("TrackingUID" in segment):
            yield "TrackingID and TrackingUID must both be in a segment, or neither."
        for reference in segment.get("ReferencedSurfaceSequence", ()):
            if reference.get("ReferencedSurfaceNumber") not in numbers:
                yield f"ReferencedSurfaceNumber {reference.get('ReferencedSurfaceNumber')} is the number of no surface."
    for surface in surfaces:
        yield from _mesh(surface)


def _mesh(surface: Dataset) -> Iterator[str]:
    points = _item(surface, "SurfacePointsSequence")
    primitives = _item(surface, "SurfaceMeshPrimitivesSequence")
    if points is None or primitives is None:
        yield "SurfacePointsSequence and SurfaceMeshPrimitivesSequence must each have an item."
        return
    count = int(points.get("NumberOfSurfacePoints") or 0)
    coordinates = _floats(points.get("PointCoordinatesData"))
    if count == 0 or len(coordinates) != 3 * count:
        yield f"PointCoordinatesData holds {len(coordinates)} numbers, but NumberOfSurfacePoints {count} needs {3 * count}."
    if not np.isfinite(coordinates).all():
        yield "PointCoordinatesData holds numbers that are not finite."
    normals = _item(surface, "SurfacePointsNormalsSequence")
    if normals is not None:
        vectors = _floats(normals.get("VectorCoordinateData"))
        if normals.get("NumberOfVectors") != count or len(vectors) != 3 * count:
            yield f"VectorCoordinateData holds {len(vectors)} numbers for NumberOfSurfacePoints {count}: one normal a point is needed."
        if not np.isfinite(vectors).all():
            yield "VectorCoordinateData holds numbers that are not finite."
    raw = bytes(primitives.get("LongTrianglePointIndexList") or b"")
    if not raw or len(raw) % 12:
        yield f"LongTrianglePointIndexList has {len(raw)} bytes, which are no whole triangles."
        return
    triangles = np.frombuffer(raw, "<u4").reshape(-1, 3)
    if triangles.min() < 1 or triangles.max() > count:
        yield f"LongTrianglePointIndexList has indices from {triangles.min()} to {triangles.max()}, but points are numbered 1 to {count}."
        return
    if surface.get("FiniteVolume") == "YES" and not is_closed(triangles):
        yield "FiniteVolume is YES, but the mesh is open: an edge does not belong to exactly two triangles."
    elif surface.get("Manifold") == "YES" and not is_manifold(triangles):
        yield "Manifold is YES, but an edge belongs to more than two triangles, or two triangles run along it in the same direction."


def is_closed(triangles: NDArray[np.uint32]) -> bool:
    """Whether every edge belongs to exactly two triangles, which run along it in opposite directions."""
    forward, backward = _edges(triangles)
    return len(np.unique(forward)) == len(forward) and bool(np.array_equal(np.sort(forward), np.sort(backward)))


def is_manifold(triangles: NDArray[np.uint32]) -> bool:
    """Whether no edge belongs to more than two triangles, nor to two that run along it in the same direction; it may be a border."""
    forward, _ = _edges(triangles)
    return len(np.unique(forward)) == len(forward)


def _edges(triangles: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A number for each edge as its triangle runs along it, and for the same edge in the other direction."""
    start: NDArray[np.int64] = triangles.astype(np.int64).ravel()
    end: NDArray[np.int64] = np.roll(triangles, -1, axis=1).astype(np.int64).ravel()
    size = int(triangles.max()) + 1
    return start * size + end, end * size + start


def _item(dataset: Dataset, keyword: str) -> Dataset | None:
    return next(iter(dataset.get(keyword) or ()), None)


def _floats(data: bytes | None) -> NDArray[np.float32]:
    whole = len(data or b"") // 4 * 4
    return np.frombuffer((data or b"")[:whole], "<f4")
