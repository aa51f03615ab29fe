"""The scripts that route from Orthanc, tried on Debian's: a listener on loopback stands where the node would."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset
from pynetdicom import AE, build_context

from dermanode.testing.fetching import fetching_node
from dermanode.testing.pacs import LoopbackPacs
from dermanode.testing.ports import free_port
from dermanode.testing.real_pacs import ORTHANC, PYTHON_PLUGIN, RealPacs, running_orthanc
from dermanode.testing.worked_cases import photograph

SCRIPTS = Path(__file__).parents[2] / "config" / "orthanc"
pytestmark = [pytest.mark.integration, pytest.mark.skipif(ORTHANC is None, reason="Debian's package orthanc is not installed")]


def settings(script: str) -> dict[str, Any]:
    """How Orthanc loads the script."""
    if script == "route.lua":
        return {"LuaScripts": [str(SCRIPTS / script)]}
    if not PYTHON_PLUGIN.exists():
        pytest.skip("Debian's package orthanc-python is not installed")
    return {"plugins": [PYTHON_PLUGIN], "PythonScript": str(SCRIPTS / script)}


@contextmanager
def routing(script: str, folder: Path, node_port: int, **more: Any) -> Iterator[RealPacs]:
    modality = {"dermanode": {"AET": "DERMANODE", "Host": "127.0.0.1", "Port": node_port}}
    with running_orthanc(folder, DicomModalities=modality, DicomScuTimeout=20, JobsHistorySize=50, **settings(script), **more) as orthanc:
        yield orthanc


def series(name: str, count: int = 2, **changes: object) -> list[Dataset]:
    made = [photograph(number, 24, 32, study=f"routed {name}") for number in range(1, count + 1)]
    for one in made:
        for keyword, value in changes.items():
            setattr(one, keyword, value)
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    return made


def uids(*parts: list[Dataset]) -> set[str]:
    return {str(one.SOPInstanceUID) for part in parts for one in part}


def store_as(title: str, orthanc: RealPacs, instances: list[Dataset]) -> None:
    contexts = [build_context(instances[0].SOPClassUID, instances[0].file_meta.TransferSyntaxUID)]
    association = AE(ae_title=title).associate("127.0.0.1", orthanc.dicom_port, contexts=contexts, ae_title="ORTHANC")
    assert association.is_established
    for instance in instances:
        assert association.send_c_store(instance).Status == 0x0000
    association.release()


@pytest.mark.parametrize("script", ["route.lua", "route.py"])
def test_dermoscopy_alone_is_routed_and_results_never_come_back(script: str, tmp_path: Path) -> None:
    photographs = series("photographs", Manufacturer="DermaNode", ManufacturerModelName="Photograph import")
    clinical = series("clinical", 1, Modality="XC", SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.4")
    others = series("radiograph", 1, Modality="DX", SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1")
    heat_map = series("heat map", 1, Modality="OT", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    made_here = series("made here", 1, Manufacturer="DermaNode", ManufacturerModelName="DermaNode")
    sent_by_us = series("sent by us", 1)
    with LoopbackPacs(ae_title="DERMANODE") as node, routing(script, tmp_path, node.port) as orthanc:
        store_as("DERMANODE", orthanc, sent_by_us)
        orthanc.upload([*made_here, *heat_map, *others, *photographs, *clinical])
        assert node.wait_for(3, 60)
        time.sleep(1.5)  # what is routed by mistake would have come too
        assert node.uids == uids(photographs, clinical)
        assert {one.calling_ae for one in node.received} == {"ORTHANC"}


def test_the_lua_script_sends_again_with_the_next_series(tmp_path: Path) -> None:
    port = free_port()
    first, second = series("first"), series("second")
    with routing("route.lua", tmp_path, port) as orthanc:
        orthanc.upload(first)
        until(lambda: any(job["State"] == "Failure" for job in jobs(orthanc)))
        with LoopbackPacs(ae_title="DERMANODE", port=port) as node:
            orthanc.upload(second)
            assert node.wait_for(4, 60)
            assert node.uids == uids(first, second)


def test_the_python_script_sends_again_by_the_clock_and_after_a_restart(tmp_path: Path) -> None:
    port = free_port()
    first = series("first")
    with routing("route.py", tmp_path, port) as orthanc:
        orthanc.upload(first)
        until(lambda: "could not be sent" in orthanc.log.read_text())
    with LoopbackPacs(ae_title="DERMANODE", port=port) as node, routing("route.py", tmp_path, port) as orthanc:
        assert node.wait_for(2, 60)
        node.is_closed = True
        second = series("second")
        refused = orthanc.log.read_text().count("could not be sent")
        orthanc.upload(second)
        until(lambda: orthanc.log.read_text().count("could not be sent") > refused)
        assert node.uids == uids(first)
        node.is_closed = False
        assert node.wait_for(4, 60)
        assert node.uids == uids(first, second)


@pytest.mark.parametrize("script", ["route.lua", "route.py"])
def test_the_node_promises_to_keep_what_it_got_where_it_is_asked(script: str, tmp_path: Path) -> None:
    more, ports = settings(script), (free_port(), free_port())
    asking = tmp_path / script
    asking.write_text((SCRIPTS / script).read_text().replace("COMMITMENT = False", "COMMITMENT = True").replace("= false", "= true"))
    more |= {"LuaScripts": [str(asking)]} if script == "route.lua" else {"PythonScript": str(asking)}
    sources = {"pacs": {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": ports[0]}}
    with fetching_node(tmp_path / "node", sources, is_promising=True) as node:
        modality = {"AET": "DERMANODE", "Host": "127.0.0.1", "Port": node.scp.port, "AllowStorageCommitment": True}
        with running_orthanc(tmp_path / "orthanc", ports=ports, DicomModalities={"dermanode": modality}, **more) as orthanc:
            orthanc.upload(series("promised"))
            until(lambda: promise(orthanc) == "Success")
            assert set(node.uids()) == uids(series("promised"))


def jobs(orthanc: RealPacs) -> list[Any]:
    return list(httpx.get(f"{orthanc.url}/jobs?expand").json())


def until(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def promise(orthanc: RealPacs) -> str:
    """The node's answer to the first thing that it was asked."""
    for job in jobs(orthanc):
        transaction = job["Content"].get("StorageCommitmentTransactionUID")
        if transaction:
            return str(httpx.get(f"{orthanc.url}/storage-commitment/{transaction}").json().get("Status"))
    return "not asked"
