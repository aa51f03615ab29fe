"""FHIR's small words, as JSON: codes, quantities, identifiers and references from those of the domain."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

from dermanode.dicom.concepts import risk_part
from dermanode.domain import Code, Measurement, Order, Patient, RiskTerm, Series
from dermanode.domain.codes import PRIVATE_SCHEME, private
from dermanode.messages import results

Json = dict[str, Any]
"""An element or a resource, by FHIR's names."""

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

REVISION = "urn:oid:2.25.80455486629165316222363340860107406841"
"""The extension of a DiagnosticReport, ServiceRequest or Appointment that counts the revisions of its series, from 1."""


@dataclass(frozen=True, slots=True)
class Named:
    """A resource of ours by its identifier, which is the same wherever and whenever it is written."""

    kind: str
    """The resource's type."""
    value: str
    system: str = IDENTIFIERS

    @property
    def urn(self) -> str:
        """Its name within a bundle."""
        return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, chr(31).join((self.kind, self.system, self.value)))}"

    @property
    def criterion(self) -> str:
        """The search that finds it on a server, among resources of its type."""
        return f"identifier={quote(f'{self.system}|{self.value}', safe=':/|')}"

    @property
    def identifier(self) -> Json:
        return {"system": self.system, "value": self.value}

    @property
    def reference(self) -> Json:
        return {"reference": self.urn, "type": self.kind}


def told(kind: str, **elements: Any) -> Json:
    """A resource without its empty elements."""
    return {"resourceType": kind, **filled(**elements)}


def filled(**elements: Any) -> Json:
    """An element without its empty parts."""
    return {name: value for name, value in elements.items() if value is not None and value != [] and value != {}}


def words(text: str | None) -> str | None:
    """A FHIR string: without control characters and outer blanks, and never empty."""
    cleaned = "".join(c if c in "\t\n" or ord(c) >= 32 else " " for c in text or "")
    return cleaned.encode("utf-8", "replace").decode().strip() or None


def notes(*texts: str) -> list[Json]:
    return [{"text": text} for text in map(words, texts) if text]


def concept(*codes: Code, text: str | None = None) -> Json:
    """One concept by one or more codes; the first code's meaning is its text unless another is given."""
    codings = [coding for coding in map(_coding, codes) if coding]
    return filled(coding=codings, text=words(text) or words(codes[0].meaning) or "unnamed concept")


def _coding(code: Code) -> Json | None:
    value, scheme = " ".join((words(code.value) or "").split()), "".join((words(code.scheme) or "").split())
    if not value or not scheme:
        return None
    return filled(system=SYSTEMS.get(scheme, f"urn:dicom:scheme:{quote(scheme)}"), code=value, display=words(code.meaning))


def measured_concept(measurement: Measurement) -> Json:
    """A measurement's concept and, where it differs, its key under the private scheme: two heights are told apart by it."""
    meaning = measurement.concept.meaning
    text = f"{meaning}, {measurement.derivation.meaning}" if measurement.derivation else meaning
    key = private(measurement.key, meaning)
    return concept(measurement.concept, text=text) if measurement.concept == key else concept(measurement.concept, key, text=text)


def term(system: str, code: str, text: str | None = None) -> Json:
    """A code of HL7's own terminology."""
    return filled(coding=[{"system": f"http://terminology.hl7.org/CodeSystem/{system}", "code": code}], text=words(text))


def quantity(value: float, unit: Code) -> Json:
    code = "".join((words(unit.value) or "").split()) or None
    return filled(value=results.decimal(value), unit=words(unit.meaning), system=SYSTEMS["UCUM"] if code else None, code=code)


def risk_extensions(score: float, parts: Sequence[RiskTerm], missing: Sequence[tuple[str, str]]) -> Iterator[Json]:
    """The score and its parts as extensions; FHIR has only probabilities for them, which they are not."""
    yield {"url": RISK_SCORE, "valueDecimal": results.decimal(score)}
    for part in parts:
        numbers = (("weight", part.weight), ("value", part.value), ("contribution", part.contribution))
        said = [{"url": name, "valueDecimal": results.decimal(number)} for name, number in numbers]
        yield {"url": RISK_PART, "extension": [{"url": "name", "valueCodeableConcept": concept(risk_part(part.name))}, *said]}
    for name, reason in missing:
        why = {"url": "missing", "valueString": words(reason) or "no reason was given"}
        yield {"url": RISK_PART, "extension": [{"url": "name", "valueCodeableConcept": concept(risk_part(name))}, why]}


def own_identifier(value: str, assigner: str | None = None) -> Json:
    """An identifier of ours, of something that is no resource."""
    by = words(assigner)
    return filled(system=IDENTIFIERS, value=words(value) or "unnamed", assigner={"display": by} if by else None)


def digest(*parts: str) -> str:
    """A short name of those parts, free of characters that a URL would want escaped."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def patient(of: Patient) -> Json:
    """The patient by identifier: the node never creates patients in a hospital's server."""
    family, given, *_ = (*of.name.split("=")[0].split("^"), "", "")
    name = ", ".join(filter(None, (words(family), words(given)))) or "Unnamed patient"
    number, issuer = words(of.patient_id), words(of.issuer)
    if not number:
        return {"type": "Patient", "display": f"{name} (no patient identifier)"}
    assigner = {"display": issuer} if issuer else None
    return {"type": "Patient", "identifier": filled(value=number, assigner=assigner), "display": name}


def study(study_instance_uid: str) -> Json:
    """The imaging study by its UID: the PACS's resource, not ours to create."""
    return {"type": "ImagingStudy", "identifier": {"system": DICOM_UID, "value": f"urn:oid:{study_instance_uid}"}}


def orders(order: Order | None, series: Series) -> list[Json]:
    """The order by every number that its placer, its filler and the PACS know it by: each may be the one that a server holds."""
    numbers = {
        "PLAC": order.placer_number if order else "",
        "FILL": order.filler_number if order else "",
        "ACSN": (order.accession_number if order else "") or series.accession_number,
    }
    known = {kind: number for kind, text in numbers.items() if (number := words(text))}
    return [{"type": "ServiceRequest", "identifier": {"type": term("v2-0203", kind), "value": number}} for kind, number in known.items()]


def moment(of: datetime | None) -> datetime | date | None:
    """A dateTime; where the zone is unknown only the day, since FHIR wants a zone with every time."""
    return of.date() if of is not None and of.tzinfo is None else of
