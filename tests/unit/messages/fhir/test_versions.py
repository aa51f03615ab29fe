"""R4 and R5 of one case: both are what their version asks for, and neither says what the other does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fhir.resources import get_fhir_model_class as r5
from fhir.resources.R4B import get_fhir_model_class as r4
from pydantic import BaseModel

from dermanode.config import Centre, Referral
from dermanode.domain import Case, Outcome
from dermanode.messages.fhir.encode import encode_transactions
from dermanode.messages.fhir.versions import Version
from dermanode.pipeline.run import Folded
from dermanode.pipeline.summary import summarise
from dermanode.testing import worked_cases

DIRECTORY = Referral(
    centres=(
        Centre(
            name="Dermatology",
            identifier="12 3&4",
            identifier_system="http://hl7.org/fhir/sid/us-npi",
            address=("Main Street 1",),
            city="Bonn",
            postal_code="53113",
            country="DE",
            telephone="+49 228 1",
            email="skin@example.org",
        ),
    )
)

# R5 (5.0.0), the required value sets of the elements that are written here, whole; written down from their pages
_OBSERVATION_STATUS = "registered preliminary final amended corrected cancelled entered-in-error unknown"
R5_REQUIRED: Mapping[str, str] = {
    "Bundle.type": "document message transaction transaction-response batch batch-response history searchset collection "
    "subscription-notification",
    "Bundle.entry.request.method": "GET HEAD POST PUT DELETE PATCH",
    "Device.status": "active inactive entered-in-error",
    "Device.name.type": "registered-name user-friendly-name patient-reported-name",
    "Observation.status": _OBSERVATION_STATUS,
    "RiskAssessment.status": _OBSERVATION_STATUS,
    "DiagnosticReport.status": "registered partial preliminary modified final amended corrected appended cancelled "
    "entered-in-error unknown",
    "ImagingSelection.status": "available entered-in-error unknown",
    "ImagingSelection.instance.imageRegion2D.regionType": "point polyline interpolated circle ellipse",
    "Provenance.entity.role": "revision quotation source instantiates removal",
    "ServiceRequest.status": "draft active on-hold revoked completed entered-in-error unknown",
    "ServiceRequest.intent": "proposal plan directive order original-order reflex-order filler-order instance-order option",
    "ServiceRequest.priority": "routine urgent asap stat",
    "Appointment.status": "proposed pending booked arrived fulfilled cancelled noshow entered-in-error checked-in waitlist",
    "Appointment.participant.status": "accepted declined tentative needs-action",
    "Location.status": "active suspended inactive",
    "Location.mode": "instance kind",
    "Organization.contact.telecom.system": "phone fax email pager url sms other",
    "Organization.contact.telecom.use": "home work temp old mobile",
    "Location.contact.telecom.system": "phone fax email pager url sms other",
    "Location.contact.telecom.use": "home work temp old mobile",
}
CODES = ("status", "intent", "priority", "mode", "use", "role", "regionType", "method")
"""Names of elements of type `code` that are written here, besides `type` and `system` of some."""


def summary_of(case: Case) -> Outcome:
    return summarise(Folded(case, worked_cases.outcome_of(case).reports), (), 1.0)


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Outcome]:
    folder: Path = tmp_path_factory.mktemp("photographs")
    case = worked_cases.worked([worked_cases.photograph(n) for n in (1, 2)], folder, is_metric=True)
    return case, summary_of(case)


def bundle(case: Case, outcome: Outcome, made_at: datetime, version: Version, **wishes: Any) -> dict[str, Any]:
    wishes = {"referral": DIRECTORY, "institution": "Klinikum", "pdf": b"%PDF", **wishes}
    (content,) = encode_transactions(case, outcome, made_at=made_at, version=version, most_entries=99, **wishes)
    made: dict[str, Any] = json.loads(content)
    return made


def tellings(worked: tuple[Case, Outcome]) -> Iterator[tuple[Case, Outcome]]:
    """All kinds of resources in all states: first and corrected, with and without a risk, at every level."""
    case, outcome = worked
    assert outcome.risk
    for of in (case, replace(case, revision=2, is_correction=True)):
        for level in ("high", "low"):
            yield of, replace(outcome, risk=replace(outcome.risk, level=level))
        yield of, replace(outcome, risk=None, classification=None, views=())


def resources(of: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [e["resource"] for e in of["entry"] if e["resource"]["resourceType"] == kind]


def leaves(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name not in ("resourceType", "type", "reference"):
                yield from leaves(value)
    elif isinstance(node, list):
        for one in node:
            yield from leaves(one)
    else:
        yield str(node)


def coded(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """(path, code) of every element that is a code of a required value set."""
    for name, value in node.items() if isinstance(node, dict) else ():
        here = f"{path}.{name}"
        if isinstance(value, str) and (name in CODES or here in R5_REQUIRED):
            yield here, value
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and name != "resource":
                yield from coded(one, here)


def misdirected(model: BaseModel) -> Iterator[str]:
    """References to a type that the element may not refer to, as the models' own notes say."""
    for name, told in type(model).model_fields.items():
        value = getattr(model, name, None)
        extra = told.json_schema_extra if isinstance(told.json_schema_extra, dict) else {}
        allowed = extra.get("enum_reference_types")
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, BaseModel):
                continue
            target = one.reference if type(one).__name__ == "CodeableReference" else one
            kind = target.type if type(target).__name__ == "Reference" else None
            if kind is not None and isinstance(allowed, list) and not {"Resource", kind} & set(allowed):
                yield f"{type(model).__name__}.{name} -> {kind}, not {allowed}"
            yield from misdirected(one)


