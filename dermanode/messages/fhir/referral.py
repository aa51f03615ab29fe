"""A referral as a proposal: a ServiceRequest and an Appointment for a person to confirm, and the centre that they name."""

from __future__ import annotations

from datetime import timedelta

from dermanode.config.destinations import Centre, Referral
from dermanode.domain import Code, Risk
from dermanode.messages.fhir import terms
from dermanode.messages.fhir.observations import observation_name
from dermanode.messages.fhir.report import report_name
from dermanode.messages.fhir.risk import risk_name
from dermanode.messages.fhir.telling import Telling
from dermanode.messages.fhir.terms import Json, Named

PATIENT_REFERRAL = Code("3457005", "SCT", "Patient referral")
DERMATOLOGY = Code("394582007", "SCT", "Dermatology")

ASKS = "Proposed by an algorithm: it takes effect only when a person has confirmed it."


def request_name(telling: Telling) -> Named:
    return telling.part("ServiceRequest", "referral")


def appointment_name(telling: Telling) -> Named:
    return telling.part("Appointment", "appointment")


def organization_name(centre: Centre) -> Named:
    """By the directory's number; without one that a search understands, by name and place."""
    # These mean something in a search, and not every server lets them stand for themselves behind a backslash
    if centre.identifier and centre.identifier_system and not set("\\|,$") & set(centre.identifier):
        return Named("Organization", centre.identifier, centre.identifier_system)
    return Named("Organization", terms.digest("centre", centre.name, *centre.address, centre.postal_code, centre.city, centre.country))


def location_name(centre: Centre) -> Named:
    owner = organization_name(centre)
    return Named("Location", terms.digest("location", owner.system, owner.value, *centre.address, centre.postal_code, centre.city))


def organization(centre: Centre) -> Json:
    numbers = [organization_name(centre).identifier]
    own = terms.filled(system=centre.identifier_system or None, value=centre.identifier or None)
    if centre.identifier and own not in numbers:
        numbers.append(own)
    return terms.told(
        "Organization",
        identifier=numbers,
        active=True,
        name=centre.name,
        telecom=_telecom(centre),
        address=[address] if (address := _address(centre)) else None,
    )


def location(centre: Centre) -> Json:
    return terms.told(
        "Location",
        identifier=[location_name(centre).identifier],
        status="active",
        name=centre.name,
        mode="instance",
        telecom=_telecom(centre),
        address=_address(centre),
        managingOrganization=organization_name(centre).reference,
    )


def _telecom(centre: Centre) -> list[Json]:
    ways = (("phone", centre.telephone), ("email", centre.email))
    return [{"system": system, "value": value, "use": "work"} for system, value in ways if value]


def _address(centre: Centre) -> Json:
    return terms.filled(
        line=list(centre.address), city=centre.city or None, postalCode=centre.postal_code or None, country=centre.country or None
    )


def _period(telling: Telling, directory: Referral) -> Json:
    return {"start": telling.made_at, "end": telling.made_at + timedelta(days=directory.within_days)}


def request(telling: Telling, risk: Risk, directory: Referral) -> Json:
    """The referral to the first centre of the directory, as a draft."""
    centre, classes = directory.centres[0], telling.outcome.classification
    doubt = "" if classes is None or classes.is_in_domain else "The images are unlike those the model was trained on."
    return terms.told(
        "ServiceRequest",
        extension=[telling.revision],
        identifier=[request_name(telling).identifier],
        status="draft",
        intent="proposal",
        priority="urgent" if risk.level == "high" else "routine",
        code=terms.concept(PATIENT_REFERRAL, text="Referral to a dermatologist"),
        subject=telling.subject,
        occurrencePeriod=_period(telling, directory),
        authoredOn=telling.made_at,
        requester=telling.node.reference,
        performer=[organization_name(centre).reference],
        locationReference=[location_name(centre).reference],
        # A RiskAssessment may not be a reason (R4 and R5): the report is, and the risk supports it
        reasonReference=[report_name(telling).reference, observation_name(telling, "assessment").reference],
        supportingInfo=[risk_name(telling).reference],
        bodySite=[telling.site] if telling.site else None,
        note=terms.notes(ASKS, doubt, f"Risk {risk.level}, score {risk.score:.2f}. {risk.recommendation}", telling.outcome.research_use),
    )


def appointment(telling: Telling, risk: Risk, directory: Referral) -> Json:
    """The visit that the referral asks for, without a time as yet."""
    return terms.told(
        "Appointment",
        extension=[telling.revision],
        identifier=[appointment_name(telling).identifier],
        status="proposed",
        specialty=[terms.concept(DERMATOLOGY)],
        reasonReference=[observation_name(telling, "assessment").reference],
        supportingInformation=[report_name(telling).reference, risk_name(telling).reference],
        description="Dermatologist: a skin lesion to be looked at",
        created=telling.made_at,
        comment=f"{ASKS} {telling.outcome.research_use}",
        basedOn=[request_name(telling).reference],
        requestedPeriod=[_period(telling, directory)],
        participant=[_invited(telling.subject), _invited(location_name(directory.centres[0]).reference)],
    )


def revoked_request(telling: Telling) -> Json:
    return terms.told(
        "ServiceRequest",
        extension=[telling.revision],
        identifier=[request_name(telling).identifier],
        status="revoked",
        intent="proposal",
        code=terms.concept(PATIENT_REFERRAL, text="Referral to a dermatologist"),
        subject=telling.subject,
        authoredOn=telling.made_at,
        requester=telling.node.reference,
        reasonReference=[report_name(telling).reference],
        note=terms.notes(_revoked(telling), telling.outcome.research_use),
    )


def cancelled_appointment(telling: Telling) -> Json:
    return terms.told(
        "Appointment",
        extension=[telling.revision],
        identifier=[appointment_name(telling).identifier],
        status="cancelled",
        cancelationReason={"text": _revoked(telling)},
        specialty=[terms.concept(DERMATOLOGY)],
        created=telling.made_at,
        comment=f"{_revoked(telling)} {telling.outcome.research_use}",
        participant=[_invited(telling.subject)],
    )


def _revoked(telling: Telling) -> str:
    risk = telling.outcome.risk
    now = f"the risk is now {terms.words(risk.level) or 'unnamed'}" if risk else "there is no risk score any more"
    return f"Taken back by the algorithm that proposed it: {now}."


def _invited(actor: Json) -> Json:
    return {"actor": actor, "required": "required", "status": "needs-action"}
