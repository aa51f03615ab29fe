"""Which earlier visits are of the same lesion, and never of another patient."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import create_engine, inspect, text

from dermanode.domain import UID, LesionKey
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.migrations import config
from dermanode.ledger.priors import is_same_lesion

TRACKING = UID("2.25.50")


def visit(day: int) -> datetime:
    return datetime(2026, 11, day, 9, 0)


def test_two_patients_with_the_same_tracking_id_and_uid_have_lesions_of_their_own(ledger: Ledger, make: Any) -> None:
    mine = make.finished(ledger, range(1, 2), series=101, acquired_at=visit(1), tracking_uid=TRACKING)
    theirs = make.finished(ledger, range(2, 3), series=102, patient="P2", acquired_at=visit(2), tracking_uid=TRACKING)
    now = make.opened(ledger, range(3, 4), series=103, acquired_at=visit(15), tracking_uid=TRACKING)
    other = make.opened(ledger, range(4, 5), series=104, patient="P2", acquired_at=visit(15), tracking_uid=TRACKING)
    assert [record.id for record, _ in ledger.cases.priors(now)] == [mine.id]
    assert [record.id for record, _ in ledger.cases.priors(other)] == [theirs.id]


@pytest.mark.parametrize(
    ("now", "before", "is_prior"),
    [
        ("L", "L", True),
        ("L", "R", False),
        ("R", "L", False),
        ("L", "", True),
        ("", "R", True),
        ("B", "L", True),
    ],
)
def test_the_same_name_and_site_on_the_other_side_is_another_lesion(
    ledger: Ledger, make: Any, now: str, before: str, is_prior: bool
) -> None:
    make.finished(ledger, range(1, 2), series=101, acquired_at=visit(1), laterality=before)
    case = make.opened(ledger, range(3, 4), series=103, acquired_at=visit(15), laterality=now)
    assert case.lesion.laterality == now
    assert bool(ledger.cases.priors(case)) is is_prior


def test_a_tracking_uid_tells_more_than_a_side() -> None:
    left, right = LesionKey(TRACKING, "1", "x", "L"), LesionKey(TRACKING, "1", "x", "R")
    assert is_same_lesion(left, right)


def test_images_that_state_different_sides_state_none(ledger: Ledger, make: Any) -> None:
    make.waiting(ledger, range(1, 2), laterality="L")
    case = make.opened(ledger, range(2, 3), laterality="R")
    assert case.lesion.laterality == ""


def test_a_lesion_without_a_name_has_no_priors(ledger: Ledger, make: Any) -> None:
    nameless: dict[str, object] = {"tracking_id": None, "tracking_uid": None}
    make.finished(ledger, range(1, 2), series=101, acquired_at=visit(1), **nameless)
    now = make.opened(ledger, range(3, 4), series=103, acquired_at=visit(15), **nameless)
    assert ledger.cases.priors(now) == []


def test_a_revision_that_corrects_the_lesion_takes_the_earlier_one_out(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2), series=101, acquired_at=visit(1))
    corrected = make.finished(ledger, range(2, 3), series=101, acquired_at=visit(1), tracking_id="lesion 2")
    assert corrected.lesion.tracking_id is None  # its images name two lesions
    now = make.opened(ledger, range(3, 4), series=103, acquired_at=visit(15))
    assert ledger.cases.priors(now) == []


def test_a_revision_is_no_prior_of_a_later_one_of_its_series(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 2), series=101, acquired_at=visit(2))
    now = make.opened(ledger, range(2, 3), series=101, acquired_at=visit(1))
    assert ledger.cases.priors(now) == []


def test_a_ledger_of_before_the_sides_were_kept_is_brought_up_to_date(tmp_path: Path, make: Any) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        command.upgrade(config(connection), "0001")
        assert "laterality" not in {column["name"] for column in inspect(connection).get_columns("cases")}
    engine.dispose()
    with Ledger.open(url, clock=lambda: make.now) as ledger:
        before = make.finished(ledger, range(1, 2), series=101, acquired_at=visit(1), laterality="L")
        ledger._database.write(lambda transaction: transaction.execute(text("UPDATE cases SET laterality = NULL")))
        assert ledger.cases.get(before.id).lesion.laterality == ""
        now = make.opened(ledger, range(3, 4), series=103, acquired_at=visit(15), laterality="R")
        assert [record.id for record, _ in ledger.cases.priors(now)] == [before.id]
