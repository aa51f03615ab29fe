"""What the node talks about: series, views, cases, findings. Frozen values that know no DICOM tag, no SQL, no torch."""

from dermanode.domain.case import Case, Prior
from dermanode.domain.codes import Code
from dermanode.domain.findings import (
    Classification,
    ClassProbability,
    CleanView,
    CleanViews,
    Features,
    Finding,
    HeatMap,
    HeatMaps,
    Measurement,
    Progression,
    Risk,
    RiskTerm,
    Segmentation,
    Surface,
    ViewMask,
    ViewQuality,
)
from dermanode.domain.identifiers import UID, AETitle, Digest
from dermanode.domain.outcome import Outcome, ProducedObject, StageReport, StageStatus
from dermanode.domain.provenance import Algorithm
from dermanode.domain.series import CameraGeometry, LesionKey, Patient, PixelSource, Series, View

__all__ = [
    "UID",
    "AETitle",
    "Algorithm",
    "CameraGeometry",
    "Case",
    "ClassProbability",
    "Classification",
    "CleanView",
    "CleanViews",
    "Code",
    "Digest",
    "Features",
    "Finding",
    "HeatMap",
    "HeatMaps",
    "LesionKey",
    "Measurement",
    "Outcome",
    "Patient",
    "PixelSource",
    "Prior",
    "ProducedObject",
    "Progression",
    "Risk",
    "RiskTerm",
    "Segmentation",
    "Series",
    "StageReport",
    "StageStatus",
    "Surface",
    "View",
    "ViewMask",
    "ViewQuality",
]
