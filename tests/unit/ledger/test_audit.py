"""The audit: clean when all is well, and plain words when it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from sqlalchemy import create_engine, text

from dermanode.domain.identifiers import Digest
from dermanode.ledger.audit import MOST_PROBLEMS
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Arrival, ObjectState
from dermanode.ledger.spool import Spool


def damage(url: str, *statements: str) -> None:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
    finally:
        engine.dispose()


def in_spool(make: Any, spool: Spool, number: int) -> Arrival:
    content = b"bytes of object %d" % number
    digest = Digest(blake3(content).hexdigest())
    arrival: Arrival = make.arrival(number)
    path = f"{digest[:2]}/{digest}.dcm"
    spool.path(path).parent.mkdir(parents=True, exist_ok=True)
    spool.path(path).write_bytes(content)
    values = {name: getattr(arrival, name) for name in Arrival.__slots__}
    return Arrival(**{**values, "digest": digest, "path": path, "size_bytes": len(content)})


def test_a_ledger_at_work_is_clean_and_adds_up(ledger: Ledger, make: Any) -> None:
    make.finished(ledger, range(1, 4))
    make.opened(ledger, range(4, 5))
    ledger.objects.record([make.arrival(4, "other"), make.arrival(9)])
    (ignored,) = ledger.objects.record([make.arrival(10)])
    ledger.objects.ignore([ignored.object_id], "No pipeline wants it.")
    audit = ledger.audit(None)
    assert audit.is_clean
    assert audit.accepted == 7
    assert dict(audit.by_state) == {
        ObjectState.WAITING: 1,
        ObjectState.IN_CASE: 4,
        ObjectState.IGNORED: 1,
        ObjectState.QUARANTINED: 1,
        ObjectState.PURGED: 0,
    }


def test_every_file_is_looked_at(ledger: Ledger, make: Any, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    arrivals = [in_spool(make, spool, number) for number in range(1, 5)]
    ledger.objects.record(arrivals)
    assert ledger.audit(spool, deep=True).is_clean
    assert ledger.objects.is_recorded(arrivals[0].path)
    assert not ledger.objects.is_recorded(f"ab/{'ab' * 32}.dcm")
    spool.path(arrivals[0].path).unlink()
    spool.path(arrivals[1].path).write_bytes(b"short")
    spool.path(arrivals[2].path).write_bytes(b"BYTES of object 3")
    missing, short = ledger.audit(spool).problems
    assert "2.25.1 is missing" in missing
    assert "2.25.2 has 5 bytes instead of 17" in short
    assert "2.25.3 is not what was received" in ledger.audit(spool, deep=True).problems[2]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "DELETE FROM case_objects WHERE object_id = (SELECT MIN(id) FROM objects)",
            "Object 2.25.1 is marked as in a case, but is in none",
        ),
        ("UPDATE objects SET state = 'waiting' WHERE sop_instance_uid = '2.25.1'", "2.25.1 is marked as waiting, but is in a case"),
        (
            "UPDATE objects SET patient_id = 'P2' WHERE sop_instance_uid = '2.25.1'",
            "2.25.1 is in case c6373141d5be361-r1, but is of another",
        ),
        ("UPDATE objects SET state = 'ignored' WHERE sop_instance_uid = '2.25.1'", "2.25.1 is ignored without a reason"),
        ("DELETE FROM case_objects", "Case c6373141d5be361-r1 has no objects"),
        ("UPDATE cases SET outcome = NULL", "is finished, but nothing tells how it ended"),
        ("UPDATE objects SET state = 'waiting', patient_id = NULL WHERE sop_instance_uid = '2.25.3'", "2.25.3 waits with half a header"),
    ],
)
def test_a_contradiction_is_named(ledger: Ledger, make: Any, url: str, statement: str, words: str) -> None:
    make.finished(ledger, range(1, 4))
    damage(url, statement)
    assert any(words in problem for problem in ledger.audit(None).problems)


def test_the_database_refuses_a_sixth_state(ledger: Ledger, make: Any, url: str) -> None:
    make.waiting(ledger, range(1, 2))
    with pytest.raises(Exception, match="ck_objects_state"):
        damage(url, "UPDATE objects SET state = 'lost'")


def test_a_spool_that_is_not_there_gives_no_endless_list(ledger: Ledger, make: Any, tmp_path: Path) -> None:
    ledger.objects.record([make.arrival(number) for number in range(MOST_PROBLEMS + 5)])
    problems = ledger.audit(Spool(tmp_path / "spool")).problems
    assert len(problems) == MOST_PROBLEMS + 1
    assert problems[-1] == "5 more problems are not listed."
