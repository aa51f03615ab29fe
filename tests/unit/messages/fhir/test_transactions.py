"""How entries are packed into transactions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from dermanode.config import Centre, Referral
from dermanode.domain import Case, Outcome
from dermanode.messages.fhir.encode import encode_transactions
from dermanode.messages.fhir.terms import Named
from dermanode.messages.fhir.transactions import Entry, packed


def group(kind: str, count: int, **elements: Any) -> list[Entry]:
    return [Entry.created(Named(kind, str(n), "s"), {"resourceType": kind, **elements}) for n in range(count)]


def sizes(bundles: list[dict[str, Any]]) -> list[int]:
    return [len(bundle["entry"]) for bundle in bundles]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ((3, 4, 1), [8]),
        ((3, 6), [3, 6]),
        ((9, 6), [8, 7]),
        ((9, 8), [8, 1, 8]),
        ((0, 6, 0), [6]),
        ((8, 8), [8, 8]),
        ((17,), [8, 8, 1]),
    ],
)
def test_groups_stay_together_where_they_fit(groups: tuple[int, ...], expected: list[int]) -> None:
    assert sizes(packed([group(chr(65 + n), count) for n, count in enumerate(groups)], 8)) == expected


def test_what_is_in_another_transaction_is_referred_to_by_its_identifier() -> None:
    first = Named("Device", "1", "s")
    entries = [Entry.created(first, {"resourceType": "Device"})]
    told = [Entry.created(Named("Observation", "2", "s"), {"resourceType": "Observation", "device": first.reference})]
    (_, apart), (together,) = packed([entries, told], 1), packed([entries, told], 8)
    assert apart["entry"][0]["resource"]["device"] == {"reference": "Device?identifier=s|1", "type": "Device"}
    assert together["entry"][1]["resource"]["device"] == first.reference


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("reference"), str):
            yield node["reference"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for one in node:
            yield from references(one)


@pytest.mark.parametrize("version", ["R4", "R5"])
@pytest.mark.parametrize("most_entries", [4, 5, 8, 30])
def test_everything_refers_only_to_what_was_sent_before_or_with_it(
    most_entries: int, version: Any, case: Case, outcome: Outcome, made_at: datetime
) -> None:
    wishes: dict[str, Any] = {"referral": Referral(centres=(Centre(name="A"),)), "version": version, "most_entries": most_entries}
    bundles = [json.loads(one) for one in encode_transactions(case, outcome, made_at=made_at, **wishes)]
    assert all(size <= most_entries for size in sizes(bundles))
    known: set[str] = set()
    for bundle in bundles:
        here = {entry["fullUrl"] for entry in bundle["entry"]}
        assert set(references(bundle)) <= here | known
        for entry in bundle["entry"]:
            asked = entry["request"]
            known.add(f"{asked['url']}?{asked['ifNoneExist']}" if "ifNoneExist" in asked else asked["url"])


def test_report_and_what_it_holds_go_together(case: Case, outcome: Outcome, made_at: datetime) -> None:
    bundles = [json.loads(one) for one in encode_transactions(case, outcome, made_at=made_at, most_entries=8)]
    kinds = [[entry["resource"]["resourceType"] for entry in bundle["entry"]] for bundle in bundles]
    (whole,) = [one for one in kinds if "DiagnosticReport" in one]
    assert {"Observation", "RiskAssessment", "Provenance"} <= set(whole)
    assert whole.count("Observation") == 3
