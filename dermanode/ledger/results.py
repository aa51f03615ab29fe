"""The files made for cases, by their names, so that a produced UID can be looked up."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection

from dermanode.domain.outcome import ProducedObject
from dermanode.ledger.tables import results


def write_results(transaction: Connection, case_id: str, produced: Sequence[ProducedObject]) -> None:
    """Puts down what a run of the case made, in place of what an earlier run made."""
    transaction.execute(results.delete().where(results.c.case_id == case_id))
    if produced:
        transaction.execute(results.insert(), [_values(case_id, one) for one in produced])


def _values(case_id: str, produced: ProducedObject) -> dict[str, object]:
    return {
        "case_id": case_id,
        "kind": produced.kind,
        "sop_class_uid": None if produced.sop_class_uid is None else str(produced.sop_class_uid),
        "sop_instance_uid": None if produced.sop_instance_uid is None else str(produced.sop_instance_uid),
        "path": produced.path,
        "digest": str(produced.digest),
        "size_bytes": produced.size_bytes,
        "passed_gate": produced.passed_gate,
        "reasons": json.dumps(produced.reasons, ensure_ascii=False),
        "description": produced.description,
    }
