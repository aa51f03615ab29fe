"""Entries, packed into as few transactions as a server's limit allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dermanode.messages.fhir.terms import Json, Named


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource and what is to be done with it."""

    urn: str
    resource: Json
    request: Json
    search: str | None
    """How an entry of a later transaction refers to it; None where nothing does."""

    @classmethod
    def created(cls, named: Named, resource: Json) -> Entry:
        """Made where it is not there yet; never changed."""
        request = {"method": "POST", "url": named.kind, "ifNoneExist": named.criterion}
        return cls(named.urn, resource, request, f"{named.kind}?{named.criterion}")

    @classmethod
    def revised(cls, named: Named, resource: Json) -> Entry:
        """Made where it is not there yet, else put in its place: its history stays on the server."""
        search = f"{named.kind}?{named.criterion}"
        return cls(named.urn, resource, {"method": "PUT", "url": search}, search)

    @classmethod
    def put(cls, resource: Json) -> Entry:
        """Put under its own id."""
        request = {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}
        return cls(f"urn:uuid:{resource['id']}", resource, request, None)


def packed(groups: Sequence[Sequence[Entry]], most_entries: int) -> list[Json]:
    """Transactions in the order of sending, each of at most so many entries. A group is torn apart only when it is larger than that.

    What refers to an entry of an earlier transaction does so by a search for its identifier: a conditional reference, in the words of
    R4 and R5 ("transaction processing rules").
    """
    chunks: list[list[Entry]] = [[]]
    for group in groups:
        if len(group) <= most_entries < len(chunks[-1]) + len(group):
            chunks.append([])
        for entry in group:
            if len(chunks[-1]) == most_entries:
                chunks.append([])
            chunks[-1].append(entry)
    searches = {entry.urn: entry.search for group in groups for entry in group if entry.search}
    return [_transaction(chunk, searches) for chunk in chunks if chunk]


def _transaction(entries: Sequence[Entry], searches: Mapping[str, str]) -> Json:
    here = {entry.urn for entry in entries}
    elsewhere = {urn: search for urn, search in searches.items() if urn not in here}
    written = [
        {"fullUrl": entry.urn, "resource": redirected(entry.resource, elsewhere), "request": dict(entry.request)} for entry in entries
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": written}


def redirected(node: Any, targets: Mapping[str, str]) -> Any:
    """The same JSON, in which references to `targets` are replaced."""
    if isinstance(node, dict):
        return {
            name: targets.get(value, value) if name == "reference" and isinstance(value, str) else redirected(value, targets)
            for name, value in node.items()
        }
    return [redirected(one, targets) for one in node] if isinstance(node, list) else node


def references(node: Any) -> Iterator[str]:
    """Every literal reference in a piece of JSON."""
    if isinstance(node, dict):
        if isinstance(node.get("reference"), str):
            yield node["reference"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for one in node:
            yield from references(one)
