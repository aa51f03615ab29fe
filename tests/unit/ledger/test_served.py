from __future__ import annotations

from typing import Any

import pytest

from dermanode.domain.identifiers import UID
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.served import Wanted


@pytest.fixture
def filled(ledger: Ledger, make: Any) -> Ledger:
    """Two studies: the later one's patient id has characters that mean something to a database."""
    make.waiting(ledger, range(1, 3))
    make.waiting(ledger, range(3, 5), 200, "p_1%\\x", study_instance_uid=UID("2.25.2000"), accession_number="B-1")
    return ledger


def found(ledger: Ledger, **wanted: object) -> list[str]:
    return [str(uid) for uid in ledger.served.studies(Wanted(**wanted), 10, 0)]  # type: ignore[arg-type]  # as the tests name them


def test_studies_come_newest_first_and_page_by_page(filled: Ledger) -> None:
    assert found(filled) == ["2.25.2000", "2.25.1000"]
    assert filled.served.studies(Wanted(), 1, 1) == [UID("2.25.1000")]
    assert filled.served.studies(Wanted(), 10, 2) == []


def test_studies_are_narrowed_by_what_is_named(filled: Ledger) -> None:
    assert found(filled, studies=("2.25.1000", "2.25.3")) == ["2.25.1000"]
    assert found(filled, series=("2.25.200",)) == ["2.25.2000"]
    assert found(filled, instances=("2.25.1",)) == ["2.25.1000"]
    assert found(filled, patient_id="P1") == ["2.25.1000"]
    assert found(filled, patient_id="p_1%\\x") == ["2.25.2000"]
    assert found(filled, patient_id="p_1%\\?") == ["2.25.2000"]
    assert found(filled, patient_id="p?1*") == ["2.25.2000"]
    assert found(filled, patient_id="_*") == []
    assert found(filled, patient_id="%*") == []
    assert found(filled, accession_number="B*") == ["2.25.2000"]


def test_what_is_unread_quarantined_or_in_conflict_is_not_served(filled: Ledger, make: Any) -> None:
    filled.objects.record([make.arrival(9)])
    filled.objects.record([make.arrival(1, "other bytes")])
    filled.objects.quarantine([filled.objects.find("2.25.2")[0].id], "it is broken")
    of_study = filled.served.of_studies([make.study])[make.study]
    assert [str(one.sop_instance_uid) for one in of_study] == ["2.25.1"]
    assert of_study[0].digest == make.digest("content of 1")


def test_results_are_served_in_the_study_of_their_case(ledger: Ledger, make: Any) -> None:
    case = make.finished(ledger, range(1, 3))
    of_study = ledger.served.of_studies([make.study])[make.study]
    assert [(str(one.sop_instance_uid), one.is_result) for one in of_study] == [("2.25.1", False), ("2.25.2", False), ("2.25.777", True)]
    assert of_study[2].path == f"{case.id}/seg-1.dcm"
    assert of_study[2].series_instance_uid is None
    for uid in ("2.25.2", "2.25.777"):
        assert [str(one.sop_instance_uid) for one in ledger.served.of_studies([make.study], UID(uid))[make.study]] == [uid]
    assert ledger.served.of_studies([make.study], UID("2.25.3"))[make.study] == ()
    assert found(ledger, instances=("2.25.777",)) == [str(make.study)]
    assert found(ledger, patient_id="P1") == [str(make.study)]
