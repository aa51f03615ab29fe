"""What is sent of a case, given what the server has of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from dermanode.deliver.held import Fitted, Held, fitted, with_known
from dermanode.messages.fhir.terms import REVISION

Json = dict[str, Any]


def entry(kind: str, status: str, *, revision: int = 2, **more: Any) -> Json:
    extension = [{"url": REVISION, "valuePositiveInt": revision}]
    resource = {"resourceType": kind, "status": status, "extension": extension, **more}
    return {"fullUrl": f"urn:uuid:{kind}", "resource": resource, "request": {"method": "PUT", "url": f"{kind}?identifier=s|{kind}"}}


def bundle(*entries: Json) -> Json:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def on_server(kind: str, status: str = "preliminary", *, revision: int = 1, version: str = "4") -> Held:
    return Held(f"{kind}/7", status, revision, version)


def fit(*entries: Json, holds: Sequence[Held] = ()) -> Fitted:
    shelf: Mapping[str, list[Held]] = {}
    for held in holds:
        kind = held.reference.partition("/")[0]
        shelf = {**shelf, f"{kind}?identifier=s|{kind}": [*shelf.get(f"{kind}?identifier=s|{kind}", []), held]}
    return fitted([bundle(entry("DiagnosticReport", "amended"), *entries)], lambda search: shelf.get(search, []))


def sent(plan: Fitted) -> dict[str, Json]:
    return {one["resource"]["resourceType"]: one for made in plan.bundles for one in made["entry"]}


def test_what_is_not_there_is_created_if_it_still_is_not() -> None:
    made = sent(fit(entry("Observation", "amended")))
    for kind in ("DiagnosticReport", "Observation"):
        assert made[kind]["request"] == {"method": "POST", "url": kind, "ifNoneExist": f"identifier=s|{kind}"}


def test_what_is_there_is_replaced_if_it_is_still_what_was_seen() -> None:
    made = sent(fit(holds=[on_server("DiagnosticReport")]))["DiagnosticReport"]
    assert made["request"] == {"method": "PUT", "url": "DiagnosticReport/7", "ifMatch": 'W/"4"'}
    assert made["resource"]["id"] == "7"


def test_server_without_versions_gets_no_condition() -> None:
    made = sent(fit(holds=[on_server("DiagnosticReport", version="")]))["DiagnosticReport"]
    assert made["request"] == {"method": "PUT", "url": "DiagnosticReport/7"}


def test_two_of_one_identifier_are_left_to_the_servers_answer() -> None:
    made = sent(fit(holds=[on_server("DiagnosticReport"), on_server("DiagnosticReport")]))["DiagnosticReport"]
    assert made["request"] == {"method": "PUT", "url": "DiagnosticReport?identifier=s|DiagnosticReport"}


def test_nothing_is_sent_where_a_later_revision_is() -> None:
    plan = fit(entry("Observation", "amended"), holds=[on_server("DiagnosticReport", revision=3)])
    assert plan.bundles == ()
    assert plan.newer
    assert plan.newer.revision == 3


@pytest.mark.parametrize("revision", [0, 1, 2])
def test_the_same_and_earlier_revisions_are_replaced(revision: int) -> None:
    assert sent(fit(holds=[on_server("DiagnosticReport", revision=revision)]))


@pytest.mark.parametrize(("kind", "back"), [("RiskAssessment", "cancelled"), ("ServiceRequest", "revoked"), ("Appointment", "cancelled")])
def test_nothing_is_taken_back_that_was_never_told(kind: str, back: str) -> None:
    assert kind not in sent(fit(entry(kind, back)))


@pytest.mark.parametrize(
    ("kind", "was", "back"),
    [
        ("RiskAssessment", "preliminary", "cancelled"),
        ("RiskAssessment", "amended", "cancelled"),
        ("ServiceRequest", "draft", "revoked"),
        ("Appointment", "proposed", "cancelled"),
    ],
)
def test_what_no_longer_holds_is_taken_back(kind: str, was: str, back: str) -> None:
    made = sent(fit(entry(kind, back), holds=[on_server("DiagnosticReport"), on_server(kind, was)]))
    assert made[kind]["resource"]["status"] == back


@pytest.mark.parametrize(("kind", "is_now"), [("ServiceRequest", "active"), ("ServiceRequest", "completed"), ("Appointment", "booked")])
def test_what_a_person_has_confirmed_is_left_to_that_person(kind: str, is_now: str) -> None:
    back, proposed = {"ServiceRequest": ("revoked", "draft"), "Appointment": ("cancelled", "proposed")}[kind]
    for status in (back, proposed):
        assert kind not in sent(fit(entry(kind, status), holds=[on_server("DiagnosticReport"), on_server(kind, is_now)]))


def test_refused_proposal_is_made_anew_only_by_a_later_revision() -> None:
    proposal = entry("ServiceRequest", "draft")
    for revision, is_made in ((1, True), (2, False)):
        holds = [on_server("DiagnosticReport"), on_server("ServiceRequest", "revoked", revision=revision)]
        assert ("ServiceRequest" in sent(fit(proposal, holds=holds))) is is_made


def test_what_refers_to_a_resource_that_is_left_alone_finds_it() -> None:
    request, appointment = (
        entry("ServiceRequest", "draft"),
        entry("Appointment", "proposed", basedOn=[{"reference": "urn:uuid:ServiceRequest"}]),
    )
    plan = fit(request, appointment, holds=[on_server("DiagnosticReport"), on_server("ServiceRequest", "active")])
    (made,) = plan.bundles
    told = with_known(made, plan.known)["entry"][-1]["resource"]
    assert told["basedOn"] == [{"reference": "ServiceRequest/7"}]


def test_reference_within_a_transaction_stays() -> None:
    observation = entry("Observation", "amended")
    report = entry("DiagnosticReport", "amended", result=[{"reference": "urn:uuid:Observation"}])
    assert with_known(bundle(observation, report), {"urn:uuid:Observation": "Observation/7"}) == bundle(observation, report)


def test_transaction_of_which_nothing_is_left_is_not_sent() -> None:
    bundles = [bundle(entry("DiagnosticReport", "amended")), bundle(entry("ServiceRequest", "revoked"))]
    assert len(fitted(bundles, lambda _search: []).bundles) == 1


def test_bundle_of_somebody_else_is_sent_as_it_is() -> None:
    other = bundle({"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Basic"}, "request": {"method": "POST", "url": "Basic"}})
    assert fitted([other], lambda _search: []).bundles == (other,)


def test_resources_of_the_server_are_read_with_and_without_a_revision() -> None:
    extension = [{"url": "urn:x"}, {"url": REVISION, "valuePositiveInt": 3}]
    full = {"resourceType": "Appointment", "id": "a", "status": "booked", "meta": {"versionId": "9"}, "extension": extension}
    assert Held.parse(full) == Held("Appointment/a", "booked", 3, "9")
    assert Held.parse({"resourceType": "Appointment", "id": "a"}) == Held("Appointment/a", "", 0, "")
