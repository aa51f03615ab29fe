"""Each thing that the gate looks at is broken once, and the gate must name it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, Sequence, dcmread

from dermanode.dicom import gate
from dermanode.dicom.gate_content import leave_one_of_each
from dermanode.dicom.gate_surface import is_closed
from dermanode.dicom.stl import FACET, HEAD_BYTES
from dermanode.testing import worked_cases

Break = Callable[[Dataset], object]


def refusals(made: Any, kind: str, change: Break) -> str:
    original = made.datasets(kind)[0]
    broken = deepcopy(original)
    change(broken)
    return "\n".join(gate.check(broken, made.sources, made.others(original)))


def points(dataset: Dataset) -> Dataset:
    return dataset.SurfaceSequence[0].SurfacePointsSequence[0]


def triangles(dataset: Dataset) -> Dataset:
    return dataset.SurfaceSequence[0].SurfaceMeshPrimitivesSequence[0]


def content(dataset: Dataset, meaning: str) -> Dataset:
    found = _search(dataset, meaning)
    assert found is not None
    return found


def _search(dataset: Dataset, meaning: str) -> Dataset | None:
    for item in dataset.get("ContentSequence", ()):
        if item.ConceptNameCodeSequence[0].CodeMeaning == meaning:
            return item
        if (found := _search(item, meaning)) is not None:
            return found
    return None


def without_research_use(dataset: Dataset) -> None:
    content(dataset, "Research use").TextValue = "ready for the clinic"


ANY: list[tuple[str, Break, str]] = [
    ("another patient", lambda d: setattr(d, "PatientID", "P-1"), "PatientID differs"),
    ("a changed name", lambda d: setattr(d, "PatientName", "Doe^Jane"), "PatientName differs"),
    ("another issuer", lambda d: setattr(d, "IssuerOfPatientID", "X"), "IssuerOfPatientID differs"),
    ("another study", lambda d: setattr(d, "StudyInstanceUID", "1.2.3"), "StudyInstanceUID differs"),
    ("another accession number", lambda d: setattr(d, "AccessionNumber", "X"), "AccessionNumber differs"),
    ("a lost study description", lambda d: d.__delitem__("StudyDescription"), "StudyDescription differs"),
    ("another character set", lambda d: setattr(d, "SpecificCharacterSet", "GB18030"), "SpecificCharacterSet differs"),
    ("no manufacturer", lambda d: d.__delitem__("Manufacturer"), "Manufacturer (type"),
    ("no modality", lambda d: setattr(d, "Modality", ""), "Modality (type 1) is empty"),
    ("no series", lambda d: d.__delitem__("SeriesInstanceUID"), "SeriesInstanceUID (type 1) is absent"),
    ("no instance", lambda d: d.__delitem__("SOPInstanceUID"), "SOPInstanceUID"),
]
SEG: list[tuple[str, Break, str]] = [
    ("fewer rows", lambda d: setattr(d, "Rows", 95), "Rows is 95, but 96"),
    ("more columns", lambda d: setattr(d, "Columns", 200), "Columns is 200, but 128"),
    ("pixels cut off", lambda d: setattr(d, "PixelData", d.PixelData[:100]), "PixelData has 100 bytes"),
    ("an empty mask that is not called so", lambda d: setattr(d, "PixelData", bytes(len(d.PixelData))), "PixelData is empty"),
    ("a mask that is called empty", lambda d: setattr(d, "ContentDescription", "No lesion found"), "ContentDescription"),
    ("no segment", lambda d: d.__delitem__("SegmentSequence"), "SegmentSequence (type 1)"),
    (
        "no segment type",
        lambda d: d.SegmentSequence[0].__delitem__("SegmentedPropertyTypeCodeSequence"),
        "SegmentedPropertyTypeCodeSequence",
    ),
    (
        "no algorithm",
        lambda d: d.SegmentSequence[0].__delitem__("SegmentationAlgorithmIdentificationSequence"),
        "SegmentationAlgorithmIdentificationSequence",
    ),
    ("no orientation", lambda d: d.SharedFunctionalGroupsSequence[0].__delitem__("PlaneOrientationSequence"), "PlaneOrientationSequence"),
    (
        "a reference to a stranger",
        lambda d: setattr(d.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0], "ReferencedSOPInstanceUID", "1.2.3"),
        "1.2.3 in ReferencedInstanceSequence",
    ),
    (
        "a reference under another class",
        lambda d: setattr(d.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0], "ReferencedSOPClassUID", "1.2.3"),
        "ReferencedSOPClassUID",
    ),
]
SURFACE: list[tuple[str, Break, str]] = [
    ("a wrong number of points", lambda d: setattr(points(d), "NumberOfSurfacePoints", 7), "NumberOfSurfacePoints"),
    (
        "a point that is no number",
        lambda d: setattr(points(d), "PointCoordinatesData", np.full(432, np.nan, "<f4").tobytes()),
        "PointCoordinatesData holds numbers that are not finite",
    ),
    (
        "an index of zero",
        lambda d: setattr(triangles(d), "LongTrianglePointIndexList", np.array([0, 1, 2], "<u4").tobytes()),
        "LongTrianglePointIndexList has indices from 0",
    ),
    (
        "an index beyond the last point",
        lambda d: setattr(triangles(d), "LongTrianglePointIndexList", np.array([1, 2, 145], "<u4").tobytes()),
        "to 145",
    ),
    (
        "half a triangle",
        lambda d: setattr(triangles(d), "LongTrianglePointIndexList", np.array([1, 2], "<u4").tobytes()),
        "no whole triangles",
    ),
    ("an open mesh called closed", lambda d: setattr(d.SurfaceSequence[0], "FiniteVolume", "YES"), "FiniteVolume"),
    ("a tracking ID alone", lambda d: d.SegmentSequence[0].__delitem__("TrackingUID"), "TrackingUID"),
    ("a surface too many", lambda d: setattr(d, "NumberOfSurfaces", 2), "NumberOfSurfaces"),
    (
        "a segment of no surface",
        lambda d: setattr(d.SegmentSequence[0].ReferencedSurfaceSequence[0], "ReferencedSurfaceNumber", 2),
        "ReferencedSurfaceNumber",
    ),
    (
        "too few normals",
        lambda d: setattr(d.SurfaceSequence[0].SurfacePointsNormalsSequence[0], "VectorCoordinateData", bytes(12)),
        "VectorCoordinateData",
    ),
    ("no frame of reference", lambda d: d.__delitem__("FrameOfReferenceUID"), "FrameOfReferenceUID (type 1) is absent"),
    ("no opacity", lambda d: d.SurfaceSequence[0].__delitem__("RecommendedPresentationOpacity"), "RecommendedPresentationOpacity"),
]
REPORT: list[tuple[str, Break, str]] = [
    ("a verification by nobody", lambda d: setattr(d, "VerificationFlag", "VERIFIED"), "VerificationFlag is VERIFIED"),
    ("a final report", lambda d: setattr(d, "PreliminaryFlag", "FINAL"), "PreliminaryFlag"),
    ("no word of research", without_research_use, "research use"),
    (
        "no evidence",
        lambda d: d.__delitem__("CurrentRequestedProcedureEvidenceSequence"),
        "CurrentRequestedProcedureEvidenceSequence misses",
    ),
    (
        "evidence of strangers",
        lambda d: setattr(
            d.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0],
            "ReferencedSOPInstanceUID",
            "1.2.3",
        ),
        "1.2.3 in ReferencedSOPSequence is neither",
    ),
    ("an open outline", lambda d: setattr(content(d, "Image Region"), "GraphicData", [1, 1, 5, 1, 5, 5, 1, 5]), "not closed"),
    (
        "an outline beyond the image",
        lambda d: setattr(content(d, "Image Region"), "GraphicData", [1, 1, 500, 1, 5, 5, 1, 1]),
        "leaves the image",
    ),
    ("a number without a value", lambda d: setattr(content(d, "Area"), "MeasuredValueSequence", []), "MeasuredValueSequence of the NUM"),
    (
        "a number without a unit",
        lambda d: content(d, "Area").MeasuredValueSequence[0].__delitem__("MeasurementUnitsCodeSequence"),
        "MeasurementUnitsCodeSequence",
    ),
    ("a code without a value", lambda d: content(d, "Risk level").__delitem__("ConceptCodeSequence"), "ConceptCodeSequence of the CODE"),
    ("an item that stands alone", lambda d: content(d, "Area").__delitem__("RelationshipType"), "RelationshipType"),
    ("no content", lambda d: d.__delitem__("ContentSequence"), "ContentSequence (type 1)"),
]


def document(dataset: Dataset, change: Callable[[Any], Any]) -> None:
    """Changes the triangles of an STL."""
    found = np.frombuffer(dataset.EncapsulatedDocument, FACET, offset=HEAD_BYTES).copy()
    changed = change(found)
    found = found if changed is None else changed
    dataset.EncapsulatedDocument = dataset.EncapsulatedDocument[:80] + len(found).to_bytes(4, "little") + found.tobytes()
    dataset.EncapsulatedDocumentLength = len(dataset.EncapsulatedDocument)


def move(facets: Any, to: float) -> None:
    facets["corners"][0, 0] = to


STL: list[tuple[str, Break, str]] = [
    (
        "another document",
        lambda d: setattr(d, "MIMETypeOfEncapsulatedDocument", "model/obj"),
        "MIMETypeOfEncapsulatedDocument is model/obj",
    ),
    ("no unit", lambda d: setattr(d, "MeasurementUnitsCodeSequence", []), "MeasurementUnitsCodeSequence must say mm"),
    ("micrometres", lambda d: setattr(d.MeasurementUnitsCodeSequence[0], "CodeValue", "um"), "MeasurementUnitsCodeSequence must say mm"),
    ("no source", lambda d: setattr(d, "SourceInstanceSequence", []), "SourceInstanceSequence names no image"),
    ("a strange source", lambda d: setattr(d.SourceInstanceSequence[0], "ReferencedSOPInstanceUID", "1.2.3"), "1.2.3 in SourceInstance"),
    ("another frame", lambda d: setattr(d, "FrameOfReferenceUID", "1.2.3"), "FrameOfReferenceUID differs from that of the Surface"),
    ("no frame", lambda d: d.__delitem__("FrameOfReferenceUID"), "FrameOfReferenceUID (type 1) is absent"),
    ("bytes cut off", lambda d: setattr(d, "EncapsulatedDocument", d.EncapsulatedDocument[:-50]), "EncapsulatedDocumentLength"),
    ("a triangle missing", lambda d: document(d, lambda f: f[1:]), "no closed body"),
    ("a triangle twice", lambda d: document(d, lambda f: f[[0, *range(len(f))]]), "no closed body"),
    ("a corner that is moved", lambda d: document(d, lambda f: move(f, 1.0)), "no closed body"),
    ("a corner that is no number", lambda d: document(d, lambda f: move(f, np.nan)), "no finite numbers"),
    ("a triangle that is a line", lambda d: document(d, lambda f: move(f, f["corners"][0, 1])), "no closed body"),
    (
        "all triangles turned",
        lambda d: document(d, lambda f: f["corners"].__setitem__(slice(None), f["corners"][:, ::-1].copy())),
        "inside out",
    ),
    ("no triangles", lambda d: document(d, lambda f: f[:0]), "0 triangles"),
    (
        "the head of a text",
        lambda d: setattr(d, "EncapsulatedDocument", b"solid" + d.EncapsulatedDocument[5:]),
        "begins with 'solid'",
    ),
    (
        "another number of triangles",
        lambda d: setattr(d, "EncapsulatedDocument", d.EncapsulatedDocument[:80] + b"\1\0\0\0" + d.EncapsulatedDocument[84:]),
        "1 triangles need 134",
    ),
]


@pytest.mark.parametrize(("what", "change", "reason"), STL, ids=[case[0] for case in STL])
def test_no_model_passes_with(what: str, change: Break, reason: str, solid: Any) -> None:
    assert reason in refusals(solid, "STL", change)


@pytest.mark.parametrize(("what", "change", "reason"), ANY, ids=[case[0] for case in ANY])
def test_no_model_passes_either_with(what: str, change: Break, reason: str, solid: Any) -> None:
    assert reason in refusals(solid, "STL", change)


def test_a_closed_surface_and_its_model_pass(solid: Any) -> None:
    assert solid.datasets("SURFACE_SEG")[0].SurfaceSequence[0].FiniteVolume == "YES"
    for kind in ("SURFACE_SEG", "STL"):
        assert refusals(solid, kind, lambda _: None) == ""


def test_no_closed_surface_passes_with_a_hole(solid: Any) -> None:
    def open_it(dataset: Dataset) -> None:
        primitives = triangles(dataset)
        primitives.LongTrianglePointIndexList = primitives.LongTrianglePointIndexList[12:]

    assert "FiniteVolume is YES, but the mesh is open" in refusals(solid, "SURFACE_SEG", open_it)


def test_no_manifold_passes_with_a_triangle_twice(made: Any) -> None:
    def double(dataset: Dataset) -> None:
        primitives = triangles(dataset)
        primitives.LongTrianglePointIndexList += primitives.LongTrianglePointIndexList[:12]

    assert "Manifold is YES, but an edge belongs to more than two" in refusals(made, "SURFACE_SEG", double)


NEW_KINDS = ("SEG_FRACTIONAL", "SEG_LABELMAP", "OVERLAY", "PMAP", "PDF")


def mapping(dataset: Dataset) -> Dataset:
    (found,) = [
        group.RealWorldValueMappingSequence[0]
        for group in (*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence)
        if "RealWorldValueMappingSequence" in group
    ]
    return found


ON_REQUEST: list[tuple[str, str, Break, str]] = [
    ("SEG_FRACTIONAL", "occupancy", lambda d: setattr(d, "SegmentationFractionalType", "OCCUPANCY"), "SegmentationFractionalType"),
    ("SEG_FRACTIONAL", "more than the most", lambda d: setattr(d, "MaximumFractionalValue", 100), "MaximumFractionalValue is 100"),
    ("SEG_FRACTIONAL", "no segment of its frame", lambda d: _without(d, "SegmentIdentificationSequence"), "SegmentIdentificationSequence"),
    (
        "SEG_LABELMAP",
        "a label of no segment",
        lambda d: setattr(d, "PixelData", b"\x07" + d.PixelData[1:]),
        "labels of segments that SegmentSequence does not name",
    ),
    ("SEG_LABELMAP", "a map that is empty", lambda d: setattr(d, "PixelData", bytes(len(d.PixelData))), "PixelData is empty"),
    ("OVERLAY", "a photograph's type", lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY"]), "ImageType begins with ORIGINAL"),
    ("OVERLAY", "no source", lambda d: d.__delitem__("SourceImageSequence"), "SourceImageSequence"),
    ("PMAP", "values cut off", lambda d: setattr(d, "FloatPixelData", d.FloatPixelData[:-4]), "FloatPixelData has"),
    (
        "PMAP",
        "a value that is no number",
        lambda d: setattr(d, "FloatPixelData", np.float32(np.nan).tobytes() + d.FloatPixelData[4:]),
        "FloatPixelData holds numbers that are not finite",
    ),
    (
        "PMAP",
        "a value beyond what is mapped",
        lambda d: setattr(d, "FloatPixelData", np.float32(99).tobytes() + d.FloatPixelData[4:]),
        "FloatPixelData goes from",
    ),
    ("PMAP", "no unit", lambda d: mapping(d).__delitem__("MeasurementUnitsCodeSequence"), "MeasurementUnitsCodeSequence"),
    ("PMAP", "no quantity", lambda d: mapping(d).__delitem__("QuantityDefinitionSequence"), "QuantityDefinitionSequence"),
    ("PMAP", "no plane", lambda d: _without(d, "PlaneOrientationSequence"), "PlaneOrientationSequence"),
    ("PMAP", "no frame of reference", lambda d: d.__delitem__("FrameOfReferenceUID"), "FrameOfReferenceUID (type 1) is absent"),
    ("PDF", "another document", lambda d: setattr(d, "MIMETypeOfEncapsulatedDocument", "text/html"), "MIMETypeOfEncapsulatedDocument"),
    ("PDF", "bytes cut off", lambda d: setattr(d, "EncapsulatedDocument", d.EncapsulatedDocument[:-50]), "EncapsulatedDocumentLength"),
    (
        "PDF",
        "half a document",
        lambda d: (setattr(d, "EncapsulatedDocument", d.EncapsulatedDocument[:-50]), setattr(d, "EncapsulatedDocumentLength", 252)),
        "no whole PDF",
    ),
    ("PDF", "no source", lambda d: setattr(d, "SourceInstanceSequence", []), "SourceInstanceSequence names no image"),
    ("PDF", "a title for the clinic", lambda d: setattr(d, "DocumentTitle", "Final report"), "DocumentTitle"),
    ("PDF", "a hidden patient", lambda d: setattr(d, "BurnedInAnnotation", "NO"), "BurnedInAnnotation"),
]


def _without(dataset: Dataset, keyword: str) -> None:
    for group in (*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence):
        if keyword in group:
            del group[keyword]


@pytest.mark.parametrize(("kind", "what", "change", "reason"), ON_REQUEST, ids=[f"{case[0]} {case[1]}" for case in ON_REQUEST])
def test_nothing_that_is_made_on_request_passes_with(kind: str, what: str, change: Break, reason: str, everything: Any) -> None:
    assert reason in refusals(everything, kind, change)


@pytest.mark.parametrize("kind", NEW_KINDS)
def test_what_is_made_on_request_passes(kind: str, everything: Any) -> None:
    for original in everything.datasets(kind):
        assert gate.check(original, everything.sources, everything.others(original)) == ()


@pytest.mark.parametrize(("what", "change", "reason"), ANY, ids=[case[0] for case in ANY])
def test_none_of_what_is_made_on_request_passes_with(what: str, change: Break, reason: str, everything: Any) -> None:
    for kind in NEW_KINDS:
        assert reason in refusals(everything, kind, change), kind


@pytest.mark.parametrize("kind", ["SEG", "SURFACE_SEG", "SC", "SR"])
def test_what_was_encoded_passes(kind: str, made: Any) -> None:
    assert refusals(made, kind, lambda _: None) == ""


@pytest.mark.parametrize("kind", ["SEG", "SURFACE_SEG", "SC", "SR"])
@pytest.mark.parametrize(("what", "change", "reason"), ANY, ids=[case[0] for case in ANY])
def test_no_object_passes_with(kind: str, what: str, change: Break, reason: str, made: Any) -> None:
    assert reason in refusals(made, kind, change)


@pytest.mark.parametrize(("what", "change", "reason"), SEG, ids=[case[0] for case in SEG])
def test_no_segmentation_passes_with(what: str, change: Break, reason: str, made: Any) -> None:
    assert reason in refusals(made, "SEG", change)


@pytest.mark.parametrize(("what", "change", "reason"), SURFACE, ids=[case[0] for case in SURFACE])
def test_no_surface_passes_with(what: str, change: Break, reason: str, made: Any) -> None:
    assert reason in refusals(made, "SURFACE_SEG", change)


@pytest.mark.parametrize(("what", "change", "reason"), REPORT, ids=[case[0] for case in REPORT])
def test_no_report_passes_with(what: str, change: Break, reason: str, made: Any) -> None:
    assert reason in refusals(made, "SR", change)


def repeated(dataset: Dataset, change: Break) -> Dataset:
    """The report with one more group like its first, in which something is changed."""
    groups = content(dataset, "Imaging Measurements").ContentSequence
    group = dcmread(BytesIO(_bytes(dataset)))
    group = deepcopy(content(group, "Measurement Group"))
    change(group)
    Sequence.append(groups, group)
    return dataset


def _bytes(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def outline(dataset: Dataset) -> Dataset:
    return next(item for item in dataset.ContentSequence if item.ValueType == "SCOORD")


REPEATED: list[tuple[str, Break, str]] = [
    ("an outline beyond the image", lambda d: setattr(outline(d), "GraphicData", [0, 0, 9999, 0, 9999, 9, 0, 0]), "leaves the image"),
    ("a number without a unit", lambda d: delattr(content(d, "Area").MeasuredValueSequence[0], "MeasurementUnitsCodeSequence"), "absent"),
    ("an algorithm without a name", lambda d: delattr(content(d, "Algorithm Name"), "TextValue"), "TextValue"),
    ("a code without a meaning", lambda d: delattr(d.ConceptNameCodeSequence[0], "CodeMeaning"), "CodeMeaning"),
    ("an image that is nowhere", lambda d: setattr(_image(d), "ReferencedSOPInstanceUID", "1.2.3"), "1.2.3"),
]


def _image(dataset: Dataset) -> Dataset:
    return outline(dataset).ContentSequence[0].ReferencedSOPSequence[0]


@pytest.mark.parametrize(("what", "change", "reason"), REPEATED)
def test_what_repeats_others_in_a_report_is_judged_where_it_differs(what: str, change: Break, reason: str, made: Any) -> None:
    assert refusals(made, "SR", lambda dataset: repeated(dataset, lambda group: None)) == ""
    assert reason in refusals(made, "SR", lambda dataset: repeated(dataset, change))


def test_a_report_is_read_with_each_different_item_once(made: Any) -> None:
    report = dcmread(BytesIO(_bytes(made.datasets("SR")[0])))
    leave_one_of_each(report)
    kept = [item for item in _all(report) if item.ValueType != "SCOORD"]
    texts = [item.to_json() for item in kept if "ContentSequence" not in item and item.ValueType != "IMAGE"]
    assert len(set(texts)) == len(texts) > 20


def _all(dataset: Dataset) -> list[Dataset]:
    return [item for child in dataset.get("ContentSequence", ()) for item in (child, *_all(child))]


def test_a_report_that_refers_to_a_result_that_is_not_there_is_refused(made: Any) -> None:
    report = made.datasets("SR")[0]
    reasons = gate.check(report, made.sources, others=[])
    assert any(str(made.datasets("SEG")[0].SOPInstanceUID) in reason for reason in reasons)


def test_results_are_not_followed_where_the_caller_names_none(made: Any) -> None:
    assert gate.check(made.datasets("SR")[0], made.sources) == ()


def test_a_file_is_judged_like_its_dataset(made: Any, tmp_path: Path) -> None:
    paths = [worked_cases.save(encoded.dataset, tmp_path) for encoded in made.objects]
    for path in paths:
        assert gate.check(path, made.sources, [other for other in paths if other != path]) == ()


def test_all_files_at_once_are_judged_like_each_by_itself(made: Any, tmp_path: Path) -> None:
    paths = [worked_cases.save(encoded.dataset, tmp_path) for encoded in made.objects]
    paths[0].write_bytes(paths[0].read_bytes()[:-500])
    each = [gate.check(path, made.sources, [other for other in paths if other != path]) for path in paths]
    assert gate.check_all(paths, made.sources) == each
    assert [bool(reasons) for reasons in each] == [True] + [False] * (len(paths) - 1)


def test_one_that_is_no_dicom_is_a_reason_against_all(made: Any, tmp_path: Path) -> None:
    paths = [worked_cases.save(encoded.dataset, tmp_path) for encoded in made.objects[:3]]
    paths[0].write_bytes(b"")
    each = [gate.check(path, made.sources, [other for other in paths if other != path]) for path in paths]
    assert gate.check_all(paths, made.sources) == each
    assert all(each)


def test_a_file_whose_head_names_another_object_is_refused(made: Any, tmp_path: Path) -> None:
    broken = deepcopy(made.datasets("SEG")[0])
    broken.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    broken.save_as(tmp_path / "x.dcm")
    assert "MediaStorageSOPInstanceUID of the file differs from SOPInstanceUID of the object." in gate.check(
        tmp_path / "x.dcm", made.sources
    )


def test_a_file_that_is_cut_off_is_refused(made: Any, tmp_path: Path) -> None:
    path = worked_cases.save(made.datasets("SEG")[0], tmp_path)
    path.write_bytes(path.read_bytes()[:-500])
    assert gate.check(path, made.sources)


def test_a_file_that_is_no_dicom_is_refused(made: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(b"no DICOM at all")
    (reason,) = gate.check(path, made.sources)
    assert reason.startswith("The object cannot be read back")


def test_a_dataset_that_cannot_be_written_is_refused(made: Any) -> None:
    broken = deepcopy(made.datasets("SEG")[0])
    del broken.file_meta.TransferSyntaxUID
    assert "written" in gate.check(broken, made.sources)[0]


def test_a_source_that_is_gone_is_a_reason(made: Any, tmp_path: Path) -> None:
    (reason,) = gate.check(made.datasets("SR")[0], [tmp_path / "gone.dcm"])
    assert "cannot be read to compare with" in reason


def test_a_tetrahedron_is_closed_and_opens_when_a_face_is_taken_or_turned() -> None:
    tetrahedron = np.array([[1, 3, 2], [1, 2, 4], [2, 3, 4], [3, 1, 4]], np.uint32)
    assert is_closed(tetrahedron)
    assert not is_closed(tetrahedron[:3])
    turned = tetrahedron.copy()
    turned[0] = turned[0][::-1]
    assert not is_closed(turned)
