"""The Encapsulated STL object: the closed lesion as a body in millimetres, for printers and CAD (PS3.3 A.85.1).

It is made of the same finding as the Surface Segmentation and lies in the same frame of reference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import EncapsulatedSTLStorage

from dermanode.dicom import surface as surface_object
from dermanode.dicom.coding import coded
from dermanode.dicom.references import referenced_series, view_reference
from dermanode.dicom.result import ResultContext
from dermanode.dicom.tracking import tracking_of
from dermanode.domain import UID, Surface
from dermanode.domain.codes import MM

KIND = "STL"
MIME_TYPE = "model/stl"
HEADER = b"DermaNode: one lesion, closed by a floor; units mm; research use"
"""Begins the 80 bytes of a binary STL's head. Not with `solid`, by which readers know the text form, and no word of the patient."""
HEAD_BYTES = 84
FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
"""One triangle of a binary STL: 50 bytes without padding."""


def stl_uid(context: ResultContext) -> UID:
    """The SOP Instance UID of the case's Encapsulated STL."""
    return context.uid("instance", KIND)


def why_not(surface: Surface) -> str | None:
    """Why a surface must not become a body, in words; None when it may.

    What is printed is measured with a ruler and held in a hand: relative heights would pass there for millimetres.
    """
    if reason := surface_object.why_not(surface):
        return reason
    if not surface.is_metric:
        return "the surface's heights are relative, and a model that is printed or measured must be in millimetres"
    if not surface.is_closed:
        return "the surface is open, and only a closed one bounds a body"
    return None


def encode_stl(context: ResultContext, surface: Surface) -> Dataset:
    """The closed mesh as an Encapsulated STL.

    Raises `EncodingError` for indices out of range, coordinates that are not finite, or a surface that `why_not` refuses.
    """
    surface_object.check(surface, why_not(surface), "Encapsulated STL")
    repertoire = context.sources.repertoire
    lesion = tracking_of(context.case.series)
    body = binary_stl(surface)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = EncapsulatedSTLStorage, stl_uid(context)
    dataset.Modality = "M3D"
    dataset.InstanceNumber = 1
    dataset.AcquisitionDateTime = None
    dataset.BurnedInAnnotation = "NO"
    dataset.ConceptNameCodeSequence = []
    dataset.DocumentTitle = context.fit(f"Surface of {lesion.identifier}, research use", 1024)
    dataset.ContentDescription = "Closed lesion surface, mm"
    dataset.FrameOfReferenceUID = surface_object.frame_uid(context)
    dataset.PositionReferenceIndicator = None
    # Not of this IOD, which has no place for what it shows: a standard extended class (PS3.2 7.3). Follow-up finds lesions by it.
    dataset.TrackingID, dataset.TrackingUID = context.fit(lesion.identifier), lesion.uid
    if context.case.series.laterality in ("L", "R", "B", "U"):
        dataset.ImageLaterality = context.case.series.laterality
    dataset.SourceInstanceSequence = [view_reference(context, uid) for uid in surface.used_views]
    dataset.ReferencedSeriesSequence = referenced_series(context)
    dataset.MeasurementUnitsCodeSequence = [coded(MM, repertoire)]
    dataset.ModelMirroring = "NO"
    dataset.RecommendedDisplayCIELabValue = list(surface_object.SKIN_CIELAB)
    dataset.RecommendedPresentationOpacity = 1.0
    dataset.DerivationAlgorithmSequence = [surface_object.algorithm(context, surface)]
    dataset.MIMETypeOfEncapsulatedDocument = MIME_TYPE
    dataset.EncapsulatedDocument = body + b"\0" * (len(body) % 2)
    dataset.EncapsulatedDocumentLength = len(body)
    context.place(dataset, KIND, "model")
    return dataset


def binary_stl(surface: Surface) -> bytes:
    """The mesh as a binary STL with its outward normals; triangles whose corners coincide bound nothing and are left out."""
    corners: NDArray[np.float32] = np.ascontiguousarray(surface.vertices, dtype="<f4")[surface.faces]
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    is_triangle = (a != b).any(1) & (b != c).any(1) & (c != a).any(1)
    facets = np.zeros(int(is_triangle.sum()), FACET)
    facets["corners"] = corners[is_triangle]
    facets["normal"] = _normals(facets["corners"])
    data: bytes = facets.tobytes()
    return HEADER.ljust(80) + len(facets).to_bytes(4, "little") + data


def _normals(corners: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of unit length; 0 0 0, by which STL says 'see the corners', where the corners lie in a line."""
    wide = corners.astype(np.float64)
    normals: NDArray[np.float64] = np.cross(wide[:, 1] - wide[:, 0], wide[:, 2] - wide[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    return unit
