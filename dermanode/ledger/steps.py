"""The unified procedure steps that we claimed, and all that decides how they end (PS3.4 CC)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, select, update

from dermanode.domain.identifiers import UID
from dermanode.ledger.database import Database
from dermanode.ledger.history import case_subject, write_events
from dermanode.ledger.objects import chunks
from dermanode.ledger.patients import present
from dermanode.ledger.records import CaseState, DeliveryState, Event, FetchState, ObjectState, StepState
from dermanode.ledger.said import Identity
from dermanode.ledger.tables import case_objects, cases, deliveries, fetches, objects, patients, results, steps

Input = tuple[str, str, tuple[str, ...]]
"""Study, Series and SOP Instance UIDs; no instances where the series as a whole is meant."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step, as we hold it."""

    sop_instance_uid: UID
    worklist: str
    """Its name in the settings."""
    transaction_uid: UID
    """The key with which we hold it: whoever has it may change the step."""
    label: str
    patient_id: str
    study_instance_uid: str
    inputs: tuple[Input, ...]
    state: StepState
    case_id: str | None
    attempts: int
    """Tries in vain to tell the manager of its end."""
    claimed_at: datetime
    words: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a case at one destination."""

    destination: str
    paths: tuple[str, ...]
    state: DeliveryState
    error: str


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What the ledger knows of one input series."""

    series_instance_uid: str
    is_here: bool
    """Every instance that the step names was accepted, or some of the series where it names none."""
    has_waiting: bool
    """Some of its objects are in no case yet."""
    set_aside: str
    """Why all of its objects that are here are ignored or in quarantine; '' where some are not."""
    case_id: str | None
    """Its latest revision that holds what the step names."""
    case_state: CaseState | None
    reason: str
    started_at: datetime | None
    finished_at: datetime | None
    deliveries: tuple[Delivered, ...]
    fetch: FetchState | None
    """Of the last request to fetch it for this step."""
    fetch_words: str
    is_of_another_patient: bool = False
    """Some of what is here names another patient than the step does."""


@dataclass(frozen=True, slots=True)
class Made:
    """A DICOM object that a case made and the gate let pass."""

    path: str
    sop_class_uid: str
    sop_instance_uid: str


def step_subject(sop_instance_uid: str) -> str:
    return f"step:{sop_instance_uid}"


def fetch_asker(sop_instance_uid: str) -> str:
    """Under which name a step's input is asked for."""
    return f"step {sop_instance_uid}"


