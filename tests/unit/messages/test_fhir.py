from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from dermanode.dicom.uids import derive_uid
from dermanode.domain import Case, Outcome
from dermanode.domain.codes import PRIVATE_SCHEME
from dermanode.messages.fhir import MOST_ENTRIES, encode_bundle
from dermanode.messages.fhir_terms import RISK_PART, RISK_SCORE, SYSTEMS


def encoded(case: Case, outcome: Outcome, made_at: datetime) -> dict[str, Any]:
    bundle: dict[str, Any] = json.loads(encode_bundle(case, outcome, made_at=made_at))
    return bundle


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def observation(bundle: dict[str, Any], code: str) -> dict[str, Any]:
    return next(o for o in resources(bundle, "Observation") if o["code"]["coding"][0]["code"] == code)


def component(of: dict[str, Any], code: str) -> dict[str, Any]:
    return next(c for c in of["component"] if code in [coding["code"] for coding in c["code"]["coding"]])


@pytest.mark.parametrize("which", ["outcome", "failed"])
@pytest.mark.parametrize("whose", ["case", "of_nobody"])
def test_every_bundle_is_a_valid_transaction_of_at_most_eight(
    which: str, whose: str, request: pytest.FixtureRequest, made_at: datetime
) -> None:
    content = encode_bundle(request.getfixturevalue(whose), request.getfixturevalue(which), made_at=made_at)
    bundle = Bundle.model_validate_json(content)
    assert bundle.type == "transaction"
    assert len(bundle.entry) <= MOST_ENTRIES


def test_statuses_are_of_their_required_value_sets(case: Case, outcome: Outcome, made_at: datetime) -> None:
    bundle = encoded(case, outcome, made_at)
    for kind in ("Observation", "DiagnosticReport", "RiskAssessment"):
        assert {r["status"] for r in resources(bundle, kind)} == {"preliminary"}
    (device,) = resources(bundle, "Device")
    assert (device["status"], device["deviceName"][0]["type"]) == ("active", "user-friendly-name")
    assert resources(bundle, "Provenance")[0]["entity"][0]["role"] == "source"


def test_all_but_provenance_are_created_only_once(case: Case, outcome: Outcome, made_at: datetime) -> None:
    for entry in encoded(case, outcome, made_at)["entry"]:
        resource, asked = entry["resource"], entry["request"]
        if resource["resourceType"] == "Provenance":
            assert (asked["method"], asked["url"]) == ("PUT", f"Provenance/{resource['id']}")
            assert entry["fullUrl"] == f"urn:uuid:{resource['id']}"
        else:
            own = resource["identifier"][0]
            assert (asked["method"], asked["ifNoneExist"]) == ("POST", f"identifier={own['system']}|{own['value']}")


def test_every_internal_reference_is_an_entry(case: Case, outcome: Outcome, made_at: datetime) -> None:
    bundle = encoded(case, outcome, made_at)
    entries = {entry["fullUrl"] for entry in bundle["entry"]}
    assert len(entries) == len(bundle["entry"])

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["reference"]} if "reference" in node else set()
            return own.union(*map(references, node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    assert references(bundle) <= entries


def test_same_case_gives_the_same_bundle(case: Case, outcome: Outcome, made_at: datetime) -> None:
    assert encode_bundle(case, outcome, made_at=made_at) == encode_bundle(case, replace(outcome, took_s=5.0), made_at=made_at)


def test_new_result_of_the_case_gets_new_identifiers_and_keeps_its_lesion(
    case: Case, outcome: Outcome, failed: Outcome, made_at: datetime
) -> None:
    first, second = encoded(case, failed, made_at), encoded(case, outcome, made_at)
    names = [resources(b, "DiagnosticReport")[0]["identifier"][0]["value"] for b in (first, second)]
    lesions = [resources(b, "BodyStructure")[0]["identifier"][0]["value"] for b in (first, second)]
    assert names[0] != names[1]
    assert lesions[0] == lesions[1]


def test_two_patients_with_one_tracking_uid_have_two_lesions(
    other_patient: Callable[[str], Case], outcome: Outcome, made_at: datetime
) -> None:
    lesions = {
        resources(encoded(other_patient(who), outcome, made_at), "BodyStructure")[0]["identifier"][0]["value"] for who in ("A", "B", "")
    }
    assert len(lesions) == 3


def test_patient_study_and_order_are_referred_to_by_identifier(case: Case, outcome: Outcome, made_at: datetime) -> None:
    bundle = encoded(case, outcome, made_at)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["subject"]["identifier"]["value"] == "P|1^2"
    assert report["subject"]["display"] == "Müller, Änne"
    assert report["imagingStudy"][0]["identifier"] == {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}
    assert report["basedOn"][0]["identifier"]["value"] == "A\\100"
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
    page = (Path(__file__).parents[3] / "docs" / "conformance.md").read_text(encoding="utf-8")
    for url, what in ((RISK_SCORE, "risk score"), (RISK_PART, "risk part")):
        assert url == f"urn:oid:{derive_uid('FHIR extension', what)}"
        assert url in page


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


def test_device_lists_every_algorithm_with_its_version(case: Case, outcome: Outcome, made_at: datetime) -> None:
    (device,) = resources(encoded(case, outcome, made_at), "Device")
    assert {v["component"]["value"] for v in device["version"]} >= {"dermanode", "segment:dermanode-net", "classify:dermanode-net"}
