"""The data sets of storage commitment: what is asked, and what is reported (PS3.4 J.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.sequence import Sequence

from dermanode.domain.identifiers import UID
from dermanode.errors import DermaNodeError, IdentifierError

WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The Storage Commitment Push Model SOP Instance, which stands for the service (PS3.4 J.3.5)."""
REQUEST = 1
"""Action Type ID (PS3.4 J.3.2.1)."""
ALL_KEPT, SOME_FAILED = 1, 2
"""Event Type IDs (PS3.4 J.3.3.1)."""

# PS3.3 C.14.1.1
PROCESSING_FAILURE, NO_SUCH_INSTANCE, CLASS_CONFLICT = 0x0110, 0x0112, 0x0119
_REASONS = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_INSTANCE: "no such object",
    0x0213: "resource limitation",
    0x0122: "its class is not supported",
    CLASS_CONFLICT: "its class is another",
    0x0131: "duplicate transaction",
}

Instance = tuple[str, str]
"""SOP Class UID, SOP Instance UID."""


class CommitmentMalformed(DermaNodeError):
    """A request or a report without what it must have."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the instances of one transaction."""

    transaction_uid: UID
    failures: Mapping[str, str]
    """Why an instance is not kept, in words, by SOP Instance UID."""
    kept: frozenset[str] = frozenset()
    """The SOP Instance UIDs of what is kept. What was asked about and stands in neither was left out."""


def request_data(transaction_uid: UID, instances: Iterable[Instance]) -> Dataset:
    """The Action Information: keep these (PS3.4 table J.3-1)."""
    data = Dataset()
    data.TransactionUID = str(transaction_uid)
    data.ReferencedSOPSequence = Sequence([_reference(*instance) for instance in instances])
    return data


def read_request(data: Dataset) -> tuple[UID, tuple[Instance, ...]]:
    """The transaction, and what is to be kept, in order and each once. Raises `CommitmentMalformed`."""
    instances = tuple(dict.fromkeys(_instance(item) for item in data.get("ReferencedSOPSequence") or ()))
    if not instances:
        raise CommitmentMalformed("The Referenced SOP Sequence is missing or empty.")
    return _transaction(data), instances


def report_data(transaction_uid: UID, kept: Iterable[Instance], failed: Iterable[tuple[Instance, int]]) -> tuple[int, Dataset]:
    """The Event Type ID and the Event Information (PS3.4 table J.3-2)."""
    data = Dataset()
    data.TransactionUID = str(transaction_uid)
    items = [_reference(*instance) for instance in kept]
    failures = []
    for instance, reason in failed:
        item = _reference(*instance)
        item.FailureReason = reason
        failures.append(item)
    if items or not failures:
        data.ReferencedSOPSequence = Sequence(items)
    if failures:
        data.FailedSOPSequence = Sequence(failures)
    return (SOME_FAILED if failures else ALL_KEPT), data


def read_report(data: Dataset) -> Report:
    """What a peer reports. The failed items count, whatever its event type says. Raises `CommitmentMalformed`."""
    failures = {}
    for item in data.get("FailedSOPSequence") or ():
        reason = item.get("FailureReason")
        why = "no reason given" if reason is None else _REASONS.get(int(reason), f"reason 0x{int(reason):04X}")
        failures[_instance(item)[1]] = why
    kept = frozenset(str(item.get("ReferencedSOPInstanceUID") or "").strip() for item in data.get("ReferencedSOPSequence") or ())
    return Report(_transaction(data), failures, kept)


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _instance(item: Dataset) -> Instance:
    sop_class, instance = str(item.get("ReferencedSOPClassUID") or ""), str(item.get("ReferencedSOPInstanceUID") or "")
    try:
        return str(UID(sop_class)), str(UID(instance))
    except IdentifierError as error:
        raise CommitmentMalformed(f"A referenced instance is not named by UIDs: {error}") from error


def _transaction(data: Dataset) -> UID:
    try:
        return UID(str(data.get("TransactionUID") or ""))
    except IdentifierError as error:
        raise CommitmentMalformed(f"The Transaction UID is missing or no UID: {error}") from error
