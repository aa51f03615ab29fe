"""The ways out: where results go, and how each place wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dermanode.config.section import Port, Section
from dermanode.config.tls import ClientTls
from dermanode.domain.identifiers import AETitle


class Retry(Section):
    """How the outbox comes back to a destination."""

    first_s: float = Field(5.0, gt=0, description="Wait before the second try; doubled each time.")
    longest_s: float = Field(900.0, gt=0, description="The wait never grows beyond this.")
    attempts: int = Field(20, ge=1, description="After so many tries a delivery becomes a dead letter, to be retried by hand.")


class _Destination(Section):
    retry: Retry = Field(Retry(), description="How to come back after a failure.")
    timeout_s: float = Field(30.0, gt=0, description="How long to wait for an answer.")


ObjectKind = Literal["SEG", "SEG_FRACTIONAL", "SEG_LABELMAP", "SURFACE_SEG", "STL", "SC", "OVERLAY", "PMAP", "SR", "PDF", "KOS", "OTHER"]
"""SEG: binary. SC: heat maps as pictures. OVERLAY: the photographs with their outlines as pictures. PMAP: heights and saliency as
parametric maps. KOS: rejection notes for what a later revision replaces. OTHER: what plugins add."""

USUAL_KINDS: tuple[ObjectKind, ...] = ("SEG", "SURFACE_SEG", "STL", "SC", "SR", "PDF", "OTHER")


class DimseDestination(_Destination):
    """A PACS that takes C-STORE."""

    type: Literal["dimse"]
    ae_title: AETitle = Field(..., description="The AE title to call.")
    host: str = Field(..., description="Its address.")
    port: Port = Field(..., description="Its DICOM port.")
    tls: ClientTls | None = Field(None, description="Call it with TLS.")
    profile: str | None = Field(
        None, description="A destination profile (`profiles`), which says what it gets; `send` overrides its kinds."
    )
    send: tuple[ObjectKind, ...] = Field(USUAL_KINDS, description="Which kinds of objects it gets.")
    commitment: Literal["auto", "never"] = Field(
        "auto", description="`auto`: ask for storage commitment where the PACS offers it; the delivery then ends as committed."
    )
    commitment_timeout_s: float = Field(
        3600.0, gt=0, description="Without a report on the commitment for so long, the objects are sent again."
    )


class DicomwebDestination(_Destination):
    """A PACS that takes STOW-RS."""

    type: Literal["dicomweb"]
    url: str = Field(..., description="The base URL, such as https://pacs.example.org/dicom-web.", pattern=r"^https?://")
    username: str = Field("", description="For HTTP authentication.")
    password: str = Field("", description="For HTTP authentication.")
    token: str | None = Field(None, description="A bearer token, where the server wants one.")
    tls: ClientTls = ClientTls()
    profile: str | None = Field(
        None, description="A destination profile (`profiles`), which says what it gets; `send` overrides its kinds."
    )
    send: tuple[ObjectKind, ...] = Field(USUAL_KINDS, description="Which kinds of objects it gets.")


class FolderDestination(_Destination):
    """A folder into which results are written, one sub-folder a case."""

    type: Literal["folder"]
    path: Path = Field(..., description="The folder; it is made when missing.")
    profile: str | None = Field(
        None, description="A destination profile (`profiles`), which says what it gets; `send` overrides its kinds."
    )
    send: tuple[ObjectKind | Literal["HL7", "FHIR"], ...] = Field(USUAL_KINDS, description="Which kinds it gets.")


class MllpDestination(_Destination):
    """An HL7 v2 listener that takes ORU^R01 over MLLP."""

    type: Literal["mllp"]
    host: str = Field(..., description="Its address.")
    port: Port = Field(..., description="Its port.")
    tls: ClientTls | None = Field(None, description="Send with TLS (MLLPS).")
    receiving_application: str = Field("", description="MSH-5.")
    receiving_facility: str = Field("", description="MSH-6.")
    processing_id: Literal["P", "T", "D"] = Field("P", description="MSH-11: production, training or debugging.")
    acknowledgement: Literal["original", "enhanced"] = Field(
        "original", description="`original`: one answer. `enhanced`: the receiver first accepts, then answers (MSH-15 and MSH-16 AL)."
    )
    result_status: Literal["preliminary", "final"] = Field(
        "preliminary", description="OBR-25 of a first result; a later revision's is always corrected."
    )
    is_pdf_embedded: bool = Field(False, description="Carry the report for people as an ED observation.")
    mapping: Path | None = Field(None, description="A file that names and picks observations as this hospital wants them.")


class Oauth(Section):
    """OAuth 2 client credentials (RFC 6749, 4.4)."""

    token_url: str = Field(..., description="Where tokens are given out.", pattern=r"^https?://")
    client_id: str = Field(..., description="Our name there.")
    client_secret: str = Field(..., description="Our secret there.")
    scope: str = Field("", description="What we ask for: to create, update and search, such as `system/*.crus`.")


class FhirDestination(_Destination):
    """A FHIR server that takes transaction bundles."""

    type: Literal["fhir"]
    url: str = Field(..., description="The base URL.", pattern=r"^https?://")
    version: Literal["R4", "R5"] = Field("R4", description="Which FHIR it speaks.")
    token: str | None = Field(None, description="A bearer token, where the server wants one.")
    oauth: Oauth | None = Field(None, description="Client credentials, where tokens are to be asked for.")
    tls: ClientTls = ClientTls()
    most_entries: int = Field(
        8,
        ge=4,
        description="At most so many entries a transaction: some servers limit conditional ones. What is more goes in further ones.",
    )
    is_pdf_embedded: bool = Field(False, description="Carry the report for people in DiagnosticReport.presentedForm.")


Destination = Annotated[
    DimseDestination | DicomwebDestination | FolderDestination | MllpDestination | FhirDestination, Field(discriminator="type")
]


class Centre(Section):
    """A dermatology centre to which patients are referred."""

    name: str = Field(..., min_length=1, description="Its name.")
    identifier: str = Field("", description="Its number, such as an NPI; with `identifier_system`.")
    identifier_system: str = Field("", description="The URI of the numbering.")
    address: tuple[str, ...] = Field((), description="Lines of its address.")
    city: str = Field("", description="Its city.")
    postal_code: str = Field("", description="Its postal code.")
    country: str = Field("", description="Two letters, ISO 3166.", max_length=2)
    telephone: str = Field("", description="Its telephone number.")
    email: str = Field("", description="Its e-mail address.")


class Referral(Section):
    """What is proposed when the risk is high: a referral and an appointment, for a person to confirm."""

    centres: tuple[Centre, ...] = Field((), description="The directory; the first is proposed. Empty: no referral is written.")
    levels: tuple[Literal["moderate", "high"], ...] = Field(("high",), description="Levels of risk that a referral is proposed for.")
    within_days: int = Field(14, ge=1, description="The appointment is proposed within so many days.")
