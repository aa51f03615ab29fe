"""What independent readers and validators say of our objects. None of them is ours to please.

dciodvfy (dicom3tools) knows the IODs, PixelMed the SR templates, dcmtk reads reports, GDCM reads surfaces, Open3D the STL, highdicom and
pydicom read all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import highdicom
import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import VLPhotographicImageStorage

from dermanode.dicom import gate
from dermanode.dicom.encode import EncodingOrder, encode_case
from dermanode.dicom.read import read_series
from dermanode.domain import Case, StageReport, StageStatus
from dermanode.errors import UnreadableObject
from dermanode.testing import worked_cases

pytestmark = pytest.mark.integration

SHARED = Path(__file__).parents[2].parent / "shared"
JARS = ("pixelmed", "commons-codec", "slf4j-api", "slf4j-nop", "vecmath")
PIXELMED = [
    # The validator's XPath is larger than the limits of JDK 17 (JAXP0801003).
    "-Djava.awt.headless=true",
    "-Djdk.xml.xpathExprGrpLimit=0",
    "-Djdk.xml.xpathExprOpLimit=0",
    "-Djdk.xml.xpathTotalOpLimit=0",
    "-XX:+UseSerialGC",
    "-Xss64m",
    "-Xmx2g",
]
NOT_OUR_FAULT = ("The VR checker does not support this Specific Character Set", "unknown/unsupported SpecificCharacterSet")
"""What dcmtk 3.6.7 says of character sets that it does not know; ours is always the source's."""


@dataclass(frozen=True)
class OnDisk:
    """The objects of a case, written."""

    case: Case
    files: dict[str, list[Path]]

    @property
    def all(self) -> Iterator[Path]:
        for paths in self.files.values():
            yield from paths


def full(folder: Path) -> Case:
    return worked_cases.worked([worked_cases.photograph(n) for n in (1, 2)], folder)


def eight_views(folder: Path) -> Case:
    return worked_cases.worked([worked_cases.photograph(n + 1) for n in range(8)], folder)


def closed_surface(folder: Path) -> Case:
    """A body in mm of 9,360 faces, of a lesion that is followed."""
    return worked_cases.worked([worked_cases.photograph(n + 1) for n in range(3)], folder, is_metric=True)


def without_spacing(folder: Path) -> Case:
    return worked_cases.worked([worked_cases.photograph(1, spacing_mm=None)], folder, lateral_unit="px")


def ordinary_photograph(folder: Path) -> Case:
    photograph = worked_cases.photograph(1)
    photograph.SOPClassUID = photograph.file_meta.MediaStorageSOPClassUID = VLPhotographicImageStorage
    photograph.Modality = "XC"
    del photograph.TrackingID, photograph.TrackingUID
    return worked_cases.worked([photograph], folder)


def empty_mask(folder: Path) -> Case:
    return worked_cases.worked([worked_cases.photograph(n) for n in (1, 2)], folder, empty=frozenset({1}))


def only_empty_masks(folder: Path) -> Case:
    return worked_cases.worked([worked_cases.photograph(1)], folder, empty=frozenset({0}))


def no_segmentation(folder: Path) -> Case:
    case = worked_cases.case_of([worked_cases.photograph(1)], folder)
    return replace(case, findings=worked_cases.numbers(case))


def nothing(folder: Path) -> Case:
    return worked_cases.case_of([worked_cases.photograph(n) for n in (1, 2)], folder)


def anonymous(folder: Path) -> Case:
    photograph = worked_cases.photograph(1)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "ReferringPhysicianName"):
        setattr(photograph, keyword, None)
    del photograph.IssuerOfPatientID, photograph.StudyDescription
    return worked_cases.worked([photograph], folder)


def named(terms: Any, name: bytes) -> Callable[[Path], Case]:
    def made(folder: Path) -> Case:
        photograph = worked_cases.photograph(1)
        photograph.PatientName = photograph.StudyDescription = "x"
        del photograph.SpecificCharacterSet
        if terms is not None:
            photograph.SpecificCharacterSet = terms
        padded = name + b" " * (len(name) % 2)
        photograph[0x00100010] = RawDataElement(Tag(0x00100010), "PN", len(padded), padded, 0, False, True)
        return worked_cases.worked([photograph], folder)

    return made


