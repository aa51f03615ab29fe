"""A case as FHIR transactions.

Devices, the lesion and a centre are created where they are not there yet. All else is written once for a series and put in its place
by each revision, so that a reader finds one current report, with its history. Patient, imaging study and order are referred to by
identifier: they are the hospital's. Transactions that are sent twice leave one of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError

from dermanode.config.destinations import Referral
from dermanode.domain import Case, Outcome
from dermanode.errors import EncodingError
from dermanode.messages import results
from dermanode.messages.fhir import referral as proposals
from dermanode.messages.fhir.devices import devices
from dermanode.messages.fhir.lesion import lesion, outlines, outlines_name
from dermanode.messages.fhir.observations import observations
from dermanode.messages.fhir.report import provenance, report, report_name
from dermanode.messages.fhir.risk import assessed, risk_name, withdrawn
from dermanode.messages.fhir.telling import Telling
from dermanode.messages.fhir.terms import Json, Named
from dermanode.messages.fhir.transactions import Entry, packed
from dermanode.messages.fhir.versions import Version, in_version, written

MOST_ENTRIES = 8
"""What a server commonly allows a transaction with conditions."""


def encode_transactions(
    case: Case,
    outcome: Outcome,
    *,
    made_at: datetime,
    version: Version = "R4",
    most_entries: int = MOST_ENTRIES,
    institution: str = "",
    referral: Referral | None = None,
    pdf: bytes | None = None,
    takes_back: bool = False,
) -> tuple[bytes, ...]:
    """The transaction bundles as JSON, in the order of sending; a failed case is told as such.

    `referral` is the directory of centres: without one, or below its levels of risk, nothing is proposed. `pdf` is the report for
    people. A revision that corrects takes back what it no longer says: a risk, a referral, an appointment. `takes_back` does so for
    every telling, for a receiver that looks first whether there is anything to take back. Raises `EncodingError`.
    """
    telling = Telling(case, results.trustworthy(outcome), made_at, institution)
    directory = referral if referral is not None and referral.centres else None
    takes_back = takes_back or case.is_correction
    groups = [_lasting(telling), _told(telling, pdf, takes_back), _proposed(telling, directory, takes_back)]
    try:
        return tuple(written(bundle, version) for bundle in packed([list(_versioned(group, version)) for group in groups], most_entries))
    except ValidationError as error:
        raise EncodingError(f"Case {case.id} cannot be told in FHIR: {error}") from error


def _versioned(entries: Iterator[Entry], version: Version) -> Iterator[Entry]:
    for entry in entries:
        resource = in_version(entry.resource, version)
        if resource is not None:
            yield replace(entry, resource=resource)


def _lasting(telling: Telling) -> Iterator[Entry]:
    """What many cases share."""
    for named, device in devices(telling):
        yield Entry.created(named, device)
    yield Entry.created(telling.lesion, lesion(telling))


def _told(telling: Telling, pdf: bytes | None, takes_back: bool) -> Iterator[Entry]:
    """What each revision writes anew, in an order in which everything refers to what stands before it."""
    targets: list[Named] = []
    for named, resource in _results(telling, pdf):
        targets.append(named)
        yield Entry.revised(named, resource)
    if telling.outcome.risk is None and takes_back:
        yield Entry.revised(risk_name(telling), withdrawn(telling))
    yield Entry.put(provenance(telling, targets))


def _results(telling: Telling, pdf: bytes | None) -> Iterator[tuple[Named, Json]]:
    named, selection = outlines_name(telling), outlines(telling)
    if named is not None and selection is not None:
        yield named, selection
    yield from observations(telling)
    if telling.outcome.risk is not None:
        yield risk_name(telling), assessed(telling, telling.outcome.risk)
    yield report_name(telling), report(telling, pdf)


def _proposed(telling: Telling, directory: Referral | None, takes_back: bool) -> Iterator[Entry]:
    """A referral with its appointment and the centre; or, of an earlier one, that it no longer holds."""
    risk = telling.outcome.risk
    if directory is None:
        return
    if risk is not None and risk.level in directory.levels:
        centre = directory.centres[0]
        yield Entry.created(proposals.organization_name(centre), proposals.organization(centre))
        yield Entry.created(proposals.location_name(centre), proposals.location(centre))
        yield Entry.revised(proposals.request_name(telling), proposals.request(telling, risk, directory))
        yield Entry.revised(proposals.appointment_name(telling), proposals.appointment(telling, risk, directory))
    elif takes_back:
        yield Entry.revised(proposals.request_name(telling), proposals.revoked_request(telling))
        yield Entry.revised(proposals.appointment_name(telling), proposals.cancelled_appointment(telling))
