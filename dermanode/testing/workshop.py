"""The engine over a ledger and a spool of its own, and nothing else of a node: for tests of what happens to a case."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pydicom
from pydicom import Dataset

from dermanode.config import Pipeline, Settings
from dermanode.dicom.read import read_header
from dermanode.domain import UID, Digest, Outcome
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Arrival, CaseRecord, CaseState, Evidence, SeriesKey
from dermanode.pipeline.engine import Inline
from dermanode.pipeline.local import Local
from dermanode.pipeline.plugins import discover
from dermanode.testing.ledgers import ledger_at
from dermanode.testing.worked_cases import save

T = TypeVar("T")

WAIT_S = 120.0


def utc_now() -> datetime:
    return datetime.now(UTC)


def wait_for(look: Callable[[], T | None], limit_s: float = WAIT_S) -> T:
    """What `look` finds, as soon as it is something. Raises `AssertionError` when nothing comes."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"nothing came in {limit_s:g} s")


class Workshop:
    """One pipeline called `test`, with the plugins that are installed. `close` ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger.open(ledger_at(folder / "ledger.sqlite"))
        self.engine: Local | Inline | None = None
        self._received = 0

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def start(
        self,
        stages: Mapping[str, Sequence[str]],
        *,
        kinds: Sequence[str] = ("SR",),
        is_inline: bool = False,
        destinations: Mapping[str, Mapping[str, object]] | None = None,
        **engine: Any,
    ) -> Local | Inline:
        """Starts an engine: inline, or with one worker on the CPU. `engine` are settings of that section."""
        settings = Settings.model_validate(
            {
                "node": {"data_dir": str(self.folder)},
                "engine": {"attempts": 1, "threads": 1, "devices": ["cpu"], "start_timeout_s": 120, **engine},
                "destinations": dict(destinations or {}),
            }
        )
        pipeline = Pipeline.model_validate(
            {
                "name": "test",
                "match": {"modalities": ["DMS"]},
                "stages": dict(stages),
                "outputs": {"kinds": list(kinds)},
                "deliver": list(destinations or {}),
            }
        )
        kind = Inline if is_inline else Local
        self.engine = kind(self.ledger, settings, [pipeline], discover(), models_dir=self.folder / "models", clock=utc_now)
        self.engine.start()
        return self.engine

    def close(self) -> None:
        if self.engine is not None:
            self.engine.stop()
        self.ledger.close()

    def receive(self, *instances: Dataset, pipeline: str = "test") -> str:
        """Puts the instances of one series into a new case, or a new revision of theirs, and returns the case's id."""
        key = None
        for dataset in instances:
            key = self._record(dataset)
        assert key is not None
        record = self.ledger.cases.open(key, pipeline=pipeline, plan=(), evidence=Evidence("by hand", "A test."), now=utc_now())
        if self.engine is not None:
            self.engine.wake()
        return record.id

    def _record(self, dataset: Dataset) -> SeriesKey:
        self._received += 1
        spool = self.folder / "spool" / f"{self._received}"
        spool.mkdir(parents=True)
        path = save(dataset, spool)
        header = read_header(path)
        arrival = Arrival(
            sop_instance_uid=UID(str(dataset.SOPInstanceUID)),
            sop_class_uid=UID(str(dataset.SOPClassUID)),
            transfer_syntax_uid=UID(str(dataset.file_meta.TransferSyntaxUID)),
            digest=Digest(f"{self._received:064x}"),
            size_bytes=path.stat().st_size,
            path=str(path.relative_to(self.folder / "spool")),
            association="1",
            calling_ae="CAMERA",
            called_ae="DERMANODE",
            source_address="127.0.0.1",
            received_at=utc_now(),
        )
        receipt = self.ledger.objects.record([arrival])[0]
        self.ledger.objects.set_headers({receipt.object_id: header})
        # As the ledger sorted it: the hospital may have merged its patient into another.
        header = self.ledger.objects.get(receipt.object_id).header or header
        return SeriesKey(header.study_instance_uid, header.series_instance_uid, header.patient_id, header.issuer_of_patient_id)

    def end_of(self, case_id: str) -> CaseRecord:
        """The case once it has ended."""

        def ended() -> CaseRecord | None:
            record = self.ledger.cases.get(case_id)
            return record if record.state in (CaseState.FINISHED, CaseState.FAILED) else None

        return wait_for(ended)

    def outcome_of(self, *instances: Dataset) -> Outcome:
        """How the case of these instances ended."""
        outcome = self.end_of(self.receive(*instances)).outcome
        assert outcome is not None
        return outcome

    def report_of(self, outcome: Outcome) -> str:
        """The Structured Report of a case, as JSON text."""
        path = next(made.path for made in outcome.objects if made.kind == "SR")
        text: str = pydicom.dcmread(self.results / path).to_json()
        return text

    def workers(self) -> list[int]:
        """The process ids of the workers that are alive."""
        assert self.engine is not None
        return [status.pid for status in self.engine.status() if status.pid is not None]