JAPANESE = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
CHARACTER_SETS: dict[str, Callable[[Path], Case]] = {
    "ASCII": named(None, b"Doe^Jane"),
    "Latin-1": named("ISO_IR 100", "Müller^Jörg".encode("latin_1")),
    "UTF-8": named("ISO_IR 192", "Wang^XiaoDong=王^小东".encode()),
    "Japanese": named(["", "ISO 2022 IR 87"], JAPANESE),
    "GB18030": named("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030")),
}
CASES: dict[str, Callable[[Path], Case]] = {
    "full": full,
    "eight views": eight_views,
    "closed surface": closed_surface,
    "without spacing": without_spacing,
    "ordinary photograph": ordinary_photograph,
    "one empty mask": empty_mask,
    "only empty masks": only_empty_masks,
    "no segmentation": no_segmentation,
    "every stage failed": nothing,
    "anonymous": anonymous,
    **CHARACTER_SETS,
}
REPORTS = ("full", "closed surface", "ordinary photograph", "no segmentation", "every stage failed")
"""Among them one of each kind of measurement group."""


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], OnDisk]:
    made: dict[str, OnDisk] = {}

    def encode(name: str) -> OnDisk:
        if name not in made:
            folder = tmp_path_factory.mktemp(name.replace(" ", "-"))
            case = CASES[name](folder / "sources")
            reports = None
            if not case.findings:
                reports = tuple(
                    StageReport(stage=s, status=StageStatus.FAILED, plugin="acme", reason="raised ValueError")
                    for s in ("segment", "classify")
                )
            outcome = worked_cases.outcome_of(case, reports)
            files: dict[str, list[Path]] = {}
            for result in encode_case(case, outcome, EncodingOrder(made_at=datetime(2026, 11, 21, 12, 0), pipeline="oracles")):
                files.setdefault(result.kind, []).append(worked_cases.save(result.dataset, folder))
            made[name] = OnDisk(case, files)
        return made[name]

    return encode


def tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing (Debian package {package})")
    return found


def raw_output(*command: str | Path) -> bytes:
    done = subprocess.run([*map(str, command)], capture_output=True, check=False, timeout=800, env={**os.environ, "LC_ALL": "C.UTF-8"})
    return done.stdout + done.stderr


def output(*command: str | Path) -> str:
    return raw_output(*command).decode("utf-8", "replace")


@pytest.mark.parametrize("name", CASES)
def test_dciodvfy_finds_no_error(name: str, encoded: Callable[[str], OnDisk]) -> None:
    program = tool("dciodvfy", "dicom3tools")
    for path in encoded(name).all:
        said = output(program, "-new", path)
        assert "Error" not in said, said


@pytest.mark.parametrize("name", CASES)
def test_the_gate_finds_no_reason(name: str, encoded: Callable[[str], OnDisk]) -> None:
    objects = encoded(name)
    sources = [view.source.path for view in objects.case.series.views]  # type: ignore[attr-defined]
    for path in objects.all:
        assert gate.check(path, sources, [other for other in objects.all if other != path]) == ()


@pytest.mark.parametrize("name", CASES)
def test_dsrdump_reads_the_report_without_a_warning(name: str, encoded: Callable[[str], OnDisk]) -> None:
    program = tool("dsrdump", "dcmtk")
    (report,) = encoded(name).files["SR"]
    said = output(program, report)
    assert "Research use" in said
    wrong = [line for line in said.splitlines() if line.startswith(("W:", "E:", "F:")) and not any(text in line for text in NOT_OUR_FAULT)]
    assert wrong == []


@pytest.fixture(scope="session")
def pixelmed_says(encoded: Callable[[str], OnDisk]) -> dict[str, str]:
    """What the validator says of each report; all in one virtual machine, because it takes ten seconds to start."""
    java = tool("java", "default-jdk-headless")
    tool("javac", "default-jdk-headless")
    jars = [Path("/usr/share/java") / f"{jar}.jar" for jar in JARS]
    if missing := [jar.name for jar in jars if not jar.exists()]:
        pytest.skip(f"{', '.join(missing)} missing (Debian package pixelmed-apps)")
    reports = {str(encoded(name).files["SR"][0]): name for name in REPORTS}
    runner = Path(__file__).with_name("PixelMedReports.java")
    said = output(java, *PIXELMED, "-cp", ":".join(map(str, jars)), runner, *reports)
    parts = [part.split("\n", 1) for part in said.split("=== ")[1:]]
    assert len(parts) == len(reports), said
    return {reports[path.strip()]: text for path, text in parts}


@pytest.mark.slow
@pytest.mark.timeout(900)  # half a minute of CPU time, which a shared machine may stretch
@pytest.mark.parametrize("name", REPORTS)
def test_pixelmed_finds_no_error_in_the_report(name: str, pixelmed_says: dict[str, str]) -> None:
    said = pixelmed_says[name]
    assert "Root Template Validation Complete" in said, said
    assert [line for line in said.splitlines() if "Error" in line] == []


@pytest.fixture(scope="session")
def gdcm_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = tool("g++", "g++")
    source = SHARED / "oracles" / "surface_reader.cxx"
    if not source.exists():
        pytest.skip("../shared/oracles/surface_reader.cxx is missing")
    headers = next(Path("/usr/include").glob("gdcm-*"), None)
    if headers is None:
        pytest.skip("GDCM's headers are missing (Debian package libgdcm-dev)")
    program = tmp_path_factory.mktemp("gdcm") / "surface_reader"
    subprocess.run([compiler, f"-I{headers}", source, "-o", program, "-lgdcmMSFF", "-lgdcmDSED", "-lgdcmCommon"], check=True, timeout=240)
    return program


