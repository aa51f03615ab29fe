"""Coded concepts: a value, the scheme that defines it, and its meaning for people."""

from __future__ import annotations

from dataclasses import dataclass

PRIVATE_SCHEME = "99DERMANODE"
"""The scheme of concepts for which no standard code exists; defined in the conformance statement."""


@dataclass(frozen=True, slots=True)
class Code:
    """One coded concept (PS3.3 8.1): `Code("39937001", "SCT", "Skin")`."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is measured, and in which UCUM unit."""

    key: str
    """The name by which plugins, JSON and messages know it: `area_mm2`."""
    concept: Code
    unit: Code
    definition: str


MM = Code("mm", "UCUM", "millimeter")
MM2 = Code("mm2", "UCUM", "square millimeter")
MM3 = Code("mm3", "UCUM", "cubic millimeter")
PER_MM = Code("/mm", "UCUM", "per millimeter")
PERCENT = Code("%", "UCUM", "percent")
NO_UNITS = Code("1", "UCUM", "no units")
DEGREE = Code("deg", "UCUM", "degree")
PIXEL = Code("{pixels}", "UCUM", "pixels")

SKIN = Code("39937001", "SCT", "Skin")
SKIN_LESION = Code("95324001", "SCT", "Skin lesion")
MORPHOLOGICALLY_ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
DERMOSCOPIC_PHOTOGRAPHY = Code("446078004", "SCT", "Dermoscopic photography")
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
BENIGN = Code("30807003", "SCT", "Benign")
MALIGNANT = Code("21594007", "SCT", "Malignant")


def private(value: str, meaning: str) -> Code:
    """A concept of our own scheme."""
    return Code(value, PRIVATE_SCHEME, meaning)


SUSPICIOUS = private("SUSP", "Suspicious")
