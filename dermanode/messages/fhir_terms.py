"""FHIR's small words: codes, quantities, identifiers and references from those of the domain."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from urllib.parse import quote

from fhir.resources.R4B.annotation import Annotation
from fhir.resources.R4B.codeableconcept import CodeableConcept
from fhir.resources.R4B.coding import Coding
from fhir.resources.R4B.extension import Extension
from fhir.resources.R4B.identifier import Identifier
from fhir.resources.R4B.quantity import Quantity
from fhir.resources.R4B.reference import Reference

from dermanode.dicom.concepts import risk_part
from dermanode.domain import Code, Measurement, Patient, RiskTerm
from dermanode.domain.codes import PRIVATE_SCHEME, private
from dermanode.messages import results

SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
    "IBSI": "urn:oid:1.2.840.10008.2.16.13",
    "NCIt": "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl",
    PRIVATE_SCHEME: "urn:oid:2.25.313401025514661689884911322915044117913",
}
"""Code systems by their DICOM designator (PS3.16, table 8-1); the private one by the UID that our reports give it."""

IDENTIFIERS = "urn:oid:2.25.180521025455184699909984987774185753519"
"""The system of the identifiers that the node gives to its resources; a UUID-derived OID needs no register."""

DICOM_UID = "urn:dicom:uid"

RISK_SCORE = "urn:oid:2.25.293087400835604838445358676226912836254"
"""The extension of a RiskAssessment that holds the score, a decimal from 0 to 1 that is no probability."""

RISK_PART = "urn:oid:2.25.40062087636698948648904220776922655988"
"""The extension of a RiskAssessment that holds one part of the score: `name`, `weight`, `value`, `contribution`, or why it is `missing`."""


def words(text: str | None) -> str | None:
    """A FHIR string: without control characters and outer blanks, and never empty."""
    cleaned = "".join(c if c in "\t\n" or ord(c) >= 32 else " " for c in text or "")
    return cleaned.encode("utf-8", "replace").decode().strip() or None


def notes(*texts: str) -> list[Annotation]:
    return [Annotation(text=text) for text in map(words, texts) if text]


def concept(*codes: Code, text: str | None = None) -> CodeableConcept:
    """One concept by one or more codes; the first code's meaning is its text unless another is given."""
    codings = [coding for coding in map(_coding, codes) if coding]
    return CodeableConcept(coding=codings or None, text=words(text) or words(codes[0].meaning) or "unnamed concept")


def _coding(code: Code) -> Coding | None:
    value, scheme = " ".join((words(code.value) or "").split()), "".join((words(code.scheme) or "").split())
    if not value or not scheme:
        return None
    return Coding(system=SYSTEMS.get(scheme, f"urn:dicom:scheme:{quote(scheme)}"), code=value, display=words(code.meaning))


def measured_concept(measurement: Measurement) -> CodeableConcept:
    """A measurement's concept and, where it differs, its key under the private scheme: two heights are told apart by it."""
    meaning = measurement.concept.meaning
    text = f"{meaning}, {measurement.derivation.meaning}" if measurement.derivation else meaning
    key = private(measurement.key, meaning)
    return concept(measurement.concept, text=text) if measurement.concept == key else concept(measurement.concept, key, text=text)


def term(system: str, code: str, text: str | None = None) -> CodeableConcept:
    """A code of HL7's own terminology."""
    return CodeableConcept(coding=[Coding(system=f"http://terminology.hl7.org/CodeSystem/{system}", code=code)], text=words(text))


def quantity(value: float, unit: Code) -> Quantity:
    code = "".join((words(unit.value) or "").split()) or None
    return Quantity(value=results.decimal(value), unit=words(unit.meaning), system=SYSTEMS["UCUM"] if code else None, code=code)


def risk_extensions(score: float, parts: Sequence[RiskTerm], missing: Sequence[tuple[str, str]]) -> Iterator[Extension]:
    """The score and its parts as extensions; R4 has only probabilities for them, which they are not."""
    yield Extension(url=RISK_SCORE, valueDecimal=results.decimal(score))
    for part in parts:
        numbers = (("weight", part.weight), ("value", part.value), ("contribution", part.contribution))
        told = [Extension(url=name, valueDecimal=results.decimal(number)) for name, number in numbers]
        yield Extension(url=RISK_PART, extension=[Extension(url="name", valueCodeableConcept=concept(risk_part(part.name))), *told])
    for name, reason in missing:
        why = Extension(url="missing", valueString=words(reason) or "no reason was given")
        yield Extension(url=RISK_PART, extension=[Extension(url="name", valueCodeableConcept=concept(risk_part(name))), why])


def identifier(value: str, assigner: str | None = None) -> Identifier:
    """An identifier of ours."""
    by = words(assigner)
    return Identifier(system=IDENTIFIERS, value=words(value), assigner=Reference(display=by) if by else None)


def digest(*parts: str) -> str:
    """A short name of those parts, free of characters that a URL would want escaped."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def urn(*parts: str) -> str:
    """A `urn:uuid:` that is the same for the same parts."""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, chr(31).join(parts))}"


def patient(of: Patient) -> Reference:
    """The patient by identifier: the node never creates patients in a hospital's server."""
    family, given, *_ = (*of.name.split("=")[0].split("^"), "", "")
    name = ", ".join(filter(None, (words(family), words(given)))) or "Unnamed patient"
    number, issuer = words(of.patient_id), words(of.issuer)
    if not number:
        return Reference(type="Patient", display=f"{name} (no patient identifier)")
    assigner = Reference(display=issuer) if issuer else None
    return Reference(type="Patient", identifier=Identifier(value=number, assigner=assigner), display=name)


def study(study_instance_uid: str) -> Reference:
    """The imaging study by its UID: the PACS's resource, not ours to create."""
    return Reference(type="ImagingStudy", identifier=Identifier(system=DICOM_UID, value=f"urn:oid:{study_instance_uid}"))


def moment(of: datetime | None) -> datetime | date | None:
    """A dateTime; where the zone is unknown only the day, since FHIR wants a zone with every time."""
    return of.date() if of is not None and of.tzinfo is None else of
