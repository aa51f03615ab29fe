"""Earlier reports of a patient whom the hospital merged: others may still hold them under a former identity."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from dermanode.config import Settings
from dermanode.receive.earlier import earlier_visits
from dermanode.receive.priors import PriorSearch

from .test_priors import Place, record, report, written


def test_report_under_a_former_identity_is_of_the_patient() -> None:
    found = earlier_visits([report(patient_id="P0")], record(), (), 20, {("P0", "CLINIC")})
    assert [visit.case_id for visit in found.visits] == ["1.2.9.1"]


def test_report_under_the_former_number_of_another_issuer_is_not() -> None:
    assert earlier_visits([report(patient_id="P0", issuer="OTHER")], record(), (), 20, {("P0", "CLINIC")}).visits == ()


def test_places_are_asked_under_every_identity(tmp_path: Path) -> None:
    place = Place(contents=[written(tmp_path, datetime(2025, 1, 1, tzinfo=UTC), patient_id="P0")])
    asked = PriorSearch(Settings(), [place], formerly=lambda _key: (("P0", "CLINIC"),))(record(), ())
    assert place.asked == ["P1", "P0"]
    assert len(asked.visits) == 1
