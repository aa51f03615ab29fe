"""`fetch`: asks the node to fetch from a PACS, and tells how it went."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime

from dermanode.cli.opened import configuration, ledger_of
from dermanode.config import Settings
from dermanode.errors import ConfigurationError, QueryRefused
from dermanode.ledger.fetch_query import FetchQuery
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import FetchState

POLL_S = 0.3
NOBODY_AFTER_S = 15.0
"""A running node takes a request up within some seconds, unless earlier ones to the same source stand before it."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fetch = commands.add_parser(
        "fetch",
        help="fetch series from a PACS",
        description="Asks the running node to fetch from one of the `sources` of its settings: the series that its pipelines want of the "
        "studies that all of these match. Names are exact: wildcards are refused. Exit code 1 where not all came.",
    )
    fetch.add_argument("source", metavar="SOURCE", help="its name under `sources` in the settings")
    fetch.add_argument("--accession", default="", metavar="A", help="accession number")
    fetch.add_argument("--patient", default="", metavar="P", help="patient ID")
    fetch.add_argument("--issuer", default="", metavar="I", help="who gave out the patient ID; the source must state it then")
    fetch.add_argument("--date", default="", metavar="D", help="study date: 2026-11-01, 2026-11-01..2026-11-28, 2026-11-01..")
    fetch.add_argument("--study", default="", metavar="UID", help="Study Instance UID")
    fetch.add_argument("--series", default="", metavar="UID", help="only the series of this Series Instance UID")
    fetch.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True, help="wait until it is over (default), or only ask")
    fetch.set_defaults(run=_fetch)


def _fetch(arguments: argparse.Namespace) -> int:
    settings = configuration(arguments).settings
    _require_source(settings, arguments.source)
    try:
        query = FetchQuery.parse(
            patient_id=arguments.patient,
            issuer_of_patient_id=arguments.issuer,
            accession_number=arguments.accession,
            study_date=arguments.date,
            study_instance_uid=arguments.study,
            series_instance_uid=arguments.series,
        )
    except QueryRefused as error:
        print(f"dermanode: {error}", file=sys.stderr)
        return 2
    with ledger_of(settings) as ledger:
        fetch = ledger.fetches.ask(arguments.source, query, asked_by="command line", now=datetime.now(UTC))
        if not arguments.wait:
            print(f"Fetch {fetch.id} from {fetch.source} is asked for; the page shows how it goes.")
            return 0
        return _wait(ledger, fetch.id)


def _require_source(settings: Settings, name: str) -> None:
    if name not in settings.sources:
        known = ", ".join(sorted(settings.sources)) or "none"
        raise ConfigurationError(f"The settings have no source {name!r} (known: {known}).", cure="Name one, or add it under `sources`.")


def _wait(ledger: Ledger, fetch_id: int) -> int:
    """Prints what each attempt came to; 0 when all is here."""
    said = ""
    nobody_at = time.monotonic() + NOBODY_AFTER_S
    while True:
        fetch = ledger.fetches.get(fetch_id)
        if fetch.words and fetch.words != said:
            said = fetch.words
            print(said, flush=True)
        if fetch.is_over:
            return 0 if fetch.state is FetchState.DONE else 1
        is_untouched = fetch.state is FetchState.PENDING and fetch.attempts == 0
        if is_untouched and time.monotonic() >= nobody_at:
            before = ledger.fetches.open_before(fetch_id)
            print(_nobody(fetch.id, fetch.source, before), file=sys.stderr)
            return 1
        time.sleep(POLL_S)


def _nobody(fetch_id: int, source: str, before: int) -> str:
    kept = f"Fetch {fetch_id} is kept and will be done"
    if before:
        earlier = f"{kept} after {before} that were asked of {source} earlier"
        return f"{earlier}. The page shows how it goes; where nothing moves, see whether `dermanode serve` runs."
    return f"No node has taken it up: does `dermanode serve` run with these settings? {kept} when it does."
