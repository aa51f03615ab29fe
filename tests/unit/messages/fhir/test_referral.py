"""A referral that a person is to confirm."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from dermanode.config import Centre, Referral
from dermanode.domain import Case, Outcome
from dermanode.messages.fhir.encode import encode_transactions
from dermanode.messages.fhir.terms import IDENTIFIERS, REVISION

NPI = "http://hl7.org/fhir/sid/us-npi"
CENTRE = Centre(name="Dermatology", identifier="123", identifier_system=NPI, city="Bonn", telephone="+49 228 1")
DIRECTORY = Referral(centres=(CENTRE, Centre(name="Another")), within_days=10)

Json = dict[str, Any]


def told(case: Case, outcome: Outcome, made_at: datetime, directory: Referral | None = DIRECTORY, **wishes: Any) -> dict[str, Json]:
    """The entries by the type of their resource; of several the last."""
    (content,) = encode_transactions(case, outcome, made_at=made_at, referral=directory, most_entries=99, **wishes)
    return {entry["resource"]["resourceType"]: entry for entry in json.loads(content)["entry"]}


def of_level(outcome: Outcome, level: str) -> Outcome:
    assert outcome.risk
    return replace(outcome, risk=replace(outcome.risk, level=level))


def test_high_risk_proposes_a_referral_that_is_only_a_draft(case: Case, outcome: Outcome, made_at: datetime) -> None:
    found = told(case, outcome, made_at)
    request = found["ServiceRequest"]["resource"]
    assert (request["status"], request["intent"], request["priority"]) == ("draft", "proposal", "urgent")
    assert request["code"]["coding"][0]["code"] == "3457005"
    assert request["requester"]["reference"] in {found["Device"]["fullUrl"], *_devices(case, outcome, made_at)}
    assert request["performer"] == [{"reference": found["Organization"]["fullUrl"], "type": "Organization"}]
    assert request["locationReference"] == [{"reference": found["Location"]["fullUrl"], "type": "Location"}]
    assert request["reasonReference"][0]["reference"] == found["DiagnosticReport"]["fullUrl"]
    assert request["supportingInfo"][0]["reference"] == found["RiskAssessment"]["fullUrl"]
    assert request["extension"] == [{"url": REVISION, "valuePositiveInt": 1}]
    notes = " ".join(note["text"] for note in request["note"])
    assert "only when a person has confirmed it" in notes
    assert outcome.research_use in notes


def test_referral_says_where_the_model_is_out_of_its_depth(case: Case, outcome: Outcome, made_at: datetime) -> None:
    assert outcome.classification
    strange = replace(outcome, classification=replace(outcome.classification, is_in_domain=False))
    for said, is_warned in ((outcome, False), (strange, True)):
        notes = json.dumps(told(case, said, made_at)["ServiceRequest"]["resource"]["note"])
        assert ("unlike those the model was trained on" in notes) is is_warned


def _devices(case: Case, outcome: Outcome, made_at: datetime) -> set[str]:
    (content,) = encode_transactions(case, outcome, made_at=made_at, most_entries=99)
    return {e["fullUrl"] for e in json.loads(content)["entry"] if e["resource"]["resourceType"] == "Device"}


def test_appointment_is_proposed_within_the_days_of_the_settings(case: Case, outcome: Outcome, made_at: datetime) -> None:
    found = told(case, outcome, made_at)
    proposed = found["Appointment"]["resource"]
    assert proposed["status"] == "proposed"
    assert proposed["basedOn"] == [{"reference": found["ServiceRequest"]["fullUrl"], "type": "ServiceRequest"}]
    (period,) = proposed["requestedPeriod"]
    start, end = (datetime.fromisoformat(period[name]) for name in ("start", "end"))
    assert (start, end - start) == (made_at, timedelta(days=10))
    patient, place = proposed["participant"]
    assert patient["actor"]["identifier"]["value"] == "P|1^2"
    assert place["actor"]["reference"] == found["Location"]["fullUrl"]
    assert outcome.research_use in proposed["comment"]


def test_first_centre_of_the_directory_is_proposed_under_its_own_number(case: Case, outcome: Outcome, made_at: datetime) -> None:
    found = told(case, outcome, made_at)
    centre = found["Organization"]
    assert centre["resource"]["identifier"] == [{"system": NPI, "value": "123"}]
    assert centre["request"]["ifNoneExist"] == f"identifier={NPI}|123"
    assert found["Location"]["resource"]["managingOrganization"]["reference"] == centre["fullUrl"]


def test_centre_without_a_number_is_named_by_name_and_place(case: Case, outcome: Outcome, made_at: datetime) -> None:
    centres = (Centre(name="A"), Centre(name="A", city="Bonn"), Centre(name="A", identifier="1"))
    found = [told(case, outcome, made_at, Referral(centres=(centre,)))["Organization"]["resource"] for centre in centres]
    assert {one["identifier"][0]["system"] for one in found} == {IDENTIFIERS}
    assert found[0]["identifier"] != found[1]["identifier"]
    assert "address" not in found[0]
    assert "telecom" not in found[0]


@pytest.mark.parametrize("number", ["a,b", "a|b", "a$b", "a\\b"])
def test_number_that_a_search_would_misread_is_told_and_not_searched_for(
    case: Case, outcome: Outcome, made_at: datetime, number: str
) -> None:
    odd = Centre(name="A", identifier=number, identifier_system="urn:x")
    entry = told(case, outcome, made_at, Referral(centres=(odd,)))["Organization"]
    assert entry["resource"]["identifier"][1] == {"system": "urn:x", "value": number}
    assert entry["request"]["ifNoneExist"].startswith(f"identifier={IDENTIFIERS}|")


def test_number_is_written_as_an_address_wants_it(case: Case, outcome: Outcome, made_at: datetime) -> None:
    odd = Centre(name="A", identifier="1 &=2", identifier_system="urn:x")
    assert (
        told(case, outcome, made_at, Referral(centres=(odd,)))["Organization"]["request"]["ifNoneExist"] == "identifier=urn:x|1%20%26%3D2"
    )


@pytest.mark.parametrize("directory", [None, Referral()])
def test_without_a_directory_nothing_is_proposed(case: Case, outcome: Outcome, made_at: datetime, directory: Referral | None) -> None:
    again = replace(case, is_correction=True)
    for of in (case, again):
        assert not {"ServiceRequest", "Appointment", "Organization", "Location"} & set(
            told(of, outcome, made_at, directory, takes_back=True)
        )


def test_lower_risk_proposes_nothing_unless_the_settings_say_so(case: Case, outcome: Outcome, made_at: datetime) -> None:
    moderate = of_level(outcome, "moderate")
    assert "ServiceRequest" not in told(case, moderate, made_at)
    wide = DIRECTORY.model_copy(update={"levels": ("moderate", "high")})
    assert told(case, moderate, made_at, wide)["ServiceRequest"]["resource"]["priority"] == "routine"


def test_correction_whose_risk_fell_takes_referral_and_appointment_back(case: Case, outcome: Outcome, made_at: datetime) -> None:
    first = told(case, outcome, made_at)
    later = replace(case, revision=2, is_correction=True)
    for now, words in ((of_level(outcome, "low"), "the risk is now low"), (replace(outcome, risk=None), "no risk score any more")):
        found = told(later, now, made_at)
        request, visit = found["ServiceRequest"], found["Appointment"]
        assert request["request"] == first["ServiceRequest"]["request"]
        assert visit["request"] == first["Appointment"]["request"]
        assert (request["resource"]["status"], visit["resource"]["status"]) == ("revoked", "cancelled")
        assert words in request["resource"]["note"][0]["text"]
        assert words in visit["resource"]["cancelationReason"]["text"]
        assert "Organization" not in found


def test_first_result_takes_nothing_back_but_for_who_looks_first(case: Case, outcome: Outcome, made_at: datetime) -> None:
    low = of_level(outcome, "low")
    assert "ServiceRequest" not in told(case, low, made_at)
    assert told(case, low, made_at, takes_back=True)["ServiceRequest"]["resource"]["status"] == "revoked"
