"""Worked cases: small photographs in real DICOM files and a finding of every kind, for tests of what comes after the chain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DermoscopicPhotographyImageStorage, ExplicitVRLittleEndian

from dermanode.dicom.uids import derive_uid
from dermanode.domain import (
    UID,
    Algorithm,
    CameraGeometry,
    Case,
    Classification,
    ClassProbability,
    Code,
    Features,
    Finding,
    HeatMap,
    HeatMaps,
    LesionProbability,
    Measurement,
    Outcome,
    Patient,
    Progression,
    Risk,
    RiskTerm,
    Segmentation,
    Series,
    StageReport,
    StageStatus,
    Surface,
    View,
    ViewMask,
    Visit,
)
from dermanode.domain.codes import BENIGN, MALIGNANT, MM, MM2, MM3, NO_UNITS, PERCENT, SUSPICIOUS, private
from dermanode.domain.series import RGB
from dermanode.testing.raised import raised

ACQUIRED_AT = datetime(2026, 11, 20, 10, 30)
MELANOMA = Code("93655004", "SCT", "Malignant melanoma of skin")
NEVUS = Code("400096001", "SCT", "Melanocytic nevus")
BACK = Code("45980000", "SCT", "Skin of back")
SMALL_PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>endobj\nxref\n0 4\n0000000000 65535 f \n0000000009 00000 n \n"
    b"0000000053 00000 n \n0000000102 00000 n \ntrailer<</Size 4/Root 1 0 R>>\nstartxref\n161\n%%EOF\n"
)
"""An empty page."""


@dataclass(frozen=True)
class FileOnDisk:
    """A pixel source that lies in a native RGB file."""

    path: Path

    def decode(self, longest_side_px: int | None = None) -> RGB:
        import pydicom

        pixels: RGB = pydicom.dcmread(self.path).pixel_array
        return pixels


def photograph(number: int, rows: int = 96, columns: int = 128, *, spacing_mm: float | None = 0.05, study: str = "study") -> Dataset:
    """A Dermoscopic Photography instance with a brown disc on skin, native RGB."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = DermoscopicPhotographyImageStorage
    dataset.SOPInstanceUID = derive_uid("worked case", study, "image", str(number))
    dataset.StudyInstanceUID = derive_uid("worked case", study)
    dataset.SeriesInstanceUID = derive_uid("worked case", study, "series")
    dataset.PatientName = "Müller^Jörg"
    dataset.PatientID = "P-4711"
    dataset.IssuerOfPatientID = "CLINIC"
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "M"
    dataset.StudyDate, dataset.StudyTime = "20261120", "103000"
    dataset.StudyID = "1"
    dataset.StudyDescription = "Dermoscopy, back"
    dataset.AccessionNumber = "A-17"
    dataset.ReferringPhysicianName = "Doe^Jane"
    dataset.Modality = "DMS"
    dataset.SeriesNumber = 1
    dataset.SeriesDate, dataset.SeriesTime = "20261120", "103000"
    dataset.Laterality = ""
    dataset.Manufacturer = "Lens & Light"
    dataset.ManufacturerModelName = "Dermatoscope"
    dataset.DeviceSerialNumber = "42"
    dataset.SoftwareVersions = "1"
    dataset.InstanceNumber = number
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.ContentDate, dataset.ContentTime = "20261120", "103000"
    dataset.AcquisitionDateTime = ACQUIRED_AT.strftime("%Y%m%d%H%M%S")
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    if spacing_mm is not None:
        dataset.PixelSpacing = [spacing_mm, spacing_mm]
    dataset.AcquisitionContextSequence = []
    dataset.RecognizableVisualFeatures = "NO"
    dataset.LightSourcePolarization = "POLARIZED"
    dataset.EmitterColorTemperature = None
    dataset.ContactMethod = "NON_CONTACT"
    dataset.OpticalMagnificationFactor = None
    dataset.TrackingID = "Lesion 3"
    dataset.TrackingUID = derive_uid("worked case", "lesion 3")
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    pixels = np.full((rows, columns, 3), (224, 172, 150), np.uint8)
    pixels[disc(rows, columns)] = (110, 70, 50)
    dataset.PixelData = pixels.tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def disc(rows: int, columns: int, share: float = 0.3) -> NDArray[np.bool_]:
    """A round lesion in the middle, its radius a share of the shorter side."""
    y, x = np.mgrid[:rows, :columns]
    mask: NDArray[np.bool_] = np.hypot(x - columns / 2, y - rows / 2) < share * min(rows, columns)
    return mask


