from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from dermanode.dicom.stl import FACET, HEAD_BYTES, binary_stl, why_not
from dermanode.domain import Surface
from dermanode.errors import EncodingError


@pytest.fixture(scope="module")
def model(solid: Any) -> Dataset:
    (dataset,) = solid.datasets("STL")
    return dataset


def facets(dataset: Dataset) -> np.ndarray[Any, Any]:
    return np.frombuffer(dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength], FACET, offset=HEAD_BYTES)


def test_the_document_holds_every_triangle_in_mm(model: Dataset, solid: Any) -> None:
    surface: Surface = solid.case.surface
    np.testing.assert_array_equal(facets(model)["corners"], surface.vertices[surface.faces])
    assert model.MIMETypeOfEncapsulatedDocument == "model/stl"
    assert [unit.CodeValue for unit in model.MeasurementUnitsCodeSequence] == ["mm"]


def test_the_body_has_the_volume_that_the_surface_states(model: Dataset, solid: Any) -> None:
    a, b, c = np.moveaxis(facets(model)["corners"].astype(float), 1, 0)
    stated = next(m for m in solid.case.surface.measurements if m.key == "volume_mm3")
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 == pytest.approx(stated.value, rel=0.01)


def test_normals_have_unit_length_and_face_outwards(model: Dataset) -> None:
    found = facets(model)
    a, b, c = np.moveaxis(found["corners"].astype(float), 1, 0)
    np.testing.assert_allclose(np.linalg.norm(found["normal"], axis=1), 1, atol=1e-5)
    assert (np.einsum("ij,ij->i", found["normal"], np.cross(b - a, c - a)) > 0).all()


def test_the_head_is_not_taken_for_the_text_form_and_names_no_patient(model: Dataset) -> None:
    head = model.EncapsulatedDocument[:80]
    assert not head.startswith(b"solid")
    assert b"units mm" in head
    assert b"4711" not in head


def test_the_model_lies_in_the_frame_of_the_surface_segmentation(model: Dataset, solid: Any) -> None:
    assert model.FrameOfReferenceUID == solid.datasets("SURFACE_SEG")[0].FrameOfReferenceUID


def test_the_model_names_its_views_its_lesion_and_its_algorithm(model: Dataset, solid: Any) -> None:
    surface, series = solid.case.surface, solid.case.series
    assert [item.ReferencedSOPInstanceUID for item in model.SourceInstanceSequence] == list(surface.used_views)
    referenced = [i.ReferencedSOPInstanceUID for s in model.ReferencedSeriesSequence for i in s.ReferencedInstanceSequence]
    assert referenced == [view.sop_instance_uid for view in series.views]
    assert (model.TrackingID, model.TrackingUID) == (series.tracking_id, series.tracking_uid)
    assert model.DerivationAlgorithmSequence[0].AlgorithmName == surface.algorithm.name


def test_triangles_without_extent_are_left_out(solid: Any) -> None:
    surface = solid.case.surface
    faces = np.concatenate([surface.faces, [[0, 0, 1]]]).astype(np.int32)
    assert binary_stl(replace(surface, faces=faces)) == binary_stl(surface)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"is_metric": False}, "relative"),
        ({"is_closed": False}, "open"),
        ({"lateral_unit": "px"}, "pixel spacing unknown"),
        ({"faces": np.zeros((0, 3), np.int32)}, "no triangles"),
    ],
)
def test_what_is_no_body_in_mm_makes_no_model(change: dict[str, Any], why: str, solid: Any, make_objects: Any) -> None:
    surface = replace(solid.case.surface, **change)
    assert why in (why_not(surface) or "")
    made = make_objects(solid.case.with_finding(surface))
    assert made.datasets("STL") == []
    said = [item.TextValue for item in made.datasets("SR")[0].ContentSequence[-1].ContentSequence if item.ValueType == "TEXT"]
    assert any(text.startswith("Encapsulated STL object not made: ") and why in text for text in said)


def test_a_mesh_that_points_nowhere_is_refused(solid: Any, make_objects: Any) -> None:
    with pytest.raises(EncodingError, match="do not exist"):
        make_objects(solid.case.with_finding(replace(solid.case.surface, faces=np.array([[0, 1, 99_999]], np.int32))))
