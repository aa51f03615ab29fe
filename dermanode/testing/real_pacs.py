"""Real PACS programs on free ports of this machine, where they are installed: Debian's Orthanc, and dcmtk's dcmqrscp."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from pydicom import Dataset, dcmwrite
from pynetdicom import AE, build_context

from dermanode.testing.ports import free_port

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
DCMQRSCP = shutil.which("dcmqrscp")
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PYTHON_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancPython.so")
START_S = 60.0


@dataclass
class RealPacs:
    """A running program; what it has no door for is empty."""

    ae_title: str
    dicom_port: int
    process: subprocess.Popen[bytes]
    url: str = ""
    log: Path = Path()

    @property
    def web_url(self) -> str:
        """Its DICOMweb root."""
        return f"{self.url}/dicom-web"

    def store(self, instances: Iterable[Dataset]) -> None:
        """By C-STORE, as they are."""
        instances = list(instances)
        entity = AE(ae_title="MODALITY")
        pairs = {(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in instances}
        association = entity.associate(
            "127.0.0.1", self.dicom_port, contexts=[build_context(*pair) for pair in sorted(pairs)], ae_title=self.ae_title
        )
        assert association.is_established, f"{self.ae_title} takes nothing"
        for instance in instances:
            status = association.send_c_store(instance)
            assert status.Status == 0x0000, f"{self.ae_title} answers {status}"
        association.release()

    def upload(self, instances: Iterable[Dataset]) -> None:
        """By Orthanc's REST interface."""
        for instance in instances:
            httpx.post(f"{self.url}/instances", content=as_file(instance), timeout=30).raise_for_status()

    def send_to(self, name: str, ae_title: str, port: int) -> None:
        """Tells Orthanc who else there is: a node to which it may send."""
        modality = {"AET": ae_title, "Host": "127.0.0.1", "Port": port, "AllowStorageCommitment": True}
        httpx.put(f"{self.url}/modalities/{name}", json=modality).raise_for_status()

    def lookup(self, uid: str) -> str:
        """Orthanc's own id of what has that UID."""
        return str(httpx.post(f"{self.url}/tools/lookup", content=uid).json()[0]["ID"])

    def instances_of(self, study_uid: str) -> list[Any]:
        return list(httpx.get(f"{self.url}/studies/{self.lookup(study_uid)}/instances").json())

    def kill(self) -> None:
        """As a power failure would."""
        self.process.kill()
        self.process.wait()


def as_file(instance: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, instance, enforce_file_format=True)
    return buffer.getvalue()


@contextmanager
def running_orthanc(
    folder: Path, *, plugins: Iterable[Path] = (), ports: tuple[int, int] | None = None, **settings: object
) -> Iterator[RealPacs]:
    """An Orthanc with its data in `folder`. `settings` are of its own configuration; `ports`: DICOM and HTTP, of an earlier run."""
    dicom_port, http_port = ports or (free_port(), free_port())
    content: dict[str, Any] = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomPort": dicom_port,
        "DicomAet": "ORTHANC",
        "DicomAlwaysAllowStore": True,
        # Who asks must be known to it: Orthanc lets nobody else search, get or move.
        "DicomModalities": {"node": ["DERMANODE", "127.0.0.1", 1]},
        "StableAge": 1,
        "Plugins": [str(plugin) for plugin in plugins],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": "127.0.0.1", "Ssl": False},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(content | settings))
    with _running([str(ORTHANC), str(folder / "orthanc.json")], folder / "orthanc.log", (dicom_port, http_port)) as process:
        yield RealPacs("ORTHANC", dicom_port, process, f"http://127.0.0.1:{http_port}", folder / "orthanc.log")


@contextmanager
def running_dcmqrscp(folder: Path, destinations: Mapping[str, int] | None = None, port: int | None = None) -> Iterator[RealPacs]:
    """A dcmqrscp with its data in `folder`, which may move to the AE titles of `destinations` on these ports."""
    (folder / "store").mkdir(parents=True, exist_ok=True)
    listening = port or free_port()
    hosts = "".join(f"{title.lower()} = ({title}, 127.0.0.1, {at})\n" for title, at in (destinations or {}).items())
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {listening}\nMaxPDUSize = 65536\nMaxAssociations = 16\nHostTable BEGIN\n{hosts}HostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nQRSCP {folder}/store RW (200, 1000mb) ANY\nAETable END\n"
    )
    # By default it takes and proposes uncompressed objects only; like this, JPEG baseline too.
    command = [str(DCMQRSCP), "+xy", "-xy", "-c", str(folder / "dcmqrscp.cfg")]
    with _running(command, folder / "dcmqrscp.log", (listening,)) as process:
        yield RealPacs("QRSCP", listening, process, log=folder / "dcmqrscp.log")


@contextmanager
def _running(command: list[str], log: Path, ports: Iterable[int]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        # Nagle's delay would cost 40 ms a message: dcmtk and Orthanc ask the environment.
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | {"TCP_NODELAY": "1"})
    try:
        for port in ports:
            _await(port, process, log)
        yield process
    finally:
        # Orthanc takes seconds to say goodbye. What it has stored is on disk.
        process.kill()
        process.wait()


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on port {port}: {log.read_text(errors='replace')[-2000:]}")
