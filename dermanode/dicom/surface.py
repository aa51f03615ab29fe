"""The Surface Segmentation object: the lesion's triangle mesh (PS3.3 A.57), for which no library has a builder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SurfaceSegmentationStorage

from dermanode.dicom.coding import coded
from dermanode.dicom.references import referenced_series, view_reference
from dermanode.dicom.result import ResultContext
from dermanode.dicom.tracking import tracking_of
from dermanode.domain import UID, Surface
from dermanode.domain.codes import MORPHOLOGICALLY_ABNORMAL_STRUCTURE, SKIN_LESION
from dermanode.errors import EncodingError

KIND = "SURFACE_SEG"
SKIN_CIELAB = (42000, 36000, 37000)
"""L*, a*, b* as unsigned 16-bit numbers (PS3.3 C.10.7.1.1): a light brown."""
_EMPTY_PRIMITIVES = ("TriangleStripSequence", "TriangleFanSequence", "LineSequence", "FacetSequence")


def surface_uid(context: ResultContext) -> UID:
    """The SOP Instance UID of the case's Surface Segmentation."""
    return context.uid("instance", KIND)


def why_not(surface: Surface) -> str | None:
    """Why a surface cannot be an object, in words; None when it can.

    The IOD's coordinates are millimetres (PS3.3 C.27.1). A mesh in pixels would be read as a lesion as large as a room.
    """
    if surface.lateral_unit != "mm":
        return "the surface has no scale in millimetres (pixel spacing unknown), and a Surface Segmentation's coordinates are millimetres"
    if len(surface.faces) == 0 or len(surface.vertices) == 0:
        return "the surface has no triangles"
    return None


def encode_surface(context: ResultContext, surface: Surface) -> Dataset:
    """The mesh as a Surface Segmentation with one segment and one surface.

    Raises `EncodingError` for indices out of range, coordinates that are not finite, or a surface that `why_not` refuses.
    """
    check(surface, why_not(surface), "Surface Segmentation")
    dataset = Dataset()
    dataset.SOPClassUID = SurfaceSegmentationStorage
    dataset.SOPInstanceUID = surface_uid(context)
    dataset.Modality = "SEG"
    dataset.InstanceNumber = 1
    dataset.ContentLabel = "LESION_SURFACE"
    dataset.ContentDescription = "Lesion surface, mm" if surface.is_metric else "Lesion surface; heights are relative, not mm"
    dataset.FrameOfReferenceUID = frame_uid(context)
    dataset.PositionReferenceIndicator = None
    dataset.SegmentSequence = [_segment(context, surface)]
    dataset.NumberOfSurfaces = 1
    dataset.SurfaceSequence = [_mesh(context, surface)]
    dataset.ReferencedSeriesSequence = referenced_series(context)
    context.place(dataset, KIND, "surface")
    return dataset


def frame_uid(context: ResultContext) -> UID:
    """The frame of reference of the reconstruction: photographs have none, so it has its own, for all objects that are made of it."""
    return context.uid("reconstruction frame of reference")


def check(surface: Surface, reason: str | None, what: str) -> None:
    """Raises `EncodingError` for a mesh that no object can hold, or for the reason why `what` cannot be made of it."""
    if reason:
        raise EncodingError(f"No {what}: {reason}.")
    if not np.isfinite(surface.vertices).all() or not np.isfinite(surface.normals).all():
        raise EncodingError(f"The surface of {surface.algorithm.name} has coordinates that are no finite numbers.")
    if surface.faces.min() < 0 or surface.faces.max() >= len(surface.vertices):
        raise EncodingError(f"The surface of {surface.algorithm.name} has triangles of vertices that do not exist.")
    if surface.normals.shape != surface.vertices.shape:
        raise EncodingError(f"The surface of {surface.algorithm.name} has not one normal for each vertex.")


