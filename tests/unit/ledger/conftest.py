"""A ledger of its own for each test, and makers of what it records.

`DERMANODE_TEST_LEDGER_URL` runs the same tests on an empty database of a server; its tables are emptied before each test.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from dermanode.domain.identifiers import UID, Digest
from dermanode.domain.outcome import Outcome, ProducedObject, StageReport, StageStatus
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Arrival, CaseRecord, Evidence, Header, NewDelivery, Receipt, SeriesKey
from dermanode.ledger.tables import cases, metadata

SERVER_URL = os.environ.get("DERMANODE_TEST_LEDGER_URL")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a ledger that is migrated once: a file to be copied, or the server's database to be emptied."""
    template = SERVER_URL or f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    Ledger.open(template).close()
    return template


@pytest.fixture
def url(tmp_path: Path, template: str) -> str:
    """The URL of an empty ledger."""
    if SERVER_URL is None:
        return f"sqlite:///{shutil.copy(template.removeprefix('sqlite:///'), tmp_path / 'ledger.db')}"
    engine = create_engine(SERVER_URL, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(cases.update().values(supersedes=None))
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    return SERVER_URL


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger.open(url, clock=lambda: Maker.now) as opened:
        yield opened


class Maker:
    """Makes arrivals, headers, series and outcomes that tests can read at a glance."""

    now = datetime(2026, 11, 21, 9, 30, 15, 123456, tzinfo=UTC)
    study = UID("2.25.1000")

    def later(self, seconds: float) -> datetime:
        return self.now + timedelta(seconds=seconds)

    def uid(self, number: int) -> UID:
        return UID(f"2.25.{number}")

    def digest(self, content: str) -> Digest:
        return Digest(hashlib.sha256(content.encode()).hexdigest())

    def arrival(self, number: int = 1, content: str | None = None, association: str = "a1") -> Arrival:
        digest = self.digest(content or f"content of {number}")
        return Arrival(
            sop_instance_uid=self.uid(number),
            sop_class_uid=UID("1.2.840.10008.5.1.4.1.1.77.1.4"),
            transfer_syntax_uid=UID("1.2.840.10008.1.2.4.50"),
            digest=digest,
            size_bytes=550_000,
            path=f"{digest[:2]}/{digest}.dcm",
            association=association,
            calling_ae="CAMERA",
            called_ae="DERMANODE",
            source_address="127.0.0.1",
            received_at=self.now + timedelta(milliseconds=number),
        )

    def header(self, series: int = 100, patient: str = "P1", **changes: object) -> Header:
        header = Header(
            study_instance_uid=self.study,
            series_instance_uid=self.uid(series),
            modality="XC",
            patient_id=patient,
            body_site="39937001",
            tracking_id="lesion 1",
            acquired_at=datetime(2026, 11, 21, 9, 0),
        )
        return replace(header, **changes)  # type: ignore[arg-type]

    def key(self, series: int = 100, patient: str = "P1") -> SeriesKey:
        return SeriesKey(self.study, self.uid(series), patient)

    def evidence(self) -> Evidence:
        return Evidence("quiet period", "No object came for 20 s.")

    def waiting(self, ledger: Ledger, numbers: range, series: int = 100, patient: str = "P1", **changes: object) -> list[Receipt]:
        """Objects of those numbers in the ledger, their headers read."""
        receipts = ledger.objects.record([self.arrival(number) for number in numbers])
        header = self.header(series, patient, **changes)
        ledger.objects.set_headers({receipt.object_id: header for receipt in receipts})
        return receipts

    def opened(self, ledger: Ledger, numbers: range, series: int = 100, patient: str = "P1", **changes: object) -> CaseRecord:
        """A case of those objects."""
        self.waiting(ledger, numbers, series, patient, **changes)
        plan = ("segment: acme-segment 1.0 serves it.",)
        return ledger.cases.open(self.key(series, patient), pipeline="derm", plan=plan, evidence=self.evidence(), now=self.now)

    def outcome(self, case: CaseRecord, *, is_failed: bool = False, unreadable: tuple[UID, ...] = (), content: str = "x") -> Outcome:
        status = StageStatus.FAILED if is_failed else StageStatus.PERFORMED
        reason = "raised ValueError: no" if is_failed else ""
        return Outcome(
            case_id=case.id,
            revision=case.revision,
            is_failed=is_failed,
            reports=(StageReport(stage="segment", status=status, plugin="acme-segment", plugin_version="1.0", reason=reason, took_s=0.5),),
            unreadable=tuple((uid, "the JPEG ends early") for uid in unreadable),
            objects=(
                ProducedObject(
                    kind="SEG",
                    path=f"{case.id}/seg-1.dcm",
                    digest=self.digest(content),
                    size_bytes=12_345,
                    sop_class_uid=UID("1.2.840.10008.5.1.4.1.1.66.4"),
                    sop_instance_uid=self.uid(777),
                    description="Lesion outline",
                ),
            ),
            took_s=1.25,
        )

    def delivery(self, case: CaseRecord, destination: str = "pacs") -> NewDelivery:
        return NewDelivery(destination, (f"{case.id}/seg-1.dcm",))

    def finished(self, ledger: Ledger, numbers: range, series: int = 100, patient: str = "P1", **changes: object) -> CaseRecord:
        """A case that ran and is due at one destination."""
        case = self.opened(ledger, numbers, series, patient, **changes)
        ledger.cases.claim(self.now)
        return ledger.cases.finish(case.id, self.outcome(case), [self.delivery(case)], self.later(2))


@pytest.fixture
def make() -> Maker:
    return Maker()
