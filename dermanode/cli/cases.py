"""`cases`, `explain`, `audit`: what the ledger knows."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from dermanode.cli.opened import configuration, ledger_of, spool_of
from dermanode.ledger.records import CaseState


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    cases = commands.add_parser(
        "cases", help="list the cases; show, retry or rerun one", description="What became of the series that were received."
    )
    cases.set_defaults(run=_list, state=None, search=None, limit=20)
    actions = cases.add_subparsers(title="actions", metavar="ACTION")
    listing = actions.add_parser("list", help="the newest cases (what `cases` alone does)")
    listing.add_argument("--state", type=CaseState, choices=list(CaseState), metavar="STATE", help=", ".join(CaseState))
    listing.add_argument("--search", metavar="TEXT", help="patient ID, accession number, UID or case")
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (default 20)")
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="everything about one case, in sentences")
    show.add_argument("case")
    show.set_defaults(run=_show)
    retry = actions.add_parser("retry", help="try a case's deliveries again, now; dead letters too")
    retry.add_argument("case")
    retry.add_argument("--destination", metavar="NAME", help="only this destination")
    retry.set_defaults(run=_retry)
    rerun = actions.add_parser("rerun", help="run a case through its pipeline again")
    rerun.add_argument("case")
    rerun.set_defaults(run=_rerun)

    explain = commands.add_parser(
        "explain",
        help="tell the story of any object, series or case",
        description="From the socket to the PACS: when it came, why it was complete, what ran and why, where its results went.",
    )
    explain.add_argument("uid", metavar="UID", help="SOP Instance UID (received or made here), Series Instance UID, or case")
    explain.set_defaults(run=_explain)

    audit = commands.add_parser(
        "audit",
        help="prove that nothing was lost",
        description="Counts every accepted object: each must be in exactly one state, with its file whole. Exit code 1 where that fails.",
    )
    audit.add_argument("--deep", action="store_true", help="also read every file and compare its digest")
    audit.set_defaults(run=_audit)


def _list(arguments: argparse.Namespace) -> int:
    with ledger_of(configuration(arguments).settings) as ledger:
        found = ledger.cases.list(arguments.limit, 0, state=arguments.state, search=arguments.search)
    if not found:
        print("No case yet. Route a series to the node, or try `dermanode send`.")
        return 0
    table = Table(box=None)
    for column in ("case", "patient ID", "pipeline", "opened (UTC)", "state", "risk", "most probable"):
        # Other commands want the case's name, which is therefore never cut off.
        table.add_column(
            column, min_width=18 if column == "case" else None, overflow="fold" if column in ("case", "patient ID") else "ellipsis"
        )
    for case in found:
        outcome = case.outcome
        table.add_row(
            case.id,
            case.key.patient_id,
            case.pipeline,
            f"{case.opened_at:%Y-%m-%d %H:%M:%S}",
            str(case.state),
            f"{outcome.risk.level} {outcome.risk.score:.2f}" if outcome and outcome.risk else "",
            f"{outcome.classification.top.label} {outcome.classification.top.probability:.0%}"
            if outcome and outcome.classification
            else "",
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    arguments.uid = arguments.case
    return _explain(arguments)


def _explain(arguments: argparse.Namespace) -> int:
    with ledger_of(configuration(arguments).settings) as ledger:
        for sentence in ledger.explain(arguments.uid):
            print(sentence)
    return 0


def _retry(arguments: argparse.Namespace) -> int:
    with ledger_of(configuration(arguments).settings) as ledger:
        case = ledger.cases.get(arguments.case)
        count = ledger.deliveries.retry(case.id, datetime.now(UTC), destination=arguments.destination)
    print(f"{count} deliveries of case {case.id} will be tried now." if count else f"Case {case.id} has nothing left to deliver.")
    return 0


def _rerun(arguments: argparse.Namespace) -> int:
    with ledger_of(configuration(arguments).settings) as ledger:
        case = ledger.cases.reopen(arguments.case, datetime.now(UTC))
    print(f"Case {case.id} is ready to run again.")
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    settings = configuration(arguments).settings
    with ledger_of(settings) as ledger:
        audit = ledger.audit(spool_of(settings), deep=arguments.deep)
    print(f"{audit.accepted} objects accepted: " + ", ".join(f"{count} {state}" for state, count in audit.by_state) + ".")
    for problem in audit.problems:
        print(f"PROBLEM  {problem}")
    print("Clean: every one is in exactly one state." if audit.is_clean else f"{len(audit.problems)} problems.")
    return 0 if audit.is_clean else 1
