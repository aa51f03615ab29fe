"""An order, its photographs, and an image that comes late: every door tells the second result as the successor of the first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hl7
import pytest
import yaml
from hl7.client import MLLPClient
from pydicom import Dataset, dcmread

from dermanode.app import Node
from dermanode.cli.send import send_files, write_instances
from dermanode.config import load_pipelines, load_settings
from dermanode.ledger.records import CaseRecord, CaseState
from dermanode.testing.mllp import MllpListener
from dermanode.testing.node import receiver_of, started, wait_for_case
from dermanode.testing.scenes import demo_series

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ORDER = (
    "MSH|^~\\&|HIS|WARD|DERMANODE||20260401080000||ORM^O01^ORM_O01|ORDER-1|P|2.5.1\r"
    "PID|1||DEMO-PATIENT^^^HOSP||Demo^Dermoscopy\r"
    "ORC|NW|P-9|||||||||||^House^Gregory\r"
    "OBR|1|P-9||DERM^Dermoscopy||||||||||||||A-77\r"
)


@dataclass(frozen=True)
class Hospital:
    """A node, its order system and its archive."""

    node: Node
    his: MllpListener
    views: list[Path]
    series: str

    def results(self, case: CaseRecord) -> Path:
        return self.node.settings.node.results_dir / case.id


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    instances = demo_series(datetime(2026, 4, 1, tzinfo=UTC), views=3, size=(320, 240))
    for instance in instances:
        instance.AccessionNumber = "A-77"
    views = write_instances(instances, tmp_path / "sent")
    with MllpListener() as his:
        settings = {
            "node": {"data_dir": str(tmp_path / "var"), "models_dir": str(ROOT / "models"), "institution": "Hospital"},
            "receive": {"port": 0, "minimum_free_mib": 0},
            "web": {"port": 0},
            "hl7": {"is_enabled": True, "port": 0, "default_issuer": "HOSP"},
            "complete": {"quiet_s": 60},
            "pipelines": [str(ROOT / "config" / "pipelines" / "*.yaml")],
            "destinations": {
                "archive": {"type": "folder", "path": str(tmp_path / "archive"), "send": ["SEG", "SR", "KOS", "FHIR"]},
                "his": {"type": "mllp", "host": "127.0.0.1", "port": his.port},
            },
        }
        file = tmp_path / "dermanode.yaml"
        file.write_text(yaml.safe_dump(settings))
        read = load_settings(file)
        changed: dict[str, Any] = {"deliver": ("archive", "his"), "expected_views": 2}
        pipelines = [pipeline.model_copy(update=changed) for pipeline in load_pipelines(read, tmp_path)]
        kinds = [one.model_copy(update={"outputs": one.outputs.model_copy(update={"kinds": ("SEG", "SR", "KOS")})}) for one in pipelines]
        with started(read, kinds, tmp_path) as node:
            yield Hospital(node, his, views, str(instances[0].SeriesInstanceUID))


def test_a_late_image_supersedes_what_every_door_has_told(hospital: Hospital) -> None:
    node = hospital.node
    assert node.hl7_port is not None
    with MLLPClient("127.0.0.1", node.hl7_port) as sender:
        assert b"MSA|AA|ORDER-1" in sender.send_message(ORDER.encode())
    send_files(hospital.views[:2], receiver_of(node))
    first = wait_for_case(node, hospital.series)
    assert (first.revision, first.state) == (1, CaseState.FINISHED)
    send_files(hospital.views[2:], receiver_of(node))
    second = wait_for_case(node, f"{first.id.removesuffix('1')}2")
    assert (second.revision, second.supersedes) == (2, first.id)
    assert len(node.ledger.objects.of_case(second.id)) == 3

    _the_report_names_the_earlier_one(hospital, first, second)
    _the_rejection_note_names_what_is_replaced(hospital, first, second)
    _the_message_corrects_the_first(hospital)
    _the_record_is_amended(hospital, first, second)
    assert node.ledger.audit(node.spool, deep=True).is_clean


def _the_report_names_the_earlier_one(hospital: Hospital, first: CaseRecord, second: CaseRecord) -> None:
    earlier, later = (dcmread(hospital.results(case) / "sr.dcm") for case in (first, second))
    assert later.SOPInstanceUID != earlier.SOPInstanceUID
    predecessor = later.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    segmentations = _uids(second, "SEG")
    assert len(segmentations) == 3
    assert segmentations <= _referred(later.CurrentRequestedProcedureEvidenceSequence)
    assert not segmentations & _uids(first, "SEG")


def _the_rejection_note_names_what_is_replaced(hospital: Hospital, first: CaseRecord, second: CaseRecord) -> None:
    assert not _uids(first, "KOS")
    assert second.outcome is not None
    (path,) = [made.path for made in second.outcome.objects if made.kind == "KOS"]
    note = dcmread(hospital.node.settings.node.results_dir / path)
    assert _referred(note.CurrentRequestedProcedureEvidenceSequence) == _uids(first, "SEG") | _uids(first, "SR")


def _the_message_corrects_the_first(hospital: Hospital) -> None:
    first, second = (hl7.parse(message.decode()) for message in hospital.his.messages)
    assert [str(message.segment("OBR")[25]) for message in (first, second)] == ["P", "C"]
    for message in (first, second):
        assert [str(message.segment("ORC")[2]), str(message.segment("OBR")[18])] == ["P-9", "A-77"]
        assert str(message.segment("OBR")[4]) == "DERM^Dermoscopy"
    assert str(first.segment("OBR")[3]) == str(second.segment("OBR")[3])


def _the_record_is_amended(hospital: Hospital, first: CaseRecord, second: CaseRecord) -> None:
    reports = [_diagnostic_report(hospital.results(case)) for case in (first, second)]
    assert [report["status"] for report in reports] == ["preliminary", "amended"]
    assert reports[0]["identifier"][0] == reports[1]["identifier"][0]  # the second names the revision
    assert {"P-9", "A-77"} <= {order["identifier"]["value"] for order in reports[1]["basedOn"]}


def _diagnostic_report(folder: Path) -> dict[str, Any]:
    bundles = [json.loads(file.read_bytes()) for file in sorted(folder.glob("fhir-archive*.json"))]
    (report,) = [
        entry["resource"] for bundle in bundles for entry in bundle["entry"] if entry["resource"]["resourceType"] == "DiagnosticReport"
    ]
    assert isinstance(report, dict)
    return report


def _uids(case: CaseRecord, kind: str) -> set[str]:
    assert case.outcome is not None
    return {str(made.sop_instance_uid) for made in case.outcome.objects if made.kind == kind}


def _referred(evidence: list[Dataset]) -> set[str]:
    return {
        str(instance.ReferencedSOPInstanceUID)
        for study in evidence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
