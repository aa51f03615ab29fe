"""The cases: revisions of series, from complete to finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, or_, select, update

from dermanode.domain.outcome import Outcome
from dermanode.errors import LedgerError
from dermanode.ledger.case_rows import case_record, get_case, is_of_series, outcome_to_json
from dermanode.ledger.database import Database
from dermanode.ledger.deliveries import plan_deliveries, release_sending
from dermanode.ledger.history import case_subject, counted, write_events
from dermanode.ledger.objects import set_aside
from dermanode.ledger.opening import open_case
from dermanode.ledger.priors import priors_of
from dermanode.ledger.records import CaseRecord, CaseState, Event, Evidence, NewDelivery, ObjectState, SeriesKey, WaitingSeries
from dermanode.ledger.results import write_results
from dermanode.ledger.tables import case_objects, cases, objects
from dermanode.ledger.waiting import waiting_series


class Cases:
    """Opens, hands out and ends cases. Each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting_series(self) -> list[WaitingSeries]:
        """The series with waiting objects whose header was read, the longest waiting first."""
        return self._database.read(waiting_series)

    def open(self, key: SeriesKey, *, pipeline: str, plan: Sequence[str], evidence: Evidence, now: datetime) -> CaseRecord:
        """A new revision of the series, with its waiting objects and those of the revision before.

        The revision before becomes superseded when it has not run yet. Raises `LedgerError` when no object of the series
        waits.
        """
        return self._database.write(lambda transaction: open_case(transaction, key, pipeline, tuple(plan), evidence, now))

    def claim(self, now: datetime) -> CaseRecord | None:
        """The oldest ready case, now running; None when there is none. No two callers get the same one."""
        # Asked without the write lock first: an idle engine must not hold up the receiver.
        if self._database.read(lambda transaction: transaction.execute(_OLDEST_READY).first()) is None:
            return None
        return self._database.write(lambda transaction: _claim(transaction, now))

    def release(self, case_id: str, reason: str, now: datetime) -> None:
        """Gives a running case back to be tried again; the attempt counts. Nothing changes when it does not run."""
        self._database.write(lambda transaction: _release(transaction, case_id, reason, now))

    def release_running(self, now: datetime) -> int:
        """How many cases a dead process had left running; they are ready again, as are its deliveries, and the attempt does not count."""
        return self._database.write(lambda transaction: _release_running(transaction, now))

    def finish(
        self, case_id: str, outcome: Outcome, deliveries: Sequence[NewDelivery], now: datetime, *, worked_on_as: SeriesKey | None = None
    ) -> CaseRecord:
        """The ended case, with its outcome, results and deliveries on disk. A second end of the same run changes nothing.

        A case that became another patient's since it was `worked_on_as` this one's is given back instead: what was made names the former.
        """
        return self._database.write(lambda transaction: _finish(transaction, case_id, outcome, deliveries, now, worked_on_as))

    def reopen(self, case_id: str, now: datetime) -> CaseRecord:
        """An ended case, ready again by hand, its attempts counted anew. Raises `LedgerError` while it runs."""
        return self._database.write(lambda transaction: _reopen(transaction, case_id, now))

    def get(self, case_id: str) -> CaseRecord:
        """The case of that id. Raises `UnknownSubject`."""
        return self._database.read(lambda transaction: get_case(transaction, case_id))

    def revisions(self, key: SeriesKey) -> list[CaseRecord]:
        """All cases of a series, the first revision first."""
        return self._records(select(cases).where(is_of_series(cases, key)).order_by(cases.c.revision))

    def priors(self, record: CaseRecord) -> list[tuple[CaseRecord, Outcome]]:
        """Earlier visits of the same lesion of the same patient, the oldest first, each in its latest revision with an outcome."""
        return self._database.read(lambda transaction: priors_of(transaction, record))

    def counts(self) -> Mapping[CaseState, int]:
        """How many cases are in each state; every state is named."""
        query = select(cases.c.state, func.count().label("cases")).group_by(cases.c.state)
        found = self._database.read(lambda transaction: {row.state: row.cases for row in transaction.execute(query)})
        return {state: found.get(state.value, 0) for state in CaseState}

    def _records(self, query: Select[Any]) -> list[CaseRecord]:
        return self._database.read(lambda transaction: [case_record(row) for row in transaction.execute(query)])

    def list(self, limit: int, offset: int = 0, state: CaseState | None = None, search: str | None = None) -> Sequence[CaseRecord]:
        """Cases, the newest first. `search` finds a part of the case id, patient id, accession number, tracking id or any UID."""
        query = select(cases).order_by(cases.c.opened_at.desc(), cases.c.id.desc()).limit(limit).offset(offset)
        if state is not None:
            query = query.where(cases.c.state == state.value)
        if search:
            columns = (
                cases.c.id,
                cases.c.patient_id,
                cases.c.accession_number,
                cases.c.tracking_id,
                cases.c.series_instance_uid,
                cases.c.study_instance_uid,
            )
            query = query.where(or_(*(func.lower(column).contains(search.lower(), autoescape=True) for column in columns)))
        return self._records(query)


_OLDEST_READY = select(cases).where(cases.c.state == CaseState.READY.value).order_by(cases.c.opened_at, cases.c.id).limit(1)


