"""What is here: which of many objects the ledger knows, and which of them were made here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy import Column, select

from dermanode.domain.identifiers import UID
from dermanode.ledger.database import Database
from dermanode.ledger.patients import formerly
from dermanode.ledger.said import Identity
from dermanode.ledger.tables import objects, results

_AT_ONCE = 500
"""UIDs in one statement: databases limit how many a statement may carry."""


class Holdings:
    """Looks objects up by their UIDs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def received(self, uids: Collection[UID]) -> frozenset[UID]:
        """Those that were ever accepted, whatever became of them."""
        return self._known(objects.c.sop_instance_uid, uids)

    def made_here(self, uids: Collection[UID]) -> frozenset[UID]:
        """Those that are results of this node: fetched back, they would be processed again."""
        return self._known(results.c.sop_instance_uid, uids)

    def owners(self, uids: Collection[UID]) -> Mapping[int, frozenset[tuple[str, str]] | None]:
        """Whose each object is that was accepted under these UIDs, by its row; None while its header is not read.

        As (patient id, issuer), with every identity that the hospital has merged into that patient: a source may know him by any.
        """
        columns = (objects.c.id, objects.c.series_instance_uid, objects.c.patient_id, objects.c.issuer_of_patient_id)
        queries = [select(*columns).where(objects.c.sop_instance_uid.in_(some)) for some in _parts([str(uid) for uid in uids])]
        rows = self._database.read(lambda transaction: [row for query in queries for row in transaction.execute(query)])
        whose = {Identity(row.patient_id, row.issuer_of_patient_id) for row in rows if row.series_instance_uid is not None}
        merged = self._database.read(lambda transaction: {one: (one, *formerly(transaction, one)) for one in whose})
        names = {one: frozenset((name.patient_id, name.issuer) for name in known) for one, known in merged.items()}
        return {
            row.id: None if row.series_instance_uid is None else names[Identity(row.patient_id, row.issuer_of_patient_id)] for row in rows
        }

    def _known(self, column: Column[str], uids: Collection[UID]) -> frozenset[UID]:
        texts = [str(uid) for uid in uids]
        queries = [select(column).distinct().where(column.in_(some)) for some in _parts(texts)]
        return self._database.read(lambda transaction: frozenset(UID(found) for query in queries for found in transaction.scalars(query)))


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE))
