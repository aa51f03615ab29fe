"""A FHIR server as a destination: the transactions of a case, posted to its base one after the other."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from dermanode.config import FhirDestination
from dermanode.deliver.destination import Package
from dermanode.deliver.held import Held, fitted, search_for, with_known
from dermanode.deliver.oauth import Tokens
from dermanode.errors import ConfigurationError, DeliveryRefused, DestinationUnavailable
from dermanode.messages.fhir.terms import Json

_TRY_AGAIN = frozenset({408, 409, 412, 425, 429})
"""Answers below 500 that another try may change: time-outs, limits, and conflicts with a transaction that ran at the same time.

412 is what a condition gets that no longer holds, or that several resources meet; an administrator merges them.
"""
_MEDIA_TYPE = "application/fhir+json"
_LOCATION = re.compile(r"([A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?$")


class Fhir:
    """Posts the transactions of a package, after a look at what the server has of the case."""

    def __init__(self, name: str, settings: FhirDestination) -> None:
        self.name, self.settings = name, settings
        self._tokens = Tokens(name, settings.oauth) if settings.oauth else None

    def deliver(self, package: Package) -> str:
        bundles = [json.loads(file.read_bytes()) for file in package.files]
        with self._connected() as server:
            plan = fitted(bundles, server.look)
            if plan.newer is not None:
                return f"not sent: a later revision ({plan.newer.revision}) is there already; {plan.newer.reference}"
            known, receipt = dict(plan.known), _Receipt()
            for bundle in plan.bundles:
                said = server.post(with_known(bundle, known))
                known |= _places(bundle, said)
                receipt.add(said)
        return receipt.words()

    @contextmanager
    def _connected(self) -> Iterator[_Server]:
        try:
            # Made anew for each package: certificates that were renewed meanwhile are used
            context = self.settings.tls.context()
            with httpx.Client(timeout=self.settings.timeout_s, verify=context) as client:
                yield _Server(self.name, self.settings, client, self._tokens)
        except ConfigurationError as error:
            raise DestinationUnavailable(self.name, str(error)) from error
        except httpx.TimeoutException as error:
            raise DestinationUnavailable(self.name, f"gave no answer within {self.settings.timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DestinationUnavailable(self.name, f"{self.settings.url} cannot be reached: {error}") from error


@dataclass(frozen=True, slots=True)
class _Server:
    """One connection to the server, and how it is asked."""

    name: str
    settings: FhirDestination
    client: httpx.Client
    tokens: Tokens | None

    def post(self, bundle: Json) -> Json:
        """What was answered, once all of it was taken."""
        response = self._request("POST", self.settings.url, content=json.dumps(bundle, ensure_ascii=False).encode())
        said = _parsed(response)
        words = f"HTTP {response.status_code}" + (f": {problems}" if (problems := _problems(said)) else "")
        if not response.is_success:
            raise self._no(response, f"answered {words}", f"refused with {words}")
        if unmet := [answer for answer in _answers(said) if str(answer.get("status", ""))[:1] in ("4", "5")]:
            # No transaction, against the word: parts of it were taken, and are so again by the next try
            why = "; ".join(f"{answer['status']}: {_problems(answer.get('outcome') or {})}" for answer in unmet)
            raise DestinationUnavailable(self.name, f"took only a part of a transaction: {why}")
        return said

    def look(self, search: str) -> list[Held]:
        """What the server has that answers the search."""
        # Some servers answer a search that they have answered before from memory
        response = self._request("GET", f"{self.settings.url.rstrip('/')}/{search}", headers={"cache-control": "no-cache"})
        said = _parsed(response)
        if not response.is_success:
            kind = search.partition("?")[0]
            words = f"HTTP {response.status_code}" + (f": {problems}" if (problems := _problems(said)) else "")
            cure = f"does not let us look for {kind} by identifier ({words}). Allow it: an older result must not take a newer one's place"
            raise self._no(response, f"answered {words} when asked for {kind}", cure)
        found = [entry.get("resource") or {} for entry in said.get("entry") or () if isinstance(entry, dict)]
        return [Held.parse(one) for one in found if one.get("resourceType") == search.partition("?")[0] and one.get("id")]

    def _request(self, method: str, url: str, *, content: bytes | None = None, headers: dict[str, str] | None = None) -> httpx.Response:
        told = {"accept": _MEDIA_TYPE, **(headers or {}), **({"content-type": _MEDIA_TYPE} if content else {})}
        response = self.client.request(method, url, content=content, headers=told | self._authorization())
        if response.status_code == 401 and self.tokens is not None:
            # It may have been taken back before its time: once, another one is tried
            self.tokens.forget()
            response = self.client.request(method, url, content=content, headers=told | self._authorization())
        return response

    def _authorization(self) -> dict[str, str]:
        token = self.tokens.bearer(self.client) if self.tokens is not None else self.settings.token
        return {"authorization": f"Bearer {token}"} if token else {}

    def _no(self, response: httpx.Response, for_now: str, for_good: str) -> DestinationUnavailable | DeliveryRefused:
        if response.status_code in _TRY_AGAIN or response.is_server_error:
            return DestinationUnavailable(self.name, for_now, retry_after_s=_retry_after_s(response))
        # 3xx too: a transaction is not sent to an address that nobody configured
        return DeliveryRefused(self.name, for_good)


class _Receipt:
    """What the server said, added up over all transactions."""

    def __init__(self) -> None:
        self._transactions, self._counts, self._reports = 0, Counter[str](), list[str]()

    def add(self, said: Json) -> None:
        self._transactions += 1
        for answer in _answers(said):
            self._counts[str(answer.get("status", "?")).split(" ")[0]] += 1
            if (place := _place(answer)) and place.startswith("DiagnosticReport/"):
                self._reports.append(place)

    def words(self) -> str:
        """`2 transactions; 7 created, 8 present; DiagnosticReport/17`."""
        names = {"200": "present", "201": "created", "304": "unchanged"}
        summary = ", ".join(f"{count} {names.get(code, code)}" for code, count in sorted(self._counts.items(), reverse=True))
        transactions = "1 transaction" if self._transactions == 1 else f"{self._transactions} transactions"
        return "; ".join(filter(None, [transactions, summary, *self._reports]))


def _answers(said: Json) -> list[Json]:
    """One for each entry of the transaction."""
    return [entry.get("response") or {} for entry in said.get("entry") or () if isinstance(entry, dict)]


def _place(answer: Json) -> str | None:
    found = _LOCATION.search(str(answer.get("location") or ""))
    return found[1] if found else None


def _places(bundle: Json, said: Json) -> dict[str, str]:
    """Where the entries of a transaction lie now, by their names in the bundle and by their searches."""
    places: dict[str, str] = {}
    answers = _answers(said)
    if len(answers) != len(bundle["entry"]):
        return places
    for entry, answer in zip(bundle["entry"], answers, strict=True):
        if place := _place(answer):
            places |= {name: place for name in (entry["fullUrl"], search_for(entry)) if name}
    return places


def _parsed(response: httpx.Response) -> Json:
    try:
        said = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return said if isinstance(said, dict) else {}


def _problems(said: dict[str, Any]) -> str:
    """The text of an OperationOutcome."""
    texts = []
    for issue in said.get("issue") or ():
        if not isinstance(issue, dict):
            continue
        details = issue.get("details")
        text = (details.get("text") if isinstance(details, dict) else None) or issue.get("diagnostics") or issue.get("code", "")
        where = ", ".join(map(str, issue.get("expression") or ()))
        texts.append(f"{text} ({where})" if where else str(text))
    return "; ".join(texts)[:1000]


def _retry_after_s(response: httpx.Response) -> float | None:
    """How long the server asks us to stay away: seconds, or until a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
