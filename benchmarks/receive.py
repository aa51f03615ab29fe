"""How fast objects are received and kept: the node's receiver, Orthanc and dcmtk's storescp, on the same objects in one run.

    python benchmarks/receive.py [--rounds 3] [--sizes small,large,tiny] [--associations 1,4,8] [--json FILE]

The node answers when file, folder and ledger row are synced; Orthanc syncs its files and its index (its default); storescp syncs nothing.
Every peer is measured in every round, in turning order, and what the disk still owes is written out in between. All run with
TCP_NODELAY. Each association is a process that sends bytes encoded beforehand. What was stored is compared with what was sent.
One file, so that it can be read and run by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from dermanode.config import Receive, Settings
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.spool import Spool
from dermanode.receive.index import HeaderReader
from dermanode.receive.scp import StorageScp
from dermanode.testing.raw_peer import VL_PHOTOGRAPHIC, RawPeer, store_pdus, store_request

TITLE = "RECEIVER"
PLACEHOLDER = "1.2.826.0.1.3680043.10.1.10000000000000000000"


@dataclass(frozen=True)
class Size:
    """A kind of object, and how many each association sends in a round."""

    name: str
    rows: int
    columns: int
    jpeg_quality: int | None
    """None: not compressed."""
    objects: int


SIZES = {
    size.name: size
    for size in (
        Size("tiny", 144, 192, 82, 50),
        Size("small", 768, 1024, 82, 40),
        Size("large", 3072, 4096, None, 3),
    )
}


def make_data_set(size: Size) -> bytes:
    """An encoded data set of that size: noise, as a baseline JPEG or raw."""
    pixels = np.random.default_rng(7).integers(0, 256, (size.rows, size.columns, 3), np.uint8)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = VL_PHOTOGRAPHIC, PLACEHOLDER
    dataset.Modality, dataset.PatientID, dataset.PatientName = "XC", "BENCHMARK", "Bench^Mark"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = PLACEHOLDER[:-1] + "1", PLACEHOLDER[:-1] + "2"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PlanarConfiguration = size.rows, size.columns, 3, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.file_meta = FileMetaDataset()
    if size.jpeg_quality is not None:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=size.jpeg_quality)
        dataset.PhotometricInterpretation, dataset.PixelData = "YBR_FULL_422", encapsulate([stream.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    else:
        dataset.PhotometricInterpretation, dataset.PixelData = "RGB", pixels.tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return data_set_of(stream.getvalue())


def data_set_of(file: bytes) -> bytes:
    """What stands behind a file's head."""
    return file[144 + struct.unpack("<I", file[140:144])[0] :]


def uid_of(run: int, association: int, number: int) -> str:
    return f"{PLACEHOLDER[:-19]}{run:07d}{association:04d}{number:08d}"


# --- the sender: one process an association


class Sender:
    """A process with one association; it sends when told."""

    def __init__(self, port: int, run: int, association: int, size: Size, data_set: Path) -> None:
        # Forked, and so there in a millisecond: nothing of this process is to be loaded again.
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=send, args=(theirs, port, run, association, size, data_set))
        self._process.start()
        theirs.close()

    def go(self) -> None:
        self._pipe.send("go")

    def await_word(self, word: str) -> bool:
        """Whether the sender says so; it says nothing more when it failed."""
        try:
            return bool(self._pipe.recv() == word)
        except EOFError:
            return False

    def join(self) -> None:
        self._process.join()


def send(pipe: Connection, port: int, run: int, association: int, size: Size, data_set: Path) -> None:
    """Opens an association, says `ready`, waits for a word, sends, and says `done`."""
    syntax = JPEGBaseline8Bit if size.jpeg_quality is not None else ExplicitVRLittleEndian
    with RawPeer(port, timeout_s=120) as peer:
        accepted = peer.associate([(VL_PHOTOGRAPHIC, str(syntax))], called=TITLE)
        if accepted[:1] != b"\2":
            raise SystemExit(f"port {port} refused the association")
        limit = struct.unpack(">I", accepted[(found := accepted.rindex(b"\x51\0\0\4")) + 4 : found + 8])[0]
        parts = store_pdus(store_request(PLACEHOLDER), data_set.read_bytes(), piece=min(limit or 131072, 131072) - 6)
        message = bytearray(b"".join(parts))
        places = [message.index(PLACEHOLDER.encode())]
        places.append(message.index(PLACEHOLDER.encode(), places[0] + 1))
        pipe.send("ready")
        pipe.recv()
        for number in range(size.objects):
            uid = uid_of(run, association, number).encode()
            for place in places:
                message[place : place + len(uid)] = uid
            peer.send(message)
            status = peer.response().number(0x0900)
            if status != 0:
                raise SystemExit(f"port {port} answered {status}")
        pipe.send("done")
        peer.release()


# --- the receivers


