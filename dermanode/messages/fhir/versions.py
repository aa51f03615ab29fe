"""R4 and R5: the resources are described once, by R4's names, and here stand all differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from dermanode.messages.fhir.terms import Json

Version = Literal["R4", "R5"]

_ONLY_IN_R5 = frozenset({"ImagingSelection"})


def in_version(resource: Json, version: Version) -> Json | None:
    """The resource as that version has it; None where it has no such resource."""
    if version == "R5":
        return _TO_R5.get(resource["resourceType"], dict)(resource)
    if resource["resourceType"] in _ONLY_IN_R5:
        return None
    without = {name: _without_r5(value) for name, value in resource.items()}
    return {name: value for name, value in without.items() if value != []}


def written(bundle: Json, version: Version) -> bytes:
    """The bundle as JSON. Raises `pydantic.ValidationError` where it is none of that version.

    The structure is that version's, down to names and cardinalities; codes of required value sets are not looked up.
    """
    # Imported by whoever writes: the receiver's process, which delivers, needs no models. R4B's serve R4.
    if version == "R5":
        from fhir.resources import get_fhir_model_class
    else:
        from fhir.resources.R4B import get_fhir_model_class
    text: str = get_fhir_model_class("Bundle").model_validate(bundle).model_dump_json(exclude_none=True)
    return text.encode()


def _without_r5(value: object) -> object:
    if not isinstance(value, list):
        return value
    # Every reference of ours names the type that it refers to
    return [one for one in value if not (isinstance(one, dict) and str(one.get("type")) in _ONLY_IN_R5)]


def _renamed(resource: Json, names: Mapping[str, str]) -> Json:
    return {names.get(name, name): value for name, value in resource.items()}


def _device(told: Json) -> Json:
    made = _renamed(told, {"deviceName": "name"})
    names = [{"value": one["name"], "type": one["type"]} for one in told["deviceName"]]
    return {**made, "name": names, "type": [told["type"]]}


def _body_structure(told: Json) -> Json:
    """The place becomes a structure of its own."""
    made = {name: value for name, value in told.items() if name not in ("location", "locationQualifier")}
    included = {"structure": told["location"]}
    if "locationQualifier" in told:
        included["laterality"] = told["locationQualifier"][0]
    return {**made, "includedStructure": [included]}


def _observation(told: Json) -> Json:
    # Invariant obs-8: a body structure takes the place of a body site. It is what the focus says in R4.
    made = {name: value for name, value in told.items() if name not in ("focus", "bodySite")}
    return {**made, "bodyStructure": told["focus"][0]}


def _report(told: Json) -> Json:
    return _renamed(told, {"imagingStudy": "study"})


def _request(told: Json) -> Json:
    made = _renamed(told, {"reasonReference": "reason", "locationReference": "location"})
    for name in ("reason", "location", "supportingInfo"):
        if name in made:
            made[name] = [{"reference": reference} for reference in made[name]]
    return {**made, "code": {"concept": told["code"]}}


def _appointment(told: Json) -> Json:
    made = _renamed(told, {"reasonReference": "reason", "cancelationReason": "cancellationReason", "comment": "note"})
    if "reason" in made:
        made["reason"] = [{"reference": reference} for reference in made["reason"]]
    invited = [{**one, "required": one["required"] == "required"} for one in told["participant"]]
    return {**made, "note": [{"text": told["comment"]}], "participant": invited, "subject": told["participant"][0]["actor"]}


def _organization(told: Json) -> Json:
    """Ways to reach it, and its address, become a contact."""
    made = {name: value for name, value in told.items() if name not in ("telecom", "address")}
    contact = {"telecom": told.get("telecom"), "address": (told.get("address") or [None])[0]}
    contact = {name: value for name, value in contact.items() if value}
    return {**made, "contact": [contact]} if contact else made


def _location(told: Json) -> Json:
    made = {name: value for name, value in told.items() if name != "telecom"}
    return {**made, "contact": [{"telecom": told["telecom"]}]} if "telecom" in told else made


_TO_R5: Mapping[str, Callable[[Json], Json]] = {
    "Device": _device,
    "BodyStructure": _body_structure,
    "Observation": _observation,
    "DiagnosticReport": _report,
    "ServiceRequest": _request,
    "Appointment": _appointment,
    "Organization": _organization,
    "Location": _location,
}