@pytest.mark.parametrize(("version", "models"), [("R4", r4), ("R5", r5)])
def test_every_reference_is_to_a_type_that_the_element_may_refer_to(
    version: Version, models: Callable[[str], Any], worked: tuple[Case, Outcome], made_at: datetime
) -> None:
    for case, outcome in tellings(worked):
        told = models("Bundle").model_validate(bundle(case, outcome, made_at, version))
        assert [wrong for entry in told.entry for wrong in misdirected(entry.resource)] == []


def test_every_code_of_r5_is_of_its_required_value_set(worked: tuple[Case, Outcome], made_at: datetime) -> None:
    seen: set[str] = set()
    for case, outcome in tellings(worked):
        told = bundle(case, outcome, made_at, "R5")
        found = list(coded({**told, "entry": [{"request": e["request"]} for e in told["entry"]]}, "Bundle"))
        for entry in told["entry"]:
            found += coded(entry["resource"], entry["resource"]["resourceType"])
        for path, code in found:
            assert code in R5_REQUIRED[path].split(), path
            seen.add(path)
    assert seen == set(R5_REQUIRED)


def test_what_r4_says_r5_says_too(worked: tuple[Case, Outcome], made_at: datetime) -> None:
    for case, outcome in tellings(worked):
        first, fifth = (bundle(case, outcome, made_at, version) for version in ("R4", "R5"))
        for kind in {entry["resource"]["resourceType"] for entry in first["entry"]}:
            old, new = (sorted(leaves(resources(told, kind))) for told in (first, fifth))
            missing = {leaf for leaf in old if leaf not in new}
            # A site moves into the body structure; `required` becomes a truth value
            site = {"http://snomed.info/sct", "45980000", "Skin of back"} if kind == "Observation" else set()
            assert missing <= site | {"required"}, kind


def test_r5_tells_the_outlines_in_pixels_from_the_corner(worked: tuple[Case, Outcome], made_at: datetime) -> None:
    case, outcome = worked
    told = bundle(case, outcome, made_at, "R5")
    (selection,) = resources(told, "ImagingSelection")
    assert selection["studyUid"] == case.series.study_instance_uid
    for view, instance in zip(outcome.views, selection["instance"], strict=True):
        (region,) = instance["imageRegion2D"]
        pairs = list(zip(region["coordinate"][::2], region["coordinate"][1::2], strict=True))
        assert pairs[0] == pairs[-1]
        assert pairs[:-1] == [(column + 0.5, row + 0.5) for column, row in view.outlines[0]]
        assert instance["uid"] == view.sop_instance_uid
    urn = next(e["fullUrl"] for e in told["entry"] if e["resource"] is selection)
    for observation in resources(told, "Observation"):
        assert urn in [one.get("reference") for one in observation["derivedFrom"]]
    assert not resources(bundle(case, outcome, made_at, "R4"), "ImagingSelection")


def test_views_without_an_outline_make_no_selection(case: Case, outcome: Outcome, made_at: datetime) -> None:
    assert not resources(bundle(case, outcome, made_at, "R5"), "ImagingSelection")


def test_lesion_is_a_structure_of_its_own_in_r5(worked: tuple[Case, Outcome], made_at: datetime) -> None:
    told = bundle(*worked, made_at, "R5")
    (lesion,) = resources(told, "BodyStructure")
    (included,) = lesion["includedStructure"]
    assert (included["structure"]["text"], included["laterality"]["text"]) == ("Skin of back", "Left")
    urn = next(e["fullUrl"] for e in told["entry"] if e["resource"] is lesion)
    for observation in resources(told, "Observation"):
        assert observation["bodyStructure"]["reference"] == urn
        assert not {"bodySite", "focus"} & set(observation), "obs-8: a structure or a site"