class Receiver(Protocol):
    """A program that takes C-STORE."""

    name: str

    def missing(self) -> str | None:
        """Why it cannot run here, None when it can."""
        ...

    def start(self, folder: Path) -> tuple[subprocess.Popen[str], int]: ...

    def file(self, uid: str) -> bytes:
        """The file stored under that UID."""
        ...

    def count(self) -> int: ...


ENVIRONMENT = os.environ | {"TCP_NODELAY": "1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int, limit_s: float = 30) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


@dataclass
class Node:
    """The node's receiver over SQLite, the header reader with it."""

    name: str = "dermanode"
    folder: Path = Path()

    def missing(self) -> str | None:
        return None

    def start(self, folder: Path) -> tuple[subprocess.Popen[str], int]:
        self.folder = folder
        command = [sys.executable, __file__, "serve", str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    def file(self, uid: str) -> bytes:
        with contextlib.closing(Ledger.open(f"sqlite:///{self.folder}/ledger.db")) as ledger:
            return (self.folder / "spool" / ledger.objects.find(uid)[0].arrival.path).read_bytes()

    def count(self) -> int:
        return sum(1 for _ in (self.folder / "spool").glob("*/*.dcm"))


def serve(folder: Path) -> None:
    """The node's receiver, until its standard input or its parent ends it."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    settings = Settings.model_validate({"node": {"ae_title": TITLE}, "receive": Receive(port=0, minimum_free_mib=0)})
    spool, ledger = Spool(folder / "spool"), Ledger.open(f"sqlite:///{folder}/ledger.db")
    reader = HeaderReader(ledger, spool)
    scp = StorageScp(settings, spool, ledger, on_stored=reader.wake)
    scp.start()
    reader.start()
    print(scp.port, flush=True)
    threading.Event().wait()


@dataclass
class Orthanc:
    """Orthanc with its defaults, which sync; larger PDUs and a thread for each association."""

    name: str = "orthanc"
    http: int = 0

    def missing(self) -> str | None:
        return None if self._program() else "Orthanc is not installed (Debian: orthanc)"

    def _program(self) -> str | None:
        return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")

    def start(self, folder: Path) -> tuple[subprocess.Popen[str], int]:
        port, self.http = free_port(), free_port()
        settings = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "HttpPort": self.http,
            "DicomPort": port,
            "DicomAet": TITLE,
            "RemoteAccessAllowed": False,
            "MaximumPduLength": 131072,
            "DicomThreadsCount": 8,
            "Plugins": [],
        }
        (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
        program = self._program()
        assert program is not None
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log, env=ENVIRONMENT, text=True)
        await_port(self.http)
        await_port(port)
        return process, port

    def _ask(self, path: str, data: bytes | None = None) -> bytes:
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data)) as answer:
            return bytes(answer.read())

    def file(self, uid: str) -> bytes:
        found = json.loads(self._ask("/tools/lookup", uid.encode()))
        return self._ask(f"/instances/{found[0]['ID']}/file")

    def count(self) -> int:
        return int(json.loads(self._ask("/statistics"))["CountInstances"])


@dataclass
class Storescp:
    """dcmtk's storescp at its fastest: a process for each association, bytes as they come, nothing synced."""

    name: str = "storescp"
    folder: Path = Path()

    def missing(self) -> str | None:
        return None if shutil.which("storescp") else "storescp is not installed (Debian: dcmtk)"

    def start(self, folder: Path) -> tuple[subprocess.Popen[str], int]:
        port, self.folder = free_port(), folder
        command = ["storescp", "--fork", "+xa", "+B", "-pdu", "131072", "-od", str(folder), "-aet", TITLE, str(port)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT, text=True)
        await_port(port)
        return process, port

    def file(self, uid: str) -> bytes:
        return next(self.folder.glob(f"*{uid}*")).read_bytes()

    def count(self) -> int:
        return sum(1 for _ in self.folder.iterdir())


# --- the measurement


@dataclass(frozen=True)
class Measured:
    receiver: str
    size: str
    associations: int
    round: int
    objects_per_s: float
    idle_mb: float
    peak_mb: float


def resident_mb(pid: int) -> float:
    """The resident size of a process and its children."""
    total = 0.0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        # psutil would look at every process of the machine to find them.
        total += sum(resident_mb(int(child)) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return total


@contextlib.contextmanager
def peak_memory(pid: int) -> Iterator[list[float]]:
    """The highest resident size of a process and its children, looked at every 20 ms."""
    peak, is_over = [0.0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.02):
            peak[0] = max(peak[0], resident_mb(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        is_over.set()
        thread.join()


@dataclass
class Running:
    receiver: Receiver
    process: subprocess.Popen[str]
    port: int
    idle_mb: float
    stored: int = field(default=0)


def measure(running: Running, size: Size, associations: int, run: int, data_set: Path) -> tuple[float, float]:
    """Objects a second, and the peak size in MB. Raises SystemExit when what was stored is not what was sent."""
    senders = [Sender(running.port, run, number, size, data_set) for number in range(associations)]
    for sender in senders:
        if not sender.await_word("ready"):
            raise SystemExit(f"{running.receiver.name} did not accept the sender")
    with peak_memory(running.process.pid) as peak:
        began = time.perf_counter()
        for sender in senders:
            sender.go()
        for sender in senders:
            if not sender.await_word("done"):
                raise SystemExit(f"{running.receiver.name} failed with {size.name} x {associations}")
        took_s = time.perf_counter() - began
    for sender in senders:
        sender.join()
    running.stored += associations * size.objects
    check(running, size, associations, run, data_set)
    return associations * size.objects / took_s, peak[0]


def check(running: Running, size: Size, associations: int, run: int, data_set: Path) -> None:
    """What was stored is what was sent: the number of objects, and the last of each association byte by byte."""
    end = time.monotonic() + 10
    while (count := running.receiver.count()) != running.stored:
        if time.monotonic() > end:
            raise SystemExit(f"{running.receiver.name} holds {count} objects and was sent {running.stored}")
        time.sleep(0.1)
    template = data_set.read_bytes()
    for association in range(associations):
        uid = uid_of(run, association, size.objects - 1)
        file = running.receiver.file(uid)
        if data_set_of(file) == template.replace(PLACEHOLDER.encode(), uid.encode()):
            continue
        # Orthanc and storescp may write lengths and padding their own way: then the pixel data decide.
        stored, sent = dcmread(io.BytesIO(file)), dcmread(io.BytesIO(template), force=True)
        if stored.SOPInstanceUID != uid or stored.PixelData != sent.PixelData:
            raise SystemExit(f"{running.receiver.name} changed an object")


def benchmark(sizes: Sequence[Size], counts: Sequence[int], rounds: int, root: Path) -> list[Measured]:
    receivers: list[Receiver] = []
    known: tuple[Receiver, ...] = (Node(), Orthanc(), Storescp())
    for receiver in known:
        if reason := receiver.missing():
            print(f"{receiver.name} is left out: {reason}", flush=True)
        else:
            receivers.append(receiver)
    measured, run = list[Measured](), 0
    for size in sizes:
        data_set = root / f"{size.name}.bin"
        data_set.write_bytes(make_data_set(size))
        print(f"{size.name}: {data_set.stat().st_size / 1e6:.3f} MB, {size.objects} objects an association", flush=True)
        folders = {receiver.name: root / f"{receiver.name}-{size.name}" for receiver in receivers}
        runnings = list[Running]()
        try:
            for receiver in receivers:
                folders[receiver.name].mkdir()
                process, port = receiver.start(folders[receiver.name])
                time.sleep(0.5)
                runnings.append(Running(receiver, process, port, resident_mb(process.pid)))
            for number in range(rounds):
                for associations in counts:
                    turned = runnings[number % len(runnings) :] + runnings[: number % len(runnings)]
                    for running in turned:
                        os.sync()
                        run += 1
                        speed, peak_mb = measure(running, size, associations, run, data_set)
                        name = running.receiver.name
                        measured.append(Measured(name, size.name, associations, number, speed, running.idle_mb, peak_mb))
                        print(f"  round {number + 1}, {associations} associations, {name}: {speed:.1f}/s, {peak_mb:.0f} MB", flush=True)
        finally:
            for running in runnings:
                running.process.terminate()
                running.process.wait()
            for folder in folders.values():
                shutil.rmtree(folder, ignore_errors=True)
    return measured


def report(measured: Sequence[Measured]) -> str:
    """A table: medians of the rounds, and the median of each round's ratio to Orthanc."""
    lines = [f"{'size':6} {'assoc':>5} {'receiver':10} {'objects/s':>10} {'x Orthanc':>10} {'idle MB':>8} {'peak MB':>8}"]
    speeds = {(one.receiver, one.size, one.associations, one.round): one.objects_per_s for one in measured}
    for size, associations in dict.fromkeys((one.size, one.associations) for one in measured):
        for name in dict.fromkeys(one.receiver for one in measured):
            rows = [one for one in measured if (one.receiver, one.size, one.associations) == (name, size, associations)]
            ratios = [
                row.objects_per_s / other for row in rows if (other := speeds.get(("orthanc", size, associations, row.round))) is not None
            ]
            ratio = f"{statistics.median(ratios):10.2f}" if ratios else f"{'-':>10}"
            speed = statistics.median(row.objects_per_s for row in rows)
            idle, peak = rows[0].idle_mb, statistics.median(row.peak_mb for row in rows)
            lines.append(f"{size:6} {associations:5} {name:10} {speed:10.1f} {ratio} {idle:8.0f} {peak:8.0f}")
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="tiny,small,large", help="of tiny, small, large")
    parser.add_argument("--associations", default="1,4,8")
    parser.add_argument("--folder", type=Path, help="where the receivers store; by default a temporary folder")
    parser.add_argument("--json", type=Path, help="write every measurement there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no receiver is left behind
    counts = [int(count) for count in options.associations.split(",")]
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="receive-") as root:
        measured = benchmark([SIZES[name] for name in options.sizes.split(",")], counts, options.rounds, Path(root))
    print(report(measured))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in measured], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