class Steps:
    """Keeps the steps. Each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claiming(
        self,
        sop_instance_uid: UID,
        *,
        worklist: str,
        transaction_uid: UID,
        label: str,
        patient_id: str,
        study_instance_uid: str,
        inputs: Sequence[Input],
        now: datetime,
    ) -> bool:
        """Notes a claim before it is made; False for a step that is in our hands already, or was."""
        values = {
            "sop_instance_uid": str(sop_instance_uid),
            "worklist": worklist,
            "transaction_uid": str(transaction_uid),
            "label": label,
            "patient_id": patient_id,
            "study_instance_uid": study_instance_uid,
            "input": json.dumps(inputs),
            "state": StepState.CLAIMING.value,
            "case_id": None,
            "attempts": 0,
            "next_at": now,
            "claimed_at": now,
            "ended_at": None,
            "words": "",
        }

        def note(transaction: Connection) -> bool:
            if transaction.execute(_by_uid(sop_instance_uid)).one_or_none() is not None:
                return False
            transaction.execute(steps.insert().values(values))
            return True

        return self._database.write(note)

    def claimed(self, sop_instance_uid: UID, inputs: Sequence[Input], words: str, now: datetime) -> None:
        """The manager gave it to us."""

        def keep(transaction: Connection) -> None:
            values = {"state": StepState.CLAIMED.value, "input": json.dumps(inputs), "words": words}
            transaction.execute(update(steps).where(steps.c.sop_instance_uid == str(sop_instance_uid)).values(values))
            write_events(transaction, [Event(now, step_subject(sop_instance_uid), "step_claimed", words)])

        self._database.write(keep)

    def lost(self, sop_instance_uid: UID) -> None:
        """Another performer was quicker: the step was never ours."""
        where = (steps.c.sop_instance_uid == str(sop_instance_uid)) & (steps.c.state == StepState.CLAIMING.value)
        self._database.write(lambda transaction: transaction.execute(delete(steps).where(where)))

    def open(self, worklist: str, now: datetime) -> list[Step]:
        """The steps of a worklist that have not ended and are due to be looked at, the oldest first."""
        states = (StepState.CLAIMING.value, StepState.CLAIMED.value)
        query = (
            select(steps)
            .where(steps.c.worklist == worklist, steps.c.state.in_(states), steps.c.next_at <= now)
            .order_by(steps.c.claimed_at, steps.c.sop_instance_uid)
        )
        return self._database.read(lambda transaction: [_step(row) for row in transaction.execute(query)])

    def held(self, worklist: str) -> int:
        """How many steps of a worklist are in our hands."""
        states = (StepState.CLAIMING.value, StepState.CLAIMED.value)
        query = select(func.count()).select_from(steps).where(steps.c.worklist == worklist, steps.c.state.in_(states))
        return self._database.read(lambda transaction: transaction.scalar(query) or 0)

    def get(self, sop_instance_uid: UID) -> Step | None:
        row = self._database.read(lambda transaction: transaction.execute(_by_uid(sop_instance_uid)).one_or_none())
        return None if row is None else _step(row)

    def noted(self, sop_instance_uid: UID, words: str, now: datetime, case_id: str | None = None) -> None:
        """How far it is."""
        self._change(sop_instance_uid, {"words": words, "case_id": case_id}, "step_progressed", words, now)

    def postponed(self, sop_instance_uid: UID, words: str, next_at: datetime) -> None:
        """The manager could not be told; it is tried again at `next_at`."""
        values = {"attempts": steps.c.attempts + 1, "next_at": next_at, "words": words}
        query = update(steps).where(steps.c.sop_instance_uid == str(sop_instance_uid)).values(values)
        self._database.write(lambda transaction: transaction.execute(query))

    def ended(self, sop_instance_uid: UID, state: StepState, words: str, now: datetime) -> None:
        """The manager knows its end, or has ended it."""
        values = {"state": state.value, "ended_at": now, "words": words}
        self._change(sop_instance_uid, values, f"step_{state.value}", words, now)

    def facts(self, step: Step) -> tuple[SeriesFacts, ...]:
        """What the ledger knows of each input series, from one view of it."""
        return self._database.read(lambda transaction: tuple(_facts(transaction, step, one) for one in step.inputs))

    def made(self, case_id: str) -> list[Made]:
        """The DICOM objects of a case that passed the gate."""
        query = (
            select(results.c.path, results.c.sop_class_uid, results.c.sop_instance_uid)
            .where(results.c.case_id == case_id, results.c.passed_gate, results.c.sop_instance_uid.is_not(None))
            .order_by(results.c.id)
        )
        return self._database.read(lambda transaction: [Made(*row) for row in transaction.execute(query)])

    def recent(self, limit: int) -> list[Step]:
        """The last that were claimed, the newest first."""
        query = select(steps).order_by(steps.c.claimed_at.desc(), steps.c.sop_instance_uid).limit(limit)
        return self._database.read(lambda transaction: [_step(row) for row in transaction.execute(query)])

    def counts(self) -> Mapping[StepState, int]:
        """How many steps are in each state; every state is named."""
        query = select(steps.c.state, func.count().label("steps")).group_by(steps.c.state)
        found = self._database.read(lambda transaction: {row.state: row.steps for row in transaction.execute(query)})
        return {state: found.get(state.value, 0) for state in StepState}

    def _change(self, sop_instance_uid: UID, values: Mapping[str, object], kind: str, words: str, now: datetime) -> None:
        def change(transaction: Connection) -> None:
            transaction.execute(update(steps).where(steps.c.sop_instance_uid == str(sop_instance_uid)).values(values))
            row = transaction.execute(_by_uid(sop_instance_uid)).one()
            subjects = [step_subject(sop_instance_uid), *([case_subject(row.case_id)] if row.case_id else [])]
            write_events(transaction, [Event(now, subject, kind, f"{row.worklist}: {words}") for subject in subjects])

        self._database.write(change)


def _facts(transaction: Connection, step: Step, one: Input) -> SeriesFacts:
    _, series, named = one
    of_series = transaction.execute(select(objects).where(objects.c.series_instance_uid == series)).all()
    by_uid = {row.sop_instance_uid for row in of_series}
    if set(named) - by_uid:
        # What went to quarantine unread is of no series, but it is here.
        query = select(objects).where(objects.c.series_instance_uid.is_(None))
        unread = [row for some in chunks_of(named) for row in transaction.execute(query.where(objects.c.sop_instance_uid.in_(some)))]
        of_series = [*of_series, *unread]
        by_uid |= {row.sop_instance_uid for row in unread}
    is_here = bool(of_series) and not set(named) - by_uid
    # What came a moment ago is of no series yet: whether it is this one's is known soon, and nothing is to be concluded before.
    is_unread = not of_series and not named and _has_unread(transaction)
    aside = (ObjectState.IGNORED.value, ObjectState.QUARANTINED.value, ObjectState.PURGED.value)
    reasons = [row.reason for row in of_series if row.state in aside]
    case = _case(transaction, series, named)
    sent = transaction.execute(select(deliveries).where(deliveries.c.case_id == case.id)).all() if case is not None else []
    asked = (
        select(fetches)
        .where(fetches.c.asked_by == fetch_asker(step.sop_instance_uid), fetches.c.query.contains(f'"{series}"'))
        .order_by(fetches.c.id.desc())
        .limit(1)
    )
    fetch = transaction.execute(asked).one_or_none()
    return SeriesFacts(
        series_instance_uid=series,
        is_here=is_here or is_unread,
        has_waiting=is_unread or any(row.state == ObjectState.WAITING.value for row in of_series),
        set_aside=reasons[0] if reasons and len(reasons) == len(of_series) else "",
        case_id=None if case is None else case.id,
        case_state=None if case is None else CaseState(case.state),
        reason="" if case is None else case.reason,
        started_at=None if case is None else case.started_at,
        finished_at=None if case is None else case.finished_at,
        deliveries=tuple(
            Delivered(row.destination, tuple(json.loads(row.paths)), DeliveryState(row.state), row.last_error) for row in sent
        ),
        fetch=None if fetch is None else FetchState(fetch.state),
        fetch_words="" if fetch is None else fetch.words,
        is_of_another_patient=_is_of_another_patient(transaction, step, [r for r in of_series if not named or r.sop_instance_uid in named]),
    )


def _is_of_another_patient(transaction: Connection, step: Step, rows: Sequence[Row[Any]]) -> bool:
    """A step names no issuer, so a Patient ID of any issuer fits, and what that identity was merged into."""
    theirs = {row.patient_id for row in rows if row.patient_id}
    if not step.patient_id or theirs <= {step.patient_id}:
        return False
    issuers = transaction.scalars(select(patients.c.issuer_of_patient_id).where(patients.c.patient_id == step.patient_id))
    known = [Identity(step.patient_id, issuer) for issuer in issuers]
    return not theirs <= {step.patient_id, *(now.patient_id for now in present(transaction, known).values())}


def _has_unread(transaction: Connection) -> bool:
    unread = (objects.c.state == ObjectState.WAITING.value) & objects.c.series_instance_uid.is_(None)
    return transaction.execute(select(objects.c.id).where(unread).limit(1)).first() is not None


def _case(transaction: Connection, series: str, named: Sequence[str]) -> Row[Any] | None:
    """The latest revision of the series, once it holds one of the instances that are named (any where none is)."""
    query = select(cases).where(cases.c.series_instance_uid == series).order_by(cases.c.revision.desc())
    for case in transaction.execute(query).all():
        members = select(objects.c.sop_instance_uid).join(case_objects).where(case_objects.c.case_id == case.id)
        if not named or set(named) & set(transaction.scalars(members)):
            return case
    return None


def chunks_of(names: Sequence[str]) -> list[list[str]]:
    numbers = chunks(range(len(names)))
    return [[names[number] for number in some] for some in numbers]


def _by_uid(sop_instance_uid: UID) -> Select[Any]:
    return select(steps).where(steps.c.sop_instance_uid == str(sop_instance_uid))


def _step(row: Row[Any]) -> Step:
    return Step(
        sop_instance_uid=UID(row.sop_instance_uid),
        worklist=row.worklist,
        transaction_uid=UID(row.transaction_uid),
        label=row.label,
        patient_id=row.patient_id,
        study_instance_uid=row.study_instance_uid,
        inputs=tuple((study, series, tuple(instances)) for study, series, instances in json.loads(row.input)),
        state=StepState(row.state),
        case_id=row.case_id,
        attempts=row.attempts,
        claimed_at=row.claimed_at,
        words=row.words,
    )
