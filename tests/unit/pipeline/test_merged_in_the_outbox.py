"""A patient is merged while messages that name the former identity wait for a destination that is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dermanode.ledger.records import DeliveryState
from dermanode.ledger.said import Identity, MergeSaid, MessageHead
from dermanode.testing.worked_cases import photograph
from dermanode.testing.workshop import Workshop, utc_now


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path)
    yield workshop
    workshop.close()


def pid(workshop: Workshop, case_id: str) -> str:
    """PID-3 of the message that waits."""
    (waiting,) = workshop.ledger.deliveries.of_case(case_id)
    assert waiting.state is DeliveryState.PENDING
    (path,) = waiting.paths
    return next(line for line in (workshop.results / path).read_text().splitlines() if line.startswith("PID")).split("|")[3]


def test_message_that_waits_at_a_merge_names_the_present_patient(workshop: Workshop) -> None:
    workshop.start({}, is_inline=True, destinations={"his": {"type": "mllp", "host": "127.0.0.1", "port": 9}})
    image = photograph(1, rows=16, columns=16)
    image.PatientID, image.IssuerOfPatientID = "OLD", "CLINIC"
    case = workshop.end_of(workshop.receive(image))
    assert pid(workshop, case.id).startswith("OLD^")
    merge = MergeSaid(pairs=((Identity("OLD", "CLINIC"), Identity("NEW", "CLINIC")),), kind="ADT^A40")
    head = MessageHead(sender="HIS|HOSP", control_id="1", kind="ADT^A40", digest="d")
    assert workshop.ledger.messages.do(head, (merge,), utc_now()).answer == "AA"
    assert workshop.engine is not None
    workshop.engine.wake()
    again = workshop.end_of(case.id)
    assert again.key.patient_id == "NEW"
    assert pid(workshop, case.id).startswith("NEW^")
