"""Fetching from a real PACS: by C-FIND with C-GET or C-MOVE from Orthanc and from dcmqrscp, by QIDO-RS and WADO-RS from Orthanc."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import JPEGBaseline8Bit

from dermanode.cli import main
from dermanode.config import DicomwebSource, Retry, load_settings
from dermanode.domain.identifiers import UID, AETitle
from dermanode.ledger.fetch_query import FetchQuery
from dermanode.ledger.records import FetchState, SeriesKey
from dermanode.receive.source import count_at
from dermanode.testing.fetching import DERMOSCOPY, FetchingNode, fetching_node
from dermanode.testing.node import started, wait_for_case
from dermanode.testing.ports import free_port
from dermanode.testing.raw_peer import VL_PHOTOGRAPHIC
from dermanode.testing.real_pacs import (
    DCMQRSCP,
    DICOMWEB_PLUGIN,
    ORTHANC,
    RealPacs,
    running_dcmqrscp,
    running_orthanc,
)
from dermanode.testing.scenes import demo_series
from dermanode.testing.worked_cases import photograph

pytestmark = pytest.mark.integration

WAYS = ("orthanc-get", "orthanc-move", "orthanc-web", "dcmqrscp-get", "dcmqrscp-move")


def series(name: str, count: int = 3, **changes: str) -> list[Dataset]:
    """Small photographs, all in one study and series of that name."""
    made = []
    for number in range(1, count + 1):
        one = photograph(number, 24, 32, study=name)
        # dcmtk 3.6.7 does not know the class of dermoscopic photographs, and moves none.
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = VL_PHOTOGRAPHIC
        for keyword, value in changes.items():
            setattr(one, keyword, value)
        made.append(one)
    return made


P1 = series("fetch P1", PatientID="P-1", AccessionNumber="A-1", StudyDate="20261101", IssuerOfPatientID="CLINIC")
P1_LATER = series("fetch P1 later", 2, PatientID="P-1", AccessionNumber="A-2", StudyDate="20261110", IssuerOfPatientID="CLINIC")
LOWER = series("fetch p1", 1, PatientID="p-1", AccessionNumber="a-1", StudyDate="20261102", IssuerOfPatientID="CLINIC")
P12 = series("fetch P12", 1, PatientID="P-12", AccessionNumber="A-12", StudyDate="20261128", IssuerOfPatientID="CLINIC")
OTHERS = series("fetch other clinic", 1, PatientID="P-1", AccessionNumber="B-1", StudyDate="20261101", IssuerOfPatientID="OTHER")


def radiograph() -> list[Dataset]:
    """Another series in the study of P1, of a modality that no pipeline wants."""
    other = deepcopy(P1[0])
    other.SeriesInstanceUID, other.SOPInstanceUID, other.Modality = "1.2.77.1", "1.2.77.2", "DX"
    other.file_meta.MediaStorageSOPInstanceUID = other.SOPInstanceUID
    return [other]


def everything() -> list[Dataset]:
    return [*P1, *P1_LATER, *LOWER, *P12, *OTHERS, *radiograph(), *jpegs()]


def jpegs() -> list[Dataset]:
    made = demo_series(datetime(2026, 11, 20, tzinfo=UTC), views=2, size=(64, 48))
    for one in made:
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = VL_PHOTOGRAPHIC
    return made


@dataclass
class Place:
    """A PACS that holds all of them, and where it sends by C-MOVE."""

    pacs: RealPacs
    node_port: int

    def source(self, way: str) -> dict[str, Any]:
        if way == "web":
            return {"type": "dicomweb", "url": self.pacs.web_url}
        return {"ae_title": self.pacs.ae_title, "host": "127.0.0.1", "port": self.pacs.dicom_port, "retrieve": way}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Place]]:
    found: dict[str, Place] = {}
    node_port = free_port()
    stack = []
    if ORTHANC is not None:
        plugins = [DICOMWEB_PLUGIN] if DICOMWEB_PLUGIN.exists() else []
        stack.append(running_orthanc(tmp_path_factory.mktemp("orthanc"), plugins=plugins))
        pacs = stack[-1].__enter__()
        pacs.send_to("node", "DERMANODE", node_port)
        pacs.upload(everything())
        found["orthanc"] = Place(pacs, node_port)
    if DCMQRSCP is not None:
        stack.append(running_dcmqrscp(tmp_path_factory.mktemp("dcmqrscp"), {"DERMANODE": node_port}))
        pacs = stack[-1].__enter__()
        pacs.store(everything())
        found["dcmqrscp"] = Place(pacs, node_port)
    yield found
    for one in stack:
        one.__exit__(None, None, None)


@pytest.fixture(params=WAYS)
def node(request: pytest.FixtureRequest, places: Mapping[str, Place], tmp_path: Path) -> Iterator[FetchingNode]:
    """A node whose source `pacs` is fetched from in that way."""
    program, way = request.param.split("-")
    if program not in places:
        pytest.skip(f"Debian's package of {program} is not installed")
    if way == "web" and not DICOMWEB_PLUGIN.exists():
        pytest.skip("Debian's package orthanc-dicomweb is not installed")
    place = places[program]
    with fetching_node(tmp_path / "node", {"pacs": place.source(way)}, port=place.node_port if way == "move" else 0) as running:
        yield running


def uids(*parts: list[Dataset]) -> list[str]:
    return sorted(str(one.SOPInstanceUID) for part in parts for one in part)


def test_an_accession_number_brings_its_series_whole_and_leaves_out_what_no_pipeline_wants(node: FetchingNode) -> None:
    fetch = node.fetch(accession_number="A-1")
    assert (fetch.state, fetch.objects) == (FetchState.DONE, 3), fetch.words
    # Orthanc's DICOMweb matches `a-1` too, and that study is then left out in words of its own.
    assert fetch.words.startswith("3 objects came; whole: 1 of 1 series. Left out, because no pipeline wants their modality: DX.")
    assert node.uids() == uids(P1)
    for stored, sent in zip(node.stored(), sorted(P1, key=lambda one: int(one.InstanceNumber)), strict=True):
        assert stored.header is not None
        assert node.dataset(stored).PixelData in [one.PixelData for one in P1], sent.SOPInstanceUID


def test_a_patient_id_brings_no_other_patient(node: FetchingNode) -> None:
    fetch = node.fetch(patient_id="P-1", issuer_of_patient_id="CLINIC")
    assert fetch.state is FetchState.DONE, fetch.words
    assert node.uids() == uids(P1, P1_LATER)


def test_days_bring_the_studies_of_these_days(node: FetchingNode) -> None:
    fetch = node.fetch(patient_id="P-1", study_date="2026-11-02..2026-11-30")
    assert fetch.state is FetchState.DONE, fetch.words
    assert node.uids() == uids(P1_LATER)


def test_a_study_uid_is_enough(node: FetchingNode) -> None:
    fetch = node.fetch(study_instance_uid=str(P12[0].StudyInstanceUID))
    assert (fetch.state, node.uids()) == (FetchState.DONE, uids(P12)), fetch.words


def test_a_series_uid_with_its_study_is_enough(node: FetchingNode) -> None:
    fetch = node.fetch(study_instance_uid=str(P1[0].StudyInstanceUID), series_instance_uid=str(P1[0].SeriesInstanceUID))
    assert (fetch.state, node.uids()) == (FetchState.DONE, uids(P1)), fetch.words


def test_a_series_uid_alone_is_enough_where_the_source_finds_it(node: FetchingNode) -> None:
    fetch = node.fetch(series_instance_uid=str(P1[0].SeriesInstanceUID))
    assert (fetch.state, node.uids()) == (FetchState.DONE, uids(P1)), fetch.words


def test_compressed_photographs_come_as_the_source_has_them(node: FetchingNode, request: pytest.FixtureRequest) -> None:
    if "dcmqrscp-move" in request.node.name:
        pytest.skip("dcmqrscp 3.6.7 offers us a choice of transfer syntaxes by C-MOVE, and then cannot keep to ours")
    sent = jpegs()
    fetch = node.fetch(study_instance_uid=str(sent[0].StudyInstanceUID))
    assert fetch.state is FetchState.DONE, fetch.words
    assert [one.arrival.transfer_syntax_uid for one in node.stored()] == [JPEGBaseline8Bit] * 2
    assert {node.dataset(one).PixelData for one in node.stored()} == {one.PixelData for one in sent}


def test_what_is_here_is_not_fetched_again(node: FetchingNode) -> None:
    node.fetch(accession_number="A-2")
    fetch = node.fetch(accession_number="A-2")
    assert (fetch.state, fetch.objects) == (FetchState.DONE, 0)
    assert fetch.words.startswith("1 series was here already.")
    assert [one.duplicates for one in node.stored()] == [0, 0]


def test_what_is_not_there_is_said(node: FetchingNode) -> None:
    fetch = node.fetch(accession_number="NO-SUCH")
    assert (fetch.state, fetch.objects, fetch.words) == (FetchState.DONE, 0, "Nothing that is wanted was found.")


def needed(program: str | None, name: str) -> None:
    if program is None:
        pytest.skip(f"Debian's package of {name} is not installed")


@pytest.mark.parametrize("way", ["get", "web"])
def test_a_pacs_that_is_killed_midway_gives_the_rest_when_it_is_back(way: str, tmp_path: Path) -> None:
    needed(ORTHANC, "orthanc")
    many = [photograph(number, 256, 256, study="killed midway") for number in range(1, 25)]
    ports, folder = (free_port(), free_port()), tmp_path / "orthanc"
    plugins = [DICOMWEB_PLUGIN] if DICOMWEB_PLUGIN.exists() else []
    with running_orthanc(folder, plugins=plugins, ports=ports) as pacs:
        pacs.upload(many)
        source = Place(pacs, 0).source(way)
        with fetching_node(tmp_path / "node", {"pacs": source}, retry=Retry(attempts=20, first_s=0.5, longest_s=0.5)) as node:
            asked = node.ledger.fetches.ask("pacs", FetchQuery.parse(accession_number="A-17"), asked_by="test", now=datetime.now(UTC))
            node.fetchers.wake()
            deadline = time.monotonic() + 30
            while sum(node.ledger.objects.counts().values()) == 0 and time.monotonic() < deadline:
                time.sleep(0.002)
            pacs.kill()
            came = sum(node.ledger.objects.counts().values())
            assert came < len(many), "it was too quick to be killed midway"
            with running_orthanc(folder, plugins=plugins, ports=ports):
                ended = node.ended(asked.id)
            assert (ended.state, ended.objects) == (FetchState.DONE, len(many)), ended.words
            assert node.uids() == uids(many)
            assert [one.duplicates for one in node.stored()] == [0] * len(many)
            assert list((node.spool.root / "incoming").iterdir()) == []


def test_a_pacs_that_does_not_know_us_says_so(places: Mapping[str, Place], tmp_path: Path) -> None:
    needed(ORTHANC, "orthanc")
    with fetching_node(tmp_path, {"pacs": places["orthanc"].source("get")}, ae_title="STRANGER") as node:
        fetch = node.fetch(accession_number="A-1")
        assert fetch.state is FetchState.FAILED
        assert node.uids() == []
        assert fetch.words.startswith("pacs could not be asked: "), fetch.words


def test_a_dcmqrscp_that_does_not_know_where_to_move_to_is_said_at_once(tmp_path: Path) -> None:
    needed(DCMQRSCP, "dcmtk")
    with running_dcmqrscp(tmp_path / "dcmqrscp") as pacs:
        pacs.store(P12)
        with fetching_node(tmp_path / "node", {"pacs": Place(pacs, 0).source("move")}) as node:
            fetch = node.fetch(accession_number="A-12")
            assert (fetch.state, fetch.attempts) == (FetchState.FAILED, 1)
            assert "it does not know where DERMANODE is: enter this node there" in fetch.words


def test_objects_that_cannot_be_moved_are_counted_as_failed(tmp_path: Path) -> None:
    needed(DCMQRSCP, "dcmtk")
    with running_dcmqrscp(tmp_path / "dcmqrscp", {"DERMANODE": free_port()}) as pacs:  # where nobody listens
        pacs.store(P1)
        with fetching_node(tmp_path / "node", {"pacs": Place(pacs, 0).source("move")}) as node:
            fetch = node.fetch(accession_number="A-1")
            assert (fetch.state, fetch.attempts, fetch.objects) == (FetchState.FAILED, 3, 0)
            assert "0 of 3 objects came: it does not send all to DERMANODE" in fetch.words


def test_a_source_by_dicomweb_counts_its_series(places: Mapping[str, Place]) -> None:
    needed(ORTHANC, "orthanc")
    if not DICOMWEB_PLUGIN.exists():
        pytest.skip("Debian's package orthanc-dicomweb is not installed")
    source = DicomwebSource(type="dicomweb", url=places["orthanc"].pacs.web_url, ae_title=AETitle("ORTHANC"))
    series_key = SeriesKey(UID(P1[0].StudyInstanceUID), UID(P1[0].SeriesInstanceUID), "P-1")
    assert count_at(source, AETitle("DERMANODE"), series_key) == 3
    assert count_at(source, AETitle("DERMANODE"), SeriesKey(UID("1.2"), UID("1.2.3"), "P-1")) is None


def test_what_is_asked_for_on_the_command_line_becomes_a_case_without_waiting(
    places: Mapping[str, Place], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needed(ORTHANC, "orthanc")
    content = {
        "node": {"data_dir": str(tmp_path / "var")},
        "receive": {"port": 0, "minimum_free_mib": 0},
        "web": {"port": 0},
        "engine": {"kind": "inline"},
        "complete": {"quiet_s": 600},
        "sources": {"clinic": places["orthanc"].source("get")},
        "pipelines": [],
    }
    file = tmp_path / "dermanode.yaml"
    file.write_text(json.dumps(content))
    with started(load_settings(file), [DERMOSCOPY], tmp_path) as node:
        assert main(["--config", str(file), "fetch", "clinic", "--accession", "A-1", "--patient", "P-1"]) == 0
        case = wait_for_case(node, str(P1[0].SeriesInstanceUID), 30)
        assert (case.evidence.kind, case.source_ae) == ("source count", "ORTHANC")
        assert len(node.ledger.objects.of_case(case.id)) == 3
    assert capsys.readouterr().out.startswith("3 objects came; whole: 1 of 1 series.")
