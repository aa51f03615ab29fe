"""What goes over the wire comes out as it went in, and brings no plugin's class with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np

from dermanode.config import Centre, FhirDestination, Oauth, Referral, Settings
from dermanode.domain import UID, Algorithm, Outcome, Risk, StageReport, StageStatus
from dermanode.pipeline import wire
from dermanode.pipeline.engine import start_order
from dermanode.pipeline.plan import Candidate, StagePlan
from dermanode.pipeline.run import Fault

OUTCOME = Outcome(
    case_id="case-1",
    revision=1,
    is_failed=True,
    reports=(StageReport(stage="risk", status=StageStatus.FAILED, plugin="acme", reason="raised ValueError: ä", took_s=0.5),),
    unreadable=((UID("1.2"), "damaged"),),
)
JOB = wire.Job(
    case_id="case-1",
    revision=1,
    pipeline="test",
    files=(wire.SourceFile(sop_instance_uid=UID("1.2"), path=Path("spool/a.dcm")),),
    stages=(StagePlan("risk", (Candidate("acme", True), Candidate("other", False, "it is not installed"))),),
    made_at=datetime(2026, 11, 21, 9, tzinfo=UTC),
    workdir=Path("work"),
    priors=(
        wire.EarlierVisit(
            case_id="case-0",
            acquired_at=None,
            outcome=replace(OUTCOME, case_id="case-0"),
            files=(wire.SourceFile(sop_instance_uid=UID("1.3"), path=Path("spool/b.dcm")),),
        ),
    ),
    excluded=(wire.Exclusion(stage="risk", plugin="acme", reason="crashed"),),
)


def test_job_arrives_as_it_was_sent() -> None:
    ours, theirs = Pipe()
    wire.send_order(ours, JOB)
    arrived = wire.receive_order(theirs)
    assert isinstance(arrived, wire.Job)
    assert arrived == JOB


def test_end_of_a_case_arrives_as_it_was_sent() -> None:
    ours, theirs = Pipe()
    done = wire.Done(outcome=OUTCOME, faults=(Fault("acme", "risk", "raised"),))
    wire.send_news(ours, done)
    assert wire.receive_news(theirs) == done


@dataclass(frozen=True, eq=False, kw_only=True)
class VendorsRisk(Risk):
    secret: object = None


def float32(value: float) -> Any:
    """A number as a network gives it."""
    return np.float32(value)


def test_vendors_finding_and_numpy_numbers_arrive_as_the_nodes_own() -> None:
    ours, theirs = Pipe()
    risk = VendorsRisk(algorithm=Algorithm("a", "1"), score=float32(0.25), level="low", terms=(), secret=object())
    wire.send_news(ours, wire.Done(outcome=replace(OUTCOME, risk=risk)))
    arrived = wire.receive_news(theirs)
    assert isinstance(arrived, wire.Done)
    assert type(arrived.outcome.risk) is Risk
    assert arrived.outcome.risk.score == 0.25


def test_worker_is_not_told_a_destinations_secrets() -> None:
    oauth = Oauth(token_url="https://auth.example", client_id="node", client_secret="secret")
    fhir = FhirDestination(type="fhir", url="https://fhir.example", token="secret", oauth=oauth)
    settings = Settings(destinations={"fhir": fhir})
    order = start_order(settings, [], models_dir=Path("models"), device="cpu", threads=1, failing={}, workdir=Path("work"))
    ours, theirs = Pipe()
    wire.send_order(ours, order)
    assert b"secret" not in theirs.recv_bytes()


def test_worker_is_told_the_directory_that_referrals_go_to() -> None:
    directory = Referral(centres=(Centre(name="Dermatology"),), levels=("moderate", "high"))
    settings = Settings(referral=directory)
    order = start_order(settings, [], models_dir=Path("models"), device="cpu", threads=1, failing={}, workdir=Path("work"))
    ours, theirs = Pipe()
    wire.send_order(ours, order)
    told = wire.receive_order(theirs)
    assert isinstance(told, wire.Start)
    assert told.referral == directory