@pytest.mark.parametrize("name", ["full", "closed surface"])
def test_gdcm_reads_every_point_normal_and_triangle_of_the_surface(name: str, gdcm_reader: Path, encoded: Callable[[str], OnDisk]) -> None:
    objects = encoded(name)
    (path,) = objects.files["SURFACE_SEG"]
    surface = objects.case.surface
    assert surface is not None
    points, triangles = len(surface.vertices), len(surface.faces)
    said = output(gdcm_reader, path)
    assert "segments 1 surfaces 1" in said
    assert f"points {points} vectors {points}" in said
    assert f"bytes {12 * triangles}" in said


def test_open3d_reads_a_closed_body_in_mm_from_the_stl(encoded: Callable[[str], OnDisk], tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d")
    objects = encoded("closed surface")
    (path,) = objects.files["STL"]
    model = _read(path)
    (tmp_path / "lesion.stl").write_bytes(model.EncapsulatedDocument[: model.EncapsulatedDocumentLength])
    body = open3d.io.read_triangle_mesh(str(tmp_path / "lesion.stl")).remove_duplicated_vertices()
    surface = objects.case.surface
    assert surface is not None
    assert len(body.triangles) == len(surface.faces)
    # Not `is_watertight`: to that, neighbours in the flat floor intersect, as their corners are rounded to float32.
    assert body.is_edge_manifold(allow_boundary_edges=False)
    assert body.is_vertex_manifold()
    assert list(body.get_min_bound()) == pytest.approx(surface.vertices.min(axis=0).tolist())
    assert list(body.get_max_bound()) == pytest.approx(surface.vertices.max(axis=0).tolist())


@pytest.mark.parametrize("name", CHARACTER_SETS)
def test_dcmtk_reads_the_same_patient_in_the_results_as_in_the_source(name: str, encoded: Callable[[str], OnDisk]) -> None:
    program = tool("dcmdump", "dcmtk")
    objects = encoded(name)
    source = objects.case.series.views[0].source.path  # type: ignore[attr-defined]

    def patient(path: Path) -> bytes:
        # In its bytes: dcmtk cannot convert each of these character sets.
        return raw_output(program, "-q", "+P", "PatientName", "+P", "PatientID", "+P", "PatientBirthDate", path)

    assert {patient(path) for path in objects.all} == {patient(source)}


@pytest.mark.parametrize("name", CASES)
def test_highdicom_reads_masks_and_measurement_groups(name: str, encoded: Callable[[str], OnDisk]) -> None:
    objects = encoded(name)
    for path in objects.files.get("SEG", []):
        seg = highdicom.seg.segread(path)
        (view,) = {image[2] for image in seg.get_source_image_uids()}
        pixels = seg.get_pixels_by_source_instance([view], ignore_spatial_locations=True)
        found = objects.case.segmentation.mask(view)  # type: ignore[union-attr]
        assert found is not None
        assert (pixels[0, :, :, 0].astype(bool) == found.mask).all()
    (report,) = objects.files["SR"]
    content = highdicom.sr.srread(report).content
    groups = [*content.get_planar_roi_measurement_groups(), *content.get_image_measurement_groups()]
    assert len(groups) == _expected_groups(objects.case)


def _expected_groups(case: Case) -> int:
    outlined = sum(bool(mask.mask.any()) for mask in (case.segmentation.masks if case.segmentation else ()))
    return 1 + outlined if outlined else int(bool(case.findings))


def test_results_of_odd_sources_pass_the_gate(tmp_path: Path) -> None:
    """Every fifth of the sample objects: other classes, syntaxes, character sets, several frames, broken dates."""
    samples = SHARED / "data" / "dicom_samples.zip"
    if not samples.exists():
        pytest.skip("../shared/data/dicom_samples.zip is missing")
    with zipfile.ZipFile(samples) as archive:
        names = [name for name in sorted(archive.namelist()) if not name.endswith("/")][::5]
        archive.extractall(tmp_path, names)
    order = EncodingOrder(made_at=datetime(2026, 11, 21, 12, 0), pipeline="oracles")
    tried = 0
    for name in names:
        try:
            series = read_series([tmp_path / name])
        except UnreadableObject:
            continue
        tried += 1
        case = Case(id="odd", revision=1, series=series)
        is_scaled = series.views[0].geometry.pixel_spacing_mm is not None
        surface = worked_cases.surface(case, lateral_unit="mm" if is_scaled else "px")
        case = replace(case, findings=(worked_cases.segmentation(case), surface, *worked_cases.numbers(case)))
        for result in encode_case(case, worked_cases.outcome_of(case), order):
            assert gate.check(result.dataset, [tmp_path / name]) == (), f"{name} {result.kind}"
    assert tried > 20


def test_every_object_reads_back_as_what_it_is_with_pydicom(encoded: Callable[[str], OnDisk]) -> None:
    classes = {str(_read(path).SOPClassUID) for path in encoded("closed surface").all}
    assert classes == {
        "1.2.840.10008.5.1.4.1.1.104.3",
        "1.2.840.10008.5.1.4.1.1.7",
        "1.2.840.10008.5.1.4.1.1.66.4",
        "1.2.840.10008.5.1.4.1.1.66.5",
        "1.2.840.10008.5.1.4.1.1.88.34",
    }


def _read(path: Path) -> Dataset:
    return pydicom.dcmread(path)
