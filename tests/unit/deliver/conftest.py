"""Deliveries in memory, with the calls of the ledger's, and small DICOM files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dermanode.errors import LedgerUnavailable
from dermanode.ledger.records import Delivery, DeliveryState
from dermanode.testing.ledgers import ledger_at


class MemoryDeliveries:
    """What the ledger keeps of deliveries, for as long as the test runs."""

    def __init__(self) -> None:
        self.rows: dict[int, Delivery] = {}
        self.changed = threading.Condition()
        self.outages = 0
        self.asked: dict[int, tuple[str, str] | None] = {}

    @property
    def deliveries(self) -> MemoryDeliveries:
        return self

    def add(self, destination: str, *paths: str, case_id: str = "case-1") -> int:
        with self.changed:
            number = len(self.rows) + 1
            now = datetime(2000, 1, 1, tzinfo=UTC)
            self.rows[number] = Delivery(number, case_id, destination, paths, DeliveryState.PENDING, 0, now, "", "", None)
            return number

    def claim(self, destination: str, now: datetime) -> Delivery | None:
        self._fail_perhaps()
        with self.changed:
            for row in self.rows.values():
                if row.destination == destination and row.state is DeliveryState.PENDING and row.next_at <= now:
                    return self._change(row.id, state=DeliveryState.SENDING, attempts=row.attempts + 1)
            return None

    def succeeded(self, delivery_id: int, receipt: str, now: datetime, *, commitment: tuple[str, str] | None = None) -> None:
        self._fail_perhaps()
        self.asked[delivery_id] = commitment
        self._change(delivery_id, state=DeliveryState.DELIVERED, receipt=receipt, delivered_at=now)

    def postponed(self, delivery_id: int, error: str, next_at: datetime, now: datetime) -> None:
        self._change(delivery_id, state=DeliveryState.PENDING, last_error=error, next_at=next_at)

    def buried(self, delivery_id: int, error: str, now: datetime) -> None:
        self._change(delivery_id, state=DeliveryState.DEAD, last_error=error)

    def wait_until(self, number: int, wanted: Callable[[Delivery], bool], timeout_s: float = 30.0) -> Delivery:
        with self.changed:
            assert self.changed.wait_for(lambda: wanted(self.rows[number]), timeout_s), self.rows[number]
            return self.rows[number]

    def _change(self, number: int, **values: object) -> Delivery:
        with self.changed:
            self.rows[number] = replace(self.rows[number], **values)  # type: ignore[arg-type]
            self.changed.notify_all()
            return self.rows[number]

    def _fail_perhaps(self) -> None:
        if self.outages:
            self.outages -= 1
            raise LedgerUnavailable("The database does not answer.")


@pytest.fixture
def deliveries() -> MemoryDeliveries:
    return MemoryDeliveries()


@pytest.fixture
def write_dicom(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small object of the given class."""

    def write(name: str, uid: str, sop_class: str = "1.2.840.10008.5.1.4.1.1.88.34", transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class), UID(uid)
        meta.TransferSyntaxUID = UID(transfer_syntax)
        dataset = Dataset()
        dataset.file_meta = meta
        dataset.SOPClassUID, dataset.SOPInstanceUID = UID(sop_class), UID(uid)
        dataset.PatientName, dataset.PatientID = "Nobody", "1"
        path = tmp_path / name
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    """The URL of an empty ledger of the test's own; opened again, it is the same."""
    return ledger_at(tmp_path / "ledger.db")
