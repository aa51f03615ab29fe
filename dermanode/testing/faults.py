"""Kills a node again and again while objects arrive and cases run, and proves that nothing acknowledged was lost."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.association import Association

from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CaseState, DeliveryState
from dermanode.ledger.spool import Spool
from dermanode.testing.pacs import LoopbackPacs
from dermanode.testing.ports import free_port


@dataclass(frozen=True, slots=True)
class FaultReport:
    """What the kills did."""

    kills: int
    sent: int
    acknowledged: int
    cases: int
    delivered: int
    """Different SOP Instance UIDs that the PACS got."""
    took_s: float
    problems: tuple[str, ...]
    """Sentences; empty when nothing was lost, doubled or left over."""


@dataclass(frozen=True)
class Trial:
    """One run: how often to kill, which files to send, and the pipeline's stages."""

    kills: int
    seed: int
    series: Sequence[Sequence[Path]]
    """The files of each series, which must all have the same number."""
    stages: dict[str, list[str]]
    models_dir: Path
    folder: Path
    pause_s: tuple[float, float] = (0.1, 5.0)
    """The shortest and the longest time between the moment at which the node listens and its kill."""
    longest_s: float = 600.0
    say: Callable[[str], None] = lambda _words: None

    def run(self) -> FaultReport:
        """Runs it. The seed fixes the moments of the kills; what they hit is up to the machine."""
        began = time.monotonic()
        chance = random.Random(self.seed)
        with LoopbackPacs(ae_title="PACS") as pacs:
            node = _NodeProcess(self, pacs.port)
            sender = _Sender(self.series, node.port)
            problems: list[str] = []
            node.start()
            sender.thread.start()
            for number in range(1, self.kills + 1):
                node.wait_until_it_listens(began + self.longest_s)
                time.sleep(chance.uniform(*self.pause_s))
                node.kill()
                acknowledged = sender.acknowledged()
                problems += [f"After kill {number}: {problem}" for problem in node.audit(acknowledged)]
                self.say(f"kill {number} of {self.kills}: {len(acknowledged)} objects acknowledged, {len(problems)} problems")
                node.start()
            sender.thread.join(self.longest_s)
            is_over = node.wait_until_over(len(self.series), began + self.longest_s)
            if not is_over:
                problems.append(f"Not every case had ended and been delivered after {self.longest_s:g} s.")
            node.stop()
            problems += node.audit(sender.acknowledged())
            made, cases = node.made()
            for uid in sorted(pacs.uids - made):
                problems.append(f"The PACS got {uid}, which no case made: a result under another UID.")
            for uid in sorted(made - pacs.uids):
                problems.append(f"{uid} was made and never reached the PACS.")
            return FaultReport(
                kills=self.kills,
                sent=sum(len(files) for files in self.series),
                acknowledged=len(sender.acknowledged()),
                cases=cases,
                delivered=len(pacs.uids),
                took_s=time.monotonic() - began,
                problems=tuple(problems),
            )


class _NodeProcess:
    """`dermanode serve` as a process of its own, on a data folder that outlives it."""

    def __init__(self, trial: Trial, pacs_port: int) -> None:
        self._data = trial.folder / "var"
        self._file = trial.folder / "dermanode.yaml"
        self._log = trial.folder / "node.log"
        self.port = free_port()
        trial.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "node": {"data_dir": str(self._data), "models_dir": str(trial.models_dir)},
            "receive": {"port": self.port, "minimum_free_mib": 0},
            "complete": {"quiet_s": 600},  # a series is whole when its association ends with all its views, and never before
            "destinations": {
                "pacs": {"type": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs_port, "retry": {"first_s": 0.5}}
            },
            "engine": {"attempts": 2},
            "pipelines": ["pipeline.yaml"],
            "web": {"is_enabled": False},
        }
        pipeline = {
            "name": "faults",
            "match": {"modalities": ["DMS", "XC"]},
            "expected_views": len(trial.series[0]),
            "stages": trial.stages,
            "deliver": ["pacs"],
        }
        self._file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        (trial.folder / "pipeline.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dermanode", "--config", str(self._file), "serve"], stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_it_listens(self, deadline: float) -> None:
        """Raises `TimeoutError` when it does not by then."""
        while not _is_listening(self.port):
            if time.monotonic() > deadline:
                raise TimeoutError(f"The node does not listen on port {self.port}; its log is {self._log}.")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL to the server and every worker of its session."""
        assert self._process is not None, "the node was started"
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        assert self._process is not None, "the node was started"
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def audit(self, acknowledged: frozenset[str]) -> list[str]:
        """What is wrong with the record while nobody writes to it."""
        if not (self._data / "ledger.db").exists():
            return [f"{uid} was acknowledged, and there is no ledger." for uid in sorted(acknowledged)]
        with self._ledger() as ledger:
            problems = list(ledger.audit(Spool(self._data / "spool"), deep=True).problems)
            problems += [
                f"{uid} was acknowledged and is not in the ledger." for uid in sorted(acknowledged) if not ledger.objects.find(uid)
            ]
        return problems

    def wait_until_over(self, cases: int, deadline: float) -> bool:
        """Until so many cases have ended and everything was delivered; False when the time is over first."""
        while time.monotonic() < deadline:
            with self._ledger() as ledger:
                counts = ledger.cases.counts()
                over = counts.get(CaseState.FINISHED, 0) + counts.get(CaseState.FAILED, 0)
                sent = ledger.deliveries.counts()
                if over >= cases and not sent.get(DeliveryState.PENDING, 0) and not sent.get(DeliveryState.SENDING, 0):
                    return True
            time.sleep(1)
        return False

    def made(self) -> tuple[frozenset[str], int]:
        """The SOP Instance UIDs of all results, and how many cases there are."""
        with self._ledger() as ledger:
            cases = ledger.cases.list(100_000, 0)
        outcomes = [case.outcome for case in cases if case.outcome]
        return frozenset(
            str(o.sop_instance_uid) for outcome in outcomes for o in outcome.objects if o.sop_instance_uid and o.passed_gate
        ), len(cases)

    def _ledger(self) -> Ledger:
        return Ledger.open(f"sqlite:///{self._data / 'ledger.db'}")


class _Sender:
    """Sends each series over one association, again until every object of it was acknowledged, as a PACS would."""

    def __init__(self, series: Sequence[Sequence[Path]], port: int) -> None:
        self._series = series
        self._port = port
        self._entity = AE(ae_title="SENDER")
        self._entity.dimse_timeout = self._entity.acse_timeout = self._entity.network_timeout = 20
        first = dcmread(series[0][0], stop_before_pixels=True)
        self._entity.add_requested_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)
        self._acknowledged: set[str] = set()
        self._lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def acknowledged(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._acknowledged)

    def _run(self) -> None:
        for files in self._series:
            while not self._send(files):
                time.sleep(0.3)

    def _send(self, files: Sequence[Path]) -> bool:
        if not _is_listening(self._port):
            return False
        association = self._entity.associate("127.0.0.1", self._port, ae_title="DERMANODE")
        if not association.is_established:
            return False
        try:
            # Each answer counts by itself: what was acknowledged just before a kill is what a lesser node would lose.
            return all(self._store(association, file) for file in files)
        finally:
            if association.is_established:
                association.release()

    def _store(self, association: Association, file: Path) -> bool:
        dataset = dcmread(file)
        try:
            status = association.send_c_store(dataset)
        except (RuntimeError, ValueError):  # the node was killed under it
            return False
        if status.get("Status") != 0x0000:
            return False
        with self._lock:
            self._acknowledged.add(str(dataset.SOPInstanceUID))
        return True


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
