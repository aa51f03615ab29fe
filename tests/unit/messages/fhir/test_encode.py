"""What R4 says of a case; `test_versions.py` holds R5 against it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from dermanode.dicom.uids import derive_uid
from dermanode.domain import Algorithm, Case, Order, Outcome, StageReport, StageStatus
from dermanode.domain.codes import PRIVATE_SCHEME
from dermanode.messages.fhir.encode import MOST_ENTRIES, encode_transactions
from dermanode.messages.fhir.terms import REVISION, RISK_PART, RISK_SCORE, SYSTEMS


def transactions(case: Case, outcome: Outcome, made_at: datetime, **wishes: Any) -> list[dict[str, Any]]:
    return [json.loads(one) for one in encode_transactions(case, outcome, made_at=made_at, **wishes)]


def encoded(case: Case, outcome: Outcome, made_at: datetime, **wishes: Any) -> dict[str, Any]:
    """All of it in one transaction."""
    (bundle,) = transactions(case, outcome, made_at, **{"most_entries": 99, **wishes})
    return bundle


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def observation(bundle: dict[str, Any], code: str) -> dict[str, Any]:
    return next(o for o in resources(bundle, "Observation") if o["code"]["coding"][0]["code"] == code)


def component(of: dict[str, Any], code: str) -> dict[str, Any]:
    return next(c for c in of["component"] if code in [coding["code"] for coding in c["code"]["coding"]])


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("reference"), str):
            yield node["reference"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for one in node:
            yield from references(one)


@pytest.mark.parametrize("which", ["outcome", "failed"])
@pytest.mark.parametrize("whose", ["case", "of_nobody"])
def test_every_bundle_is_a_valid_transaction_of_at_most_eight(
    which: str, whose: str, request: pytest.FixtureRequest, made_at: datetime
) -> None:
    for content in encode_transactions(request.getfixturevalue(whose), request.getfixturevalue(which), made_at=made_at):
        bundle = Bundle.model_validate_json(content)
        assert bundle.type == "transaction"
        assert len(bundle.entry) <= MOST_ENTRIES == 8


def test_first_result_is_preliminary_and_a_correction_amends_it(case: Case, outcome: Outcome, made_at: datetime) -> None:
    later = replace(case, revision=2, is_correction=True)
    for of, status, number in ((case, "preliminary", 1), (later, "amended", 2)):
        bundle = encoded(of, outcome, made_at)
        told = [r for kind in ("Observation", "DiagnosticReport", "RiskAssessment") for r in resources(bundle, kind)]
        assert {r["status"] for r in told} == {status}
        assert resources(bundle, "DiagnosticReport")[0]["extension"] == [{"url": REVISION, "valuePositiveInt": number}]


def test_what_visits_share_is_created_once_and_what_revisions_share_is_replaced(case: Case, outcome: Outcome, made_at: datetime) -> None:
    for entry in encoded(case, outcome, made_at)["entry"]:
        resource, asked = entry["resource"], entry["request"]
        kind = resource["resourceType"]
        if kind == "Provenance":
            assert (asked["method"], asked["url"]) == ("PUT", f"Provenance/{resource['id']}")
            assert entry["fullUrl"] == f"urn:uuid:{resource['id']}"
            continue
        own = resource["identifier"][0]
        criterion = f"identifier={own['system']}|{own['value']}"
        if kind in ("Device", "BodyStructure"):
            assert (asked["method"], asked["url"], asked["ifNoneExist"]) == ("POST", kind, criterion)
        else:
            assert (asked["method"], asked["url"]) == ("PUT", f"{kind}?{criterion}")


def test_every_internal_reference_is_an_entry(case: Case, outcome: Outcome, made_at: datetime) -> None:
    bundle = encoded(case, outcome, made_at)
    entries = {entry["fullUrl"] for entry in bundle["entry"]}
    assert len(entries) == len(bundle["entry"])
    assert set(references(bundle)) <= entries


def test_same_case_gives_the_same_bundle(case: Case, outcome: Outcome, made_at: datetime) -> None:
    again = replace(outcome, took_s=5.0)
    assert encode_transactions(case, outcome, made_at=made_at) == encode_transactions(case, again, made_at=made_at)


def test_revisions_and_repeated_runs_share_their_resources_and_series_do_not(
    case: Case, outcome: Outcome, failed: Outcome, made_at: datetime
) -> None:
    def names(of: Case, said: Outcome) -> dict[str, str]:
        return {
            r["resourceType"] + r.get("code", {}).get("text", ""): r["identifier"][0]["value"]
            for r in (e["resource"] for e in encoded(of, said, made_at)["entry"])
            if r["resourceType"] in ("DiagnosticReport", "Observation")
        }

    first = replace(case, id="c5b2f0e91a7d34-r1")
    second = replace(case, id="cd7e1f02b3a455-r2", revision=2, is_correction=True, origin=first.id)
    other = replace(case, id="c99999999999999-r1")
    assert names(first, failed) == names(first, outcome) == names(second, outcome)
    assert not set(names(first, outcome).values()) & set(names(other, outcome).values())


def test_two_patients_with_one_tracking_uid_have_two_lesions(
    other_patient: Callable[[str], Case], outcome: Outcome, made_at: datetime
) -> None:
    lesions = {
        resources(encoded(other_patient(who), outcome, made_at), "BodyStructure")[0]["identifier"][0]["value"] for who in ("A", "B", "")
    }
    assert len(lesions) == 3


def test_the_left_and_the_right_lesion_of_one_name_are_two(case: Case, outcome: Outcome, made_at: datetime) -> None:
    lesions = set()
    for side in ("L", "R", ""):
        one = replace(case, series=replace(case.series, tracking_uid=None, tracking_id="1", laterality=side))
        (lesion,) = resources(encoded(one, outcome, made_at), "BodyStructure")
        lesions.add(lesion["identifier"][0]["value"])
    assert len(lesions) == 3


def test_patient_study_and_order_are_referred_to_by_identifier(case: Case, outcome: Outcome, made_at: datetime) -> None:
    bundle = encoded(case, outcome, made_at)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["subject"]["identifier"]["value"] == "P|1^2"
    assert report["subject"]["display"] == "Müller, Änne"
    assert report["imagingStudy"][0]["identifier"] == {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}
    assert [(one["identifier"]["type"]["coding"][0]["code"], one["identifier"]["value"]) for one in report["basedOn"]] == [
        ("ACSN", "A\\100")
    ]
    assert not resources(bundle, "Patient")


def test_measurements_are_components_with_ucum_units(case: Case, outcome: Outcome, made_at: datetime) -> None:
    found = observation(encoded(case, outcome, made_at), "MEASUREMENTS")
    assert component(found, "height_max_mm")["valueQuantity"] == {
        "value": 0.82,
        "unit": "millimeter",
        "system": "http://unitsofmeasure.org",
        "code": "mm",
    }
    assert component(found, "volume_mm3")["dataAbsentReason"]["text"] == "heights are relative"
    assert [c["code"]["text"] for c in found["component"]][2:4] == ["Asymmetry", "Height, Maximum"]
    assert any("90 % interval 11 to 13.5" in note["text"] for note in found["note"])


def test_intervals_are_ranges_beside_their_numbers_and_no_reference_ranges(case: Case, outcome: Outcome, made_at: datetime) -> None:
    found = observation(encoded(case, outcome, made_at), "MEASUREMENTS")
    interval = component(found, "area_mm2.interval90")
    assert interval["code"]["text"] == "Area: 90 % interval"
    assert [(interval["valueRange"][end]["value"], interval["valueRange"][end]["code"]) for end in ("low", "high")] == [
        (11, "mm2"),
        (13.5, "mm2"),
    ]
    assert "referenceRange" not in json.dumps(found)


def test_an_interval_upside_down_is_none(case: Case, outcome: Outcome, made_at: datetime) -> None:
    assert outcome.features
    first, *rest = outcome.features.measurements
    turned = replace(outcome, features=replace(outcome.features, measurements=(replace(first, lower=14.0), *rest)), progression=None)
    assert "interval90" not in json.dumps(encoded(case, turned, made_at))


def test_changes_trends_and_the_surfaces_trust_are_components(case: Case, outcome: Outcome, made_at: datetime) -> None:
    found = observation(encoded(case, outcome, made_at), "MEASUREMENTS")
    assert component(found, "area_change_pct")["valueQuantity"]["value"] == 12
    trend = component(found, "area_trend")["valueQuantity"]
    assert (trend["value"], trend["code"]) == (-0.4, "%/(30.d)")
    assert component(found, "area_trend.interval90")["valueRange"]["low"]["value"] == -0.9
    assert component(found, "TILT")["valueQuantity"]["code"] == "deg"
    assert component(found, "CONFSURF")["valueQuantity"]["value"] == 0.3


def test_each_part_of_the_risk_is_in_the_assessment_with_its_contribution(case: Case, outcome: Outcome, made_at: datetime) -> None:
    bundle = encoded(case, outcome, made_at)
    (risk,) = resources(bundle, "RiskAssessment")
    score, part, left_out = risk["extension"]
    assert (score["url"], score["valueDecimal"]) == (RISK_SCORE, 0.61)
    told = {e["url"]: e for e in part["extension"]}
    assert part["url"] == RISK_PART
    assert told["name"]["valueCodeableConcept"]["coding"][0]["code"] == "RISK-MALIGNANCY"
    assert [told[name]["valueDecimal"] for name in ("weight", "value", "contribution")] == [1, 0.61, 0.61]
    assert {e["url"]: e for e in left_out["extension"]}["missing"]["valueString"] == "no second prior"
    assert "malignancy: 0.610 x weight 1.000 = 0.610; left out: growth (no second prior)" in risk["note"][0]["text"]
    observations = {e["fullUrl"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Observation"}
    assert {basis["reference"] for basis in risk["basis"] if "reference" in basis} <= observations


def test_probabilities_are_components_and_the_risk_score_is_no_probability(case: Case, outcome: Outcome, made_at: datetime) -> None:
    bundle = encoded(case, outcome, made_at)
    found = observation(bundle, "ASSESSMENT")
    assert found["valueCodeableConcept"]["coding"][0]["code"] == "93655004"
    assert component(found, "PROB-NV")["valueQuantity"]["value"] == 0.3
    assert component(found, "RISKSCORE")["valueQuantity"]["value"] == 0.61
    assert component(found, "RISKLEVEL")["valueString"] == "high"
    (malignant,) = resources(bundle, "RiskAssessment")[0]["prediction"]
    assert (malignant["qualitativeRisk"]["text"], malignant["probabilityDecimal"]) == ("high", 0.7)
    assert malignant["rationale"].startswith("Risk high, score 0.610")


def test_risk_without_classification_predicts_no_probability(case: Case, outcome: Outcome, made_at: datetime) -> None:
    (risk,) = resources(encoded(case, replace(outcome, classification=None), made_at), "RiskAssessment")
    assert "prediction" not in risk
    assert risk["note"][0]["text"].startswith("Risk high, score 0.610")


def test_private_codes_go_by_the_uid_that_the_reports_give_their_scheme() -> None:
    assert SYSTEMS[PRIVATE_SCHEME] == f"urn:oid:{derive_uid('coding scheme', PRIVATE_SCHEME)}"


def test_our_extensions_go_by_uids_of_ours_that_the_conformance_statement_names() -> None:
    page = (Path(__file__).parents[4] / "docs" / "conformance.md").read_text(encoding="utf-8")
    for url, what in ((RISK_SCORE, "risk score"), (RISK_PART, "risk part")):
        assert url == f"urn:oid:{derive_uid('FHIR extension', what)}"
        assert url in page
    assert f"urn:oid:{derive_uid('FHIR extension', 'revision')}" == REVISION


def test_failed_case_says_so_and_has_no_value(case: Case, failed: Outcome, made_at: datetime) -> None:
    bundle = encoded(case, failed, made_at)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["conclusion"].startswith("ANALYSIS FAILED: segment: raised ValueError: no lesion.")
    assert "must not be read as negative" in report["conclusion"]
    for code in ("ASSESSMENT", "MEASUREMENTS"):
        assert "dataAbsentReason" in observation(bundle, code)
        assert "valueCodeableConcept" not in observation(bundle, code)
    stage = component(observation(bundle, "ANALYSIS"), "STAGE-SEGMENT")
    assert stage["dataAbsentReason"]["coding"][0]["code"] == "error"
    assert not resources(bundle, "RiskAssessment")


def test_time_without_zone_is_given_as_a_day(case: Case, outcome: Outcome, made_at: datetime) -> None:
    naive = replace(case, series=replace(case.series, acquired_at=datetime(2026, 11, 20, 8, 0)))
    assert resources(encoded(naive, outcome, made_at), "DiagnosticReport")[0]["effectiveDateTime"] == "2026-11-20"


def test_each_algorithm_is_a_device_below_the_node(case: Case, outcome: Outcome, made_at: datetime) -> None:
    trained = Algorithm("net", "2.0", "Acme", bundle="skin 1.0", weights_digest="ab" * 32)
    segment = replace(outcome.reports[1], algorithm=trained)
    bundle = encoded(case, replace(outcome, reports=(outcome.reports[0], segment, *outcome.reports[2:])), made_at)
    node, *algorithms = resources(bundle, "Device")
    assert node["deviceName"] == [{"name": "DermaNode", "type": "user-friendly-name"}]
    assert [(d["deviceName"][0]["name"], d["version"][0]["value"]) for d in algorithms] == [("dermanode-net", "0.1.0"), ("net", "2.0")]
    assert [v["value"] for v in algorithms[1]["version"]] == ["2.0", "skin 1.0", "ab" * 32]
    urn = next(e["fullUrl"] for e in bundle["entry"] if e["resource"] is node)
    assert {d["parent"]["reference"] for d in algorithms} == {urn}


def test_observations_say_which_device_measured_and_how(case: Case, outcome: Outcome, made_at: datetime) -> None:
    bundle = encoded(case, outcome, made_at)
    devices = {e["fullUrl"]: e["resource"]["deviceName"][0]["name"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Device"}
    for code, name in (("ASSESSMENT", "dermanode-net"), ("MEASUREMENTS", "dermanode-net"), ("ANALYSIS", "DermaNode")):
        assert devices[observation(bundle, code)["device"]["reference"]] == name
    assert observation(bundle, "MEASUREMENTS")["method"]["text"] == "dermanode-net 0.1.0"
    assert observation(bundle, "ASSESSMENT")["derivedFrom"][0]["identifier"]["value"] == "urn:oid:1.2.3"
    (provenance,) = resources(bundle, "Provenance")
    assert [devices[agent["who"]["reference"]] for agent in provenance["agent"]] == ["DermaNode", "dermanode-net"]


def test_order_is_answered_by_every_number_it_goes_by(case: Case, outcome: Outcome, made_at: datetime) -> None:
    ordered = replace(case, order=Order(accession_number="A 7", placer_number="P7", filler_number="F7"))
    (report,) = resources(encoded(ordered, outcome, made_at), "DiagnosticReport")
    numbers = {one["identifier"]["type"]["coding"][0]["code"]: one["identifier"]["value"] for one in report["basedOn"]}
    assert numbers == {"PLAC": "P7", "FILL": "F7", "ACSN": "A 7"}


def test_report_of_no_order_is_based_on_none(of_nobody: Case, outcome: Outcome, made_at: datetime) -> None:
    assert "basedOn" not in resources(encoded(of_nobody, outcome, made_at), "DiagnosticReport")[0]


def test_institution_performs_the_report_and_stands_behind_the_node(case: Case, outcome: Outcome, made_at: datetime) -> None:
    bundle = encoded(case, outcome, made_at, institution="Klinikum")
    whose = {"type": "Organization", "display": "Klinikum"}
    for resource in (*resources(bundle, "DiagnosticReport"), *resources(bundle, "Observation")):
        assert resource["performer"] == [whose]
    assert resources(bundle, "Provenance")[0]["agent"][0]["onBehalfOf"] == whose
    assert "performer" not in resources(encoded(case, outcome, made_at), "DiagnosticReport")[0]


def test_report_for_people_is_a_presented_form(case: Case, outcome: Outcome, made_at: datetime) -> None:
    (form,) = resources(encoded(case, outcome, made_at, pdf=b"%PDF-1.7 \xff"), "DiagnosticReport")[0]["presentedForm"]
    assert (form["contentType"], base64.b64decode(form["data"])) == ("application/pdf", b"%PDF-1.7 \xff")
    assert "presentedForm" not in resources(encoded(case, outcome, made_at), "DiagnosticReport")[0]


def test_correction_without_a_risk_takes_the_earlier_one_back(case: Case, failed: Outcome, made_at: datetime) -> None:
    later = replace(case, revision=2, is_correction=True)
    bundle = encoded(later, failed, made_at)
    (risk,) = resources(bundle, "RiskAssessment")
    assert (risk["status"], "prediction" in risk) == ("cancelled", False)
    assert "no longer holds" in risk["note"][0]["text"]
    urn = next(e["fullUrl"] for e in bundle["entry"] if e["resource"] is risk)
    assert urn not in set(references(bundle)), "it can be left out"


def test_research_use_stands_in_every_result(case: Case, outcome: Outcome, made_at: datetime) -> None:
    for resource in (e["resource"] for e in encoded(case, outcome, made_at)["entry"]):
        if resource["resourceType"] not in ("BodyStructure", "Provenance"):
            assert outcome.research_use in json.dumps(resource)


def test_stage_without_a_version_says_who_performed_it(case: Case, outcome: Outcome, made_at: datetime) -> None:
    own = StageReport(stage="explain", status=StageStatus.PERFORMED, plugin="acme")
    found = observation(encoded(case, replace(outcome, reports=(*outcome.reports, own)), made_at), "ANALYSIS")
    assert component(found, "STAGE-EXPLAIN")["valueString"] == "performed by acme"