def _claim(transaction: Connection, now: datetime) -> CaseRecord | None:
    row = transaction.execute(_OLDEST_READY.with_for_update(skip_locked=True)).one_or_none()
    if row is None:
        return None
    _change(transaction, row.id, state=CaseState.RUNNING.value, attempts=row.attempts + 1, started_at=now)
    _tell(transaction, row.id, "case_started", f"Run {row.attempts + 1} began.", now)
    return get_case(transaction, row.id)


def _release(transaction: Connection, case_id: str, reason: str, now: datetime) -> None:
    if get_case(transaction, case_id, for_update=True).state is CaseState.RUNNING:
        _change(transaction, case_id, state=CaseState.READY.value, reason=reason)
        _tell(transaction, case_id, "case_released", f"To be tried again: {reason}", now)


def _release_running(transaction: Connection, now: datetime) -> int:
    running = transaction.execute(select(cases).where(cases.c.state == CaseState.RUNNING.value).with_for_update()).all()
    for row in running:
        reason = "The node ended while it ran."
        _change(transaction, row.id, state=CaseState.READY.value, attempts=max(row.attempts - 1, 0), reason=reason)
        _tell(transaction, row.id, "case_released", f"To be tried again: {reason}", now)
    release_sending(transaction, now)
    return len(running)


def _finish(
    transaction: Connection,
    case_id: str,
    outcome: Outcome,
    deliveries: Sequence[NewDelivery],
    now: datetime,
    worked_on_as: SeriesKey | None,
) -> CaseRecord:
    record = get_case(transaction, case_id, for_update=True)
    if record.state not in (CaseState.READY, CaseState.RUNNING):
        return record
    if worked_on_as is not None and record.key != worked_on_as:
        return _give_back_merged(transaction, record, now)
    state = CaseState.FAILED if outcome.is_failed else CaseState.FINISHED
    _change(transaction, case_id, state=state.value, finished_at=now, reason=outcome.reason, outcome=outcome_to_json(outcome))
    for report in outcome.reports:
        by = f" by {report.plugin} {report.plugin_version or ''}".rstrip() if report.plugin else ""
        why = f": {report.reason}" if report.reason else ""
        _tell(transaction, case_id, "stage_ended", f"{report.stage} {report.status.value}{by} in {report.took_s:.2f} s{why}", now)
    write_results(transaction, case_id, outcome.objects)
    _quarantine_unreadable(transaction, case_id, outcome, now)
    made = f"{counted(len(outcome.objects), 'file')} made in {outcome.took_s:.2f} s."
    _tell(transaction, case_id, f"case_{state.value}", f"{made} {outcome.reason}".rstrip(), now)
    plan_deliveries(transaction, case_id, outcome, deliveries, now)
    return get_case(transaction, case_id)


def _give_back_merged(transaction: Connection, record: CaseRecord, now: datetime) -> CaseRecord:
    """The case, ready again, the attempt not counted; superseded where a later revision does its work."""
    reason = "The hospital merged its patient while it ran."
    later = select(cases.c.id).where(is_of_series(cases, record.key), cases.c.revision > record.revision).limit(1)
    if transaction.execute(later).first() is not None:
        _change(transaction, record.id, state=CaseState.SUPERSEDED.value, reason=f"{reason} A later revision was opened.")
        _tell(transaction, record.id, "superseded", f"{reason} A later revision takes its place.", now)
    else:
        _change(transaction, record.id, state=CaseState.READY.value, attempts=max(record.attempts - 1, 0), reason=reason)
        _tell(transaction, record.id, "case_released", f"To be run again: {reason}", now)
    return get_case(transaction, record.id)


def _quarantine_unreadable(transaction: Connection, case_id: str, outcome: Outcome, now: datetime) -> None:
    if not outcome.unreadable:
        return
    reasons = {str(uid): f"Its pixel data cannot be decoded: {reason}" for uid, reason in outcome.unreadable}
    query = select(objects.c.id, objects.c.sop_instance_uid).join(case_objects).where(case_objects.c.case_id == case_id)
    members = transaction.execute(query).all()
    by_id = {row.id: reasons[row.sop_instance_uid] for row in members if row.sop_instance_uid in reasons}
    set_aside(transaction, by_id, ObjectState.QUARANTINED, now)


def _reopen(transaction: Connection, case_id: str, now: datetime) -> CaseRecord:
    record = get_case(transaction, case_id, for_update=True)
    if record.state is CaseState.RUNNING:
        raise LedgerError(f"Case {case_id} is running. Wait for its end, then try it again.")
    if record.state is CaseState.READY:
        return record
    _change(transaction, case_id, state=CaseState.READY.value, attempts=0, finished_at=None, reason="Tried again by hand.")
    _tell(transaction, case_id, "case_reopened", f"It was {record.state.value}; tried again by hand.", now)
    return get_case(transaction, case_id)


def _change(transaction: Connection, case_id: str, **values: object) -> None:
    transaction.execute(update(cases).where(cases.c.id == case_id).values(**values))


def _tell(transaction: Connection, case_id: str, kind: str, words: str, now: datetime) -> None:
    write_events(transaction, [Event(now, case_subject(case_id), kind, words)])