def _segment(context: ResultContext, surface: Surface) -> Dataset:
    repertoire = context.sources.repertoire
    lesion = tracking_of(context.case.series)
    segment = Dataset()
    segment.SegmentNumber = 1
    segment.SegmentLabel = "Lesion surface" if surface.is_metric else "Lesion surface (relative heights)"
    segment.SegmentDescription = context.fit(f"{surface.method}; scale from {surface.scale_source}", 1024)
    segment.SegmentAlgorithmType = "AUTOMATIC"
    segment.SegmentedPropertyCategoryCodeSequence = [coded(MORPHOLOGICALLY_ABNORMAL_STRUCTURE, repertoire)]
    segment.SegmentedPropertyTypeCodeSequence = [coded(SKIN_LESION, repertoire)]
    segment.TrackingID = context.fit(lesion.identifier)
    segment.TrackingUID = lesion.uid
    if site := context.case.series.body_site:
        segment.AnatomicRegionSequence = [coded(site, repertoire)]
    segment.SurfaceCount = 1
    reference = Dataset()
    reference.ReferencedSurfaceNumber = 1  # PS3.3 C.27.1: surface numbers start at 1
    reference.SegmentSurfaceGenerationAlgorithmIdentificationSequence = [algorithm(context, surface)]
    reference.SegmentSurfaceSourceInstanceSequence = [view_reference(context, uid) for uid in surface.used_views]
    segment.ReferencedSurfaceSequence = [reference]
    return segment


def algorithm(context: ResultContext, surface: Surface) -> Dataset:
    """What made the surface (PS3.3 10.16)."""
    item = Dataset()
    item.AlgorithmFamilyCodeSequence = [coded(surface.algorithm.family, context.sources.repertoire)]
    item.AlgorithmName = context.fit(surface.algorithm.name)
    item.AlgorithmVersion = context.fit(surface.algorithm.version)
    item.AlgorithmSource = context.fit(surface.algorithm.manufacturer)
    item.AlgorithmParameters = context.fit(surface.method, 1024)
    return item


def _mesh(context: ResultContext, surface: Surface) -> Dataset:
    mesh = Dataset()
    mesh.SurfaceNumber = 1
    mesh.SurfaceProcessing = "NO"
    mesh.RecommendedDisplayGrayscaleValue = 40000
    mesh.RecommendedDisplayCIELabValue = list(SKIN_CIELAB)
    mesh.RecommendedPresentationOpacity = 1.0
    mesh.RecommendedPresentationType = "SURFACE"
    mesh.FiniteVolume = "YES" if surface.is_closed else "NO"
    mesh.Manifold = "YES" if surface.is_manifold else "NO"
    heights = "heights in mm" if surface.is_metric else "heights are relative: do not measure them"
    mesh.SurfaceComments = context.fit(f"{surface.method}; x and y in mm, {heights}; research use", 1024)
    vertices, surface_normals = surface.vertices, surface.normals
    points = Dataset()
    points.NumberOfSurfacePoints = len(vertices)
    points.PointCoordinatesData = _floats(vertices)
    corners = [*vertices.min(axis=0).tolist(), *vertices.max(axis=0).tolist()]
    points.PointsBoundingBoxCoordinates = corners
    mesh.SurfacePointsSequence = [points]
    normals = Dataset()
    normals.NumberOfVectors = len(surface_normals)
    normals.VectorDimensionality = 3
    normals.VectorCoordinateData = _floats(surface_normals)
    mesh.SurfacePointsNormalsSequence = [normals]
    primitives = Dataset()
    # PS3.3 C.27.4: the indices start at 1. A finding's frame is right-handed, as DICOM's are (PS3.3 C.7.6.2.1.1).
    primitives.LongTrianglePointIndexList = (surface.faces.astype("<u4") + 1).tobytes()
    primitives.LongEdgePointIndexList = None
    primitives.LongVertexPointIndexList = None
    for keyword in _EMPTY_PRIMITIVES:
        setattr(primitives, keyword, [])
    mesh.SurfaceMeshPrimitivesSequence = [primitives]
    return mesh


def _floats(values: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(values, dtype="<f4").tobytes()
