"""What a FHIR server holds of a case already, and what is therefore to be sent.

Every resource that revisions share is looked up. What is not there is created under the condition that it still is not; what is there
is replaced under the condition that it is still what was seen. So a transaction that a slow server carries out late, after it has taken
a later revision, changes nothing. A proposal that a person has taken over is left to that person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dermanode.messages.fhir.terms import REVISION, Json
from dermanode.messages.fhir.transactions import redirected

_PROPOSED = {"ServiceRequest": "draft", "Appointment": "proposed"}
"""As long as nobody has touched it."""
_TAKEN_BACK = {"RiskAssessment": "cancelled", "ServiceRequest": "revoked", "Appointment": "cancelled"}


@dataclass(frozen=True, slots=True)
class Held:
    """One resource as the server has it."""

    reference: str
    """`DiagnosticReport/17`."""
    status: str
    revision: int
    """0 where it says none."""
    version: str
    """Of the resource on the server; empty where the server keeps none."""

    @classmethod
    def parse(cls, resource: Json) -> Held:
        version = (resource.get("meta") or {}).get("versionId") or ""
        return cls(f"{resource['resourceType']}/{resource['id']}", str(resource.get("status") or ""), _revision(resource), str(version))


Look = Callable[[str], Sequence[Held]]
"""Everything on the server that a search finds, such as `DiagnosticReport?identifier=...`."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Transactions as this server is to get them."""

    bundles: tuple[Json, ...]
    known: Mapping[str, str]
    """Where what is not sent, and may be referred to, lies on the server: by its name in a bundle, and by its search."""
    newer: Held | None = None
    """The report of a later revision, which is there already: nothing is to be sent."""


def fitted(bundles: Sequence[Json], look: Look) -> Fitted:
    """The bundles of a case, held against what the server has."""
    report = next((entry for bundle in bundles for entry in _revised(bundle) if _kind(entry) == "DiagnosticReport"), None)
    if report is None:
        return Fitted(tuple(bundles), {})
    ours = _revision(report["resource"])
    seen = {report["request"]["url"]: look(report["request"]["url"])}
    newer = [held for held in seen[report["request"]["url"]] if held.revision > ours]
    if newer:
        return Fitted((), {}, newer[0])
    known: dict[str, str] = {}
    made = []
    for bundle in bundles:
        entries = []
        for entry in bundle["entry"]:
            search = search_for(entry)
            if search is None or entry["request"]["method"] != "PUT":
                entries.append(entry)
                continue
            held = seen[search] if search in seen else look(search)
            if len(held) == 1:
                known |= {entry["fullUrl"]: held[0].reference, search: held[0].reference}
            if (decided := _decided(entry, held, ours)) is not None:
                entries.append(decided)
        if entries:
            made.append({**bundle, "entry": entries})
    return Fitted(tuple(made), known)


def search_for(entry: Json) -> str | None:
    """The search that finds an entry's resource on the server; None for one that goes by its id."""
    request = entry["request"]
    if "ifNoneExist" in request:
        return f"{request['url']}?{request['ifNoneExist']}"
    return request["url"] if "?" in request["url"] else None


def with_known(bundle: Json, known: Mapping[str, str]) -> Json:
    """The bundle with the addresses of what lies on the server already: not every server resolves a search."""
    here = {entry["fullUrl"] for entry in bundle["entry"]}
    elsewhere = {name: reference for name, reference in known.items() if name not in here}
    made: Json = redirected(bundle, elsewhere)
    return made


def _decided(entry: Json, held: Sequence[Held], ours: int) -> Json | None:
    """The entry as it is to be sent; None where it is not."""
    kind, status = _kind(entry), entry["resource"].get("status")
    is_taken_back = kind in _TAKEN_BACK and _TAKEN_BACK[kind] == status
    if not held:
        return None if is_taken_back else _created(entry)
    if len(held) > 1:
        return entry  # the server says so itself, and an administrator merges them
    (one,) = held
    if kind in _PROPOSED:
        is_untouched = one.status == _PROPOSED[kind]
        # Refused on the grounds of an earlier revision, it is proposed anew; confirmed, it is a person's
        is_open_again = not is_taken_back and one.status == _TAKEN_BACK[kind] and one.revision < ours
        return _replaced(entry, one) if is_untouched or is_open_again else None
    is_unchanged = is_taken_back and one.status == status
    return None if is_unchanged else _replaced(entry, one)


def _created(entry: Json) -> Json:
    kind, _, criterion = entry["request"]["url"].partition("?")
    return {**entry, "request": {"method": "POST", "url": kind, "ifNoneExist": criterion}}


def _replaced(entry: Json, held: Held) -> Json:
    condition = {"ifMatch": f'W/"{held.version}"'} if held.version else {}
    resource = {**entry["resource"], "id": held.reference.partition("/")[2]}
    return {**entry, "resource": resource, "request": {"method": "PUT", "url": held.reference, **condition}}


def _revised(bundle: Json) -> Iterator[Json]:
    return (entry for entry in bundle.get("entry") or () if entry["request"]["method"] == "PUT" and search_for(entry))


def _kind(entry: Json) -> str:
    return str(entry["resource"]["resourceType"])


def _revision(resource: Mapping[str, Any]) -> int:
    values = [one.get("valuePositiveInt") for one in resource.get("extension") or () if one.get("url") == REVISION]
    return next((value for value in values if isinstance(value, int)), 0)
