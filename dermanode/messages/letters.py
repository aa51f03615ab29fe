"""The messages of a case: the letters for every destination that reads HL7 or FHIR."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Literal, TypeVar

import structlog

from dermanode.config import Destination, FhirDestination, FolderDestination, MllpDestination, Referral
from dermanode.domain import Case, Outcome, StageReport, StageStatus
from dermanode.errors import EncodingError
from dermanode.messages.fhir.encode import encode_transactions
from dermanode.messages.hl7 import encode_oru
from dermanode.messages.selection import bundle_name, oru_name

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Letter:
    """One message, ready to be written as a file of the case."""

    kind: Literal["HL7", "FHIR"]
    name: str
    content: bytes


def write_letters(
    case: Case,
    outcome: Outcome,
    destinations: Mapping[str, Destination],
    *,
    made_at: datetime,
    facility: str,
    default_issuer: str = "",
    referral: Referral | None = None,
    pdf: bytes | None = None,
) -> Iterator[Letter]:
    """The letters for those destinations, under the file names that `selection.select` looks for, in the order of sending.

    `default_issuer` is the assigning authority of a Patient ID whose images name none, for HL7; `referral` is the directory that FHIR
    proposes a centre from; `pdf` the report for people, for those that want it embedded.
    Findings that a message cannot hold cost that letter its findings, not its sending: it tells then that the case failed, and why.
    Raises `EncodingError` when not even that can be told.
    """
    assigned = _assigned(case, default_issuer)
    for name, destination in destinations.items():
        if isinstance(destination, MllpDestination | FolderDestination) and _reads(destination, "HL7"):
            encode = partial(encode_oru, assigned, destination=destination, made_at=made_at, facility=facility, pdf=pdf)
            yield Letter("HL7", oru_name(name), _told(encode, outcome, name))
        if isinstance(destination, FhirDestination | FolderDestination) and _reads(destination, "FHIR"):
            transactions = partial(_transactions, case, destination, made_at=made_at, institution=facility, referral=referral, pdf=pdf)
            for number, content in enumerate(_told(transactions, outcome, name), start=1):
                yield Letter("FHIR", bundle_name(name, number), content)


def _assigned(case: Case, default_issuer: str) -> Case:
    """The case with the authority that gave out its Patient ID, where the images do not say so: a receiver of several needs it."""
    patient = case.series.patient
    if patient.issuer or not patient.patient_id or not default_issuer:
        return case
    return replace(case, series=replace(case.series, patient=replace(patient, issuer=default_issuer)))


def _transactions(
    case: Case,
    destination: FhirDestination | FolderDestination,
    outcome: Outcome,
    *,
    made_at: datetime,
    institution: str,
    referral: Referral | None,
    pdf: bytes | None,
) -> tuple[bytes, ...]:
    """As the server wants them; a folder gets R4, for whoever reads it."""
    encode = partial(encode_transactions, case, outcome, made_at=made_at, institution=institution, referral=referral)
    if isinstance(destination, FolderDestination):
        return encode()
    return encode(
        version=destination.version,
        most_entries=destination.most_entries,
        pdf=pdf if destination.is_pdf_embedded else None,
        takes_back=True,  # the delivery looks first whether there is anything to take back
    )


def _reads(destination: MllpDestination | FhirDestination | FolderDestination, kind: Literal["HL7", "FHIR"]) -> bool:
    return kind in destination.send if isinstance(destination, FolderDestination) else True


def _told(encode: Callable[[Outcome], T], outcome: Outcome, destination: str) -> T:
    try:
        return encode(outcome)
    except EncodingError as error:
        log.error("message_not_encoded", case=outcome.case_id, destination=destination, reason=type(error.__cause__).__name__)
        fault = StageReport(
            stage="message", status=StageStatus.FAILED, reason="the findings cannot be written as a message; see the report"
        )
        return encode(Outcome(case_id=outcome.case_id, revision=outcome.revision, is_failed=True, reports=(fault,)))
