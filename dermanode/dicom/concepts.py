"""The concepts by which the report names what it says; the private ones are defined in the conformance statement."""

from __future__ import annotations

import re
from hashlib import sha256

from dermanode.domain.codes import Code, private

HEIGHT = Code("121207", "DCM", "Height")
KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")
REJECTED_FOR_QUALITY = Code("113001", "DCM", "Rejected for Quality Reasons")
FINDING = Code("121071", "DCM", "Finding")
PROBABILITY = Code("122157", "DCM", "Probability")
RECOMMENDATION = Code("121075", "DCM", "Recommendation")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
MODALITY = Code("121139", "DCM", "Modality")
PIXEL_DATA_ROWS = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_DATA_COLUMNS = Code("110911", "DCM", "Pixel Data Columns")
SOURCE = Code("260753009", "SCT", "Source")
SOURCE_OF_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")

LATERALITY = {
    "L": Code("7771000", "SCT", "Left"),
    "R": Code("24028007", "SCT", "Right"),
    "B": Code("51440002", "SCT", "Right and left"),
}
MODALITIES = {  # of CID 29
    "XC": Code("XC", "DCM", "External-camera Photography"),
    "ES": Code("ES", "DCM", "Endoscopy"),
    "GM": Code("GM", "DCM", "General Microscopy"),
}

RESEARCH_USE = private("RESEARCHUSE", "Research use")
NOT_PERFORMED = private("NOTPERFORMED", "Stage not performed")
TILT = private("TILT", "Tilt of the cameras against the skin")
REPROJECTION_ERROR = private("REPROJ", "Reprojection error of the tracked points")
SURFACE_CONFIDENCE = private("CONFSURF", "Confidence of the surface")
SURFACE_VIEWS = private("VIEWSUSED", "Number of views that the surface was made of")
INTERVAL = private("INTERVAL90", "90 % interval")
LOWER_END = private("LOWER90", "Lower end of the 90 % interval")
UPPER_END = private("UPPER90", "Upper end of the 90 % interval")
INTERVALS = private("INTERVALS", "Intervals of the measurements")
NOT_MEASURED = private("NOTMEASURED", "Measurement not made")
REMARK = private("REMARK", "Remark")
VISIT = private("VISIT", "Earlier visit of the lesion")
ALERT = private("ALERT", "Alert")
MOST_PROBABLE_CLASS = private("TOPCLASS", "Most probable class")
CLASS_PROBABILITIES = private("CLASSPROBS", "Class probabilities")
EXPLANATION = private("EXPLANATION", "Explanation of the classification")
DERIVED = private("DERIVED", "Picture made of the photographs")
HEAT_INSIDE = private("HEATINSIDE", "Share of the heat inside the outline")
RISK_SCORE = private("RISKSCORE", "Risk score")
RISK_LEVEL = private("RISKLEVEL", "Risk level")
RISK_EXPLANATION = private("RISKPARTS", "Parts of the risk score")
RISK_WEIGHT = private("RISKWEIGHT", "Weight of a part of the risk score")
RISK_VALUE = private("RISKVALUE", "Value of a part of the risk score")
RISK_LEVELS = {
    "low": private("RISKLOW", "Low risk"),
    "moderate": private("RISKMODERATE", "Moderate risk"),
    "high": private("RISKHIGH", "High risk"),
}
SEGMENTATION_CONFIDENCE = private("SEGCONF", "Mean probability inside the outline")


def risk_part(name: str) -> Code:
    """A private code made of the name of a part of the risk score."""
    short = re.sub(r"[^A-Z0-9]", "", name.upper())
    value = f"RISK-{short}" if 0 < len(short) <= 11 else f"RISK-{sha256(name.encode('utf-8', 'replace')).hexdigest()[:10].upper()}"
    return private(value, f"Contribution to the risk score: {name}")