def save(dataset: Dataset, folder: Path) -> Path:
    """Writes an instance under its SOP Instance UID."""
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def case_of(photographs: list[Dataset], folder: Path, findings: tuple[Finding, ...] = (), revision: int = 1) -> Case:
    """A case over photographs, which are saved in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    first = photographs[0]
    views = tuple(
        View(
            sop_instance_uid=UID(str(image.SOPInstanceUID)),
            sop_class_uid=UID(str(image.SOPClassUID)),
            rows=image.Rows,
            columns=image.Columns,
            source=FileOnDisk(save(image, folder)),
            number=int(image.InstanceNumber),
            acquired_at=ACQUIRED_AT,
            geometry=CameraGeometry(
                pixel_spacing_mm=(float(image.PixelSpacing[0]), float(image.PixelSpacing[1])) if "PixelSpacing" in image else None
            ),
        )
        for image in photographs
    )
    series = Series(
        study_instance_uid=UID(str(first.StudyInstanceUID)),
        series_instance_uid=UID(str(first.SeriesInstanceUID)),
        patient=Patient(patient_id=str(first.get("PatientID") or ""), issuer=str(first.get("IssuerOfPatientID") or "")),
        modality="DMS",
        views=views,
        accession_number=str(first.get("AccessionNumber") or ""),
        acquired_at=ACQUIRED_AT,
        body_site=BACK,
        laterality="L",
        tracking_id=str(first.TrackingID) if "TrackingID" in first else None,
        tracking_uid=UID(str(first.TrackingUID)) if "TrackingUID" in first else None,
    )
    return Case(id="case-1", revision=revision, series=series, findings=findings)


def algorithm(stage: str) -> Algorithm:
    """An algorithm with weights."""
    return Algorithm(f"example-{stage}", "1.2.0", bundle=f"{stage}_bundle 0.1.0", weights_digest=derive_uid(stage)[5:].zfill(64)[:64])


def slope(rows: int, columns: int) -> LesionProbability:
    """1 in the middle of a view, a half on the edge of `disc` and less beyond; the grid is a quarter of the view's."""
    y, x = np.mgrid[: -(-rows // 4), : -(-columns // 4)].astype(np.float32)
    away = np.hypot(4 * x + 1.5 - columns / 2, 4 * y + 1.5 - rows / 2) / (0.3 * min(rows, columns))
    to_source = np.array([[4, 0, 1.5], [0, 4, 1.5], [0, 0, 1]], np.float64)
    return LesionProbability(values=(1 / (1 + away**4)).astype(np.float32), to_source=to_source)


def segmentation(case: Case, empty: frozenset[int] = frozenset(), *, has_probability: bool = False) -> Segmentation:
    """A disc in every view, nothing in those whose index is in `empty`; on request with what it was cut from."""
    masks = tuple(
        ViewMask(
            sop_instance_uid=view.sop_instance_uid,
            mask=disc(view.rows, view.columns) if index not in empty else np.zeros((view.rows, view.columns), bool),
            confidence=0.93 if index not in empty else 0.0,
            touches_border=False,
            probability=slope(view.rows, view.columns) if has_probability and index not in empty else None,
        )
        for index, view in enumerate(case.series.views)
    )
    return Segmentation(algorithm=algorithm("segment"), masks=masks)


def surface(case: Case, *, lateral_unit: str = "mm", is_metric: bool = False, side: int = 12) -> Surface:
    """A low dome on a grid of side x side points."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    z = np.maximum(0, 2 - 0.1 * ((x - side / 2) ** 2 + (y - side / 2) ** 2))
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + side], 1), np.stack([corner + 1, corner + side + 1, corner + side], 1)]
    ).astype(np.int32)
    vertices = np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32)
    return Surface(
        algorithm=algorithm("reconstruct"),
        vertices=vertices,
        faces=faces,
        normals=np.tile(np.array([0, 0, 1], np.float32), (len(vertices), 1)),
        colours=np.full((len(vertices), 3), 128, np.uint8),
        is_metric=is_metric,
        lateral_unit=lateral_unit,
        method="shape from shading, one view",
        scale_source="pixel spacing (0028,0030)",
        used_views=(case.series.views[0].sop_instance_uid,),
    )


def metric_surface(case: Case) -> Surface:
    """A closed dome in mm with height field, cameras and measurements with intervals; of three views and more the last was not used."""
    views = [view.sop_instance_uid for view in case.series.views]
    used, dropped = (views[:-1], views[-1:]) if len(views) > 2 else (views, [])
    return replace(
        raised(used),
        algorithm=algorithm("reconstruct"),
        dropped_views=tuple((view, "blurred: 12 points could be followed, and 40 are needed") for view in dropped),
    )


def followed() -> Progression:
    """Two earlier visits: changes and a trend with intervals, a change within its error, an alert, and what was measured then."""
    volume = Code("RNU0", "IBSI", "Volume of Mesh")
    return Progression(
        algorithm=Algorithm("example-progression", "1.2.0"),
        priors=("case-1", "case-2"),
        changes=(
            Measurement(
                key="volume_mm3_change_percent",
                concept=private("CHGVOL", "Change of volume since the last visit"),
                value=24.0,
                unit=PERCENT,
                lower=19.5,
                upper=28.7,
            ),
            Measurement(
                key="area_mm2_change_percent",
                concept=private("CHGAREA", "Change of area since the last visit"),
                value=1.5,
                unit=PERCENT,
                lower=-2.0,
                upper=5.0,
            ),
        ),
        trends=(
            Measurement(
                key="volume_mm3_trend",
                concept=private("TRENDVOL", "Growth of volume in 30 days, as a share of the first visit's"),
                value=0.09,
                unit=Code("/(30.d)", "UCUM", "per 30 days"),
                lower=0.07,
                upper=0.11,
            ),
        ),
        history=tuple(
            Visit(
                case_id=f"case-{number}",
                acquired_at=ACQUIRED_AT - timedelta(days=days),
                values=(Measurement(key="volume_mm3", concept=volume, value=value, unit=MM3, lower=0.97 * value, upper=1.03 * value),),
            )
            for number, days, value in ((1, 182, 14.2), (2, 91, 17.9))
        ),
        alerts=("Volume rose by 24 % since the last visit (2026-08-21, 91 days before), more than 20 %.",),
        remarks=("Area rose by 2 % since the last visit, within error.",),
    )


def numbers(case: Case) -> tuple[Finding, ...]:
    """Features, classification, progression and risk."""
    features = Features(
        algorithm=Algorithm("example-fuse", "1.2.0"),
        measurements=(
            Measurement(key="area_mm2", concept=Code("42798000", "SCT", "Area"), value=21.37, unit=MM2, lower=20.1, upper=22.9),
            Measurement(key="perimeter_mm", concept=Code("131191004", "SCT", "Perimeter"), value=17.2, unit=MM),
            Measurement(key="long_axis_mm", concept=Code("103339001", "SCT", "Long axis"), value=5.9, unit=MM),
            Measurement(key="short_axis_mm", concept=Code("103340004", "SCT", "Short axis"), value=4.6, unit=MM),
            Measurement(key="asymmetry", concept=private("ASYMMETRY", "Asymmetry of shape"), value=0.21, unit=NO_UNITS),
            Measurement(
                key="height_mm",
                concept=Code("121207", "DCM", "Height"),
                value=0.8,
                unit=MM,
                derivation=Code("56851009", "SCT", "Maximum"),
                view_uid=case.series.views[0].sop_instance_uid,
            ),
        ),
        absent=(("volume_mm3", "the surface's heights are relative"),),
        remarks=("Δ against the healthy skin ± 3 %",),
    )
    classification = Classification(
        algorithm=algorithm("classify"),
        diagnosis=(
            ClassProbability(label="MEL", concept=MELANOMA, probability=0.62, spread=0.04),
            ClassProbability(label="NV", concept=NEVUS, probability=0.38, spread=0.04),
        ),
        groups=(
            ClassProbability(label="BENIGN", concept=BENIGN, probability=0.3),
            ClassProbability(label="SUSPICIOUS", concept=SUSPICIOUS, probability=0.1),
            ClassProbability(label="MALIGNANT", concept=MALIGNANT, probability=0.6),
        ),
        views=tuple(view.sop_instance_uid for view in case.series.views),
    )
    progression = Progression(
        algorithm=Algorithm("example-progression", "1.2.0"),
        priors=("case-0",),
        changes=(Measurement(key="area_change", concept=private("AREACHANGE", "Change of area"), value=12.0, unit=PERCENT),),
        alerts=("The area grew by 12 % in 90 days.",),
    )
    risk = Risk(
        algorithm=Algorithm("example-risk", "1.2.0"),
        score=0.61,
        level="high",
        terms=(RiskTerm(name="malignancy", weight=0.7, value=0.6), RiskTerm(name="growth of the lesion", weight=0.3, value=0.63)),
        missing=(("volume", "no metric surface"),),
        recommendation="See a dermatologist within two weeks.",
    )
    return features, classification, progression, risk


@dataclass(frozen=True, eq=False, kw_only=True)
class Explanation(HeatMaps):
    """What a vendor's own stage `explain` returns."""

    stage: ClassVar[str] = "explain"


def explanation(case: Case, empty: frozenset[int] = frozenset()) -> Explanation:
    """A warm spot right of the middle of every view, but for those whose index is in `empty`; the grid is an eighth of the view's."""
    melanoma = ClassProbability(label="MEL", concept=MELANOMA, probability=0.62, spread=0.04)
    maps = []
    for index, view in enumerate(case.series.views):
        if index in empty:
            continue
        y, x = np.mgrid[: view.rows // 8, : view.columns // 8].astype(np.float32)
        heat = np.exp(-((x - view.columns / 14) ** 2 + (y - view.rows / 16) ** 2) / 4).astype(np.float32)
        to_source = np.array([[8, 0, 3.5], [0, 8, 3.5], [0, 0, 1]], np.float64)
        maps.append(HeatMap(sop_instance_uid=view.sop_instance_uid, heat=heat, to_source=to_source, share_inside=0.81))
    concept = Code("130403", "DCM", "Gradient-weighted class activation")
    return Explanation(algorithm=algorithm("explain"), method="Grad-CAM", concept=concept, explained=melanoma, maps=tuple(maps))


def worked(
    photographs: list[Dataset],
    folder: Path,
    *,
    lateral_unit: str = "mm",
    empty: frozenset[int] = frozenset(),
    is_metric: bool = False,
    has_probability: bool = False,
) -> Case:
    """A case in which every stage found something; with `is_metric` a closed surface in mm, and a lesion that is followed."""
    case = case_of(photographs, folder)
    features, classification, progression, risk = numbers(case)
    solid: Surface = metric_surface(case) if is_metric else surface(case, lateral_unit=lateral_unit)
    if is_metric:
        assert isinstance(features, Features)
        features, progression = replace(features, absent=()), followed()
    masks = segmentation(case, empty, has_probability=has_probability)
    found = (masks, solid, features, classification, progression, risk, explanation(case, empty))
    return replace(case, findings=found)


def outcome_of(case: Case, reports: tuple[StageReport, ...] | None = None) -> Outcome:
    """The outcome of a case: every finding's stage performed, if nothing else is said."""
    if reports is None:
        reports = tuple(
            StageReport(stage=f.stage, status=StageStatus.PERFORMED, plugin=f.algorithm.name, algorithm=f.algorithm) for f in case.findings
        )
    failed = any(report.status is StageStatus.FAILED for report in reports)
    return Outcome(case_id=case.id, revision=case.revision, is_failed=failed, reports=reports)
