"""How fast objects are taken in by STOW-RS: the node and Orthanc, the same requests in one run.

    python benchmarks/stow.py [--rounds 5] [--sizes small,large] [--senders 1,4] [--json FILE]

Both answer when what they say is on disk: the node syncs file, folder and ledger row, Orthanc its files and its index (its default).
In every round each is measured, in turning order, and what the disk still owes is written out in between. A sender is a thread with a
connection that it keeps, and posts requests that were encoded beforehand. After each measurement the number of objects is compared.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit
from simplejpeg import encode_jpeg

from dermanode.testing.dicomweb import as_file, multipart_body, photograph
from dermanode.testing.real_pacs import DICOMWEB_PLUGIN, ORTHANC, running_orthanc

KIND = 'multipart/related; type="application/dicom"; boundary=BoundaryOfTests'
PLACEHOLDER = b"2.25.1000000000000000"
SERVE = """
import pathlib, sys, threading
import structlog
from dermanode.receive.index import HeaderReader
from dermanode.testing.dicomweb import served
structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
with served(pathlib.Path(sys.argv[1])) as (url, service):
    HeaderReader(service.ledger, service.spool).start()
    print(url, flush=True)
    threading.Event().wait()
"""


@dataclass(frozen=True)
class Size:
    """A kind of object, how many a request holds, and how many requests a sender posts."""

    name: str
    rows: int
    columns: int
    is_jpeg: bool
    objects: int
    requests: int


SIZES = {size.name: size for size in (Size("small", 768, 1024, True, 8, 5), Size("large", 3072, 4096, False, 2, 2))}


def make_request(size: Size) -> bytes:
    """A request with objects of that size: noise, as a baseline JPEG or raw. Their UIDs are to be replaced."""
    pixels = np.random.default_rng(7).integers(0, 256, (size.rows, size.columns, 3), np.uint8)
    parts = []
    for number in range(size.objects):
        uid = f"{PLACEHOLDER.decode()[:-4]}{number:04}"
        dataset = photograph(uid, "2.25.10", "2.25.1", Rows=size.rows, Columns=size.columns)
        if size.is_jpeg:
            dataset.PixelData = encapsulate([encode_jpeg(pixels, quality=82, colorspace="RGB", colorsubsampling="422")])
            dataset["PixelData"].is_undefined_length = True
            dataset.PhotometricInterpretation, dataset.file_meta.TransferSyntaxUID = "YBR_FULL_422", JPEGBaseline8Bit
        else:
            dataset.PixelData = pixels.tobytes()
        parts.append(as_file(dataset))
    return multipart_body(parts)


class Receiver(Protocol):
    """A running program that takes STOW-RS."""

    name: str
    url: str
    pid: int

    def count(self) -> int: ...


@dataclass
class Node:
    url: str
    pid: int
    folder: Path
    name: str = "dermanode"

    def count(self) -> int:
        return sum(1 for _ in (self.folder / "spool").glob("*/*.dcm"))


@dataclass
class Orthanc:
    url: str
    pid: int
    rest: str
    name: str = "orthanc"

    def count(self) -> int:
        return int(httpx.get(f"{self.rest}/statistics", timeout=60).json()["CountInstances"])


@contextlib.contextmanager
def running(folder: Path) -> Iterator[list[Receiver]]:
    """The receivers that are installed here."""
    with contextlib.ExitStack() as stack:
        own = folder / "node"
        own.mkdir()
        process = subprocess.Popen([sys.executable, "-c", SERVE, str(own)], stdout=subprocess.PIPE, text=True)
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert process.stdout is not None
        receivers: list[Receiver] = [Node(process.stdout.readline().strip(), process.pid, own)]
        if ORTHANC is None or not DICOMWEB_PLUGIN.is_file():
            print("orthanc is left out: it is not installed (Debian: orthanc, orthanc-dicomweb)", flush=True)
        else:
            pacs = stack.enter_context(running_orthanc(folder / "orthanc", plugins=[DICOMWEB_PLUGIN]))
            receivers.append(Orthanc(pacs.web_url, pacs.process.pid, pacs.url))
        yield receivers


@dataclass(frozen=True)
class Measured:
    receiver: str
    size: str
    senders: int
    round: int
    objects_per_s: float
    peak_mb: float


def post(url: str, bodies: Sequence[bytes]) -> None:
    """Posts one request after the other over one connection. Raises SystemExit where not all is stored."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=300)
    for body in bodies:
        connection.request("POST", f"{parts.path}/studies", body, {"Content-Type": KIND, "Accept": "application/dicom+json"})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{url} answered {answer.status}: {said[:500]!r}")
    connection.close()


@contextlib.contextmanager
def peak_memory(pid: int) -> Iterator[list[float]]:
    """The highest resident size of a process, in MB, looked at every 20 ms."""
    peak, is_over, process = [0.0], threading.Event(), psutil.Process(pid)

    def watch() -> None:
        while not is_over.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        is_over.set()
        thread.join()


def measure(receiver: Receiver, size: Size, senders: int, turn: int, template: bytes) -> tuple[float, float]:
    """Objects a second, and the peak size in MB. Raises SystemExit when not all that was sent is there."""
    bodies = [
        [
            template.replace(PLACEHOLDER[:-4], b"2.25.1%05d%02d%02d%02d" % (turn, sender, number, size.objects))
            for number in range(size.requests)
        ]
        for sender in range(senders)
    ]
    before = receiver.count()
    os.sync()
    with peak_memory(receiver.pid) as peak, ThreadPoolExecutor(senders) as threads:
        began = time.perf_counter()
        list(threads.map(lambda some: post(receiver.url, some), bodies))
        took_s = time.perf_counter() - began
    sent = senders * size.requests * size.objects
    if (stored := receiver.count() - before) != sent:
        raise SystemExit(f"{receiver.name} holds {stored} more objects and was sent {sent}")
    return sent / took_s, peak[0]


def benchmark(sizes: Sequence[Size], counts: Sequence[int], rounds: int, root: Path) -> list[Measured]:
    measured, turn = list[Measured](), 0
    for size in sizes:
        template = make_request(size)
        print(f"{size.name}: {size.objects} objects of {len(template) / size.objects / 1e6:.2f} MB a request", flush=True)
        folder = root / size.name
        folder.mkdir()
        with running(folder) as receivers:
            for senders in counts:
                for number in range(rounds):
                    for receiver in receivers[number % len(receivers) :] + receivers[: number % len(receivers)]:
                        turn += 1
                        rate, peak_mb = measure(receiver, size, senders, turn, template)
                        measured.append(Measured(receiver.name, size.name, senders, number, rate, peak_mb))
                report([one for one in measured if (one.size, one.senders) == (size.name, senders)])
    return measured


def report(measured: Sequence[Measured]) -> None:
    for name in dict.fromkeys(one.receiver for one in measured):
        own = [one for one in measured if one.receiver == name]
        rates = [one.objects_per_s for one in own]
        print(
            f"  {own[0].senders} senders, {name:9}: median {statistics.median(rates):7.1f} objects/s "
            f"({min(rates):.1f} to {max(rates):.1f}), peak {max(one.peak_mb for one in own):.0f} MB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--senders", default="1,4")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sizes = [SIZES[name] for name in options.sizes.split(",")]
    with tempfile.TemporaryDirectory(prefix="dermanode-stow-") as root:
        measured = benchmark(sizes, [int(count) for count in options.senders.split(",")], options.rounds, Path(root))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in measured], indent=1))


if __name__ == "__main__":
    main()
