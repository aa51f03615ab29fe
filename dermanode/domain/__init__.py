"""What the node talks about: series, views, cases, findings. Frozen values that know no DICOM tag, no SQL, no torch."""

from dermanode.domain.case import Case, Prior
from dermanode.domain.codes import Code
from dermanode.domain.findings import (
    CameraPose,
    Classification,
    ClassProbability,
    CleanView,
    CleanViews,
    Features,
    Finding,
    HeatMap,
    HeatMaps,
    HeightField,
    Measurement,
    PicturedProgression,
    Progression,
    Risk,
    RiskTerm,
    Segmentation,
    Surface,
    ViewComparison,
    ViewMask,
    ViewQuality,
    Visit,
)
from dermanode.domain.identifiers import UID, AETitle, Digest
from dermanode.domain.order import Order
from dermanode.domain.outcome import Outcome, ProducedObject, StageReport, StageStatus
from dermanode.domain.provenance import Algorithm
from dermanode.domain.series import CameraGeometry, LesionKey, Patient, PixelSource, Series, View

__all__ = [
    "UID",
    "AETitle",
    "Algorithm",
    "CameraGeometry",
    "CameraPose",
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
    "HeightField",
    "LesionKey",
    "Measurement",
    "Order",
    "Outcome",
    "Patient",
    "PicturedProgression",
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
    "ViewComparison",
    "ViewMask",
    "ViewQuality",
    "Visit",
]
